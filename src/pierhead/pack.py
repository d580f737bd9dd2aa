"""The package's modules from one file: a command loads sixty of them, and for Python to find, check and read
each by itself takes a quarter of the time that loading them takes.

    __pycache__/pack.cpython-311.bin, beside Python's own .pyc files and as replaceable
        magic      of this format and of the interpreter's bytecode
        8 bytes    length of the index, little endian
        index      marshal: (length of all code, {module's name: ``Entry``})
        code       of each module, marshal, where its entry says

The sources are what counts.  A module is taken from the pack if its source is the very file that was packed:
size and times are compared at each import, the time of the inode's last change among them, which nobody can
set.  Else Python imports the module as if there were no pack, and the command writes a new one at its end.
Whoever can write the pack can write the .pyc files beside it, which Python trusts in the same way.

Loaded by the commands before anything else, so it imports next to nothing.  ADR 11 has what was measured.
"""

import sys
from _frozen_importlib import ModuleSpec
from _imp import _fix_co_filename  # type: ignore[attr-defined]
from fcntl import F_DUPFD_CLOEXEC, fcntl
from marshal import loads
from posix import O_CLOEXEC, O_RDONLY, close, fstat, pread, stat
from posix import open as open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from types import ModuleType
    from typing import TypeAlias

    # the source's path below the package directory, its fingerprint; offset and length of its code
    Entry: TypeAlias = tuple[str, tuple[int, int, int], int, int]

PACKAGE = __name__.rpartition(".")[0]
DIRECTORY = __file__.rpartition("/")[0]
MAGIC = f"pierhead pack 1 {sys.implementation.cache_tag} {sys.hexversion:x}\n".encode()
PATH = f"{DIRECTORY}/__pycache__/pack.{sys.implementation.cache_tag}.bin"
LENGTH_BYTES = 8
_PREFIX = f"{PACKAGE}."
_INIT = "/__init__.py"
_DESCRIPTOR_LEAST = 200
"""Low numbers are those that callers mean by ``--preserve-fds``."""


def fingerprint(about: "os.stat_result") -> tuple[int, int, int]:
    """What changes when a file is written, replaced, or given other times."""
    return about.st_size, about.st_mtime_ns, about.st_ctime_ns


def _open_high(path: str) -> int:
    """A descriptor of the file, out of the way of those that a caller passes; -1 if it is not to be had."""
    try:
        low = open_file(path, O_RDONLY | O_CLOEXEC)
    except OSError:
        return -1
    try:
        return fcntl(low, F_DUPFD_CLOEXEC, _DESCRIPTOR_LEAST)
    except OSError:
        return -1
    finally:
        close(low)


class Pack:
    """Finds and loads the modules of a pack: an importlib.abc.MetaPathFinder and its Loader.

    Attributes:
        path: of the file.
        stale: whether a module of the package had to be imported from its source.
    """

    def __init__(self, path: str, directory: str = DIRECTORY) -> None:
        """Args: path of the file, which need not exist; directory of the package."""
        self.stale = False
        self.path = path
        self._directory = directory
        self._fd = _open_high(path)
        self._code_begin = 0
        self._entries: dict[str, Entry] = {}
        if self._fd >= 0:
            self._read_index()

    def _read_index(self) -> None:
        """The entries are known, if the file is one of this format and interpreter, and whole."""
        begin = len(MAGIC) + LENGTH_BYTES
        head = pread(self._fd, begin, 0)
        if not head.startswith(MAGIC):
            return
        length = int.from_bytes(head[len(MAGIC) :], "little")
        size = fstat(self._fd).st_size
        self._code_begin = begin + length
        if self._code_begin > size:
            return
        try:
            code_bytes, entries = loads(pread(self._fd, length, begin))  # noqa: S302 - ours, as .pyc files
        except (EOFError, ValueError, TypeError):
            return
        if size == self._code_begin + code_bytes:
            self._entries = entries

    def close(self) -> None:
        """Nothing comes from the pack any more.  Commands keep it open to their end."""
        self._entries = {}
        if self._fd >= 0:
            close(self._fd)
        self._fd = -1

    def find_spec(
        self, name: str, _path: "Sequence[str] | None" = None, _target: "ModuleType | None" = None
    ) -> ModuleSpec | None:
        """The module's spec, if its source is the one that was packed."""
        if not name.startswith(_PREFIX):
            return None
        entry = self._entries.get(name)
        if entry is None or not self._is_fresh(entry):
            self.stale = True
            return None
        source = self._directory + entry[0]
        spec = ModuleSpec(name, self, origin=source, loader_state=entry)  # type: ignore[arg-type]
        spec.has_location = True
        spec.cached = self.path
        if source.endswith(_INIT):
            spec.submodule_search_locations = [source.removesuffix(_INIT)]
        return spec

    def _is_fresh(self, entry: "Entry") -> bool:
        try:
            return fingerprint(stat(self._directory + entry[0])) == entry[1]
        except OSError:
            return False

    def create_module(self, _spec: ModuleSpec) -> None:
        """Modules are made as usual."""

    def exec_module(self, module: "ModuleType") -> None:
        """The module's code has run."""
        spec = module.__spec__
        assert spec is not None
        _, _, offset, length = spec.loader_state
        code = loads(pread(self._fd, length, self._code_begin + offset))  # noqa: S302 - ours, as .pyc files
        _fix_co_filename(code, spec.origin)  # the package may have been moved, or found by another path
        exec(code, module.__dict__)  # noqa: S102 - what an import is


def install() -> Pack:
    """From here on modules of the package come from the pack, if there is one."""
    pack = Pack(PATH)
    sys.meta_path.insert(0, pack)
    return pack
