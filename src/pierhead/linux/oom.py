"""Being told when a cgroup runs out of memory, and counting what was killed for it.

v1: an eventfd is registered in cgroup.event_control for memory.oom_control, and becomes readable at each lack
of memory and when the cgroup is removed (cgroup-v1/memory.rst, "OOM Control").  cgroup2: memory.events is
polled, and its ``oom_kill`` counter compared; cgroup.events says when the last process is gone
(cgroup-v2.rst, "Memory Interface Files").
"""

from __future__ import annotations

import os
import select
import time
from _thread import allocate_lock

from pierhead.errors import Unsupported
from pierhead.linux.cgroupfs import read_text, write_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self


def oom_events(directories: Mapping[str, str]) -> OomEvents:
    """A subscription to a cgroup's lacks of memory, from now on.

    Args:
        directories: the cgroup's directory by controller; the cgroup2 one under the empty name.

    Raises:
        Unsupported: there is no memory controller.
    """
    if "memory" in directories:
        return _LegacyEvents(directories["memory"])
    unified = directories.get("", "")
    if not unified or read_text(unified, "memory.events") is None:
        raise Unsupported(
            "this cgroup has no memory controller to tell of a lack of memory", code="no-memory-cgroup"
        )
    return _UnifiedEvents(unified)


def oom_kills(directories: Mapping[str, str]) -> int:
    """How many processes of the cgroup were killed for lack of memory; 0 where nothing counts them.

    Ask before the cgroup is removed.  More than before means: that container was OOM-killed.
    """
    if "memory" in directories:
        return _counter(directories["memory"], "memory.oom_control")
    return _counter(directories[""], "memory.events") if directories.get("") else 0


def _counter(directory: str, file: str) -> int:
    for line in (read_text(directory, file) or "").splitlines():
        name, _, value = line.partition(" ")
        if name == "oom_kill":
            return int(value)
    return 0


class OomEvents:
    """An iterator that gives a number at each lack of memory, and ends when the cgroup is empty or gone.

    The number is how many processes were killed since the last one; on v1 it may be 0, where the notice comes
    before the killing.  ``close``, from another thread too, ends the iteration; so does leaving ``with``.
    """

    def __init__(self) -> None:
        self._descriptors: list[int] = []
        self._poller = select.poll()
        self._ended = False
        self._waiting = False
        self._lock = allocate_lock()  # whoever ends the iteration must not close what the other one uses
        self._wake_fd = self._watch(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), select.POLLIN)

    def _watch(self, fd: int, events: int) -> int:
        """The descriptor is ours, and polled."""
        self._descriptors.append(fd)
        self._poller.register(fd, events)
        return fd

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> int:
        found = self.wait()
        if found is None:
            raise StopIteration
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self, timeout_s: float | None = None) -> int | None:
        """The next event's number, or None when the time is over or there will be no more (see ``ended``)."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._lock:
            self._waiting = not self._ended
        try:
            while not self._ended:
                left = None if deadline is None else max(0.0, deadline - time.monotonic()) * 1000
                events = self._poller.poll(left)
                if not events:
                    return None
                if any(fd == self._wake_fd for fd, _ in events):
                    self._ended = True
                elif (found := self._take()) is not None:
                    return found
            return None
        finally:
            with self._lock:
                self._waiting = False
                if self._ended:
                    self._release()

    @property
    def ended(self) -> bool:
        """There will be no more events."""
        return self._ended

    def close(self) -> None:
        """No more events; a waiting iteration ends."""
        with self._lock:
            self._ended = True
            if self._waiting:
                os.eventfd_write(self._wake_fd, 1)
            else:
                self._release()

    def _release(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())

    def __del__(self) -> None:
        self._release()

    def _take(self) -> int | None:
        """What is readable is taken; the number if it was a lack of memory."""
        raise NotImplementedError


class _LegacyEvents(OomEvents):
    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory
        self._event_fd = self._watch(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK), select.POLLIN)
        self._kills = _counter(directory, "memory.oom_control")
        control_fd = os.open(f"{directory}/memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)
        try:
            write_lines(directory, "cgroup.event_control", (f"{self._event_fd} {control_fd}",))
        finally:
            # The registration keeps what it needs.
            os.close(control_fd)

    def _take(self) -> int | None:
        notices = os.eventfd_read(self._event_fd)
        if read_text(self._directory, "memory.oom_control") is None:
            # The removal of the cgroup is the last notice; any other one was of a lack of memory.
            self._ended = True
            return 0 if notices > 1 else None
        before, self._kills = self._kills, _counter(self._directory, "memory.oom_control")
        return self._kills - before


class _UnifiedEvents(OomEvents):
    def __init__(self, directory: str) -> None:
        super().__init__()
        self._directory = directory
        files = (f"{directory}/{file}" for file in ("memory.events", "cgroup.events"))
        self._files = [
            self._watch(os.open(file, os.O_RDONLY | os.O_CLOEXEC), select.POLLPRI) for file in files
        ]
        for fd in self._files:
            # A file counts as changed until it has been read.
            os.pread(fd, 4096, 0)
        self._kills = _counter(directory, "memory.events")

    def _take(self) -> int | None:
        before = self._kills
        try:
            for fd in self._files:
                os.pread(fd, 4096, 0)
            # In this order: what has killed the last process is counted by the time that it is gone.
            populated = "populated 1" in (read_text(self._directory, "cgroup.events") or "")
            self._kills = _counter(self._directory, "memory.events")
        except OSError:
            populated = False
        if not populated:
            self._ended = True
        return self._kills - before if self._kills > before else None
