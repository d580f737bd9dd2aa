"""Whom the engine is measured beside: Debian's dockerd and Podman, on the same file system and machine.

Each of them has a network namespace of its own, so bridges and firewalls are nobody else's.  ``pierd`` and
``dockerd`` are asked by the same client, docker's command line.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.programs import Launcher, find_program, launcher
from tests.support.api_server import Client as Api
from tests.support.peers import Client, daemon
from tests.support.pier import Pier, busybox_layer, write_image
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

IMAGE = "bench"
_CODE = "import sys; from pierhead.cli.daemon import main; sys.exit(main(sys.argv[1:]))"
_PRIVATE = ["/run/docker", "/run/containerd", "/etc/docker"]


@dataclass(frozen=True)
class Peer:
    """An engine and how to call it.

    Fields:
        words: the command with its fixed words; the first is a path.
        home: everything it keeps is below.
        socket_path: of its API; "" without a daemon.
        making: further words for new containers.
        removing: words of a removal by force, at once.
    """

    name: str
    launcher: Launcher
    words: Sequence[str]
    home: Path
    socket_path: str = ""
    making: Sequence[str] = ()
    removing: Sequence[str] = ("rm", "-f")

    def new(self, verb: str, name: str, *program: str, network: str = "none") -> list[str]:
        """Words of ``create`` or ``run``."""
        named = ["--name", name] if name else []
        return [*verb.split(), *named, "--network", network, *self.making, IMAGE, *program]

    def run_us(self, *words: str) -> float:
        """Microseconds of a call."""
        return self.launcher.run_us([*self.words, *words])

    def ask(self, *words: str) -> str:
        """What a call that is not measured prints."""
        return Client(self.words)(*words, timeout_s=600).strip()

    def measure_bytes(self, *words: str) -> int:
        """How many bytes a call prints."""
        with subprocess.Popen([*self.words, *words], stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout is not None
            found = 0
            while piece := process.stdout.read(1 << 20):
                found += len(piece)
        return found

    def post(self, path: str, document: dict[str, Any] | None = None, *, status: int) -> Any:
        """What its API answers to a request, which has to have this status."""
        answer = self.api.post(path, document)
        assert answer.status == status, answer.body
        return answer.json() if answer.body else None

    def by_pier(self) -> Peer:
        """The same engine, called by ``pier``."""
        pier = f"{os.path.dirname(sys.executable)}/pier"
        return replace(self, name=f"{self.name}, by pier", words=[pier, "-H", f"unix://{self.socket_path}"])

    @property
    def api(self) -> Api:
        """Its API."""
        return Api(self.socket_path)

    def pss_kb(self) -> int:
        """Memory of all that keeps containers: daemons, shims, monitors; not of programs in containers."""
        pids = [int(name) for name in os.listdir("/proc") if name.isdecimal() and int(name) != os.getpid()]
        return sum(_pss_kb(pid) for pid in pids if _is_of(pid, str(self.home)))


def _is_of(pid: int, home: str) -> bool:
    """Whether the process was told of the directory, or has something below it open."""
    try:
        if os.readlink(f"/proc/{pid}/exe").endswith("/busybox"):
            return False
        if f"{home}/".encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
            return True
        links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return False
    return any(link.startswith(f"{home}/") for link in links)


def _pss_kb(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0)


@contextmanager
def peers(home: Path) -> Iterator[list[Peer]]:
    """Those that are installed, each with the image; all keep what they keep below the directory."""
    docker = find_program("docker")
    if docker is None:
        yield []
        return
    with ExitStack() as stack:
        usual = stack.enter_context(launcher())
        layer = busybox_layer(home)
        layout = write_image(home / "layout", layer, Cmd=["sh"], Env=["PATH=/bin"])
        found = [stack.enter_context(_pierd(home / "p", usual, docker, layout))]
        if dockerd := find_program("dockerd"):
            found.append(stack.enter_context(_dockerd(home / "d", usual, docker, dockerd)))
        if podman := find_program("podman"):
            alone = stack.enter_context(launcher(without_network=True))
            found.append(stack.enter_context(_podman(home / "pod", alone, podman)))
        (home / "layer.tar").write_bytes(layer)
        for peer in found[1:]:
            peer.ask("import", "-c", "ENV PATH=/bin", f"{home}/layer.tar", IMAGE)
        try:
            yield found
        finally:
            for peer in found:
                if left := peer.ask("ps", "-aq").split():
                    peer.ask(*peer.removing, *left)


@contextmanager
def _pierd(home: Path, usual: Launcher, docker: str, layout: Path) -> Iterator[Peer]:
    home.mkdir()
    Pier(home / "data")("load", "--quiet", "--input", str(layout), "--name", IMAGE)
    path = f"{home}/exec/pierd.sock"
    command = ["unshare", "-n", "env", f"PYTHONPATH={ROOT}/src", sys.executable, "-c", _CODE]
    command += ["--data-root", f"{home}/data", "--exec-root", f"{home}/exec"]
    command += ["--cgroup-parent", f"/pierhead-bench-{os.getpid()}"]
    words = [docker, "--config", f"{home}/config", "-H", f"unix://{path}"]
    with daemon(command, log=home / "log", ready=lambda _: _answers(path)):
        yield Peer("pierd", usual, words, home, path)


@contextmanager
def _dockerd(home: Path, usual: Launcher, docker: str, dockerd: str) -> Iterator[Peer]:
    home.mkdir()
    path = f"{home}/docker.sock"
    command = ["unshare", "-n", dockerd, "-H", f"unix://{path}", "--data-root", f"{home}/data"]
    command += ["--exec-root", f"{home}/exec", "--pidfile", f"{home}/pid", "--storage-driver", "overlay2"]
    words = [docker, "--config", f"{home}/config", "-H", f"unix://{path}"]
    with daemon(command, log=home / "log", private=_PRIVATE, ready=lambda _: _answers(path)):
        yield Peer("dockerd", usual, words, home, path)


def _answers(path: str) -> bool:
    try:
        return Api(path).get("/_ping").status == 200
    except OSError:
        return False


@contextmanager
def _podman(home: Path, usual: Launcher, podman: str) -> Iterator[Peer]:
    home.mkdir()
    words = [podman, f"--root={home}/root", f"--runroot={home}/run", f"--tmpdir={home}/tmp"]
    words += [
        f"--network-config-dir={home}/networks",
        "--storage-driver=overlay",
        f"--runtime={find_program('runc')}",
    ]  # crun wants one cgroup layout
    making = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=4096:4096")  # as this machine's limits are
    try:
        yield Peer("podman", usual, words, home, making=making, removing=("rm", "-f", "-t", "0"))
    finally:  # a mount of the directory on itself, which it sometimes leaves
        subprocess.run(["umount", home / "root/overlay"], stderr=subprocess.DEVNULL, check=False)
