"""The last moments before the program runs: what is still open, and what the process may still do."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import PierheadError
from pierhead.linux.files import close_all
from pierhead.oci.runtime import User
from pierhead.runtime import ProcessSpec, host_rootfs, run
from pierhead.runtime.state import claim
from pierhead.runtime.status import make_listener
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.containers import Containers

pytestmark = requires("root")

NUMBERS = range(3, 64)
SETTINGS = {"overlay of the host": True, "a root of its own": False}


@pytest.mark.parametrize("setting", SETTINGS)
def test_no_descriptor_leads_to_a_program_outside(
    containers: Containers, tmp_path: Path, setting: str
) -> None:
    """A program named through /proc/self/fd/N is looked up when nothing of the host is open any more: a
    close-on-exec descriptor would still be there at that moment (CVE-2024-21626).
    """
    config = host_rootfs() if SETTINGS[setting] else containers.config()
    ways = ("bin/true", "../../../../../../../bin/busybox", "../../../../../../usr/bin/true")
    for number in NUMBERS:
        path = f"/proc/self/fd/{number}/{ways[number % len(ways)]}"
        process = ProcessSpec(args=(path,))
        with pytest.raises(PierheadError, match=r"no such file or directory|not a directory"):
            run(tmp_path / "root", "out", config.replace(process=process))


@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("seccomp", ["default", "unconfined"])
def test_who_waits_at_the_gate_is_the_user(
    containers: Containers, seccomp: str, *, no_new_privileges: bool
) -> None:
    """A created container has its user's ids already, and of capabilities at most the one for its filter."""
    process = {"args": ("/bin/sleep", "1000"), "user": User(uid=1000, gid=1001)}
    container = containers.create(process=process, no_new_privileges=no_new_privileges, seccomp=seccomp)
    with open(f"/proc/{container.init_pid}/status") as file:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in file)
    assert status["Uid"].split() == ["1000"] * 4
    assert status["Gid"].split() == ["1001"] * 4
    granted = int(status["CapBnd"], 16)
    filtering = 1 << 21 if seccomp == "default" and not no_new_privileges else 0
    assert int(status["CapPrm"], 16) & ~granted == filtering
    container.start()
    container.kill(9)


def test_sockets_of_several_threads_leave_the_umask_alone(tmp_path: Path) -> None:
    """The mode of a gate's socket is its own affair: a program's umask holds for all of its threads."""
    before = os.umask(0o022)
    directory = claim(str(tmp_path), "many")

    def make(number: int) -> None:
        close_all([make_listener(directory, f"{number}-{count}") for count in range(40)])

    try:
        threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        modes = {os.stat(f"{directory.path}/{number}-0").st_mode & 0o777 for number in range(8)}
        assert modes == {0o600}
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
        directory.remove()
        directory.close()
