"""What is left of a container that cannot be loaded, and how it goes.

    no state.json            a launcher was killed: there are its traces at most
    a state.json in pieces   what can still be read of it tells where its processes are

Nothing of somebody else's goes with it: who names a state root by mistake must not lose what is in there.
"""

from __future__ import annotations

import os

from pierhead import jsontext
from pierhead.errors import Conflict, InvalidInput
from pierhead.linux import cgroupfs, files, process, procstat
from pierhead.oci.document import decode
from pierhead.runtime import state
from pierhead.runtime.cgroups import CgroupState, load_cgroups, new_cgroups

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.runtime.state import StateDirectory

_PATIENCE_S = 5.0
_DEATH_S = 10.0


def remove_leftovers(root: str, container_id: str) -> None:
    """Nothing of this id is there: processes, cgroup, state directory.

    Args:
        root: directory of state directories.
        container_id: of a container that ``load`` does not find, or cannot read.

    Raises:
        NotFound: there was nothing.
        Conflict: it is being created, or what is there is not, or perhaps not, a container's.
    """
    with state.open_state(os.path.abspath(root), container_id) as directory:
        # A stage whose launcher was killed gives the lock back when it has undone the launch.
        if not files.lock_soon(directory.fd, _PATIENCE_S):
            raise Conflict(
                f"container {container_id} is being created or changed by somebody else",
                code="container-busy",
            )
        strange = directory.strangers()
        if strange:
            raise Conflict(
                f"{directory.path} is no container's: it holds {strange[0]}",
                code="not-a-container",
                hint="remove it by hand if nobody needs it",
            )
        if directory.has(state.STATE_FILE):
            _end(directory)
        if directory.is_attached():
            directory.remove()


def _end(directory: StateDirectory) -> None:
    """Processes and cgroup of the container are gone."""
    known = _salvage(files.read_file(state.STATE_FILE, directory_fd=directory.fd).decode(errors="replace"))
    _end_process(known.get("init_pid"), known.get("init_start_time"))
    try:
        cgroup = decode(CgroupState, known.get("cgroup"))
    except InvalidInput:
        cgroup = _usual_cgroup(directory.name)
    manager = load_cgroups(cgroup)
    manager.kill()
    manager.remove()


def _salvage(text: str) -> dict[str, Any]:
    """Members of the state by their names, of a text that may end anywhere."""
    from json import JSONDecoder

    found = {}
    for name in ("init_pid", "init_start_time", "cgroup"):
        key = f"{jsontext.format_compact(name)}:"
        try:
            found[name] = JSONDecoder().raw_decode(text, text.index(key) + len(key))[0]
        except (ValueError, RecursionError):
            continue
    return found


def _end_process(pid: object, start_time: object) -> None:
    """The init process is gone, if that is it."""
    if not isinstance(pid, int) or pid <= 0:
        return
    pidfd = process.open_pidfd(pid)
    if pidfd is None:
        return
    try:
        if procstat.start_time(pid) == start_time:
            process.kill_pidfd(pidfd)
            process.wait_pidfd(pidfd, _DEATH_S)
    finally:
        os.close(pidfd)


def _usual_cgroup(name: str) -> CgroupState:
    """The cgroup that a container of this name has if its document asks for no other, as far as it exists.

    Every container has a mount namespace of its own, so processes of ours' tell that it is another's.
    """
    rootless = os.geteuid() != 0
    known = new_cgroups("cgroupfs", "", name, cgroupfs.discover(), rootless=rootless).state
    known = known.replace(trees=tuple(tree for tree in known.trees if os.path.isdir(tree.directory())))
    ours = os.readlink("/proc/self/ns/mnt")
    for tree in known.trees:
        for pid in cgroupfs.procs(tree.directory()):
            if _mount_namespace(pid) == ours:
                raise Conflict(
                    f"{tree.directory()} may be another's: process {pid} in it is in no container",
                    code="cgroup-in-use",
                    hint="the container's state says no more where its processes are; end them by hand",
                )
    return known


def _mount_namespace(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/mnt")
    except OSError:  # it has ended, or is ending
        return ""
