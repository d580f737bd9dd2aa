"""The monitor for real: streams, log, attach clients, exit record; over ordinary programs, not containers.

Every test runs with the freestanding program and with one that has AddressSanitizer and UBSan.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import Conflict, NotFound, Unavailable
from pierhead.linux.cgroupfs import discover
from pierhead.runtime.attach import AttachClient, Ending
from pierhead.runtime.logs import read_log
from tests.support.monitors import Monitored, until
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Monitor = Callable[..., Monitored]

PART_BYTES = 16384
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"
# What a program gets to say things byte by byte.
PRELUDE = """\
import os, sys, time, signal
def out(data, fd=1):
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view):]
"""


def python(text: str) -> list[str]:
    """A program."""
    return [sys.executable, "-IS", "-c", PRELUDE + text]


@pytest.fixture(params=["monitor_driver", "monitor_driver_sanitized"])
def monitor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Monitor]:
    """Starts a program with a monitor; both are gone after the test, and the sanitizers have said nothing."""
    started: list[Monitored] = []

    def start(command: list[str], **options: Any) -> Monitored:
        directory = options.pop("directory", None) or tmp_path / str(len(started))
        directory.mkdir(exist_ok=True)
        started.append(Monitored(request.param, directory, command, **options))
        return started[-1]

    yield start
    for one in started:
        one.__exit__()


def logged(monitored: Monitored) -> bytes:
    """Everything that the log has, streams joined."""
    return b"".join(entry.data for entry in read_log(monitored.log_path))


def collect(client: AttachClient, into: list[bytes]) -> None:
    """Everything that the client sees is appended."""
    into.extend(data for _, data in client)


# The log ------------------------------------------------------------------------------------------------


def test_json_lines_are_dockers(monitor: Monitor) -> None:
    """Keys, their order, escapes and the form of the time are those of Docker's json-file logs."""
    text = 'out(b"plain\\n"); out(b"a\\"b\\\\c\\t<&>\\xff\\xe4\\xb8\\xad\\n"); out(b"oops\\n", 2)'
    monitored = monitor(python(text), log="json")
    monitored.wait()
    lines = sorted(monitored.log_text().splitlines())
    assert [re.sub(TIME, "TIME", line) for line in lines] == [
        r'{"log":"a\"b\\c\u0009\u003c\u0026\u003e\ufffd中\n","stream":"stdout","time":"TIME"}',
        r'{"log":"oops\n","stream":"stderr","time":"TIME"}',
        r'{"log":"plain\n","stream":"stdout","time":"TIME"}',
    ]
    assert all(json.loads(line) for line in lines)


def test_cri_lines_are_kubernetes(monitor: Monitor) -> None:
    """Time, stream, F or P, and the bytes as they came."""
    monitored = monitor(python('out(b"one \\xff\\n\\n"); out(b"end")'), log="cri")
    monitored.wait()
    lines = monitored.log_path.read_bytes().splitlines()
    assert [re.sub(TIME.encode(), b"TIME", line) for line in lines] == [
        b"TIME stdout F one \xff",
        b"TIME stdout F ",
        b"TIME stdout P end",
    ]


@pytest.mark.parametrize("form", ["json", "cri"])
def test_long_lines_are_logged_in_parts(monitor: Monitor, form: str) -> None:
    """A line of more than 16 KiB comes in parts of that size, of which only the last has a newline."""
    monitored = monitor(python(f'out(b"x" * {2 * PART_BYTES + 5} + b"\\nnext\\n")'), log=form)
    monitored.wait()
    data = [entry.data for entry in read_log(monitored.log_path)]
    assert [(len(part), part[-1:]) for part in data] == [
        (PART_BYTES, b"x"),
        (PART_BYTES, b"x"),
        (6, b"\n"),
        (5, b"\n"),
    ]


def test_parts_do_not_cut_characters(monitor: Monitor) -> None:
    """Where a long line is parted in the middle of a UTF-8 character, the character stays whole."""
    monitored = monitor(python(f'out(b"x" + "漢🐳".encode() * {PART_BYTES} + b"\\n")'), log="json")
    monitored.wait()
    assert logged(monitored) == b"x" + "漢🐳".encode() * PART_BYTES + b"\n"
    assert "\\ufffd" not in monitored.log_text()


