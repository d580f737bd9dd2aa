"""An engine and its containers, seen through the Docker API: what ``make run`` shows.

``pierd`` is started in directories of its own, runs containers made of this machine (the image pierhead/host,
so no registry is needed), is killed and started again under them, and everything is taken down: at the end,
after Ctrl-C, and after a failure.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from pierhead.client.address import parse_address
from pierhead.client.engine import Engine
from pierhead.client.streams import split_frames
from pierhead.errors import OperationFailed, PierheadError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

LOOK_AROUND = r"""
say() { printf '%-20s %s\n' "$1" "$2"; }
limit() { cat "/sys/fs/cgroup/$1" 2>/dev/null || cat "/sys/fs/cgroup/$2"; }
say "host name"          "$(hostname)"
say "system"             "$(. /etc/os-release; echo "$PRETTY_NAME"), Linux $(uname -r)"
say "processes I see"    "$(ls -d /proc/[0-9]* | wc -l), my own; I am number $$"
say "network interfaces" "$(ls /sys/class/net | tr '\n' ' ')"
say "memory limit"       "$(($(limit memory/memory.limit_in_bytes memory.max) >> 20)) MiB"
say "home directories"   "$(ls -A /root 2>/dev/null | wc -l) files in /root"
say "/etc/shadow"        "$(wc -c < /etc/shadow) bytes"
touch /etc/pierhead-was-here && say "a file I made" "$(ls /etc/pierhead-was-here)"
"""
COUNT = "n=0; while :; do n=$((n+1)); echo tick $n; sleep 0.05; done"
READY_S, END_S = 60.0, 60.0
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MADE_INSIDE = Path("/etc/pierhead-was-here")


class Show:
    """A terminal that is told what happens: a heading for each step, and what it gave."""

    def __init__(self) -> None:
        coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
        self._bold = ("\x1b[1m", "\x1b[0m") if coloured else ("", "")
        self._began_s = time.monotonic()

    def step(self, name: str, about: str) -> None:
        """A step begins."""
        self._began_s = time.monotonic()
        print(f"\n{self._bold[0]}{name:<10}{self._bold[1]}{about}", flush=True)

    def lines(self, *lines: str) -> None:
        """What came of it."""
        print("".join(f"          {line}\n" for line in lines), end="", flush=True)

    def took(self) -> str:
        """How long the step has taken."""
        return f"{1000 * (time.monotonic() - self._began_s):.0f} ms"


class Pierd:
    """The daemon, in directories of its own.  A context manager: afterwards nothing of it is left."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.cgroup = f"pierhead-run-{os.getpid()}"
        self.engine = Engine(parse_address(f"unix://{directory}/exec/pierd.sock"))
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.end(signal.SIGKILL)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            with suppress(Unavailable):
                self.start()  # the show may have ended where it was killed, or did not serve yet
                for container in self.engine.get("/containers/json", all=True):
                    self.engine.delete(f"/containers/{container['Id']}", force=True, v=True)
        finally:
            self.end(signal.SIGTERM)

    def start(self) -> None:
        """It serves."""
        if self._process is None:
            self._launch()
        deadline_s = time.monotonic() + READY_S
        while True:
            try:
                self.engine.get("/version")
            except Unavailable:
                if self._has_ended() or time.monotonic() > deadline_s:
                    raise Unavailable(f"pierd does not serve: {self._last_words()}") from None
                time.sleep(0.01)
            else:
                return

    def _launch(self) -> None:
        """In a session of its own, so that Ctrl-C reaches us and not it."""
        program = Path(sys.executable).with_name("pierd")
        roots = ["--data-root", f"{self._directory}/data", "--exec-root", f"{self._directory}/exec"]
        apart = ["--config-file", os.devnull, "--bridge", "none", "--cgroup-parent", f"/{self.cgroup}"]
        with (self._directory / "log").open("ab") as log, signals_wait():
            self._process = subprocess.Popen([program, *roots, *apart], stderr=log, start_new_session=True)

    def _has_ended(self) -> bool:
        return self._process is None or self._process.poll() is not None

    def end(self, number: int) -> None:
        """It has ended by the signal."""
        with signals_wait():
            process, self._process = self._process, None
            if process is not None:
                process.send_signal(number)
                process.wait(END_S)

    def _last_words(self) -> str:
        lines = (self._directory / "log").read_text(errors="replace").splitlines()
        return lines[-1] if lines else "it said nothing"


def create(engine: Engine, name: str, script: str, **limits: Any) -> str:
    """A container of this machine's files, made and not started; returns its id."""
    document = {
        "Image": "pierhead/host",
        "Hostname": name,
        "Cmd": ["/bin/sh", "-c", script],
        "WorkingDir": "/",
        "HostConfig": {"NetworkMode": "none", **limits},
    }
    made: dict[str, str] = engine.post("/containers/create", document, name=name)
    return made["Id"]


def logs_of(engine: Engine, name: str, **query: Any) -> list[str]:
    """Lines that the container has written."""
    with engine.open("GET", f"/containers/{name}/logs", stdout=True, stderr=True, **query) as reply:
        return b"".join(data for _, data in split_frames(reply.body())).decode().splitlines()


def execute(engine: Engine, name: str, *command: str) -> tuple[int, list[str]]:
    """The exit code of a further command in the container, and what it printed."""
    wanted = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": True}
    made = engine.post(f"/containers/{name}/exec", wanted)
    said = b""
    with engine.hijack("POST", f"/exec/{made['Id']}/start", {"Detach": False}) as streams:
        while (pieces := streams.read()) is not None:
            said += b"".join(data for _, data in pieces)
    return engine.get(f"/exec/{made['Id']}/json")["ExitCode"], said.decode().splitlines()


