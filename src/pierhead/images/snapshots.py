"""Snapshots: the files of images' layers and of containers, as a stack that grows by one at a time.

    prepare(key)               an empty snapshot that can be written: an active one, named by its key
    commit(name, key)          it never changes again and can be a parent; named by its chain id
    prepare(key, parent=name)  one that begins with what the parent shows: for a container, or the next layer
    view(key, parent=name)     the same to read only

A snapshotter keeps the files and returns mounts; it mounts nothing.  ``rebases`` says how layers come in:

    True    each layer is prepared without a parent, in any order and at the same time, with its whiteouts as
            overlayfs has them (a device 0:0, the attribute ``trusted.overlay.opaque``); its parent is named
            at commit
    False   a layer is prepared upon its parent, one after the other, and a whiteout removes the file

Keys and names share one set of names.  Two snapshotters are made here: ``overlay`` and ``plaindir``.
Source of the words: containerd's snapshotters; image-spec config.md, "Layer ChainID".
"""

from __future__ import annotations

import errno
import os
import threading

from pierhead.errors import InvalidInput, NotFound, OperationFailed, Unsupported
from pierhead.linux import mounts as calls
from pierhead.linux.facts import kernel_version
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from typing import Literal, Protocol, TypeVar

    _T = TypeVar("_T")
    Kind = Literal["active", "view", "committed"]
    Owners = Callable[[int, int], tuple[int, int]]
    """The user and group that a copy of a file has, by those of the original."""
else:
    Protocol = object

_NAME_MAX = 255
_NAME_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-:@/+")
_LAYERS_ONE_BY_ONE = (6, 5)
"""The Linux that takes overlayfs's lower layers one by one (``lowerdir+``)."""
OVERLAY_FEATURES = (("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"))
"""What would put into an upper directory what is no file of anybody's: then it could not become a layer.
Distributions differ in what the kernel does when nothing is said."""


class Mount(Value):
    """How a snapshot's files come to be seen: a directory as it is, or an overlay of directories.

    Fields:
        source: the directory, a host path; empty for an overlay.
        lower: directories of the overlay, the topmost first; with one alone there is an upper.
        upper: directory that takes the changes; empty for an overlay that is only read.
        work: empty directory on the same mount as ``upper``, for the kernel.
        readonly: whether nothing may be written.
    """

    source: str = ""
    lower: tuple[str, ...] = ()
    upper: str = ""
    work: str = ""
    readonly: bool = False


class Usage(Value):
    """What a snapshot takes by itself, without its parents.

    Fields:
        size_bytes: on the disk, in whole blocks; a file with several names counts once.
        inodes: files, directories and everything else.
    """

    size_bytes: int
    inodes: int


class SnapshotInfo(Value):
    """What is known of a snapshot.

    Fields:
        name: its key while it is active or a view, its name when it is committed.
        kind: ``active``, ``view`` or ``committed``.
        parent: name of the one below; empty for none.
        created_s: when it was prepared or viewed, or else committed; seconds since 1970.
    """

    name: str
    kind: Kind
    parent: str
    created_s: int


class Snapshotter(Protocol):
    """Who keeps snapshots.  Every method may be called from any thread, and by several processes at once."""

    name: str
    rebases: bool
    root: str

    def prepare(self, key: str, parent: str = "") -> tuple[Mount, ...]:
        """A snapshot that can be written exists under the key; returns what ``mounts`` does.

        Raises:
            Conflict: the key is taken.
            NotFound: there is no such parent that is committed.
        """

    def view(self, key: str, parent: str) -> tuple[Mount, ...]:
        """A committed snapshot can be read under the key, and stays as long as the key; as ``prepare``."""

    def mounts(self, key: str) -> tuple[Mount, ...]:
        """The mounts, one over the other, by which an active snapshot or a view is seen.

        Raises:
            NotFound: there is none of this key.
        """

    def commit(self, name: str, key: str, *, parent: str = "") -> None:
        """The active snapshot is gone, and its files are a committed one, also after a power cut.

        Args:
            name: chain id.
            key: of the active one, which nobody writes to any more.
            parent: what it lies upon, for one that was prepared without a parent by a snapshotter that
                rebases.

        Raises:
            Conflict: the name is taken; or a parent is given that this one cannot have.
            NotFound: there is no such key, or no such parent.
        """

    def shift(self, name: str, shifted: str, owners: Owners, *, parent: str = "") -> None:
        """A copy of a committed snapshot is committed too, with other owners.

        For a user namespace, where the kernel or the file system cannot map owners by mounts.

        Args:
            name: of the original.
            shifted: of the copy.
            owners: gives the copy's user and group for those of the original.
            parent: what the copy lies upon; one that was shifted in the same way.

        Raises:
            Conflict: the name is taken, or one of them is not committed.
            NotFound: there is no such snapshot.
        """

    def remove(self, name: str) -> None:
        """There is no snapshot of this key or name; its files are gone.

        Raises:
            Conflict: others lie upon it.
            NotFound: there was none.
        """

    def detach(self, name: str) -> str:
        """As ``remove``, but that its files are there yet: for who cannot wait.

        Returns:
            Their directory, for ``removal.remove_tree``; "" for none.  Whoever opens the snapshots next
            removes it as well.
        """

    def usage(self, name: str) -> Usage:
        """What the snapshot takes by itself; a view takes nothing.

        What it shares with others is counted for each of them: see ``shared_bytes``.
        """

    def shared_bytes(self, names: Iterable[str]) -> int:
        """How much less all of these take together than their usages say, since they share files."""

    def remove_unshared(self) -> None:
        """Nothing is kept for sharing that no snapshot has any more."""

    def stat(self, name: str) -> SnapshotInfo:
        """What is known of it.

        Raises:
            NotFound: there is none.
        """

    def walk(self) -> Iterator[SnapshotInfo]:
        """All snapshots, parents before those that lie upon them."""

    def close(self) -> None:
        """Nothing of it is open any more."""