def test_a_line_without_an_end_is_logged_when_the_stream_ends(monitor: Monitor) -> None:
    """Without the newline that it never had."""
    monitored = monitor(python('out(b"no end")'), log="json")
    monitored.wait()
    assert logged(monitored) == b"no end"


def test_everything_before_the_exit_is_logged(monitor: Monitor) -> None:
    """A program that writes a megabyte and is gone at once loses nothing of it."""
    monitored = monitor(python('out(b"".join(b"%07d\\n" % i for i in range(131072)))'), log="json")
    monitored.wait()
    assert logged(monitored) == b"".join(b"%07d\n" % i for i in range(131072))


def test_rotation_keeps_every_file_small_and_in_order(monitor: Monitor) -> None:
    """The log is path, path.1, …, each within log_bytes, together the last of what was written."""
    program = python('out(b"".join(b"line %05d\\n" % i for i in range(3000)))')
    monitored = monitor(program, log="json", log_bytes=10000, log_files=4)
    monitored.wait()
    files = sorted(monitored.directory.glob("log*"))
    assert [path.name for path in files] == ["log", "log.1", "log.2", "log.3"]
    assert all(5000 < path.stat().st_size <= 10000 for path in files[1:])
    lines = [entry.data for entry in read_log(monitored.log_path)]
    assert lines == [b"line %05d\n" % i for i in range(3000 - len(lines), 3000)]
    assert len(lines) > 300


def test_one_log_file_is_replaced_and_not_emptied(monitor: Monitor) -> None:
    """With log_files=1 there is one file, and a reader that has the old one open still has all of it."""
    text = 'out(b"first\\n"); sys.stdin.readline(); out(b"x" * 900 + b"\\n"); out(b"last\\n")'
    monitored = monitor(python(text), log="json", log_bytes=1000, stdin=True)
    until(lambda: logged(monitored))
    with monitored.log_path.open() as old, monitored.attach() as client:
        client.write(b"go\n")
        monitored.wait()
        assert json.loads(old.readline())["log"] == "first\n"
    assert json.loads(monitored.log_text())["log"] == "last\n"
    assert len(list(monitored.directory.glob("log*"))) == 1


def test_a_follower_sees_every_line_once(monitor: Monitor) -> None:
    """Over hundreds of rotations, while they happen, and it ends when the monitor does."""
    text = 'for i in range(20000): out(b"%06d\\n" % i); i % 100 or time.sleep(0.001)'
    monitored = monitor(python(text), log="json", log_bytes=4000, log_files=1000)
    pidfd = os.pidfd_open(monitored.process.pid)
    try:
        lines = [entry.data for entry in read_log(monitored.log_path, follow=True, ended_fd=pidfd)]
    finally:
        os.close(pidfd)
    assert lines == [b"%06d\n" % i for i in range(20000)]
    monitored.wait()


def test_a_log_goes_on_where_it_ended(monitor: Monitor, tmp_path: Path) -> None:
    """A second run with the same log appends to it."""
    path = tmp_path / "shared"
    for text in ("one", "two"):
        monitor(["echo", text], log="json", log_path=path).wait()
    assert [entry.data for entry in read_log(path)] == [b"one\n", b"two\n"]


def test_there_is_no_log_where_there_was_none() -> None:
    """Reading one that was never written says so."""
    with pytest.raises(NotFound, match="there is no log /nowhere/log"):
        list(read_log("/nowhere/log"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    path = tmp_path / "small"
    path.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "pierhead-test", path], check=True)
    yield path
    subprocess.run(["umount", path], check=True)


@requires("root")
def test_a_full_disk_costs_lines_and_says_how_many(small_disk: Path, monitor: Monitor) -> None:
    """The program goes on, only whole lines are in the log, the first one after a gap counts the lost."""
    text = (
        'for i in range(2000): out(b"line %04d\\n" % i)\nsys.stdin.readline(); out(b"after\\n"); sys.exit(5)'
    )
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 16384)
    monitored = monitor(python(text), log="json", log_path=small_disk / "log", stdin=True)
    with monitored.attach() as client:
        seen = b""
        while b"line 1999\n" not in seen:
            piece = client.read()
            assert piece is not None
            seen += piece[1]
        ballast.unlink()
        client.write(b"go\n")
        assert monitored.wait().code == 5
    lines = [json.loads(line) for line in monitored.log_text().splitlines()]
    notices = [line["log"] for line in lines if line["log"].startswith("pier-init: ")]
    counts = [
        re.fullmatch(r"pier-init: (\d+) log entries were lost here \(errno 28\)\n", one) for one in notices
    ]
    kept = [line["log"] for line in lines if line["log"].startswith("line ")]
    assert len(kept) + sum(int(count[1]) for count in counts if count is not None) == 2000
    assert None not in counts
    assert kept[0] == "line 0000\n"
    assert lines[-1]["log"] == "after\n"


