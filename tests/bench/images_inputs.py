"""The images that are measured, made here and kept for the next run.

    busybox     one layer of 2 MB
    debian      one layer: Debian's smallest variant
    big         four layers: that; Python; compilers and git; 20,000 small files.  gzip, and zstd

They are in a store of ours.  Where Debian's packages cannot be had, layers of Debian are generated files
instead, smaller ones, and the result says so.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pierhead.images.archive.compose import compose_image, encode_document
from pierhead.images.diff import write_layer
from pierhead.images.platforms import host_platform
from pierhead.images.service import ImageService
from pierhead.oci.image import Execution, ImageConfig, RootFs
from tests.bench.programs import find_program
from tests.support.bundles import make_rootfs

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pierhead.images.compression import Written
    from pierhead.images.diff import Layer

RELEASE = "trixie"
_STEPS = (
    ("python3", "python3-pip", "python3-venv"),
    ("gcc", "g++", "gfortran", "cmake", "git", "perl", "python3-dev"),
)
_SMALL_FILES = 20_000
_INSTALL = """set -e
lower=$1 upper=$2 work=$3 merged=$4; shift 4
mount -t overlay overlay -o "lowerdir=$lower,upperdir=$upper,workdir=$work" "$merged"
mount -t proc proc "$merged/proc"
cp /etc/resolv.conf "$merged/etc/resolv.conf"
printf '#!/bin/sh\\nexit 101\\n' >"$merged/usr/sbin/policy-rc.d"
chmod 755 "$merged/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
chroot "$merged" apt-get -qq update
chroot "$merged" apt-get -qq -y --no-install-recommends -o Dpkg::Options::=--force-unsafe-io install "$@"
chroot "$merged" apt-get clean
rm -rf "$merged"/var/lib/apt/lists/* "$merged/usr/sbin/policy-rc.d" "$merged/etc/resolv.conf"
umount "$merged/proc" "$merged"
"""


@dataclass(frozen=True)
class Input:
    """An image, under the name that it has in the store.

    Fields:
        layers: digests of the layers, the lowest first.
    """

    name: str
    reference: str
    layers: tuple[str, ...]
    compressed_mb: float
    plain_mb: float


@dataclass(frozen=True)
class Inputs:
    """All of them, the store that has them, and what they are made of."""

    store: Path
    images: dict[str, Input]
    note: str

    def __getitem__(self, name: str) -> Input:
        return self.images[name]

    def all(self) -> list[Input]:
        """Every image."""
        return list(self.images.values())


def make_inputs(directory: Path, scratch: Path) -> Inputs:
    """The images are in a store below the directory; what an earlier run has made is taken as it is.

    Args:
        directory: keeps them.
        scratch: an empty directory to work in, where overlays can be made.
    """
    directory.mkdir(parents=True, exist_ok=True)
    known = directory / "inputs.json"
    if not known.exists():
        shutil.rmtree(directory / "store", ignore_errors=True)
        trees, note = _make_trees(scratch)
        images = _compose(directory / "store", trees)
        known.write_text(json.dumps({"note": note, "images": [asdict(image) for image in images]}, indent=1))
    told = json.loads(known.read_text())
    found = (Input(**{**image, "layers": tuple(image["layers"])}) for image in told["images"])
    return Inputs(directory / "store", {image.name: image for image in found}, told["note"])


def _make_trees(scratch: Path) -> tuple[dict[str, Path], str]:
    """Directories with the files of each layer, and what they are."""
    trees = {"busybox": make_rootfs(scratch / "busybox")}
    try:
        trees |= _install_debian(scratch)
        note = f"Debian {RELEASE}"
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        note = f"no Debian: generated files stand in for it, and fewer ({error})"
        sizes = {"debian": (6_000, 20_000), "python": (3_000, 20_000), "compilers": (6_000, 30_000)}
        for name, (count, size_bytes) in sizes.items():
            trees[name] = _generate(scratch / f"generated-{name}", count=count, size_bytes=size_bytes)
    trees["files"] = _generate(scratch / "files", count=_SMALL_FILES, size_bytes=2_250)
    return trees, note


def _install_debian(scratch: Path) -> dict[str, Path]:
    """Directories with the files of Debian, and of what packages add to it."""
    base, merged = scratch / "debian", scratch / "merged"
    program = find_program("mmdebstrap")
    if program is None:
        raise FileNotFoundError("mmdebstrap is not installed")
    subprocess.run([program, "--quiet", "--variant=minbase", "--format=directory", RELEASE, base], check=True)
    merged.mkdir()
    trees = {"debian": base}
    below = [base]
    for name, packages in zip(("python", "compilers"), _STEPS, strict=True):
        upper, work = scratch / name, scratch / f"work-{name}"
        upper.mkdir()
        work.mkdir()
        lower = ":".join(os.fspath(path) for path in reversed(below))
        words: list[str | os.PathLike[str]] = [
            "unshare",
            "-m",
            "sh",
            "-c",
            _INSTALL,
            "sh",
            lower,
            upper,
            work,
            merged,
            *packages,
        ]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        trees[name] = upper
        below.append(upper)
    return trees


def _generate(top: Path, *, count: int, size_bytes: int) -> Path:
    """A tree of files that compress as sources do; the same in every run."""
    chance = random.Random(1)
    words = [
        "".join(chance.choices("abcdefghijklmnopqrstuvwxyz_", k=chance.randint(2, 10))) for _ in range(900)
    ]
    for number in range(count):
        directory = top / "usr/share/generated" / f"{number // 1000:02}" / f"{number // 40 % 25:02}"
        directory.mkdir(parents=True, exist_ok=True)
        text = " ".join(chance.choices(words, k=max(1, chance.randint(0, 2 * size_bytes) // 7)))
        (directory / f"part_{number:05}.py").write_text(text)
    return top


def _compose(store: Path, trees: dict[str, Path]) -> list[Input]:
    """The trees are layers, and the layers images."""
    big = [trees[name] for name in ("debian", "python", "compilers", "files")]
    with ImageService(store) as service:
        return [
            _compose_image(service, "busybox", [trees["busybox"]], "gzip"),
            _compose_image(service, "debian", [trees["debian"]], "gzip"),
            _compose_image(service, "big", big, "gzip"),
            _compose_image(service, "big-zstd", big, "zstd"),
        ]


def _compose_image(service: ImageService, name: str, trees: Sequence[Path], compression: Written) -> Input:
    reference = f"localhost/bench/{name}:1"
    with service.library.lease(purpose=f"benchmark's {name}") as lease:
        layers = [write_layer(lease.content, tree, compression=compression) for tree in trees]
        raw = encode_document(_configuration(layers))
        descriptor = compose_image(lease.content, raw, tuple(layer.descriptor for layer in layers))
        service.library.set_image(reference, descriptor)
    return Input(
        name=name,
        reference=reference,
        layers=tuple(layer.descriptor.digest for layer in layers),
        compressed_mb=round(sum(layer.descriptor.size for layer in layers) / 1e6, 1),
        plain_mb=round(sum(layer.size_bytes for layer in layers) / 1e6, 1),
    )


def _configuration(layers: Sequence[Layer]) -> ImageConfig:
    platform = host_platform()
    return ImageConfig(
        created="2026-01-01T00:00:00Z",
        architecture=platform.architecture,
        os=platform.os,
        variant=platform.variant,
        config=Execution(cmd=("/bin/sh",)),
        rootfs=RootFs(diff_ids=tuple(layer.diff_id for layer in layers)),
    )
