"""Layers unpacked for a test, and what is found afterwards."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from pierhead.images.unpack import Unpacked, UnpackLimits, Whiteouts, unpack_layer

if TYPE_CHECKING:
    from pathlib import Path


def unpack(
    archive: bytes,
    directory: Path,
    *,
    whiteouts: Whiteouts = "overlay",
    owners: bool = True,
    limits: UnpackLimits | None = None,
    digest: str = "",
) -> Unpacked:
    """The archive is in the directory, which is made if need be."""
    directory.mkdir(exist_ok=True)
    source_fd = os.memfd_create("layer", os.MFD_CLOEXEC)
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.write(source_fd, archive)
        os.lseek(source_fd, 0, os.SEEK_SET)
        return unpack_layer(
            source_fd, directory_fd, whiteouts=whiteouts, owners=owners, limits=limits, digest=digest
        )
    finally:
        os.close(source_fd)
        os.close(directory_fd)


def describe(directory: Path) -> dict[str, tuple[object, ...]]:
    """Everything below the directory, and itself, but for times of access and change."""
    found: dict[str, tuple[object, ...]] = {}
    for top, directories, files in os.walk(directory):
        for name in (*directories, *files, "."):
            path = os.path.join(top, name)
            try:
                about = os.lstat(path)
            except FileNotFoundError:  # overlayfs lists whiteouts in a directory that only one layer has
                continue
            content: object = None
            if stat.S_ISREG(about.st_mode):
                with open(path, "rb") as file:
                    content = file.read()
            elif stat.S_ISLNK(about.st_mode):
                content = os.readlink(path)
            names = os.listxattr(path, follow_symlinks=False)
            xattrs = sorted((name, os.getxattr(path, name, follow_symlinks=False)) for name in names)
            owner = (about.st_mode, about.st_uid, about.st_gid)
            numbers = (about.st_nlink, about.st_rdev, about.st_mtime_ns)
            found[os.path.relpath(path, directory)] = (*owner, *numbers, content, xattrs)
    return found
