"""What a test may leave behind on the machine, and does not: the leak fixture's eyes.

``observe`` looks at everything that a container is made of outside its own directories; ``leaks_since``
says what has come since.  Other programs use the machine too, other runs of the tests among them: a cgroup,
link or helper that somebody else accounts for is not ours, and what is on its way out gets a moment.
"""

from __future__ import annotations

import gc
import os
import re
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pierhead.linux import process
from pierhead.linux.cgroupfs import discover

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_PATIENCE_S = 20.0
_PARENT = re.compile(r"/pierhead-[0-9a-f]{8}$")
_OURS = re.compile(r"/pierhead-[a-z]+-([0-9]+)")  # tests and their process
_OTHER_ENGINES = re.compile(r"/(docker|libpod_parent|machine\.slice)(/|$)")
_PASSING_FDS = ("anon_inode:[eventpoll]", "/memfd:pier-init", "/dev/urandom")


@dataclass(frozen=True)
class Observed:
    """Things outside the tests' own directories, each as a line that names it."""

    mounts: frozenset[str]
    cgroups: frozenset[str]
    links: frozenset[str]
    namespaces: frozenset[str]
    children: frozenset[str]
    helpers: frozenset[str]
    descriptors: frozenset[str]


def observe(directories: tuple[Path, ...] = ()) -> Observed:
    """The machine as it is.

    Args:
        directories: below which the test's state lies: a helper that has one open is ours.
    """
    gc.collect()
    process.reap_ended()
    return Observed(
        mounts=frozenset(_mounts(directories)),
        cgroups=frozenset(_cgroups()),
        links=frozenset(_names("/sys/class/net")),
        namespaces=frozenset(_names("/run/netns")),
        children=frozenset(_children()),
        helpers=frozenset(_helpers(directories)),
        descriptors=frozenset(_descriptors()),
    )


def leaks_since(before: Observed, look: Callable[[], Observed]) -> list[str]:
    """A sentence for each thing that is there now, was not before, and stays."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        found = list(_differences(before, look()))
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def states_below(directory: Path) -> list[str]:
    """Containers whose state is still in a directory of the test's."""
    return [f"state of a container: {path.parent}" for path in sorted(directory.rglob("state.json"))]


def _differences(before: Observed, after: Observed) -> Iterator[str]:
    for kind in Observed.__dataclass_fields__:
        for item in sorted(getattr(after, kind) - getattr(before, kind)):
            yield f"{kind}: {item}"
    for item in sorted(before.mounts - after.mounts):
        yield f"a mount of the host is gone: {item}"


def _mounts(directories: tuple[Path, ...]) -> Iterator[str]:
    ours = tuple(f"{directory.parent}/" for directory in directories)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields = line.split(" ")
        if fields[4].startswith(f"{tempfile.gettempdir()}/") and not fields[4].startswith(ours):
            continue  # of another run of tests, or of another program's
        if fields[4].startswith("/run/user/"):
            continue  # of a user's session, which systemd ends some time after its last process
        yield f"{fields[4]} ({fields[fields.index('-') + 1]}, number {fields[0]})"


def _cgroups() -> Iterator[str]:
    for tree in discover().trees:
        around = tree.directory(tree.own_path.rpartition("/")[0]) if tree.version == 1 else ""
        for directory, names, _ in os.walk(tree.mountpoint):
            if directory == around != tree.mountpoint:  # others like us come and go there
                names[:] = []
            for name in names:
                path = f"{directory}/{name}"
                if path != tree.directory(tree.own_path or "/") and not _is_anothers(path):
                    yield path


def _is_anothers(path: str) -> bool:
    """Whether another program that lives made this cgroup: its number is in the name, or its children are
    inside.
    """
    if _OTHER_ENGINES.search(path) or _has_engine(path):
        return True
    named = _OURS.search(path)
    if named:
        return int(named[1]) != os.getpid()
    with suppress(OSError):
        pids = Path(path, "cgroup.procs").read_text().split()
        return any(not _descends_from_us(int(pid)) for pid in pids)
    return True  # it has just gone


def _has_engine(path: str) -> bool:
    """Whether an engine that lives has its containers below: it takes the cgroup away at its end."""
    if not _PARENT.search(path):
        return False
    told = b"--cgroup-parent\0/%b\0" % path.rpartition("/")[2].encode()
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            if told in each.read_bytes():
                return True
    return False


def _descends_from_us(pid: int) -> bool:
    while pid > 1:
        if pid == os.getpid():
            return True
        parent = _parent(pid)
        if parent == 1:
            return True  # an orphan: whose it was is not known
        pid = parent
    return False


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, IndexError):
        return 0


def _names(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _children() -> Iterator[str]:
    for task in _names("/proc/self/task"):
        with suppress(OSError):
            for pid in Path(f"/proc/self/task/{task}/children").read_text().split():
                with suppress(OSError):
                    stat = Path(f"/proc/{pid}/stat").read_text()
                    name, state = stat[stat.index("(") : stat.rindex(")") + 1], stat[stat.rindex(")") + 2]
                    yield f"process {pid} {name}{' that nobody has reaped' if state == 'Z' else ''}"


def _helpers(directories: tuple[Path, ...]) -> Iterator[str]:
    """Processes of the helper that hold something of the test's open."""
    for name in _names("/proc"):
        if not name.isdecimal():
            continue
        with suppress(OSError):
            if Path(f"/proc/{name}/cmdline").read_bytes() != b"pier-init\0":
                continue
            links = [os.readlink(f"/proc/{name}/fd/{fd}") for fd in os.listdir(f"/proc/{name}/fd")]
            if any(link.startswith(f"{directory}/") for link in links for directory in directories):
                yield f"pier-init {name}"


def _descriptors() -> Iterator[str]:
    for fd in _names("/proc/self/fd"):
        with suppress(OSError):
            link = os.readlink(f"/proc/self/fd/{fd}")
            if not link.startswith(_PASSING_FDS) and link != f"/proc/{os.getpid()}/fd":
                yield f"{fd} -> {link}"
