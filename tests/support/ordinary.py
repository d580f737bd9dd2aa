"""A real ordinary user of this machine, with subordinate ids, and ``pierd`` as that user.

with ordinary_user() as user, served(user) as it:
    it.client.get("/_ping")
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pierhead
from tests.support.api_server import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

_CODE = "import sys; from importlib import import_module; "
_CODE += "sys.exit(import_module(sys.argv[1]).main(sys.argv[2:]))"
_TUN = Path("/dev/net/tun")
_LOOK_S, _END_S = 0.5, 60.0


def may_run(program: str) -> bool:
    """Whether others may reach and run the program."""
    path = Path(program).resolve()
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))


def python() -> str:
    """An interpreter that any user can run and that is new enough."""
    for candidate in (sys.executable, "/usr/bin/python3"):
        if Path(candidate).exists() and may_run(candidate):
            asked = "import sys; sys.exit(sys.version_info < (3, 11))"
            if subprocess.run([candidate, "-c", asked], check=False).returncode == 0:
                return candidate
    pytest.skip("needs a Python 3.11 that other users can run")


@dataclass(frozen=True)
class User:
    """Who it is, and a home in which the package lies."""

    name: str
    user_id: int
    home: Path

    def environment(self) -> dict[str, str]:
        """Of the user's programs."""
        packages = [each for each in sys.path if each.endswith("-packages") and may_run(each)]
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "PYTHONPATH": os.pathsep.join((str(self.home), *packages)),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def start(self, *words: str, **popen: object) -> subprocess.Popen[bytes]:
        """A program of the user's runs."""
        found: subprocess.Popen[bytes] = subprocess.Popen(
            words,
            user=self.user_id,
            group=self.user_id,
            extra_groups=(),
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            **{"env": self.environment(), **popen},  # type: ignore[call-overload]
        )
        return found

    def call(self, module: str, *words: str) -> list[str]:
        """The words that run a command's module."""
        return [python(), "-c", _CODE, module, *words]

    def run(self, *words: str) -> tuple[int, str]:
        """How a program of the user's ended, and what it said."""
        with tempfile.TemporaryFile() as said:
            status = self.start(*words, stdout=said, stderr=said).wait(_END_S)
            said.seek(0)
            return status, said.read().decode()

    def processes(self) -> list[str]:
        """Commands of all its processes that run, those in its namespaces included."""
        words = ("ps", "-o", "stat=,args=", "-u", str(self.user_id))
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        lines = [line.split(None, 1) for line in done.stdout.splitlines()]
        return [line[1] for line in lines if len(line) == 2 and not line[0].startswith("Z")]


@contextmanager
def ordinary_user() -> Iterator[User]:
    """A new user, who is gone at the end with everything that was its own."""
    name = f"pier-{os.getpid()}"
    home = Path(tempfile.mkdtemp(prefix="pierhead-user-"))
    words = ["useradd", "--no-create-home", "--home-dir", str(home), "--user-group", name]
    subprocess.run(words, check=True, capture_output=True)
    try:
        user_id = int(subprocess.run(["id", "-u", name], check=True, capture_output=True).stdout)
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(Path(pierhead.__file__).parent, home / "pierhead", ignore=skipped)
        (home / "run").mkdir()
        for path in (home, *home.rglob("*")):
            os.chown(path, user_id, user_id, follow_symlinks=False)
        with _tunnels_for_all():
            yield User(name, user_id, home)
    finally:
        subprocess.run(["userdel", name], check=True, capture_output=True)
        shutil.rmtree(home)


@contextmanager
def _tunnels_for_all() -> Iterator[None]:
    """As udev sets the node up on every distribution; here there may be no udev."""
    before = stat.S_IMODE(_TUN.stat().st_mode)
    _TUN.chmod(0o666)
    try:
        yield
    finally:
        _TUN.chmod(before)


@dataclass
class UsersDaemon:
    """A daemon of the user's that serves."""

    user: User
    process: subprocess.Popen[bytes]

    @property
    def socket_path(self) -> str:
        """Where it listens, without being told."""
        return str(self.user.home / "run/pierhead/pierd.sock")

    @property
    def client(self) -> Client:
        """Requests to it."""
        return Client(self.socket_path)

    def kill(self) -> None:
        """What serves has been killed, and its process outside has ended."""
        os.kill(int((self.user.home / "run/pierhead/pierd.pid").read_text()), signal.SIGKILL)
        self.process.wait(_END_S)


@contextmanager
def served(user: User, *words: str) -> Iterator[UsersDaemon]:
    """It serves inside; at the end it has ended, with all its containers."""
    with begun(user, *words) as it:
        try:
            yield it
        finally:
            for container in it.client.get("/containers/json?all=1").json():
                it.client.delete(f"/containers/{container['Id']}?force=1&v=1")


@contextmanager
def begun(user: User, *words: str) -> Iterator[UsersDaemon]:
    """It serves inside; at the end it has been told to stop, unless it has ended."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
        path = user.home / "notify.sock"
        path.unlink(missing_ok=True)
        notified.bind(str(path))
        path.chmod(0o666)
        notified.settimeout(_LOOK_S)
        environment = {**user.environment(), "NOTIFY_SOCKET": str(path)}
        with (user.home / "pierd.log").open("wb") as log:
            process = user.start(*user.call("pierhead.cli.daemon", *words), stderr=log, env=environment)
        try:
            while not _is_ready(notified):
                assert process.poll() is None, (user.home / "pierd.log").read_text()
            yield UsersDaemon(user, process)
        finally:
            process.terminate()
            process.wait(_END_S)


def _is_ready(notified: socket.socket) -> bool:
    try:
        return b"READY=1" in notified.recv(4096)
    except TimeoutError:
        return False


def await_nobody(user: User) -> list[str]:
    """What of the user's still runs after a moment."""
    deadline_s = time.monotonic() + _END_S
    while (left := user.processes()) and time.monotonic() < deadline_s:
        time.sleep(0.05)
    return left
