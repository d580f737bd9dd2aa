"""Mounts that stand nowhere: seen by whoever has the descriptor, and gone with it."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from pierhead.errors import NotFound, OperationFailed, Unsupported
from pierhead.images.snapshots import Mount, open_mounts
from pierhead.linux import mounts
from tests.support.requires import requires
from tests.support.snapshots import read_files, shown, write_files

pytestmark = requires("root")


def layers(directory: Path, *names: str) -> tuple[str, ...]:
    """Directories that hold a file of their own name each."""
    for name in names:
        write_files(directory / name, {name: name})
    return tuple(str(directory / name) for name in names)


def test_nothing_is_mounted_anywhere(tmp_path: Path) -> None:
    """The host's mount table does not change while the files are seen, nor afterwards."""
    before = Path("/proc/self/mountinfo").read_text()
    with shown((Mount(lower=layers(tmp_path, "two", "one"), readonly=True),)) as root:
        assert read_files(root) == {"one": "one", "two": "two"}
        assert Path("/proc/self/mountinfo").read_text() == before
    assert Path("/proc/self/mountinfo").read_text() == before


def test_many_layers_before_linux_6_5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty share one value; the process's working directory stays what it is."""
    names = [f"a long name of a layer, number {number}" for number in range(60)]
    monkeypatch.setattr("pierhead.images.snapshots.kernel_version", lambda: (6, 1))
    monkeypatch.chdir(tmp_path)
    with shown((Mount(lower=layers(tmp_path, *names), readonly=True),)) as root:
        assert sorted(read_files(root)) == sorted(names)
    assert os.getcwd() == str(tmp_path)
    with pytest.raises(Unsupported, match="an overlay of 200 layers needs Linux"):
        open_mounts((Mount(lower=layers(tmp_path, *map(str, range(200))), readonly=True),))


def test_devices_are_not_opened(tmp_path: Path) -> None:
    """A layer's device is a file like others for whoever looks at it, and does nothing."""
    (tmp_path / "layer").mkdir()
    os.mknod(tmp_path / "layer/null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    with shown((Mount(source=str(tmp_path / "layer")),)) as root, pytest.raises(PermissionError):
        (root / "null").read_bytes()


def test_a_layer_that_is_missing(tmp_path: Path) -> None:
    """It is named, and nothing stays open."""
    before = os.listdir("/proc/self/fd")
    missing = str(tmp_path / "missing")
    with pytest.raises(NotFound, match=f"{missing} is not there"):
        open_mounts((Mount(source=missing),))
    with pytest.raises(NotFound, match=f"{missing} is not there"):
        open_mounts((Mount(lower=(*layers(tmp_path, "one"), missing), readonly=True),))
    assert os.listdir("/proc/self/fd") == before


def test_what_the_file_system_says(tmp_path: Path) -> None:
    """The kernel's own sentence is in the error, and the layer in that of whoever asked."""
    fd = mounts.fsopen("tmpfs")
    try:
        with pytest.raises(OSError, match="nonsense") as caught:
            mounts.fsconfig(fd, mounts.FSCONFIG_SET_STRING, "nonsense", "1")
    finally:
        os.close(fd)
    assert caught.value.errno == errno.EINVAL
    one = layers(tmp_path, "one")
    with pytest.raises(OperationFailed, match=f"cannot mount the overlay upon {one[0]}: "):
        open_mounts((Mount(lower=one, readonly=True),))


def test_a_kernel_without_the_file_system() -> None:
    """Its name is in the error."""
    with pytest.raises(OSError, match="nosuchfs") as caught:
        mounts.fsopen("nosuchfs")
    assert caught.value.errno == errno.ENODEV