def check_name(name: str, what: str = "name") -> None:
    """The text can be a snapshot's key or name.

    Raises:
        InvalidInput: it is empty, too long, or has other characters than names have.
    """
    if name and len(name) <= _NAME_MAX and name[0].isalnum() and _NAME_LETTERS.issuperset(name):
        return
    shown = repr(name if len(name) <= 80 else name[:77] + "...")
    hint = (
        f"1 to {_NAME_MAX} letters, digits and the characters _ . - : @ / +, the first one a letter or digit"
    )
    raise InvalidInput(f"{shown} cannot be a snapshot's {what}", code="invalid-snapshot-name", hint=hint)


# Looking at a snapshot


def open_mounts(mounts: Sequence[Mount]) -> int:
    """A descriptor of the directory that the mounts show, the caller's.

    It is mounted nowhere: names are resolved beneath it (``dir_fd``, ``/proc/self/fd/N``), nobody else sees
    it, and closing it undoes everything.  Devices in it cannot be opened, programs gain no rights.

    Raises:
        NotFound: a directory is not there.
        OperationFailed: the kernel refuses, for want of rights for example.
        Unsupported: there are more layers than this kernel takes.
    """
    tree = open_detached(mounts[-1])  # the last one covers the others
    try:
        return os.open(f"/proc/self/fd/{tree}/.", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    finally:
        os.close(tree)


def mount_at(mounts: Sequence[Mount], place: str) -> None:
    """The directory that the mounts show stands on ``place``, an empty directory; as ``open_mounts``."""
    tree = open_detached(mounts[-1])
    try:
        calls.move_mount(tree, place)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OperationFailed(f"cannot mount on {place}: {reason}", errno=error.errno or 0) from None
    finally:
        os.close(tree)


def open_detached(mount: Mount) -> int:
    """A descriptor of the mount itself, which stands nowhere; the caller's, and as ``open_mounts`` else."""
    try:
        tree = calls.open_tree(mount.source) if mount.source else _open_overlay(mount)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise NotFound(f"{error.filename} is not there", code="no-such-layer") from None
        reason = error.strerror or str(error)
        message = f"cannot mount {mount.source or f'the overlay upon {mount.lower[0]}'}: {reason}"
        raise OperationFailed(message, errno=error.errno or 0, code="mount-failed") from None
    try:
        attributes = calls.MOUNT_ATTR_NOSUID | calls.MOUNT_ATTR_NODEV
        calls.mount_setattr(tree, attr_set=attributes | (calls.MOUNT_ATTR_RDONLY if mount.readonly else 0))
    except BaseException:
        os.close(tree)
        raise
    return tree


def _overlay_options(mount: Mount, *, one_by_one: bool) -> list[tuple[str, str]]:
    """Parameters for fsconfig(2), in order; the paths have neither colons nor backslashes.

    Args:
        mount: an overlay.
        one_by_one: whether the kernel takes each layer by itself; else they share one value.
    """
    options = list(OVERLAY_FEATURES)
    if one_by_one:
        options += [("lowerdir+", directory) for directory in mount.lower]
    else:
        options.append(("lowerdir", ":".join(mount.lower)))
        if len(options[-1][1]) > calls.FSCONFIG_STRING_MAX:
            message = f"an overlay of {len(mount.lower)} layers needs Linux 6.5"
            raise Unsupported(message, code="too-many-layers")
    if mount.upper:
        options += [("upperdir", mount.upper), ("workdir", mount.work)]
    return options


def _open_overlay(mount: Mount) -> int:
    """The overlay's tree.  Directories are given by descriptors, whose names are short and have no colons."""
    opened: list[int] = []

    def number(directory: str) -> str:
        opened.append(os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        return str(opened[-1])

    try:
        shown = mount.replace(lower=tuple(number(directory) for directory in mount.lower))
        if mount.upper:
            shown = shown.replace(upper=number(mount.upper), work=number(mount.work))
        return in_thread_at("/proc/self/fd", lambda: _mount_overlay(shown))
    finally:
        for fd in opened:
            os.close(fd)


def _mount_overlay(mount: Mount) -> int:
    context = calls.fsopen("overlay")
    try:
        for key, value in _overlay_options(mount, one_by_one=kernel_version() >= _LAYERS_ONE_BY_ONE):
            calls.fsconfig(context, calls.FSCONFIG_SET_STRING, key, value)
        calls.fsconfig(context, calls.FSCONFIG_CMD_CREATE)
        return calls.fsmount(context)
    finally:
        os.close(context)


def in_thread_at(directory: str, function: Callable[[], _T]) -> _T:
    """What the function returns in a thread whose working directory is this one, and nobody else's."""
    made: list[_T] = []
    failed: list[BaseException] = []

    def work() -> None:
        try:
            calls.unshare(calls.CLONE_FS)
            os.chdir(directory)
            made.append(function())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            failed.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]