def test_no_log_is_asked_for(monitor: Monitor) -> None:
    """Then output is for the clients alone, and the program never waits for a reader."""
    monitored = monitor(python('out(b"x" * 1000000)'))
    assert monitored.wait().code == 0
    assert not monitored.log_path.exists()


def test_a_log_directory_that_is_missing_does_not_matter(monitor: Monitor, tmp_path: Path) -> None:
    """The program runs, its lines are lost; they are not when the directory comes."""
    path = tmp_path / "later" / "log"
    text = 'out(b"lost\\n"); out(b"", 2); sys.stdin.readline(); out(b"kept\\n")'
    monitored = monitor(python(text), log="json", log_path=path, stdin=True)
    with monitored.attach() as client:
        path.parent.mkdir()
        client.write(b"go\n")
        monitored.wait()
    assert logged(monitored).endswith(b"kept\n")


# Attach clients -----------------------------------------------------------------------------------------


def test_every_client_sees_everything(monitor: Monitor) -> None:
    """Each gets both streams, told apart, and how it ended."""
    text = 'sys.stdin.readline(); out(b"to out\\n"); time.sleep(0.05); out(b"to err\\n", 2); sys.exit(3)'
    monitored = monitor(python(text), stdin=True)
    clients = [monitored.attach() for _ in range(5)]
    clients[0].write(b"go\n")
    for client in clients:
        with client:
            assert list(client) == [("stdout", b"to out\n"), ("stderr", b"to err\n")]
            assert client.ending == Ending(code=3, signal=None)
            assert client.read() is None
    monitored.wait()


def test_a_client_is_told_of_a_signal(monitor: Monitor) -> None:
    """The ending has the signal and no code."""
    monitored = monitor(["sleep", "60"])
    with monitored.attach() as client:
        os.kill(monitored.init_pid, signal.SIGKILL)
        assert list(client) == []
        assert client.ending == Ending(code=None, signal=9)


def test_input_and_its_end(monitor: Monitor) -> None:
    """What clients write arrives in order, of any size, and then the end of file."""
    monitored = monitor(["cat"], stdin=True)
    data = os.urandom(1 << 20)
    seen: list[bytes] = []
    with monitored.attach() as client:
        reader = threading.Thread(target=collect, args=(client, seen))
        reader.start()
        assert client.write(data) == len(data)
        client.close_input()
        reader.join()
    assert b"".join(seen) == data
    assert monitored.wait().code == 0


def fill(client: AttachClient) -> int:
    """Writes until nothing more is taken; returns how much was."""
    sent = 0
    try:
        while True:
            sent += client.write(b"x" * 32768)
    except BlockingIOError:
        return sent


def test_input_that_is_not_read_stays_with_the_client(monitor: Monitor) -> None:
    """A pipe that is full makes the client wait, costs no memory, and everything arrives in the end."""
    text = "signal.sigwait([signal.SIGUSR1]); out(str(len(sys.stdin.buffer.read())).encode())"
    block = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\nout(b'ready')\n"
    monitored = monitor(python(block + text), stdin=True)
    with monitored.attach() as client:
        assert client.read() == ("stdout", b"ready")
        client.set_blocking(False)
        sent = fill(client)
        assert sent < 1 << 20
        client.set_blocking(True)
        os.kill(monitored.init_pid, signal.SIGUSR1)
        sent += client.write(b"x" * 1000)
        client.close_input()
        assert list(client) == [("stdout", str(sent).encode())]


def test_input_of_a_client_that_left_arrives(monitor: Monitor) -> None:
    """It wrote, closed the input and hung up before any of it was read."""
    text = 'out(b"ready\\n"); time.sleep(0.2); out(b"talk\\n"); out(b"got " + sys.stdin.buffer.read())'
    monitored = monitor(python(text), stdin=True, log="cri")
    with monitored.attach() as client:
        client.write(b"x" * 100000)
        client.close_input()
    monitored.wait()
    assert logged(monitored) == b"ready\ntalk\ngot " + b"x" * 100000


