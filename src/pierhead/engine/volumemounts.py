"""Where a container's mounts come from, made ready on the host, and taken away again.

    volumes/NAME/_data               a volume with options of the driver has its file system mounted here
    EXEC_ROOT/containers/ID/sources/ parts of volumes (``volume-subpath``), each a mount of its own: who can
                                     write in the volume could else exchange the path meanwhile

Asks the kernel what is mounted; remembers nothing.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import TYPE_CHECKING

from pierhead.errors import InvalidInput, NotFound, OperationFailed
from pierhead.images.snapshots import mount_at
from pierhead.linux import files
from pierhead.linux import mounts as calls
from pierhead.runtime.plan.mountoptions import MS_SHARED, PROPAGATION, SUPERBLOCK_FLAGS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pierhead.engine.volumewords import DriverMount, Volume
    from pierhead.images.snapshots import Mount

_NETWORKED = frozenset(("cifs", "nfs", "nfs4"))
_RECURSIVE = calls.AT_RECURSIVE
_CLOSED = calls.MOUNT_ATTR_NOSUID | calls.MOUNT_ATTR_NODEV | calls.MOUNT_ATTR_NOEXEC


def mounted_on(path: str, mountinfo_text: str | None = None) -> int:
    """How many mounts stand on this very path (proc(5), mountinfo)."""
    wanted = _mountinfo_form(os.path.realpath(path))
    text = _mountinfo() if mountinfo_text is None else mountinfo_text
    return sum(1 for line in text.split("\n") if line and line.split(" ", 5)[4] == wanted)


def _mountinfo() -> str:
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _mountinfo_form(path: str) -> str:
    """The path as mountinfo writes it: blanks, line ends and backslashes in octal."""
    return "".join(f"\\{ord(letter):03o}" if letter in " \t\n\\" else letter for letter in path)


def mount_volume(volume: Volume, wanted: DriverMount) -> None:
    """The volume's file system stands on its directory; nothing is done where it does already.

    Raises:
        OperationFailed: the kernel refuses.
    """
    if mounted_on(volume.mountpoint):
        return
    try:
        tree = _open_driver_mount(wanted)
        try:
            calls.move_mount(tree, volume.mountpoint)
        finally:
            os.close(tree)
    except OSError as error:
        raise OperationFailed(
            f"error while mounting volume '{volume.mountpoint}': failed to mount local volume: "
            f"mount {wanted.device}:{volume.mountpoint}: {(error.strerror or str(error)).lower()}",
            errno=error.errno or 0,
            code="volume-not-mounted",
            hint=f"look at the options of volume {volume.name}: docker volume inspect {volume.name}",
        ) from None


def _open_driver_mount(wanted: DriverMount) -> int:
    """A descriptor of the mount, which stands nowhere yet."""
    options = wanted.options
    if not wanted.filesystem:
        tree = calls.open_tree(wanted.device, _RECURSIVE if options.recursive else 0)
        try:
            if options.set:
                calls.mount_setattr(tree, attr_set=options.set)
        except BaseException:
            os.close(tree)
            raise
        return tree
    fd = calls.fsopen(wanted.filesystem)
    try:
        calls.fsconfig(fd, calls.FSCONFIG_SET_STRING, "source", wanted.device)
        if options.set & calls.MOUNT_ATTR_RDONLY:
            calls.fsconfig(fd, calls.FSCONFIG_SET_FLAG, "ro")
        for option in options.data:
            key, equals, value = option.partition("=")
            flag = not equals or option in SUPERBLOCK_FLAGS
            if key == "addr" and wanted.filesystem in _NETWORKED:
                value = address_of(value)
            calls.fsconfig(fd, calls.FSCONFIG_SET_FLAG if flag else calls.FSCONFIG_SET_STRING, key, value)
        calls.fsconfig(fd, calls.FSCONFIG_CMD_CREATE)
        return calls.fsmount(fd, options.set)
    finally:
        os.close(fd)


def address_of(server: str) -> str:
    """The first address of a server's name: the kernel takes no names, mount.nfs(8) asks for it.

    Raises:
        OSError: nobody knows the name.
    """
    try:
        return str(socket.getaddrinfo(server, None, type=socket.SOCK_STREAM)[0][4][0])
    except (socket.gaierror, UnicodeError):
        raise OSError(errno.ENOENT, f"no address of {server} is known") from None


def unmount_all(path: str) -> None:
    """Nothing is mounted on the path; its users keep what they have open."""
    for _ in range(mounted_on(path)):
        try:
            calls.detach_mount(path)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOENT):  # somebody else was quicker
                raise OperationFailed(
                    f"cannot unmount {path}: {(error.strerror or str(error)).lower()}",
                    errno=error.errno or 0,
                    code="not-unmounted",
                ) from None


def mount_part(directory: str, subpath: str, place: str) -> None:
    """A part of a volume (or of an image's tree) stands on ``place``; no link in it leads out of it.

    Args:
        directory: the volume's, or ``/proc/self/fd/N`` of a tree.
        subpath: relative; a directory or a file.
        place: where; made as an empty directory or file.

    Raises:
        NotFound: there is no such part.
        OperationFailed: the kernel refuses.
    """
    try:
        root = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            found = files.open_in_root(root, subpath)
        finally:
            os.close(root)
    except OSError as error:
        raise NotFound(
            f"cannot access path {directory}/{subpath}: {(error.strerror or str(error)).lower()}",
            code="no-such-subpath",
            hint="make the directory in the volume first",
        ) from None
    try:
        _make_place(place, directory=stat.S_ISDIR(os.fstat(found).st_mode))
        tree = calls.open_tree(f"/proc/self/fd/{found}", _RECURSIVE)
        try:
            calls.move_mount(tree, place)
        finally:
            os.close(tree)
    except OSError as error:
        raise OperationFailed(
            f"cannot mount {directory}/{subpath}: {(error.strerror or str(error)).lower()}",
            errno=error.errno or 0,
            code="subpath-not-mounted",
        ) from None
    finally:
        os.close(found)


def mount_image(mount: Mount, place: str, subpath: str) -> str:
    """An image's files stand on ``place``, to read only; returns where those are that are wanted.

    Raises:
        NotFound: there is no such part of them.
        OperationFailed: the kernel refuses.
    """
    os.makedirs(place, mode=0o700, exist_ok=True)
    mount_at((mount.replace(readonly=True),), place)
    if not subpath:
        return place
    part = f"{place}.part"
    mount_part(place, subpath, part)
    return part


def _make_place(place: str, *, directory: bool) -> None:
    os.makedirs(os.path.dirname(place), mode=0o700, exist_ok=True)
    if directory:
        os.makedirs(place, mode=0o700, exist_ok=True)
    else:
        os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def remove_places(directory: str) -> None:
    """Nothing that ``mount_part`` made in the directory is left, and the directory is gone.

    Only mounts and what is empty are taken away: should something still be mounted, it is not emptied.
    """
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return
    for name in names:
        path = f"{directory}/{name}"
        unmount_all(path)
        if os.path.isdir(path):
            os.rmdir(path)
        else:
            os.unlink(path)
    os.rmdir(directory)


def mount_shared_memory(directory: str, size_bytes: int, owner: tuple[int, int] = (0, 0)) -> None:
    """A file system in memory stands on the directory, for containers that share it as their /dev/shm.

    Args:
        directory: made where it is missing.
        size_bytes: its limit.
        owner: the host's ids of these containers' root.

    Raises:
        OperationFailed: the kernel refuses.
    """
    wanted: dict[str, str | int] = {"mode": "1777", "size": size_bytes, "uid": owner[0], "gid": owner[1]}
    _mount_memory(directory, wanted, _CLOSED)


def mount_changes(directory: str) -> tuple[str, str]:
    """A file system in memory stands on the directory, for what a view of this machine has changed; returns
    the upper directory of an overlay, and the one for the kernel.

    Raises:
        OperationFailed: the kernel refuses.
    """
    _mount_memory(directory, {"mode": "0700"}, calls.MOUNT_ATTR_NODEV)
    upper, work = f"{directory}/upper", f"{directory}/work"
    for each in (upper, work):
        os.makedirs(each, mode=0o755, exist_ok=True)
        os.chmod(each, 0o755)  # whatever the engine's umask
    return upper, work


def _mount_memory(directory: str, options: Mapping[str, str | int], attributes: int) -> None:
    os.makedirs(directory, mode=0o700, exist_ok=True)
    if mounted_on(directory):
        return
    try:
        fd = calls.fsopen("tmpfs")
        try:
            for key, value in {"source": "pierhead", **options}.items():
                calls.fsconfig(fd, calls.FSCONFIG_SET_STRING, key, str(value))
            calls.fsconfig(fd, calls.FSCONFIG_CMD_CREATE)
            tree = calls.fsmount(fd, attributes)
        finally:
            os.close(fd)
        try:
            calls.move_mount(tree, directory)
        finally:
            os.close(tree)
    except OSError as error:
        raise OperationFailed(
            f"cannot mount memory on {directory}: {(error.strerror or str(error)).lower()}",
            errno=error.errno or 0,
            code="memory-not-mounted",
        ) from None


# Directories of the host.


def check_bind_source(source: str) -> None:
    """The path is there.

    Raises:
        InvalidInput: it is not; Docker's sentence.
    """
    if not os.path.lexists(source):
        raise InvalidInput(
            f'invalid mount config for type "bind": bind source path does not exist: {source}',
            code="no-such-source",
            hint="make it first, or use -v, which makes a directory",
        )


def make_bind_source(source: str) -> None:
    """The path is there; a directory is made where it is missing.

    Raises:
        OperationFailed: it cannot be made.
    """
    if os.path.lexists(source):
        return
    try:
        os.makedirs(source, mode=0o755, exist_ok=True)
    except OSError as error:
        raise OperationFailed(
            f"error while creating mount source path '{source}': {(error.strerror or str(error)).lower()}",
            errno=error.errno or 0,
            code="source-not-made",
        ) from None


def check_propagation(source: str, propagation: str, mountinfo_text: str | None = None) -> None:
    """Mounts made later can travel between the source and a container, as the propagation asks.

    Raises:
        InvalidInput: the mount that the source lies on is private (mount_namespaces(7)).
    """
    if propagation not in ("shared", "rshared", "slave", "rslave"):
        return
    mountpoint, shared, slave = _mount_of(source, _mountinfo() if mountinfo_text is None else mountinfo_text)
    wants_shared = bool(PROPAGATION[propagation] & MS_SHARED)
    if shared or (slave and not wants_shared):
        return
    what = "a shared mount" if wants_shared else "a shared or slave mount"
    raise InvalidInput(
        f"path {source} is mounted on {mountpoint} but it is not {what}",
        code="not-shared",
        hint=f"mount --make-rshared {mountpoint}, in the mount namespace that the engine was started in",
    )


def _mount_of(source: str, mountinfo_text: str) -> tuple[str, bool, bool]:
    """Place of the mount that holds the path, and whether it is shared, and whether it is a slave."""
    path = _mountinfo_form(os.path.realpath(source))
    best = ("/", False, False)
    for line in mountinfo_text.split("\n"):
        fields = line.split(" ")
        if len(fields) < 7:
            continue
        place = fields[4]
        below = place in ("/", path) or path.startswith(f"{place}/")
        if below and len(place) >= len(best[0]):
            tags = fields[6 : fields.index("-", 6)]
            shared = any(tag.startswith("shared:") for tag in tags)
            best = (place, shared, any(tag.startswith("master:") for tag in tags))
    return best
