"""A monitor's clients for real: attached ones and the terminal; over ordinary programs, not containers.

Every test runs with the freestanding program and with one that has AddressSanitizer and UBSan.
"""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Conflict, Unavailable
from pierhead.runtime.attach import AttachClient, Ending
from pierhead.runtime.logs import read_log
from tests.support.monitors import KINDS, collect, logged, monitors, python, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.monitors import Monitor


@pytest.fixture(params=KINDS)
def monitor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Monitor]:
    """Starts a program with a monitor; both are gone after the test, and the sanitizers have said nothing."""
    with monitors(request.param, tmp_path) as start:
        yield start


# Attach clients -----------------------------------------------------------------------------------------


def test_every_client_sees_everything(monitor: Monitor) -> None:
    """Each gets both streams, told apart, and how it ended."""
    text = 'sys.stdin.readline(); out(b"to out\\n"); out(b"to err\\n", 2); sys.exit(3)'
    monitored = monitor(python(text), stdin=True)
    clients = [monitored.attach() for _ in range(5)]
    clients[0].write(b"go\n")
    for client in clients:
        with client:
            assert sorted(client) == [("stderr", b"to err\n"), ("stdout", b"to out\n")]  # from two pipes
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
    block = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])\n"
    text = 'os.close(0); out(b"closed\\n"); signal.sigwait([signal.SIGUSR1])'
    monitored = monitor(python(block + text), stdin=True, log="cri")
    with monitored.attach() as client:
        until(lambda: logged(monitored) == b"closed\n")
        assert client.write(b"x" * 500000) == 500000
        client.close_input()
        os.kill(monitored.init_pid, signal.SIGUSR1)
        assert set(client) <= {("stdout", b"closed\n")}
        assert client.ending == Ending(code=0, signal=None)


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
