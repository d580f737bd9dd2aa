"""Containers' cgroups as transient units: against the real systemd where it runs, else against a stand-in.

The stand-in is a few lines that answer on a private bus (dbus-daemon) as systemd would; it shows that what we
say is well formed, and what we do about its answers.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import Conflict, NotFound, OperationFailed, TimedOut, Unavailable
from pierhead.linux import systemd as systemd_module
from pierhead.linux.cgroupfs import discover
from pierhead.linux.systemd import Systemd, bus_addresses
from pierhead.oci.runtime import Cpu, Memory, Pids, Resources
from pierhead.runtime.cgroups import load_cgroups, new_cgroups, paths_by_controller
from tests.support.requires import requires
from tests.support.service_managers import start_bus, systemctl, unit_property, user_manager

if TYPE_CHECKING:
    from collections.abc import Iterator

with_jeepney = requires("python:jeepney")
jeepney = pytest.importorskip("jeepney")
blocking = pytest.importorskip("jeepney.io.blocking")
bus_messages = pytest.importorskip("jeepney.bus_messages")

UNIT_PATH = "/org/freedesktop/systemd1"
MANAGER = "org.freedesktop.systemd1.Manager"


def test_addresses_are_tried_in_a_fixed_order() -> None:
    """The bus that the environment names or the usual one, then systemd's own socket."""
    assert bus_addresses({}, user=False) == [
        ("/run/dbus/system_bus_socket", True),
        ("/run/systemd/private", False),
    ]
    environ = {
        "DBUS_SESSION_BUS_ADDRESS": "unix:abstract=/tmp/x%20y,guid=1;unix:path=/z",
        "XDG_RUNTIME_DIR": "/run/user/5",
    }
    assert bus_addresses(environ, user=True) == [
        ("\0/tmp/x y", True),
        ("/z", True),
        ("/run/user/5/systemd/private", False),
    ]
    assert bus_addresses({"XDG_RUNTIME_DIR": "/run/user/5"}, user=True)[0] == ("/run/user/5/bus", True)
    assert bus_addresses({}, user=True) == []


@with_jeepney
def test_without_systemd_the_error_says_where_it_was_sought(tmp_path: Path) -> None:
    """And that cgroups by file system do without."""
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with pytest.raises(
        Unavailable, match=rf"user manager of systemd does not answer \({tmp_path}/bus: no such"
    ) as caught:
        Systemd.connect(user=True, environ=environ)
    assert "cgroupfs" in caught.value.hint


class StandIn:
    """Answers as systemd's manager on a bus, in a thread; keeps what it was asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.asked: list[tuple[str, tuple[Any, ...]]] = []
        self.errors: dict[str, list[str]] = {}
        self.job_result = "done"
        self._connection = blocking.open_dbus_connection(bus=address)
        self._connection.send_and_get_reply(bus_messages.message_bus.RequestName("org.freedesktop.systemd1"))
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            message = self._connection.receive()
            if message.header.message_type is not jeepney.MessageType.method_call:
                continue
            member = message.header.fields[jeepney.HeaderFields.member]
            self.asked.append((member, message.body))
            if member == "Quit":
                return
            self._answer(message, member)

    def _answer(self, message: Any, member: str) -> None:
        errors = self.errors.get(member)
        if errors:
            self._connection.send(
                jeepney.new_error(message, f"org.freedesktop.systemd1.{errors.pop(0)}", "s", ("no",))
            )
        elif member in ("StartTransientUnit", "StopUnit"):
            job = f"{UNIT_PATH}/job/7"
            # The end of the job may come before the answer: both orders must do.
            emitter = jeepney.DBusAddress(UNIT_PATH, interface=MANAGER)
            ended = jeepney.new_signal(
                emitter, "JobRemoved", "uoss", (7, job, message.body[0], self.job_result)
            )
            self._connection.send(ended)
            self._connection.send(jeepney.new_method_return(message, "o", (job,)))
        elif member == "Get":
            values = {"Version": "257.9-1~deb13u1", "ControlGroup": "/user.slice/user@5.service"}
            self._connection.send(jeepney.new_method_return(message, "v", (("s", values[message.body[1]]),)))
        else:
            self._connection.send(jeepney.new_method_return(message))

    def last(self, member: str) -> tuple[Any, ...]:
        """The latest call of that name."""
        return next(body for name, body in reversed(self.asked) if name == member)

    def close(self) -> None:
        """The thread has ended and the connection is closed."""
        with blocking.open_dbus_connection(bus=self.address) as other:
            other.send(
                jeepney.new_method_call(jeepney.DBusAddress("/", bus_name="org.freedesktop.systemd1"), "Quit")
            )
            self._thread.join(60)
        self._connection.close()


@pytest.fixture
def stand_in(tmp_path: Path) -> Iterator[StandIn]:
    """A stand-in on a bus of its own."""
    config = tmp_path / "bus.conf"
    config.write_text(
        f"""<busconfig><type>session</type><listen>unix:path={tmp_path}/bus</listen>
        <policy context="default"><allow send_destination="*"/><allow eavesdrop="true"/>
        <allow own="*"/></policy>
        </busconfig>"""
    )
    command = ["dbus-daemon", f"--config-file={config}", "--nofork", "--print-address"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as daemon:
        assert daemon.stdout is not None
        address = daemon.stdout.readline().strip()
        found = StandIn(address)
        try:
            yield found
        finally:
            found.close()
            daemon.terminate()


def connect(stand_in: StandIn) -> Systemd:
    """A connection to the stand-in, as to a user's manager."""
    return Systemd.connect(user=True, environ={"DBUS_SESSION_BUS_ADDRESS": stand_in.address})