def test_input_for_a_program_that_closed_it_is_dropped(monitor: Monitor) -> None:
    """Nobody will read it; the client does not hang."""
    monitored = monitor(python('os.close(0); out(b"closed\\n"); time.sleep(0.3)'), stdin=True)
    with monitored.attach() as client:
        assert client.write(b"x" * 500000) == 500000
        client.close_input()
        assert list(client) == [("stdout", b"closed\n")] or client.ending == Ending(code=0, signal=None)


def test_a_slow_client_gets_everything(monitor: Monitor) -> None:
    """The program waits for it meanwhile, and nothing piles up in the monitor."""
    monitored = monitor(python('sys.stdin.readline(); out(b"0123456789abcde\\n" * 131072)'), stdin=True)
    seen = 0
    with monitored.attach() as client:
        client.write(b"go\n")
        for _, data in client:
            seen += len(data)
            if seen % 7 == 0:
                threading.Event().wait(0.002)
    assert seen == 16 * 131072


def test_a_stalled_client_does_not_stop_the_rest(monitor: Monitor) -> None:
    """After ten seconds without reading it is hung up on; the log and the others miss nothing."""
    monitored = monitor(python('sys.stdin.readline(); out(b"0123456\\n" * 131072)'), stdin=True, log="cri")
    seen: list[bytes] = []
    with monitored.attach() as stalled, monitored.attach() as client:
        client.write(b"go\n")
        collect(client, seen)
        assert monitored.wait().code == 0
        assert client.ending == Ending(code=0, signal=None)
        assert b"".join(seen) == logged(monitored) == b"0123456\n" * 131072
        with pytest.raises(Unavailable, match="hung up"):
            collect(stalled, [])


def test_a_stalled_client_does_not_hold_back_the_record(monitor: Monitor) -> None:
    """How the program ended is known in about a second though a client has not taken the last output."""
    monitored = monitor(python('sys.stdin.readline(); out(b"x" * 250000); sys.exit(4)'), stdin=True)
    with monitored.attach() as client:
        client.write(b"go\n")
        assert monitored.told() == (4, 0, 0)
        assert monitored.record() is not None
        seen: list[bytes] = []
        collect(client, seen)
        assert b"".join(seen) == b"x" * 250000


def test_more_clients_than_places(monitor: Monitor) -> None:
    """Those above 32 wait in line until one leaves, and none is lost."""
    monitored = monitor(python('sys.stdin.readline(); out(b"hello\\n")'), stdin=True)
    first = [monitored.attach() for _ in range(32)]
    waiting = [monitored.attach() for _ in range(8)]
    waiting[0].resize(1, 1)
    for client in first:
        client.close()
    waiting[7].write(b"go\n")
    for client in waiting:
        with client:
            assert list(client) == [("stdout", b"hello\n")]


def test_a_client_that_breaks_the_rules_is_hung_up_on(monitor: Monitor) -> None:
    """Too long a packet; unknown ones are passed over; other clients notice nothing."""
    monitored = monitor(["cat"], stdin=True)
    with monitored.attach() as good, monitored.attach() as bad, monitored.attach() as odd:
        os.write(odd.fileno(), b"?what")
        os.write(odd.fileno(), b"rx")
        os.write(bad.fileno(), b"i" + b"x" * 40000)
        with pytest.raises((Unavailable, ConnectionResetError)):
            bad.read()
        odd.write(b"still here\n")
        assert good.read() == ("stdout", b"still here\n")
        good.close_input()
        assert list(odd) == [("stdout", b"still here\n")]


def test_attaching_after_the_end_says_so(monitor: Monitor) -> None:
    """Not an errno but what has happened."""
    monitored = monitor(["true"])
    monitored.wait()
    with pytest.raises(Conflict, match="the process has ended"):
        monitored.attach()


def test_sockets_with_long_paths(monitor: Monitor, tmp_path: Path) -> None:
    """A path of more than 107 bytes is reached through its directory."""
    monitored = monitor(["cat"], stdin=True)
    long = tmp_path / ("x" * 120)
    long.symlink_to(monitored.directory)
    with AttachClient(long / "attach") as client:
        client.close_input()
        assert list(client) == []


