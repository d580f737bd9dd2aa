"""Output that goes on to syslog and to the journal: real sockets, a real journal, engines come and go."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.engine.documents import ContainerConfig, HostConfig, LogConfig
from pierhead.engine.jobs import Jobs
from pierhead.engine.logship.shipping import Shippers
from pierhead.engine.logship.syslog import SyslogSink
from pierhead.engine.queries import LogQuery
from pierhead.engine.record import Record, State
from pierhead.engine.settings import Paths
from pierhead.errors import PierheadError
from pierhead.runtime.logs import LogEntry
from tests.support.certificates import Authority
from tests.support.engines import Engines, create, outcome, start, state_of
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.engine.engine import Engine


@contextlib.contextmanager
def server(path: str, kind: int = socket.SOCK_DGRAM) -> Iterator[socket.socket]:
    """A server of syslog with a queue of its own."""
    with socket.socket(socket.AF_UNIX, kind) as listener:
        listener.bind(path)
        listener.settimeout(20)
        if kind == socket.SOCK_STREAM:
            listener.listen()
        yield listener


def syslog(address: str, **options: str) -> LogConfig:
    """The driver with these options."""
    named = {key.replace("_", "-"): value for key, value in options.items()}
    return LogConfig(type="syslog", config={"syslog-address": address, **named})


async def receive(listener: socket.socket, count: int) -> list[bytes]:
    """So many packets."""
    return [await asyncio.to_thread(listener.recv, 65536) for _ in range(count)]


@requires("root")
def test_lines_reach_a_server_and_are_read_again(engines: Engines, tmp_path: Path) -> None:
    """Each line is one packet with its tag, and ``logs`` has them too; all are sent when the end is told."""

    async def work(engine: Engine) -> None:
        with server(f"{tmp_path}/log") as listener:
            log = syslog(f"unixgram://{tmp_path}/log", tag="{{.Name}}", syslog_format="rfc5424micro")
            made = await start(engine, "sh", "-c", "echo one; echo two >&2", name="web", log_config=log)
            assert await outcome(engine, made) == 0
            first, second = sorted(await receive(listener, 2), reverse=True)
            assert first.startswith(b"<30>1 20")
            assert first.endswith(b" web %d web - one\n" % os.getpid())
            assert second.startswith(b"<27>1 20")
            _, pieces = await engine.container_logs(made, LogQuery(stdout=True, stderr=True))
            assert sorted([piece async for _, piece in pieces]) == [b"one\n", b"two\n"]
            await engine.start_container(made)
            again = await receive(listener, 2)
            assert sorted(each.rpartition(b" ")[2] for each in again) == [b"one\n", b"two\n"]

    engines.run(work)


@requires("root")
def test_no_server(engines: Engines, tmp_path: Path) -> None:
    """A container whose server is not there does not start, and its record says why."""

    async def work(engine: Engine) -> None:
        made = await create(engine, "true", log_config=syslog(f"unix://{tmp_path}/none"))
        with pytest.raises(PierheadError, match="failed to initialize logging driver: syslog"):
            await engine.start_container(made)
        document = await engine.inspect_container(made, size=False)
        assert "nobody" in document["State"]["Error"] or "no such socket" in document["State"]["Error"]
        assert document["HostConfig"]["LogConfig"]["Type"] == "syslog"

    engines.run(work)


@requires("root")
def test_an_engine_that_comes_back_goes_on(
    engines: Engines, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What a container writes, and one that ends, while no engine is there: all comes once, in order; and the
    engine is there at once, though the server takes nothing.
    """
    log = syslog(f"unix://{tmp_path}/log", tag="t")
    with server(f"{tmp_path}/log") as listener:

        async def begin(engine: Engine) -> None:
            wait = "until [ -e /go ]; do sleep 0.05; done"
            loop = f"i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); [ $i != 3 ] || {wait}; done"
            await start(engine, "sh", "-c", loop, name="writer", log_config=log)
            go.append(Path(f"/proc/{(await state_of(engine, 'writer'))['Pid']}/root/go"))
            found.extend(await receive(listener, 3))

        async def come_back(engine: Engine) -> None:
            assert "last lines wait" not in caplog.text
            assert await outcome(engine, "writer") == 0
            found.extend(await receive(listener, 40 - len(found)))

        found: list[bytes] = []
        go: list[Path] = []
        engines.run(begin, keep=True)
        go[0].touch()
        while not list(Path(engines.settings.exec_root, "runtime").glob("*/exit.json")):
            time.sleep(0.02)
        engines.run(come_back)
    assert [each.rpartition(b": ")[2] for each in found] == [b"line %d\n" % number for number in range(40)]


def a_record(log: LogConfig) -> Record:
    """Of a container that does not run."""
    state = State(status="exited")
    config = ContainerConfig(labels={"app": "shop"})
    return Record(
        id="c" * 64,
        name="web",
        created_ns=1,
        image="box",
        config=config,
        host=HostConfig(log_config=log),
        state=state,
    )


class Writing:
    """A log as a monitor writes it, and who ships it."""

    def __init__(self, directory: Path, log: LogConfig, journal_socket: str = "") -> None:
        self.paths = Paths(data_root=str(directory), exec_root=str(directory))
        self.record = a_record(log)
        self.journal_socket = journal_socket
        self.path = directory / "containers" / self.record.id / "logs" / "log.json"
        self.path.parent.mkdir(parents=True)

    def write(self, *texts: str, stream: str = "stdout") -> None:
        """Lines, or parts of them."""
        with self.path.open("a") as file:
            for text in texts:
                document = {"log": text, "stream": stream, "time": "2026-11-26T08:00:00.000000000Z"}
                file.write(json.dumps(document, separators=(",", ":")) + "\n")

    async def ship(self) -> None:
        """All of it is sent."""
        async with Jobs() as jobs:
            await Shippers(jobs, self.paths, journal_socket=self.journal_socket).end(self.record)


