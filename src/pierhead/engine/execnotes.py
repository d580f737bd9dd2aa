"""What stands on disk of further processes, for an engine that comes back: which there are, how they ended.

    EXEC_ROOT/containers/ID/execs/EXEC    one file for each that was started, written whole
    EXEC_ROOT/runtime/ID/exec-EXEC.json   the exit record, by its monitor

Blocks, for a moment.
"""

# Annotations are read at run time: no postponed evaluation here.
import contextlib
import os
import time

from pierhead import jsontext
from pierhead.engine.documents import ExecConfig
from pierhead.engine.launching import UNKNOWN_EXIT_CODE
from pierhead.errors import InvalidInput
from pierhead.linux.files import replace_file
from pierhead.linux.process import open_pidfd
from pierhead.linux.procstat import is_zombie, start_time
from pierhead.oci.document import decode, encode
from pierhead.runtime.exitrecord import read_exit_record
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.engine.settings import Paths

_RECORD_WAIT_S, _LOOK_S = 5.0, 0.02


class ExecNote(Value):
    """A process that was started.

    Fields:
        id: 64 hexadecimal digits.
        config: what was asked for.
        pid: its number.
        began: when it started, in clock ticks since boot: numbers are given again.
        exit_code: None until its end was told.
    """

    json_case = "snake"

    id: str
    config: ExecConfig
    pid: int
    began: int
    exit_code: int | None = None


class ExecNotes:
    """The files of all containers."""

    def __init__(self, paths: "Paths") -> None:
        """Under the engine's directory for what dies with the boot."""
        self._paths = paths

    def _directory(self, container_id: str) -> str:
        return f"{self._paths.running(container_id)}/execs"

    def write(self, container_id: str, note: ExecNote) -> None:
        """The note is there; on a full disk it is not, and nobody will know of the process later."""
        directory = self._directory(container_id)
        with contextlib.suppress(OSError):
            os.makedirs(directory, mode=0o700, exist_ok=True)
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(fd, note.id, jsontext.format_compact(encode(note)).encode())
            finally:
                os.close(fd)

    def remove(self, container_id: str, exec_id: str) -> None:
        """Nothing is left of the process."""
        for path in (f"{self._directory(container_id)}/{exec_id}", self._record(container_id, exec_id)):
            with contextlib.suppress(OSError):
                os.unlink(path)

    def forget_record(self, container_id: str, exec_id: str) -> None:
        """The exit record is gone: how the process ended stands in the note."""
        with contextlib.suppress(OSError):
            os.unlink(self._record(container_id, exec_id))

    def read(self, container_id: str) -> "Iterator[ExecNote]":
        """All notes of a container; what is no note is passed over."""
        with contextlib.suppress(FileNotFoundError):
            for name in sorted(os.listdir(self._directory(container_id))):
                if name.startswith("."):
                    continue
                with (
                    contextlib.suppress(OSError, InvalidInput),
                    open(f"{self._directory(container_id)}/{name}", "rb") as file,
                ):
                    yield decode(ExecNote, jsontext.parse(file.read()), unknown=[])

    def _record(self, container_id: str, exec_id: str) -> str:
        return f"{self._paths.runtime_root}/{container_id}/exec-{exec_id}.json"

    def exit_code(self, container_id: str, exec_id: str) -> int:
        """How the process, which has ended, did so; its monitor may be about to write that."""
        deadline = time.monotonic() + _RECORD_WAIT_S
        while (record := read_exit_record(self._record(container_id, exec_id))) is None:
            if time.monotonic() > deadline:
                return UNKNOWN_EXIT_CODE
            time.sleep(_LOOK_S)
        return record.code if record.code is not None else 128 + (record.signal or 0)


def find_running(note: ExecNote) -> int:
    """A descriptor of the note's process; -1 where it has ended."""
    pidfd = open_pidfd(note.pid)
    if pidfd is None:
        return -1
    if start_time(note.pid) == note.began and not is_zombie(note.pid):
        return pidfd
    os.close(pidfd)
    return -1
