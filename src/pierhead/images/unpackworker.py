"""A process for each layer, so that several are unpacked at once (threads would wait for one another).

    us                                    the worker: unpackworker.main
    start_unpack ── archive, directory ─▶ unpack_layer
                 ── a pipe, open while we live: its end is the worker's
                 ── how much of the archive is there, if it still comes (``growing``)
    wait         ◀─ what it says, at last a line of JSON: what the layer was, or an error ──

Whoever starts it may wait for ``pidfd`` in a loop of events, and then ask.
"""

from __future__ import annotations

import codecs
import json
import os
from importlib import import_module

from pierhead import errors
from pierhead.errors import OperationFailed, PierheadError
from pierhead.images.compression import load_decompressors
from pierhead.images.growing import GrowingFile
from pierhead.images.unpack import Unpacked, UnpackLimits, unpack_layer
from pierhead.linux.files import read_all
from pierhead.linux.process import end_with_writers, kill_pidfd, reap, spawn_python

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from pierhead.images.growing import Growth
    from pierhead.images.unpack import Whiteouts

_SOURCE_FD, _DIRECTORY_FD, _LIFE_FD, _FURTHER_FD = 3, 4, 5, 6
_SAID_MAX = 200


class UnpackWorker:
    """A layer that a process of its own unpacks.  A context manager: leaving it ends the process."""

    def __init__(self, pid: int, pidfd: int, report_fd: int, life_fd: int) -> None:
        """Takes the descriptors and the child over."""
        self.pidfd = pidfd
        """Readable when the process has ended."""
        self._pid = pid
        self._report_fd = report_fd
        self._life_fd = life_fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait(self) -> Unpacked:
        """What the layer was, when the process is done with it; asked once.

        Raises:
            PierheadError: as ``unpack_layer`` raised it there.
            OperationFailed: the process was killed, or failed by itself.
        """
        said = read_all(self._report_fd).decode(errors="replace")
        status = reap(self._pid)
        self._pid = 0
        return _decode_report(said, status)

    def kill(self) -> None:
        """The process ends; whoever waits for it is told.  The directory keeps what it has."""
        if self.pidfd >= 0:
            kill_pidfd(self.pidfd)

    def close(self) -> None:
        """The process has ended, and nothing of it is left."""
        if self.pidfd < 0:
            return
        if self._pid:
            self.kill()
            reap(self._pid)
            self._pid = 0
        for fd in (self.pidfd, self._report_fd, self._life_fd):
            os.close(fd)
        self.pidfd = -1


def start_unpack(
    source_fd: int,
    directory_fd: int,
    *,
    whiteouts: Whiteouts,
    owners: bool = True,
    limits: UnpackLimits | None = None,
    digest: str = "",
    growth: Growth | None = None,
) -> UnpackWorker:
    """A process of its own unpacks the layer; arguments are those of ``unpack_layer``.

    With ``growth``, which stays the caller's, the archive may still come: the process waits for it.

    Raises:
        OperationFailed: it cannot be started.
    """
    order = {
        "whiteouts": whiteouts,
        "owners": owners,
        "limits": vars(limits or UnpackLimits()),
        "digest": digest,
    }
    if growth:
        return _start(order | {"growing_bytes": growth.size_bytes}, (source_fd, directory_fd), growth.fd)
    return _start(order, (source_fd, directory_fd))


def start_placing(
    source_fd: int,
    directory_fd: int,
    *,
    owners: bool | tuple[int, int] = True,
    keeps_kinds: bool = False,
    namespace_fd: int = -1,
) -> UnpackWorker:
    """A process of its own puts an archive's files among those of a directory.

    Args:
        source_fd: the archive; stays the caller's, as all descriptors do.
        directory_fd: the directory.
        owners: as for ``unpack_layer``.
        keeps_kinds: likewise.
        namespace_fd: a user namespace in which the process is root; -1 for ours.

    Raises:
        OperationFailed: it cannot be started.
    """
    order = {
        "whiteouts": "none",
        "owners": owners,
        "limits": vars(UnpackLimits()),
        "digest": "",
        "keeps_kinds": keeps_kinds,
    }
    if namespace_fd >= 0:
        return _start(order | {"mapped": True}, (source_fd, directory_fd), namespace_fd)
    return _start(order, (source_fd, directory_fd))


