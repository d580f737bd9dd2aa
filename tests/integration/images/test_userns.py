"""`pier run --userns`: the container's users are others outside, whether the kernel can map owners or not."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import Conflict
from pierhead.images.roots import open_root
from pierhead.images.service import ImageService
from pierhead.images.shifting import IdRange, can_map_owners
from pierhead.oci.runtime import IDMapping
from pierhead.runtime import RootOverlay
from pierhead.runtime.idmaps import open_user_namespace
from tests.support.containers import namespaces
from tests.support.pier import Pier, busybox_layer, greeting_layer, write_image
from tests.support.requires import requires

if TYPE_CHECKING:
    from tests.support.containers import Containers

pytestmark = requires("root", "busybox", "mount")
MAPS = (IDMapping(container_id=0, host_id=100_000, size=65_536),)
IDS = IdRange(start=100_000, size=65_536)


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of two layers, the upper one of which takes a file away."""
    directory = tmp_path_factory.mktemp("image")
    layers = busybox_layer(directory), greeting_layer("hello\n")
    return write_image(directory / "layout", *layers, Cmd=["cat", "/etc/motd"], Env=["PATH=/bin"])


@requires("mkfs.ext4")
def test_what_the_kernel_can(tmp_path: Path) -> None:
    """Asked of the file system; an old kernel's overlayfs cannot, whatever file system it is."""
    image, disk = tmp_path / "image", tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    disk.mkdir()
    subprocess.run(["mkfs.ext4", "-q", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, disk], check=True)
    userns_fd = open_user_namespace(MAPS, MAPS)
    try:
        assert can_map_owners(str(disk), userns_fd, kernel=(5, 19))
        assert not can_map_owners(str(disk), userns_fd, kernel=(5, 18))
        assert not can_map_owners("/proc", userns_fd)
    finally:
        os.close(userns_fd)
        subprocess.run(["umount", disk], check=True)


def test_a_root_that_was_shifted(containers: Containers, layout: Path, tmp_path: Path) -> None:
    """Where it is said that the kernel cannot, nothing is mapped, and the container's ids are the copy's."""
    Pier(tmp_path / "store")("load", "--quiet", "--input", str(layout), "--name", "box")
    user: dict[str, Any] = {
        "namespaces": namespaces("mount", "uts", "ipc", "pid", "network", "cgroup", "user"),
        "uid_mappings": MAPS,
        "gid_mappings": MAPS,
    }
    with ImageService(tmp_path / "store") as service:
        image = service.catalogue.get("box")
        with open_root(service, image, shifted=IDS) as root:
            mount = root.mounts[-1]
            assert all(Path(each).stat().st_uid == 100_000 for each in (*mount.lower, mount.upper))
            overlay = RootOverlay(lower=mount.lower, upper=mount.upper, work=mount.work, mapped=False)
            script = "stat -c %u /bin/cat; cat /etc/motd; touch /made; ls /bin/vi 2>/dev/null || echo gone"
            said = containers.run(script, rootfs=root.scratch, root_overlay=overlay, **user)
            assert said.words == ["0", "hello", "gone"]
            assert (Path(mount.upper) / "made").stat().st_uid == 100_000
            shifted = {each.parent for each in service.snapshotter.walk() if each.kind == "active"}
            service.collect()
            assert shifted <= {each.name for each in service.snapshotter.walk()}, "a container stands on it"
            with pytest.raises(Conflict):
                service.snapshotter.remove(shifted.pop())
        service.collect()
        assert not [each for each in service.snapshotter.walk() if "+" in each.name]


def test_ids_beyond_the_range() -> None:
    """They are its nobody's, or the last one's: never a user's of the machine that is not in it."""
    assert [IDS.host_id(number) for number in (0, 65_535, 65_536, 1 << 31)] == [
        100_000,
        165_535,
        165_534,
        165_534,
    ]
    small = IdRange(start=5, size=2)
    assert [small.host_id(number) for number in (0, 1, 2, 65_534)] == [5, 6, 6, 6]