# The terminal -------------------------------------------------------------------------------------------

REPORT = """\
import fcntl, struct, termios
def size(*_):
    rows, columns, _, _ = struct.unpack("4H", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))
    out(b"%dx%d\\n" % (rows, columns))
signal.signal(signal.SIGWINCH, size)
"""


def read_until(client: AttachClient, wanted: bytes) -> bytes:
    """What comes until ``wanted`` has come."""
    seen = b""
    while wanted not in seen:
        piece = client.read()
        assert piece is not None, seen
        assert piece[0] == "stdout"
        seen += piece[1]
    return seen


def test_a_terminal_and_its_size(monitor: Monitor) -> None:
    """The program is on a terminal; resizing it is told to the program; its output is one stream."""
    text = REPORT + 'out(b"%d\\n" % os.isatty(0)); out(b"err\\n", 2)\nwhile True: signal.pause()'
    monitored = monitor(python(text), terminal=True, log="json")
    with monitored.attach() as client:
        until(lambda: logged(monitored) == b"1\r\nerr\r\n")
        client.resize(25, 81)
        read_until(client, b"25x81\r\n")
        client.resize(50, 132)
        read_until(client, b"50x132\r\n")
        os.kill(monitored.init_pid, signal.SIGTERM)
        assert list(client) == []
    assert monitored.wait().signal == signal.SIGTERM
    assert {entry.stream for entry in read_log(monitored.log_path)} == {"stdout"}


def test_what_is_typed_before_there_is_a_terminal(monitor: Monitor) -> None:
    """Waits for it, and so does its size."""
    text = REPORT + "sys.stdin.readline(); size()"
    monitored = monitor(python(text), terminal=True, late=True)
    with monitored.attach() as client:
        client.resize(33, 44)
        client.write(b"go\n")
        assert read_until(client, b"33x44\r\n")
    assert monitored.wait().code == 0


def test_the_end_of_input_on_a_terminal_is_control_d(monitor: Monitor) -> None:
    """A program that reads lines sees the end of file."""
    monitored = monitor(["cat"], terminal=True)
    with monitored.attach() as client:
        client.write(b"hello\n")
        read_until(client, b"hello\r\nhello\r\n")
        client.close_input()
        assert list(client) == []
    assert monitored.wait().code == 0


def test_resizing_passes_input_that_is_stuck(monitor: Monitor) -> None:
    """One client's input waits for a program that does not read; another's resize does not."""
    text = REPORT + 'import tty; tty.setraw(0); out(b"raw\\n")\nwhile True: signal.pause()'
    monitored = monitor(python(text), terminal=True)
    with monitored.attach() as typing, monitored.attach() as sizing:
        read_until(typing, b"raw\n")
        typing.set_blocking(False)
        fill(typing)
        sizing.resize(10, 20)
        read_until(sizing, b"10x20\n")


def test_a_terminal_may_be_closed_and_opened_again(monitor: Monitor) -> None:
    """While no process has it open, the program is not hung up on."""
    text = (
        "name = os.ttyname(0)\nfor fd in (0, 1, 2): os.close(fd)\ntime.sleep(0.2)\n"
        'os.open(name, os.O_RDWR); os.dup(0); os.dup(0); out(b"back\\n"); sys.exit(6)'
    )
    monitored = monitor(python(text), terminal=True, log="cri")
    assert monitored.wait().code == 6
    assert logged(monitored) == b"back\r\n"


def test_everything_before_the_exit_comes_from_the_terminal(monitor: Monitor) -> None:
    """The last output is not lost with the terminal."""
    for _ in range(10):
        monitored = monitor(["seq", "5000"], terminal=True, log="cri")
        monitored.wait()
        assert logged(monitored) == b"".join(b"%d\r\n" % i for i in range(1, 5001))


# The end ------------------------------------------------------------------------------------------------


def test_the_record_of_an_exit(monitor: Monitor) -> None:
    """Code, times in order, the pid; the launcher is told the same."""
    monitored = monitor(["sh", "-c", "exit 42"])
    assert monitored.told() == (42, 0, 0)
    record = monitored.wait()
    assert (record.pid, record.code, record.signal) == (monitored.init_pid, 42, None)
    assert (record.core, record.oom) == (False, False)
    assert re.fullmatch(TIME, record.started)
    assert record.started < record.finished
    assert sorted(path.name for path in monitored.directory.iterdir()) == ["attach", "exit"]


