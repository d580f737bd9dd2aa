"""The monitor for real: streams, log, attach clients, exit record; over ordinary programs, not containers.

Every test runs with the freestanding program and with one that has AddressSanitizer and UBSan.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Conflict, NotFound
from pierhead.linux.cgroupfs import discover
from pierhead.runtime.attach import Ending
from pierhead.runtime.logs import read_log
from tests.support.monitors import KINDS, Monitored, logged, monitors, python, until
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.monitors import Monitor

PART_BYTES = 16384
TIME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z"


@pytest.fixture(params=KINDS)
def monitor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Monitor]:
    """Starts a program with a monitor; both are gone after the test, and the sanitizers have said nothing."""
    with monitors(request.param, tmp_path) as start:
        yield start


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
        'out(b"line 0000\\n"); sys.stdin.readline()\n'  # the first one has room
        'for i in range(1, 2000): out(b"line %04d\\n" % i)\n'
        'sys.stdin.readline(); out(b"after\\n"); sys.exit(5)'
    )
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 16384)
    monitored = monitor(python(text), log="json", log_path=small_disk / "log", stdin=True)
    with monitored.attach() as client:
        until(lambda: logged(monitored) == b"line 0000\n")
        client.write(b"go\n")
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
    text = 'sys.stdin.readline(); out(b"lost\\n"); sys.stdin.readline(); out(b"kept\\n")'
    monitored = monitor(python(text), log="json", log_path=path, stdin=True)
    with monitored.attach() as client:
        client.write(b"go\n")
        assert client.read() == ("stdout", b"lost\n")
        path.parent.mkdir()
        client.write(b"go\n")
        monitored.wait()
    lines = logged(monitored).splitlines()
    assert b"lost" not in lines
    assert lines[-1] == b"kept"


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
    monitored = monitor(["sh", "-c", "read line; exit 11"], prefix=ignoring, stdin=True)
    with monitored.attach() as client:
        client.write(b"go\n")  # which is passed on when the monitor has taken over
    assert monitored.wait().code == 11


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
    assert monitored.process.wait(60) == 0


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
        text = 'out(b"\\1" * 1000000); sys.stdin.readline()'
        running.append(Monitored("monitor_driver", directory, python(text), stdin=True, log="json"))
    try:
        for one in running:
            until(lambda one=one: one.log_path.stat().st_size > 5_900_000)  # type: ignore[misc]
        until(lambda: max(pss_kilobytes(one.process.pid) for one in running) < 100)
    finally:
        for one in running:
            with one.attach() as client:
                client.close_input()
        for one in running:
            one.wait()
            one.__exit__()
