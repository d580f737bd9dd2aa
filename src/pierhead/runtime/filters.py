"""Compiled system call filters, kept for the next process: to compile one takes as long as half a container.

    /run/pierhead/filters/      the user's own, and nobody else may write there
      0c5d…                     named by a short hash, which only finds it
        1 line                  lengths of key and program, flags, whether somebody listens
        key                     machine, compiler, and the whole profile: compared byte by byte
        program

The key holds size and times of the compiler's own files, so another version never finds what this one made.
Whoever can write there is the user, who can write state.json as well: ADR 12.
"""

from __future__ import annotations

import os
from _imp import source_hash

from pierhead.linux import files
from pierhead.pack import fingerprint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from pierhead.oci.runtime import Seccomp

    # program and flags for seccomp(2), and whether loading it gives a descriptor for somebody who listens
    Filter: TypeAlias = tuple[bytes, int, bool]

DIRECTORY = "/run/pierhead/filters"
_FILTERS_MAX = 64
_OTHERS_WRITE = 0o022
COMPILER = ("seccomp.py", "bpf.py", "syscalls_x86_64.py", "syscalls_aarch64.py")


def observe_compiler(directory: str) -> tuple[tuple[int, int, int], ...]:
    """Fingerprints of the compiler's files in this directory."""
    return tuple(fingerprint(os.stat(f"{directory}/{name}")) for name in COMPILER)


_compiler = observe_compiler(f"{os.path.dirname(__file__)}/plan")
"""From before the compiler is loaded: what an older one makes is never kept under a newer one's key."""


def compile_once(seccomp: Seccomp, machine: str, store: FilterStore) -> Filter:
    """The profile's filter, from the store if it is there.

    Raises:
        InvalidInput: the profile cannot be compiled.
    """
    key = key_of(seccomp, machine)
    known = store.find(key)
    if known is not None:
        return known
    from pierhead.runtime.plan.seccomp import compile_filter, filter_flags, notifies

    made = compile_filter(seccomp, machine), filter_flags(seccomp), notifies(seccomp)
    store.keep(key, made)
    return made


def key_of(seccomp: Seccomp, machine: str, compiler: tuple[tuple[int, int, int], ...] = _compiler) -> bytes:
    """All that the filter depends on."""
    return f"{machine} {compiler} {seccomp!r}".encode()


class FilterStore:
    """Filters in a directory.  Whatever is wrong with it, filters are compiled as if it were not there."""

    def __init__(self, directory: str = DIRECTORY) -> None:
        self._directory = directory

    def find(self, key: bytes) -> Filter | None:
        """The filter that was kept for this key."""
        try:
            directory_fd = self._open()
        except OSError:
            return None
        try:
            content = files.read_file(_name(key), directory_fd=directory_fd)
        except OSError:
            return None
        finally:
            os.close(directory_fd)
        return _decode(content, key)

    def keep(self, key: bytes, made: Filter) -> None:
        """The next process finds it, if it can be written."""
        try:
            os.makedirs(os.path.dirname(self._directory), mode=0o711, exist_ok=True)
            try:
                os.mkdir(self._directory, 0o700)
            except FileExistsError:
                pass
            directory_fd = self._open()
        except OSError:
            return
        try:
            names = os.listdir(directory_fd)
            if len(names) >= _FILTERS_MAX:
                for name in names:
                    files.remove_if_there(name, directory_fd)
            files.replace_file(directory_fd, _name(key), _encode(key, made))
        except OSError:
            return
        finally:
            os.close(directory_fd)

    def _open(self) -> int:
        """The directory, which is ours alone.

        Raises:
            OSError: it is not there, not a directory, or somebody else could have written what is in it.
        """
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        about = os.fstat(fd)
        if about.st_uid != os.geteuid() or about.st_mode & _OTHERS_WRITE:
            os.close(fd)
            raise PermissionError(self._directory)
        return fd


def _name(key: bytes) -> str:
    """A short hash that the interpreter has built in, for its own bytecode files."""
    return source_hash(0, key).hex()


def _encode(key: bytes, made: Filter) -> bytes:
    program, flags, listens = made
    head = f"{len(key)} {len(program)} {flags} {listens:d}\n"
    return head.encode() + key + program


def _decode(content: bytes, key: bytes) -> Filter | None:
    """The filter, if the content is whole and of this key."""
    head, _, rest = content.partition(b"\n")
    words = head.split()
    if len(words) != 4 or not all(word.isdigit() for word in words):
        return None
    key_bytes, program_bytes, flags, listens = (int(word) for word in words)
    if len(rest) != key_bytes + program_bytes or rest[:key_bytes] != key:
        return None
    return rest[key_bytes:], flags, bool(listens)