def test_the_record_of_a_signal(monitor: Monitor) -> None:
    """The signal, and no code."""
    monitored = monitor(["sh", "-c", "kill -TERM $$"])
    assert monitored.told() == (0xFFFFFFFF, signal.SIGTERM, 0)
    record = monitored.wait()
    assert (record.code, record.signal, record.core) == (None, signal.SIGTERM, False)


def test_the_record_needs_no_handler(monitor: Monitor) -> None:
    """Whoever started the monitor ignored SIGCHLD, which is inherited; the status is known all the same."""
    ignoring = ["env", "--ignore-signal=CHLD"]
    assert monitor(["sh", "-c", "sleep 0.2; exit 11"], prefix=ignoring).wait().code == 11


def test_the_record_is_there_when_the_launcher_is_told(monitor: Monitor) -> None:
    """Whoever hears of the exit can read the record and the whole log."""
    monitored = monitor(["seq", "10000"], log="cri")
    monitored.told()
    assert monitored.record() is not None
    assert logged(monitored) == b"".join(b"%d\n" % i for i in range(1, 10001))


def test_processes_that_stay_behind(monitor: Monitor, tmp_path: Path) -> None:
    """The record and the clients' ending do not wait for them; their output is still logged."""
    text = """
if os.fork() == 0:
    while not os.path.exists(sys.argv[1]): time.sleep(0.01)
    out(b"late\\n"); os._exit(0)
out(b"early\\n"); os._exit(9)
"""
    monitored = monitor([*python(text), str(tmp_path / "go")], log="cri")
    assert monitored.told() == (9, 0, 0)
    assert monitored.record() is not None
    until(lambda: not can_attach(monitored))
    assert monitored.process.poll() is None
    assert logged(monitored) == b"early\n"
    (tmp_path / "go").touch()
    monitored.wait()
    assert logged(monitored) == b"early\nlate\n"


def can_attach(monitored: Monitored) -> bool:
    """Whether the socket is served."""
    try:
        monitored.attach().close()
    except Conflict:
        return False
    return True


def test_the_launcher_may_be_killed(monitor: Monitor) -> None:
    """SIGKILL of the process that started it: log, clients and record go on."""
    text = 'sys.stdin.readline(); out(b"alive\\n"); sys.exit(8)'
    launcher = ["sh", "-c", 'exec 9>&1; "$0" "$@" & wait']
    monitored = monitor(python(text), stdin=True, log="cri", prefix=launcher)
    monitored.process.kill()
    monitored.process.wait()
    monitored.control.close()
    with monitored.attach() as client:
        client.write(b"go\n")
        assert list(client) == [("stdout", b"alive\n")]
        assert client.ending == Ending(code=8, signal=None)
    record = monitored.record()
    assert record is not None
    assert record.code == 8


def test_only_sigkill_ends_a_monitor(monitor: Monitor) -> None:
    """Every other signal is ignored, and does not reach the program either."""
    monitored = monitor(["sh", "-c", "read line; exit 7"], stdin=True)
    for number in (
        signal.SIGTERM,
        signal.SIGINT,
        signal.SIGHUP,
        signal.SIGPIPE,
        signal.SIGUSR1,
        signal.SIGQUIT,
    ):
        os.kill(monitored.process.pid, number)
    with monitored.attach() as client:
        client.write(b"go\n")
    assert monitored.wait().code == 7


def test_a_state_directory_that_is_gone_keeps_nothing(monitor: Monitor, tmp_path: Path) -> None:
    """The container was removed by force: the monitor ends all the same."""
    monitored = monitor(["sleep", "60"], log="cri", log_path=tmp_path / "log")
    (monitored.directory / "attach").unlink()
    monitored.directory.rename(tmp_path / "gone")
    for path in (tmp_path / "gone").iterdir():
        path.unlink()
    (tmp_path / "gone").rmdir()
    os.kill(monitored.init_pid, signal.SIGKILL)
    assert monitored.process.wait(20) == 0