def show_run(show: Show, engine: Engine) -> None:
    """A container that looks around and ends."""
    show.step("run", "a container made of this machine, copy-on-write, with limits, tells what it sees")
    create(engine, "visitor", LOOK_AROUND, Memory=256 << 20, PidsLimit=64)
    engine.post("/containers/visitor/start")
    status = engine.post("/containers/visitor/wait")["StatusCode"]
    took = show.took()
    show.lines(*logs_of(engine, "visitor"), f"… and ended with status {status} after {took}")


def show_service(show: Show, engine: Engine) -> None:
    """A container that goes on, looked at from all sides."""
    show.step("run -d", "a second one goes on in the background")
    identity = create(engine, "counter", COUNT, Memory=128 << 20)
    engine.post("/containers/counter/start")
    show.lines(f"{identity[:12]} started in {show.took()}")

    show.step("ps", "both, as the engine lists them")
    rows = [
        (each["Id"][:12], each["Names"][0].lstrip("/"), each["Image"], each["Status"])
        for each in engine.get("/containers/json", all=True)
    ]
    show.lines(*(f"{row[0]}  {row[1]:<9} {row[2]:<15} {row[3]}" for row in rows))

    show.step("exec", "a further command in the one that runs")
    code, said = execute(engine, "counter", "/bin/sh", "-c", "echo I am number $$ of $(hostname)")
    show.lines(*said, f"… status {code}, {show.took()}")

    show.step("stats", "what it uses")
    sample = engine.get("/containers/counter/stats", stream="0")
    took_s = sample["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
    memory, processes = sample["memory_stats"], sample["pids_stats"]["current"]
    used = f"{memory['usage'] / 1e6:.1f} MB of {memory['limit'] / 1e6:.0f} MB"
    show.lines(f"memory {used}, processor {took_s:.2f} s, processes {processes}")


def show_life(show: Show, pierd: Pierd) -> None:
    """The engine dies, and its container does not notice."""
    engine = pierd.engine
    show.step("kill -9", "the engine; the container goes on, and is found again")
    before = logs_of(engine, "counter")[-1]
    pierd.end(signal.SIGKILL)
    time.sleep(0.2)
    pierd.start()
    show.lines(f"before: {before}", f"killed, started again and served after {show.took()}")

    show.step("logs", "no line is missing")
    lines = logs_of(engine, "counter")
    whole = lines == [f"tick {number}" for number in range(1, len(lines) + 1)]
    if not whole:
        raise OperationFailed(f"lines are missing: {' '.join(lines)}")
    show.lines(*lines[-3:], f"… {len(lines)} lines, all there")

    show.step("rm -f", "both")
    for name in ("counter", "visitor"):
        engine.delete(f"/containers/{name}", force=True)
    show.lines(f"gone after {show.took()}")


def left_over(directory: Path, cgroup: str) -> list[str]:
    """What this machine still has of it."""
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    found = [f"mount {mount}" for mount in mounts if mount.startswith(str(directory))]
    for place, names, _ in os.walk("/sys/fs/cgroup"):
        found += [f"cgroup {place}/{name}" for name in names if name.startswith(cgroup)]
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if str(directory) in path.read_text(errors="replace"):
                found.append(f"process {path.parent.name}")
    return [*found, *(str(path) for path in (directory, MADE_INSIDE) if path.exists())]


@contextmanager
def ends_by_signals() -> Iterator[None]:
    """SIGTERM and SIGHUP end what is inside as Ctrl-C does, and a second signal does not disturb the end."""

    def interrupt(*_: object) -> None:
        for each in ENDING:
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in ENDING:
        signal.signal(each, interrupt)
    yield


@contextmanager
def signals_wait() -> Iterator[None]:
    """What is inside is done whole: a signal has its effect afterwards."""
    came: list[int] = []
    before = [signal.signal(each, lambda number, _: came.append(number)) for each in ENDING]
    try:
        yield
    finally:
        for each, act in zip(ENDING, before, strict=True):
            signal.signal(each, act)
        if came:
            signal.raise_signal(came[0])


def main() -> int:
    """Shows everything, and says what is left of it."""
    if os.geteuid() != 0:
        print(
            "the engine mounts file systems and sets limits, and so needs root: sudo make run",
            file=sys.stderr,
        )
        return 1
    status = 0
    with ends_by_signals():
        with tempfile.TemporaryDirectory(prefix="pierhead-run-") as name:
            pierd = Pierd(Path(name))
            try:
                show_all(Show(), pierd)
            except PierheadError as error:
                print(f"{error}\nhint: {error.hint}" if error.hint else error, file=sys.stderr)
                status = 1
            except KeyboardInterrupt:
                print("\ninterrupted; everything is taken down")
                status = 130
        left = left_over(Path(name), pierd.cgroup)
    print(f"\nLeft on this machine: {', '.join(left) or 'nothing'}.")
    return status or (1 if left else 0)


def show_all(show: Show, pierd: Pierd) -> None:
    """Every step; the daemon is gone afterwards."""
    show.step("pierd", "the engine, in directories of its own")
    with pierd:
        version = pierd.engine.get("/version")
        show.lines(
            f"serves the Docker API {version['ApiVersion']} at {pierd.engine.address} after {show.took()}"
        )
        show_run(show, pierd.engine)
        show_service(show, pierd.engine)
        show_life(show, pierd)
        show.step("the end", "the engine stops")
    show.lines(f"and was gone after {show.took()}")


if __name__ == "__main__":
    sys.exit(main())
