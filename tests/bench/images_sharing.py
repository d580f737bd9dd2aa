"""What it saves and costs that layers share equal files: two variants of Debian, images of one layer each.

    python -m tests.bench.images_sharing [--rounds N] [--on DIRECTORY] [TREE TREE]

Without trees, mmdebstrap makes them: the smallest variant, and that with Python and git.  Two that were made
one after the other, as images are in practice, not one upon the other: then they would share layers anyway.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from pierhead.errors import Unsupported
from pierhead.images.archive.compose import compose_image, encode_document
from pierhead.images.diff import write_layer
from pierhead.images.platforms import host_platform
from pierhead.images.service import ImageService
from pierhead.images.sharing import SHARINGS
from pierhead.images.unpacking import unpack_image
from pierhead.oci.image import ImageConfig, RootFs
from tests.bench.images_cost import Contest, Cost, take_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pierhead.images.sharing import Sharing

_VARIANTS: tuple[tuple[str, ...], ...] = ((), ("--include=python3,git",))
_MB = 1e6


def measure_sharing(home: Path, trees: Sequence[Path], *, rounds: int) -> str:
    """A page: the time to unpack the images in each way, and what their layers take afterwards.

    Args:
        home: an empty directory on the file system in question.
        trees: root file systems.
        rounds: repetitions of each way.
    """
    source = home / "source"
    _compose(source, trees)
    taken: dict[str, list[int]] = {}

    def unpack(sharing: Sharing) -> Callable[[], Cost]:
        return lambda: _unpack(source, home / "store", sharing, taken)

    ways: dict[str, Callable[[], Cost]] = {}
    refused = []
    for sharing in SHARINGS:
        try:
            ImageService(home / "probe", share_files=sharing).close()
        except Unsupported as error:
            refused.append(error.message)
        else:
            ways[sharing] = unpack(sharing)
    shutil.rmtree(home / "probe")
    title = f"Unpacking {len(trees)} images that have files in common"
    page = Contest(title, 1.0, (), (), take_turns(ways, rounds=rounds), refused).as_markdown()
    lines = ["| | MB on the disk | df says MB | shared MB |", "|---|---:|---:|---:|"]
    for name, (disk, told, shared) in taken.items():
        lines.append(f"| {name} | {disk / _MB:.1f} | {told / _MB:.1f} | {shared / _MB:.1f} |")
    return "\n".join([page, *lines, ""])


def _compose(store: Path, trees: Sequence[Path]) -> None:
    platform = host_platform()
    with ImageService(store) as service:
        for number, tree in enumerate(trees):
            with service.library.lease(purpose="benchmark") as lease:
                layer = write_layer(lease.content, tree, compression="none")
                config = ImageConfig(
                    architecture=platform.architecture,
                    os=platform.os,
                    rootfs=RootFs(diff_ids=(layer.diff_id,)),
                )
                raw = encode_document(config)
                descriptor = compose_image(lease.content, raw, (layer.descriptor,))
                service.library.set_image(f"localhost/bench/variant-{number}:1", descriptor)


def _unpack(source: Path, store: Path, sharing: Sharing, taken: dict[str, list[int]]) -> Cost:
    """All images are unpacked, one after the other, in a store that is new."""
    shutil.copytree(source, store)
    os.sync()
    before = _free_bytes(store)
    started_s, cpu_s = time.perf_counter(), _cpu_s()
    with ImageService(store, share_files=sharing) as service:
        for image in service.library.images():
            with service.library.lease(purpose="benchmark") as lease:
                asyncio.run(unpack_image(service, lease, service.catalogue.open(image)))
        cost = Cost(time.perf_counter() - started_s, _cpu_s() - cpu_s)
        os.sync()
        usage = service.library.usage()
        told = usage.layers_bytes - usage.inventory.shared_bytes
        taken[sharing] = [before - _free_bytes(store), told, usage.inventory.shared_bytes]
    shutil.rmtree(store)
    return cost


def _free_bytes(path: Path) -> int:
    about = os.statvfs(path)
    return about.f_bfree * about.f_frsize


def _cpu_s() -> float:
    """Of this process and of those that it has waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


def _bootstrap(directory: Path) -> list[Path]:
    trees = [directory / f"variant-{number}" for number in range(len(_VARIANTS))]
    for tree, flags in zip(trees, _VARIANTS, strict=True):
        words = ["mmdebstrap", "--quiet", "--variant=minbase", "--format=directory", *flags, "trixie"]
        subprocess.run([*words, tree], check=True)
    return trees


def main() -> int:
    """Prints the page."""
    parser = argparse.ArgumentParser(description="Sharing of equal files between layers.")
    parser.add_argument("trees", nargs="*", type=Path, help="root file systems; Debian's variants by default")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--on", default=None, help="a directory on the file system in question")
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="pierhead-bench-", dir=options.on) as home,
        tempfile.TemporaryDirectory(prefix="pierhead-bench-") as made,
    ):
        trees = options.trees or _bootstrap(Path(made))
        print(measure_sharing(Path(home), trees, rounds=options.rounds))
    return 0


if __name__ == "__main__":
    sys.exit(main())
