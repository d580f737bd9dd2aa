"""Trees of files: a copy is what its original is, and no tree is too deep or too strange to be removed."""

from __future__ import annotations

import os
import socket
import stat
import threading
from typing import TYPE_CHECKING

import pytest

from pierhead.images.filetrees import copy_tree, count_tree
from pierhead.images.removal import remove_tree
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = requires("root")

DEPTH = 130
LONG = "d" * 200
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")  # cap_net_bind_service=ep
# user::rw- user:1000:rw- group::r-- mask::rw- other::r--
ACCESS_LIST = bytes.fromhex(
    "0200000001000600ffffffff02000600e803000004000400ffffffff10000600ffffffff20000400ffffffff"
)


def copied(source: Path, target: Path, owners: Callable[[int, int], tuple[int, int]] | None = None) -> Path:
    """The copy of a directory."""
    target.mkdir()
    flags = os.O_RDONLY | os.O_DIRECTORY
    source_fd, target_fd = os.open(source, flags), os.open(target, flags)
    try:
        copy_tree(source_fd, target_fd, owners)
    finally:
        os.close(source_fd)
        os.close(target_fd)
    return target


def make_strange(root: Path) -> Path:
    """A directory with one of everything."""
    (root / "dir").mkdir(parents=True)
    (root / "file").write_bytes(b"data" * 1000)
    (root / "file").chmod(0o4711)
    os.chown(root / "file", 1, 2)
    os.setxattr(root / "file", "user.note", b"\0\xff")
    (root / "program").write_bytes(b"")
    os.setxattr(root / "program", "security.capability", CAPABILITY)
    (root / "listed").write_bytes(b"")
    os.setxattr(root / "listed", "system.posix_acl_access", ACCESS_LIST)
    with (root / "holes").open("wb") as file:
        file.truncate(50_000_000)
        file.seek(20_000_000)
        file.write(b"island")
    (root / "link").symlink_to("/etc/passwd")
    os.chown(root / "link", 3, 4, follow_symlinks=False)
    os.setxattr(root / "link", "trusted.note", b"x", follow_symlinks=False)
    (root / "dangling").symlink_to("nowhere")
    os.mkfifo(root / "fifo", 0o622)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "gone", stat.S_IFCHR, 0)
    os.mknod(root / "disk", stat.S_IFBLK | 0o600, os.makedev(8, 1))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(root / "dir/socket"))
    os.link(root / "file", root / "dir/same")
    os.link(root / "dangling", root / "dir/dangling")
    (root / "odd \udcff\n'").write_text("")
    os.setxattr(root / "dir", "trusted.overlay.opaque", b"y")
    (root / "dir").chmod(0o1777)
    for path in sorted(root.rglob("*"), reverse=True):
        os.utime(path, ns=(1_000_000_001, 1_500_000_000_123_456_789), follow_symlinks=False)
    root.chmod(0o750)
    os.utime(root, ns=(1_000_000_001, 1_600_000_000_000_000_001))
    return root


def facts(root: Path) -> dict[str, object]:
    """All that a copy has to keep, by path; names of one file have one number."""
    numbers: dict[int, int] = {}
    found: dict[str, object] = {}
    for path in (root, *sorted(root.rglob("*"))):
        about = path.lstat()
        found[str(path.relative_to(root))] = (
            about.st_mode,
            (about.st_uid, about.st_gid, about.st_nlink, about.st_rdev),
            about.st_mtime_ns,
            about.st_size if not path.is_dir() else 0,
            numbers.setdefault(about.st_ino, len(numbers)),
            path.readlink() if path.is_symlink() else "",
            {
                name: os.getxattr(path, name, follow_symlinks=False)
                for name in os.listxattr(path, follow_symlinks=False)
            },
            path.read_bytes() if stat.S_ISREG(about.st_mode) else b"",
        )
    return found


def test_a_copy_is_the_same(tmp_path: Path) -> None:
    """Links, devices, owners, modes, times, attributes, capabilities, access lists and holes are kept."""
    source = make_strange(tmp_path / "source")
    before = facts(source)
    target = copied(source, tmp_path / "target")
    assert facts(target) == before
    assert (target / "holes").stat().st_blocks < 1000


def test_a_copy_with_other_owners(tmp_path: Path) -> None:
    """Owners are changed, those in attributes too, and what a change of owner takes away is not lost."""
    source = make_strange(tmp_path / "source")
    target = copied(source, tmp_path / "target", lambda uid, gid: (uid + 100_000, gid + 200_000))
    for old in (source, *source.rglob("*")):
        new = (target / old.relative_to(source)).lstat()
        about = old.lstat()
        assert (new.st_uid, new.st_gid) == (about.st_uid + 100_000, about.st_gid + 200_000)
        assert new.st_mode == about.st_mode
    shown = os.getxattr(target / "program", "security.capability")
    assert shown == b"\1\0\0\3" + CAPABILITY[4:] + (100_000).to_bytes(4, "little")
    ids = os.getxattr(target / "listed", "system.posix_acl_access")
    assert ids == ACCESS_LIST.replace((1000).to_bytes(4, "little"), (101_000).to_bytes(4, "little"))


def make_deep(root: Path, depth: int) -> None:
    """Directories in each other, deeper than a path can say."""
    root.mkdir()
    here = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir(LONG, dir_fd=here)
        inner = os.open(LONG, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)


def test_a_tree_deeper_than_paths(tmp_path: Path) -> None:
    """It is counted, copied and removed."""
    make_deep(tmp_path / "deep", DEPTH)
    copied(tmp_path / "deep", tmp_path / "copy")
    for name in ("deep", "copy"):
        fd = os.open(tmp_path / name, os.O_RDONLY | os.O_DIRECTORY)
        try:
            assert count_tree(fd).inodes == DEPTH + 2
        finally:
            os.close(fd)
        remove_tree(str(tmp_path / name))
    assert not list(tmp_path.iterdir())


def test_removing_follows_no_link(tmp_path: Path) -> None:
    """What links lead to stays, and no mode is an obstacle."""
    outside = tmp_path / "outside"
    make_strange(outside)
    before = facts(outside)
    root = make_strange(tmp_path / "root")
    (root / "away").symlink_to(outside)
    (root / "dir/away").symlink_to("../../outside")
    (root / "dir").chmod(0)
    remove_tree(str(root))
    assert not root.exists()
    assert facts(outside) == before
    remove_tree(str(root))


@pytest.mark.parametrize("name", ["file", "link"])
def test_only_directories_are_removed(tmp_path: Path, name: str) -> None:
    """A file or a link in the place of the directory is left alone."""
    root = make_strange(tmp_path / "root")
    with pytest.raises(NotADirectoryError):
        remove_tree(str(root / name))
    assert (root / name).exists()


def test_several_remove_one_tree(tmp_path: Path) -> None:
    """Nobody minds that another one has been quicker, and nothing is left."""
    root = tmp_path / "root"
    make_deep(root, DEPTH)
    for number in range(15):
        make_strange(root / f"sub{number % 5}/tree{number}")
    errors: list[BaseException] = []

    def remove() -> None:
        try:
            remove_tree(str(root))
        except BaseException as error:  # noqa: BLE001 - it is looked at below
            errors.append(error)

    threads = [threading.Thread(target=remove) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert not root.exists()