def _start(order: dict[str, Any], fds: tuple[int, int], further_fd: int = -1) -> UnpackWorker:
    pipes: list[int] = []
    try:
        pipes += os.pipe2(os.O_CLOEXEC)
        pipes += os.pipe2(os.O_CLOEXEC)
        report_fd, reporting_fd, living_fd, life_fd = pipes
        pid, pidfd = spawn_python(
            __name__,
            (json.dumps(order),),
            fds=(*fds, living_fd, *((further_fd,) if further_fd >= 0 else ())),
            output_fd=reporting_fd,
        )
    except BaseException:
        for fd in pipes:
            os.close(fd)
        raise
    os.close(reporting_fd)
    os.close(living_fd)
    return UnpackWorker(pid, pidfd, report_fd, life_fd)


def _enter_namespace() -> None:
    """Who is root there may read none of our modules: what is imported late is imported before."""
    from pierhead.linux.mounts import join_user_namespace

    load_decompressors()
    codecs.lookup("ascii")
    import_module("urllib.parse")  # for names of attributes
    join_user_namespace(_FURTHER_FD)


def main(arguments: tuple[str, ...]) -> None:
    """The worker: unpacks, and reports."""
    end_with_writers(_LIFE_FD)
    os.umask(0)
    order = json.loads(arguments[0])
    if order.get("mapped"):
        _enter_namespace()
    limits = UnpackLimits(**order["limits"])
    growing = None
    if "growing_bytes" in order:
        growing = GrowingFile(_SOURCE_FD, _FURTHER_FD, order["growing_bytes"])
    owners = order["owners"]
    report: dict[str, Any]
    try:
        unpacked = unpack_layer(
            _SOURCE_FD,
            _DIRECTORY_FD,
            whiteouts=order["whiteouts"],
            owners=owners if isinstance(owners, bool) else (owners[0], owners[1]),
            limits=limits,
            digest=order["digest"],
            growing=growing,
            keeps_kinds=order.get("keeps_kinds", False),
        )
        report = {"unpacked": vars(unpacked)}
    except PierheadError as error:
        report = {"error": _encode_error(error)}
    print(json.dumps(report), flush=True)  # noqa: T201 - what this program is for


def _encode_error(error: PierheadError) -> dict[str, Any]:
    number = error.errno if isinstance(error, OperationFailed) else 0
    return {
        "kind": type(error).__name__,
        "message": error.message,
        "code": error.code,
        "hint": error.hint,
        "errno": number,
    }


def _decode_error(report: dict[str, Any]) -> PierheadError:
    kind = getattr(errors, report["kind"], OperationFailed)
    message, code, hint = report["message"], report["code"], report["hint"]
    if kind is OperationFailed:
        return OperationFailed(message, errno=report["errno"], code=code, hint=hint)
    error: PierheadError = kind(message, code=code, hint=hint)
    return error


def _decode_report(said: str, status: int | None) -> Unpacked:
    last = said.rstrip("\n").rpartition("\n")[2]
    try:
        report = json.loads(last)
    except ValueError:
        report = {}
    if "error" in report:
        raise _decode_error(report["error"])
    if status in (0, None) and "unpacked" in report:
        fields = report["unpacked"]
        return Unpacked(**{**fields, "implied": tuple(fields["implied"])})
    code = None if status is None else os.waitstatus_to_exitcode(status)
    how = f"was ended by signal {-code}" if code is not None and code < 0 else f"ended with status {code}"
    raise OperationFailed(
        f"the process that unpacks a layer {how}", code="worker-failed", hint=last[:_SAID_MAX]
    )
