"""The ordinary user: images are no business of everybody's on the machine."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from pierhead.images.service import ImageService
from pierhead.registry.storage import Storage
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DATA = b"a secret of somebody's image"


def seen_by_others(directory: Path) -> Iterator[Path]:
    """Files that any user could read who knows their names."""
    for path in directory.iterdir():
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode) and mode & stat.S_IXOTH:
            yield from seen_by_others(path)
        elif stat.S_ISREG(mode) and mode & stat.S_IROTH:
            yield path


@requires("root")
def test_other_users_cannot_read_images(tmp_path: Path) -> None:
    """Neither contents nor the list of names, of this machine's images and of a registry's."""
    before = os.umask(0o022)
    try:
        with ImageService(tmp_path / "images") as service:
            service.content.write(_DATA)
            with Storage(tmp_path / "registry") as storage:
                storage.content.write(_DATA)
                assert list(seen_by_others(tmp_path)) == []
    finally:
        os.umask(before)
