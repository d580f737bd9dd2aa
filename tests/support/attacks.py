"""What attacks on the runtime have in common: a place outside the container that must stay as it is, and
races.
"""

from __future__ import annotations

import contextlib
import os
import stat
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def fingerprint(directory: Path) -> dict[str, tuple[int, int, bytes]]:
    """Every path below the directory with its mode, owner and content; what an intruder would change."""
    found: dict[str, tuple[int, int, bytes]] = {}
    for path in sorted(directory.rglob("*")):
        about = path.lstat()
        content = path.read_bytes() if stat.S_ISREG(about.st_mode) else b""
        found[str(path.relative_to(directory))] = (about.st_mode, about.st_uid, content)
    return found


def make_outside(directory: Path) -> Path:
    """A directory of the host that a container has no business in: some files, some directories."""
    directory.mkdir()
    (directory / "secret").write_text("of the host\n")
    for name in ("dev", "fs", "net", "pts", "self/attr", "sys/kernel", "sys/net/ipv4"):
        (directory / name).mkdir(parents=True)
    for name in ("ptmx", "null", "console", "kcore", "keys", "sys/kernel/hostname", "self/attr/exec"):
        (directory / name).write_text("of the host\n")
    return directory


def ways_to(outside: Path) -> tuple[str, ...]:
    """What a link in a root file system may say to lead to that place, were it followed from the host's
    root.
    """
    return (
        str(outside),
        "../" * 40 + str(outside).lstrip("/"),
        f"/proc/1/root{outside}",
        f"/proc/self/root{outside}",
    )


def replace_by_link(path: Path, target: str) -> None:
    """``path`` is a symbolic link, whatever it was."""
    if not path.is_symlink() and path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)
    path.symlink_to(target)


@contextlib.contextmanager
def exchanging(probe: Path, one: Path, other: Path) -> Iterator[None]:
    """The two paths change places as fast as the kernel can, by another process."""
    with subprocess.Popen([probe, f"exchange={one}={other}"]) as process:
        try:
            yield
        finally:
            process.kill()


def mounted_below(directory: Path) -> list[str]:
    """Mounts of our own mount namespace at or below the directory."""
    with open("/proc/self/mountinfo", encoding="utf-8") as mounts:
        points = [line.split(" ")[4] for line in mounts]
    return [point for point in points if point == str(directory) or point.startswith(f"{directory}/")]


def device_of(path: str) -> tuple[int, int, int]:
    """Mode, major and minor number of a node of the host."""
    about = os.stat(path)
    return about.st_mode, os.major(about.st_rdev), os.minor(about.st_rdev)