bus = requires("dbus-daemon", "python:jeepney")


@bus
def test_a_unit_is_started_with_its_properties(stand_in: StandIn) -> None:
    """The call has the types that systemd declares, and returns when the job has ended."""
    with connect(stand_in) as manager:
        manager.start_transient_unit(
            "x.scope", [("Slice", ("s", "a.slice")), ("PIDs", ("au", [7])), ("AllowedCPUs", ("ay", b"\x03"))]
        )
    name, mode, properties, auxiliary = stand_in.last("StartTransientUnit")
    assert (name, mode, auxiliary) == ("x.scope", "replace", [])
    assert properties == [
        ("Slice", ("s", "a.slice")),
        ("PIDs", ("au", [7])),
        ("AllowedCPUs", ("ay", b"\x03")),
    ]


@bus
def test_a_left_over_unit_is_reset_and_the_start_tried_again(stand_in: StandIn) -> None:
    """A failed unit keeps its name until somebody says that its failure was seen."""
    stand_in.errors["StartTransientUnit"] = ["UnitExists"]
    with connect(stand_in) as manager:
        manager.start_transient_unit("x.scope", [])
        stand_in.errors["StartTransientUnit"] = ["UnitExists", "UnitExists"]
        with pytest.raises(Conflict):
            manager.start_transient_unit("x.scope", [])
    calls = [name for name, _ in stand_in.asked if name in ("StartTransientUnit", "ResetFailedUnit")]
    assert calls == ["StartTransientUnit", "ResetFailedUnit", "StartTransientUnit"] * 2


@bus
def test_a_job_that_fails_is_an_error(stand_in: StandIn) -> None:
    """With the word that systemd has for its end."""
    stand_in.job_result = "failed"
    with connect(stand_in) as manager, pytest.raises(OperationFailed, match="ended as failed"):
        manager.start_transient_unit("x.scope", [])


