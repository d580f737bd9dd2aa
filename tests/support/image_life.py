"""A program: processes that write, name, unpack, remove and collect images, and are killed while they do.

    python -m tests.support.image_life DIRECTORY ROUNDS SEED

Each round forks two workers on the same library, kills both in the middle of something, and looks whether
what they left is whole.  How long they live is counted in what they have done, so that a slow machine, or one
that is busy with something else, kills them at the same places.  A keeper, which lives through all rounds,
holds a lease on contents that no image has.  Prints one line of JSON; ends with an exception when something
is not whole.

A database must not be open across a fork (https://www.sqlite.org/howtocorrupt.html, section 2.6), so this
process opens the library only between rounds.
"""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pierhead.digests import compute_digest
from pierhead.errors import NotFound
from pierhead.images.content import ContentStore
from pierhead.images.library import Layer, Library
from pierhead.images.walk import chain_ids, walk
from tests.support.images import describe, make_image, make_index

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pierhead.images.library import Lease
    from pierhead.oci.image import Descriptor

LAYERS = [bytes([65 + number]) * (1 + 9000 * number) for number in range(8)]
KEPT = [f"kept {number}".encode() for number in range(5)]
ACTIONS_MOST = 8
"""So much the workers of a round have done at most, both together, before one of them is killed."""


class Info(NamedTuple):
    """A snapshot as it is listed."""

    name: str
    kind: str
    parent: str


class Directories:
    """Snapshots as a snapshotter would make them: they appear and vanish whole."""

    name = "directories"

    def __init__(self, root: Path) -> None:
        """Below this directory."""
        self.root = root
        (root / "committed").mkdir(parents=True, exist_ok=True)
        (root / "work").mkdir(exist_ok=True)

    def walk(self) -> Iterable[Info]:
        """All; nobody runs anything on them."""
        for path in (self.root / "committed").iterdir():
            try:
                yield Info(path.name, "committed", (path / "parent").read_text())
            except FileNotFoundError:
                continue

    def remove(self, name: str) -> None:
        """First it has another name, then it goes piece by piece."""
        away = self.root / "work" / os.urandom(8).hex()
        try:
            (self.root / "committed" / name).rename(away)
        except FileNotFoundError:
            raise NotFound(f"there is no snapshot {name}") from None
        shutil.rmtree(away)

    def shared_bytes(self, _: Iterable[str]) -> int:
        """None of them shares files."""
        return 0

    def remove_unshared(self) -> None:
        """Nothing is kept for sharing."""

    def commit(self, name: str, parent: str) -> None:
        """It is there whole; it may have been there before."""
        work = self.root / "work" / os.urandom(8).hex()
        work.mkdir()
        (work / "parent").write_text(parent)
        try:
            work.rename(self.root / "committed" / name)
        except OSError:
            shutil.rmtree(work)

    def has(self, name: str) -> bool:
        """Whether it is there."""
        return (self.root / "committed" / name).is_dir()


def open_library(root: Path) -> tuple[Library, Directories]:
    """The library below this directory."""
    snapshots = Directories(root / "snapshots")
    content = ContentStore(root / "content")
    return Library(root / "images.db", content, snapshotters=[snapshots]), snapshots


# Workers


