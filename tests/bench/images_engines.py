"""Who keeps images: ours, Podman, Docker's daemon; each has a store of its own on the same file system."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.bench.images_cost import Cost, cost_of, tree_cpu_s
from tests.bench.programs import Launcher, find_program, launcher
from tests.support.commands import program
from tests.support.peers import Client, daemon, inside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_PRIVATE = ["/run/docker", "/run/containerd", "/etc/docker"]
_QUIET = ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none"]


@dataclass(frozen=True)
class Engine:
    """Somebody who pulls, loads and saves.

    Fields:
        words: the command with its fixed words; the first is a path.
        pulling, saving, …: first words of these, before names.
        daemon_pid: who does the work, 0 for the command itself.
        store: our directory, which is removed to forget; "" where the command itself has to.
    """

    name: str
    launcher: Launcher
    words: Sequence[str]
    pulling: Sequence[str] = ("pull", "-q")
    saving: Sequence[str] = ("save",)
    committing: Sequence[str] = ("commit",)
    pushing: Sequence[str] = ("push", "-q")
    daemon_pid: int = 0
    store: str = ""

    def run(self, *words: str | os.PathLike[str]) -> Cost:
        """One command's cost."""
        before_s = tree_cpu_s(self.daemon_pid) if self.daemon_pid else 0
        run = self.launcher.run([*self.words, *(os.fspath(word) for word in words)])
        after_s = tree_cpu_s(self.daemon_pid) if self.daemon_pid else 0
        return cost_of(run, more_cpu_s=after_s - before_s)

    def pull(self, image: str) -> Cost:
        """The image comes from its registry to a store without any."""
        self.forget()
        return self.run(*self.pulling, image)

    def load(self, archive: Path) -> Cost:
        """The archive's images come to a store without any."""
        self.forget()
        return self.run("load", "-q", "-i", archive)

    def save(self, image: str, archive: Path) -> Cost:
        """The image that is there goes to a new file."""
        archive.unlink(missing_ok=True)
        return self.run(*self.saving, "-o", archive, image)

    def forget(self) -> None:
        """There is no image."""
        if self.store:
            shutil.rmtree(self.store, ignore_errors=True)
            return
        listed = Client(self.words)("images", "-aq").split()
        if listed:
            Client(self.words).result("rmi", "-f", *dict.fromkeys(listed))

    def ask(self, *words: str, stdin: Path | None = None) -> str:
        """What a command that is not measured prints."""
        with open(stdin or os.devnull, "rb") as given:
            done = subprocess.run([*self.words, *words], stdin=given, stdout=subprocess.PIPE, check=True)
        return done.stdout.decode().strip()


@contextmanager
def engines(home: Path) -> Iterator[dict[str, Engine]]:
    """Ours, and the peers that are installed; all keep what they keep below the directory."""
    with ExitStack() as stack:
        usual = stack.enter_context(launcher())
        found = {"pier": pier(home / "pier", usual)}
        if podman := find_program("podman"):
            home.joinpath("pod").mkdir()  # short: Podman's runroot has at most 50 characters
            words = [podman, f"--root={home}/pod/root", f"--runroot={home}/pod/run"]
            words += [f"--tmpdir={home}/pod/tmp", "--storage-driver=overlay"]
            found["podman"] = Engine(
                "podman",
                usual,
                words,
                pulling=("pull", "-q", "--tls-verify=false"),
                saving=("save", "-q"),
                committing=("commit", "-q"),
                pushing=("push", "-q", "--tls-verify=false"),
            )
        docker, dockerd = _find_debians("docker"), _find_debians("dockerd")
        if docker and dockerd:
            found["docker"] = stack.enter_context(_docker(home / "docker", usual, docker, dockerd))
        yield found
        for engine in found.values():
            engine.forget()


def pier(store: Path, usual: Launcher) -> Engine:
    """Our command over a store of its own."""
    return Engine("pier", usual, [*program("pier"), "--root", str(store)], store=str(store))


def _find_debians(name: str) -> str | None:
    """Debian's program: a daemon and a client of one version, wherever another one may be."""
    return shutil.which(name, path="/usr/sbin:/usr/bin:/sbin:/bin")


@contextmanager
def _docker(home: Path, usual: Launcher, docker: str, dockerd: str) -> Iterator[Engine]:
    home.mkdir()
    client = [docker, "--config", f"{home}/config", "-H", f"unix://{home}/docker.sock"]

    def ready(pid: int) -> bool:
        return Client(inside(pid, *client)).result("version").returncode == 0

    command = [dockerd, "-H", f"unix://{home}/docker.sock", "--data-root", f"{home}/data", *_QUIET]
    command += ["--exec-root", f"{home}/exec", "--pidfile", f"{home}/pid", "--storage-driver", "overlay2"]
    with daemon(command, log=home / "log", private=_PRIVATE, ready=ready) as pid:
        nsenter = find_program("nsenter")
        assert nsenter is not None, "nsenter is not installed"
        words = [nsenter, *inside(pid, *client)[1:]]
        yield Engine("docker", usual, words, daemon_pid=pid)
