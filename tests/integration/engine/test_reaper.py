"""The reaper as the first process of a container."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from pierhead.engine.documents import HostConfig
from pierhead.engine.hostdevices import observe_machine
from pierhead.engine.reaper import install_reaper
from pierhead.engine.specgen import Ground, Root, plan_config
from tests.support.containers import wait_until
from tests.support.engines import HOST, IMAGE, run
from tests.support.requests import container_config, record_of
from tests.support.requires import requires

if TYPE_CHECKING:
    from typing import Any

    from pierhead.engine.engine import Engine
    from tests.support.containers import Containers, Finished
    from tests.support.engines import Engines

pytestmark = requires("root")
_REAPERS = {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD, signal.SIGTTIN, signal.SIGTTOU}
"""The first two nobody catches; the others are about the reaper's own children and terminal."""


def what(containers: Containers, *program: str, **config: Any) -> dict[str, Any]:
    """A container that runs the program behind the reaper."""
    machine = observe_machine()
    ground = Ground(
        root=Root(rootfs=containers.rootfs, copy_on_write=True),
        init_path=install_reaper(str(containers.directory())),
        machine=machine,
    )
    record = record_of(HostConfig(init=True), config=container_config(cmd=program, **config), machine=machine)
    planned = plan_config(record, ground)
    assert planned.process is not None
    return {**planned.__dict__, "process": planned.process.__dict__}


def finished(containers: Containers, *program: str, **config: Any) -> Finished:
    """How the program ends."""
    return containers.run(**what(containers, *program, **config))


def test_status(containers: Containers) -> None:
    """It ends as the program ends: by its status, by a signal as 128 and more; 127 and 126 for no program."""
    assert finished(containers, "/bin/sh", "-c", "exit 7").status.code == 7
    assert finished(containers, "sh", "-c", "kill -9 $$").status.code == 137
    missing = finished(containers, "nothing")
    assert missing.status.code == 127
    assert missing.output == "cannot run nothing: no such file or directory\n"
    assert finished(containers, "/etc").status.code == 126
    assert finished(containers, "sh", env=("PATH=/nowhere",)).status.code == 127


def test_it_is_the_first_process(containers: Containers) -> None:
    """The program is its child, in a group of its own; nobody can write the reaper."""
    script = (
        "cut -d' ' -f1 /proc/1/comm; echo $$ $PPID; cut -d' ' -f5 /proc/$$/stat; echo x > /sbin/docker-init"
    )
    lines = finished(containers, "sh", "-c", f"({script}) 2>&1").lines
    assert lines[:3] == ["docker-init", "2 1", "2"]
    assert "Read-only file system" in lines[3] or "Text file busy" in lines[3]


def test_orphans(containers: Containers) -> None:
    """Processes that lost their parents leave no zombies."""
    script = "for i in 1 2 3 4 5 6 7 8; do (sleep 0.01 &); done; "
    script += "until set -- /proc/[0-9]* && [ $# = 2 ]; do :; done; echo gone"
    assert finished(containers, "sh", "-c", script).words == ["gone"]


def test_signals(containers: Containers) -> None:
    """Every signal that can be caught comes to the program, also those that would end it."""
    numbers = sorted(set(signal.valid_signals()) - _REAPERS)
    traps = "; ".join(f"trap 'echo {number} >> /seen' {number}" for number in numbers)
    script = f"{traps}; trap 'exit 9' USR1; touch /seen; while :; do sleep 0.01; done"
    made = containers.start(**what(containers, "sh", "-c", script))
    seen = Path(f"/proc/{made.init_pid}/root/seen")
    wait_until("the traps are set", seen.exists)
    for number in numbers:
        if number != signal.SIGUSR1:
            made.kill(number)
            wait_until(f"signal {number} has come", lambda n=number: f"{n}" in seen.read_text().split())
    made.kill(signal.SIGUSR1)
    assert made.wait(30).code == 9
    other = containers.start(**what(containers, "sleep", "1000"))
    wait_until("the program runs", lambda: len(other.processes()) >= 2)
    other.kill(signal.SIGTERM)
    assert other.wait(30).code == 128 + signal.SIGTERM


def test_the_copy(tmp_path: Path) -> None:
    """It is made once and not writable; one of another version is replaced."""
    path = install_reaper(str(tmp_path))
    before = os.stat(path)
    assert before.st_mode & 0o777 == 0o555
    assert os.stat(install_reaper(str(tmp_path))).st_ino == before.st_ino
    os.chmod(path, 0o755)
    (tmp_path / "docker-init").write_bytes(b"older")
    install_reaper(str(tmp_path))
    assert os.stat(path).st_size == before.st_size
    assert os.stat(path).st_mode & 0o777 == 0o555


def test_through_an_engine(engines: Engines) -> None:
    """``HostConfig.Init`` of a request, upon an image and upon the machine itself."""

    async def work(engine: Engine) -> None:
        for image in (IMAGE, HOST):
            code, output = await run(engine, "sh", "-c", "cat /proc/1/comm; exit 4", image=image, init=True)
            assert (code, output) == (4, {"stdout": "docker-init\n"})

    engines.run(work)