def put_with(lease: Lease, dice: random.Random) -> Callable[[bytes, str], Descriptor]:
    """What a pull does: pin, look, and write what is not there."""

    def put(data: bytes, media_type: str) -> Descriptor:
        descriptor = describe(data, media_type)
        lease.pin(descriptor.digest)
        if lease.content.find_size(descriptor.digest) is not None:
            return descriptor
        if dice.random() < 0.3:
            lease.content.write(data)
            return descriptor
        with lease.content.ingest(descriptor.digest) as ingest:
            if lease.content.find_size(descriptor.digest) is None:
                rest = data[ingest.size :]
                ingest.append(rest[: len(rest) // 2])
                ingest.append(rest[len(rest) // 2 :])
                ingest.commit(size=len(data))
        return descriptor

    return put


def pull(library: Library, snapshots: Directories, dice: random.Random) -> None:
    """An image, or an index of which one image is here, gets a name and is unpacked."""
    with library.lease(purpose="torture") as lease:
        put = put_with(lease, dice)
        layers = dice.sample(LAYERS, dice.randrange(1, 5))
        root = make_image(put, layers)
        if dice.random() < 0.3:
            elsewhere = describe(dice.randbytes(8), root.media_type)
            root = make_index(put, [elsewhere, root])
        library.set_image(f"image-{dice.randrange(6)}", root)
        parent = ""
        diff_ids = tuple(compute_digest(layer) for layer in layers)
        for diff_id, chain_id in zip(diff_ids, chain_ids(diff_ids), strict=True):
            lease.pin(chain_id)
            if library.find_layer("directories", chain_id) is None:
                snapshots.commit(chain_id, parent)
                library.record_layer(
                    Layer(snapshotter="directories", chain_id=chain_id, diff_id=diff_id, parent=parent)
                )
            assert snapshots.has(chain_id), f"the pinned layer {chain_id} is gone"
            parent = chain_id


def remove(library: Library, dice: random.Random) -> None:
    """Some image has no name any more."""
    try:
        library.remove_image(f"image-{dice.randrange(6)}")
    except NotFound:
        return


def work(root: Path, seed: int, done_fd: int) -> None:
    """Until it is killed; each action that is done is told."""
    dice = random.Random(seed)
    library, snapshots = open_library(root)
    while True:
        action = dice.random()
        if action < 0.7:
            pull(library, snapshots, dice)
        elif action < 0.85:
            library.collect(parts_kept_s=dice.choice((0, 1000)))
        else:
            remove(library, dice)
        os.write(done_fd, b".")


def keep(root: Path, ready_fd: int) -> None:
    """Holds a lease on contents that nothing else needs, until it is killed."""
    library, _ = open_library(root)
    with library.lease(purpose="keeping") as lease:
        for each in KEPT:
            lease.content.write(each)
        os.write(ready_fd, b"!")
        signal.pause()


def fork(action: Callable[[], None]) -> int:
    """Another process does this; what goes wrong there ends it with status 1."""
    pid = os.fork()
    if pid == 0:
        try:
            action()
        except BaseException:  # noqa: BLE001 - the forked process ends here, whatever it was
            sys.excepthook(*sys.exc_info())
        os._exit(1)
    return pid


def end(pid: int) -> None:
    """It is killed, unless it has ended by itself, which it must not."""
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    if not os.WIFSIGNALED(status):
        raise AssertionError("a worker gave up")


def live(root: Path, dice: random.Random) -> None:
    """Two workers have done something together, and were killed in the middle of something else."""
    done_fd, told_fd = os.pipe()
    began_s = time.monotonic()
    workers = [fork(functools.partial(work, root, dice.getrandbits(32), told_fd)) for _ in range(2)]
    os.close(told_fd)
    actions = dice.randrange(1, ACTIONS_MOST + 1)
    for _ in range(actions - 1):
        os.read(done_fd, 1)
    action_s = (time.monotonic() - began_s) / actions
    for each in workers:
        time.sleep(dice.uniform(0, action_s))
        end(each)
    os.close(done_fd)


# Inspection


def inspect(root: Path) -> int:
    """Everything that was promised holds; returns the number of images."""
    library, snapshots = open_library(root)
    with library:
        content = library.content
        for image in library.images():
            assert not _missing(library, image.descriptor), f"{image.name} is not whole"
        for digest, size in content.digests():
            assert compute_digest(Path(content.path(digest)).read_bytes()) == digest, (
                f"{digest}, {size} bytes"
            )
        for each in KEPT:
            assert content.find_size(compute_digest(each)), "what was pinned is lost"
        for layer in library.layers():
            assert snapshots.has(layer.chain_id), f"the layer {layer.chain_id} has no snapshot"
        return len(library.images())


def _missing(library: Library, root: Descriptor) -> list[str]:
    def read(digest: str) -> bytes | None:
        if library.content.find_size(digest) is None:
            return None
        return library.content.read(digest, limit_bytes=1 << 20)

    steps = walk(root, read, lambda digest: library.content.find_size(digest) is not None)
    return [step.child.descriptor.digest for step in steps if step.child.needed and not step.present]


def finish(root: Path) -> dict[str, int]:
    """After one more collection nothing is there but what images need."""
    library, snapshots = open_library(root)
    with library:
        inventory = library.collect()
        left = library.plan_collection()
        assert not left.removed
        parts = os.listdir(library.content.root + "/ingest")
        assert not parts, f"{parts} is left of downloads"
        assert {each.name for each in snapshots.walk()} == {layer.chain_id for layer in library.layers()}
        library.set_image("last", make_image(lambda data, kind: _write(library, data, kind), LAYERS))
    return {"removed_at_last": len(inventory.removed), "kept": len(left.kept)}


def _write(library: Library, data: bytes, media_type: str) -> Descriptor:
    library.content.write(data)
    return describe(data, media_type)


def main(root: Path, rounds: int, seed: int) -> None:
    """All rounds."""
    dice = random.Random(seed)
    ready_fd, told_fd = os.pipe()
    keeper = fork(functools.partial(keep, root, told_fd))
    os.read(ready_fd, 1)
    images = 0
    try:
        for _ in range(rounds):
            live(root, dice)
            images += inspect(root)
    finally:
        end(keeper)
    print(json.dumps({"rounds": rounds, "images": images, **finish(root)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