@requires("root")
def test_a_record_that_cannot_be_written_is_tried_again(small_disk: Path, monitor: Monitor) -> None:
    """A full disk delays it; the launcher is told at once."""
    monitored = monitor(["sleep", "60"], directory=small_disk)
    ballast = small_disk / "ballast"
    subprocess.run(["dd", "if=/dev/zero", f"of={ballast}", "bs=4096"], capture_output=True, check=False)
    os.kill(monitored.init_pid, signal.SIGKILL)
    assert monitored.told() == (0xFFFFFFFF, 9, 0)
    assert monitored.record() is None
    ballast.unlink()
    assert monitored.wait().signal == 9
    assert sorted(path.name for path in small_disk.iterdir()) == ["attach", "exit"]


@pytest.mark.parametrize(("before", "after", "happened"), [(0, 1, True), (5, 5, False), (5, 7, True)])
def test_the_out_of_memory_flag(
    monitor: Monitor, tmp_path: Path, before: int, after: int, *, happened: bool
) -> None:
    """Set if the kernel's counter has grown since the beginning."""
    counter = tmp_path / "memory.oom_control"
    counter.write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {before}\n")
    monitored = monitor(["sh", "-c", "read line"], stdin=True, oom_path=str(counter))
    with monitored.attach() as client:
        client.resize(1, 1)
        counter.write_text(f"oom_kill_disable 0\nunder_oom 0\noom_kill {after}\n")
        client.close_input()
        assert monitored.told() == (1, 0, int(happened))
    assert monitored.wait().oom is happened


@pytest.fixture
def small_memory() -> Iterator[Path]:
    """A cgroup with 16 MB of memory."""
    tree = discover().find("memory")
    assert tree is not None
    cgroup = Path(tree.directory(f"/pierhead-test-monitor-{os.getpid()}"))
    cgroup.mkdir()
    (cgroup / ("memory.max" if tree.version == 2 else "memory.limit_in_bytes")).write_text(str(16 << 20))
    yield cgroup
    until(lambda: not (cgroup / "cgroup.procs").read_text())
    cgroup.rmdir()


@requires("root", "memory-controller")
def test_a_real_lack_of_memory(small_memory: Path, monitor: Monitor) -> None:
    """A process that takes more than its cgroup may is killed, and the record says why."""
    text = 'open(sys.argv[1], "w").write("0"); held = bytearray(64 << 20)'
    counter = small_memory / "memory.events"
    counter = counter if counter.exists() else small_memory / "memory.oom_control"
    monitored = monitor([*python(text), str(small_memory / "cgroup.procs")], oom_path=str(counter))
    assert monitored.told() == (0xFFFFFFFF, 9, 1)
    assert monitored.wait().oom


# The monitor itself -------------------------------------------------------------------------------------


def test_it_holds_nothing_that_is_not_its_own(monitor: Monitor) -> None:
    """Its descriptors are those it needs, its standard streams /dev/null, its directory /."""
    monitored = monitor(["sleep", "60"], stdin=True, log="json")
    directory = f"/proc/{monitored.process.pid}"
    until(lambda: os.readlink(f"{directory}/cwd") == "/")
    links = [os.readlink(f"{directory}/fd/{fd}") for fd in sorted(os.listdir(f"{directory}/fd"), key=int)]
    assert links[:3] == ["/dev/null"] * 3
    assert sorted(re.sub(r"\d+", "N", link) for link in links[3:]) == sorted(
        [
            next(re.sub(r"\d+", "N", link) for link in links if "pidfd" in link),
            re.sub(r"\d+", "N", str(monitored.directory)),
            re.sub(r"\d+", "N", str(monitored.log_path)),
            *["pipe:[N]"] * 3,
            *["socket:[N]"] * 2,
        ]
    )


def pss_kilobytes(pid: int) -> int:
    """Its share of memory."""
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("Pss:"))


def test_an_idle_monitor_is_tiny(tmp_path: Path) -> None:
    """Each of twenty holds less than 0.1 MB, also after it has had much to do."""
    running = []
    for number in range(20):
        directory = tmp_path / str(number)
        directory.mkdir()
        text = 'out(b"\\1" * 3000000); sys.stdin.readline()'
        running.append(Monitored("monitor_driver", directory, python(text), stdin=True, log="json"))
    try:
        for one in running:
            until(lambda one=one: one.log_path.stat().st_size > 17_900_000)  # type: ignore[misc]
        until(lambda: max(pss_kilobytes(one.process.pid) for one in running) < 100)
    finally:
        for one in running:
            with one.attach() as client:
                client.close_input()
        for one in running:
            one.wait()
            one.__exit__()