def test_files_go_when_they_are_sent(tmp_path: Path) -> None:
    """A writer that keeps all files does not fill the disk: what was sent goes, but for the newest."""
    writing = Writing(tmp_path, syslog(f"unixgram://{tmp_path}/log", cache_max_file="2"))
    for number in range(6, 0, -1):
        writing.write(f"old {number}\n")
        writing.path.rename(writing.path.with_name(f"log.json.{number}"))
    writing.write("new\n")
    with server(f"{tmp_path}/log") as listener:
        asyncio.run(writing.ship())
        found = [listener.recv(65536).rpartition(b": ")[2] for _ in range(7)]
    assert found == [b"old %d\n" % number for number in range(6, 0, -1)] + [b"new\n"]
    assert sorted(each.name for each in writing.path.parent.iterdir()) == ["log.json", "log.json.1"]


def test_a_server_that_goes_away_and_comes_back(tmp_path: Path) -> None:
    """It is looked for again, and gets what it has not got."""
    writing = Writing(tmp_path, syslog(f"unixgram://{tmp_path}/log"))
    writing.write("one\n", "two\n")

    async def work() -> None:
        async with asyncio.TaskGroup() as group:
            shipping = group.create_task(writing.ship())
            await asyncio.sleep(0.5)
            assert not shipping.done()
            with server(f"{tmp_path}/log") as listener:
                found = await receive(listener, 2)
                await shipping
        assert [each[-4:] for each in found] == [b"one\n", b"two\n"]

    asyncio.run(work())


def test_a_server_that_hangs_up_between_two_lines(tmp_path: Path) -> None:
    """The second is not taken for sent: the kernel would take it into a connection that nobody reads."""
    writing = Writing(tmp_path, syslog(f"unix://{tmp_path}/log"))
    line = LogEntry(time="2026-11-26T08:00:00.0Z", stream="stdout", data=b"line\n")

    async def work() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(f"{tmp_path}/log")
            listener.listen()
            sender = SyslogSink(writing.record)
            await sender.open()
            taken, _ = listener.accept()
            await sender.send(line)
            with taken:
                assert taken.recv(65536).endswith(b": line\n")
            with pytest.raises(ConnectionResetError, match="hung up"):
                await sender.send(line)
            sender.close()

    asyncio.run(work())


def test_tls(tmp_path: Path) -> None:
    """A server that shows the authority's certificate gets messages with their lengths; others get none."""
    authority = Authority(tmp_path)
    certificate, key = authority.make("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    found: list[bytes] = []

    async def work() -> None:
        served = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.append(await reader.read())
            writer.close()
            served.set()

        async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as listener:
            port = listener.sockets[0].getsockname()[1]
            log = syslog(
                f"tcp+tls://127.0.0.1:{port}", syslog_tls_ca_cert=str(authority.path), syslog_format="rfc5424"
            )
            writing = Writing(tmp_path / "log", log)
            writing.write("hello\n")
            await writing.ship()
            await served.wait()
            stranger = Writing(tmp_path / "other", syslog(f"tcp+tls://127.0.0.1:{port}"))
            async with Jobs() as jobs:
                with pytest.raises(PierheadError, match="certificate"):
                    await Shippers(jobs, stranger.paths).check(stranger.record)

    asyncio.run(work())
    length, _, rest = found[0].partition(b" ")
    assert int(length) == len(rest)
    assert rest.endswith(b" - hello\n")


_JOURNAL = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd /run/log/journal || exit 1
mount --bind "$1" /run/systemd || exit 1
exec /lib/systemd/systemd-journald
"""


@requires("root", "journalctl")
def test_a_real_journal(tmp_path: Path) -> None:
    """Systemd's own journal has the lines, with docker's fields."""
    place = tmp_path / "systemd"
    (place / "journal").mkdir(parents=True)
    words = ("unshare", "--mount", "sh", "-c", _JOURNAL, "sh", str(place))
    log = LogConfig(type="journald", config={"tag": "shop-{{.Name}}", "labels": "app"})
    writing = Writing(tmp_path / "engine", log, str(place / "journal" / "socket"))
    writing.write("hello\n")
    writing.write("oh\n", stream="stderr")
    with subprocess.Popen(words) as journal:
        try:
            while not (place / "journal" / "socket").exists():
                assert journal.poll() is None
                time.sleep(0.02)
            asyncio.run(writing.ship())
            found = _read_journal(journal.pid)
        finally:
            journal.terminate()
    assert [each["MESSAGE"] for each in found] == ["hello", "oh"]
    assert [each["PRIORITY"] for each in found] == ["6", "3"]
    assert {each["CONTAINER_NAME"] for each in found} == {"web"}
    assert {each["SYSLOG_IDENTIFIER"] for each in found} == {"shop-web"}
    assert {each["APP"] for each in found} == {"shop"}


def _read_journal(pid: int) -> list[dict[str, str]]:
    """Its entries of the container, when both are there."""
    words = ["nsenter", f"--mount=/proc/{pid}/ns/mnt", "journalctl", "--output=json", "CONTAINER_NAME=web"]
    found: list[dict[str, str]] = []
    while len(found) < 2:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
        found = [json.loads(line) for line in done.stdout.splitlines()]
    return found