@bus
def test_a_job_that_never_ends_times_out(stand_in: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for ever."""
    monkeypatch.setattr(systemd_module, "_JOB_TIMEOUT_S", 0.1)
    with connect(stand_in) as manager, pytest.raises(TimedOut, match=r"did not finish the job for x\.scope"):
        manager._wait_for_job("/no/such/job", "x.scope")


@bus
def test_stopping_what_is_not_there_is_no_error(stand_in: StandIn) -> None:
    """Other errors are."""
    stand_in.errors["StopUnit"] = ["NoSuchUnit", "Strange"]
    with connect(stand_in) as manager:
        manager.stop_unit("x.scope")
        with pytest.raises(OperationFailed, match="refuses StopUnit: no"):
            manager.stop_unit("x.scope")
        manager.stop_unit("x.scope")
        stand_in.errors["AttachProcessesToUnit"] = ["NoSuchUnit"]
        with pytest.raises(NotFound):
            manager.attach_processes("x.scope", [1])


@bus
def test_the_managers_own_properties(stand_in: StandIn) -> None:
    """The version as a number, the cgroup without a trailing slash."""
    with connect(stand_in) as manager:
        assert manager.version() == 257
        assert manager.control_group() == "/user.slice/user@5.service"
        manager.set_unit_properties("x.scope", [("TasksMax", ("t", 5))])
    assert stand_in.last("SetUnitProperties") == ("x.scope", True, [("TasksMax", ("t", 5))])


# The real one -----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", autouse=True)
def services() -> None:
    """What systemd starts when it is first spoken to runs already: no test leaves it behind."""
    start_bus()


real = requires("root", "systemd", "python:jeepney")


@real
def test_a_scope_is_made_limited_and_removed() -> None:
    """The process is in the unit's cgroup, the limits in the unit and in the files; nothing remains."""
    name = f"test-{os.getpid()}"
    unit = f"pierhead-{name}.scope"
    resources = Resources(
        memory=Memory(limit=64 * 2**20), cpu=Cpu(quota=20000, period=50000), pids=Pids(limit=33)
    )
    manager = new_cgroups("systemd", f"pierhead-tests.slice:pierhead:{name}", name, discover())
    assert manager.needs_pid
    with subprocess.Popen(["sleep", "1000"]) as child:
        try:
            manager.create(resources, pid=child.pid)
            manager.apply(resources)
            assert manager.procs() == [child.pid]
            assert unit_property(unit, "ActiveState") == "active"
            assert unit_property(unit, "TasksMax") == "33"
            directory = paths_by_controller(manager.state)[""]
            assert directory.endswith(f"/pierhead.slice/pierhead-tests.slice/{unit}")
            if discover().mode == "v2":
                assert Path(directory, "pids.max").read_text() == "33\n"
                assert Path(directory, "memory.max").read_text() == f"{64 * 2**20}\n"
                assert Path(directory, "cpu.max").read_text() == "20000 50000\n"
            load_cgroups(manager.state).apply(Resources(pids=Pids(limit=44)), update=True)
            assert unit_property(unit, "TasksMax") == "44"
            manager.freeze()
            assert manager.freeze_state() == "frozen"
            manager.thaw()
        finally:
            manager.kill()
            child.wait(60)
            manager.remove()
            systemctl("stop", "pierhead-tests.slice", "pierhead.slice")
    assert unit_property(unit, "LoadState") == "not-found"
    assert not any(Path(path).exists() for path in paths_by_controller(manager.state).values())


@real
def test_a_unit_that_exists_is_a_conflict() -> None:
    """Two containers cannot have the same unit; the first one is not disturbed."""
    name = f"test-twice-{os.getpid()}"
    with subprocess.Popen(["sleep", "1000"]) as one, subprocess.Popen(["sleep", "1000"]) as two:
        first = new_cgroups("systemd", f"system.slice:pierhead:{name}", name, discover())
        second = new_cgroups("systemd", f"system.slice:pierhead:{name}", name, discover())
        try:
            first.create(pid=one.pid)
            with pytest.raises(Conflict):
                second.create(pid=two.pid)
            assert first.procs() == [one.pid]
        finally:
            first.kill()
            two.kill()
            first.remove()


@real
def test_annotations_become_properties() -> None:
    """org.systemd.property.* of the container."""
    name = f"test-annotated-{os.getpid()}"
    annotations = {
        "org.systemd.property.TimeoutStopSec": "7",
        "org.systemd.property.MemoryHigh": "uint64 99999744",
    }
    manager = new_cgroups(
        "systemd", f"system.slice:pierhead:{name}", name, discover(), annotations=annotations
    )
    with subprocess.Popen(["sleep", "1000"]) as child:
        try:
            manager.create(pid=child.pid)
            assert unit_property(f"pierhead-{name}.scope", "TimeoutStopUSec") == "7s"
            assert unit_property(f"pierhead-{name}.scope", "MemoryHigh") == "99999744"
        finally:
            manager.kill()
            child.wait(60)
            manager.remove()


ROOTLESS = """
import os, subprocess, sys
from pierhead.linux.cgroupfs import discover
from pierhead.oci.runtime import Pids, Resources
from pierhead.runtime.cgroups import new_cgroups, paths_by_controller

manager = new_cgroups("systemd", "", f"rootless-{os.getpid()}", discover(), rootless=True)
first, second = subprocess.Popen(["sleep", "1000"]), subprocess.Popen(["sleep", "1000"])
try:
    manager.create(Resources(pids=Pids(limit=33)), pid=first.pid)
    manager.apply(Resources(pids=Pids(limit=33)))
    manager.join(second.pid)
    directory = paths_by_controller(manager.state)[""]
    print(directory.partition("user.slice")[1], open(f"{directory}/pids.max").read().strip())
    print(manager.procs() == sorted([first.pid, second.pid]))
finally:
    manager.kill()
    first.wait()
    second.wait()
    manager.remove()
print(os.path.exists(directory))
"""


@requires("root", "systemd", "cgroup-v2", "setpriv", "python:jeepney")
def test_a_user_without_rights_has_his_own_systemd() -> None:
    """The user's manager makes the scope, and brings in processes that the user could not move himself."""
    uid = 65534
    source = Path(systemd_module.__file__).parents[2]
    environ = {"XDG_RUNTIME_DIR": f"/run/user/{uid}", "PYTHONPATH": str(source), "PATH": os.environ["PATH"]}
    command = [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={uid}",
        "--clear-groups",
        sys.executable,
        "-c",
        ROOTLESS,
    ]
    with user_manager(uid):
        done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("user.slice 33\nTrue\nFalse\n", "")
