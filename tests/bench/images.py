"""Cases about images, beside Docker, Podman and Debian's registry: pull, load, save, layers, blobs, memory.

Everybody's store is on one file system, in memory where there is room for it, so that it is programs that are
compared and not disks.  Registries are on this machine.  Before each repetition the one whose turn it is
forgets all its images.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pierhead.images.service import ImageService
from pierhead.images.unpack import unpack_layer
from tests.bench import images_commit
from tests.bench.images_cost import Contest, Cost, cost_of, take_turns, watch_pss_kb
from tests.bench.images_engines import Engine, engines, pier
from tests.bench.images_inputs import Input, Inputs, make_inputs
from tests.bench.images_registries import (
    Crowd,
    compare_blobs,
    fresh_docker_registry,
    registries,
)
from tests.bench.programs import find_program, launcher
from tests.support.registries import registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from tests.support.registries import Registry

PARTS = ("pull", "archives", "layers", "registry", "memory")
_QUARTER, _THIRD = 0.25, 1 / 3
_MEMORY_KB_MAX = 150_000
_CHANGES = {"small files": 3, "compilers": 2}
"""Layers that are made anew, by their number in the big image."""
_PULLS = (
    ("busybox", "docker-registry"),
    ("debian", "docker-registry"),
    ("big", "docker-registry"),
    ("big", "pier registry"),
    ("big-zstd", "docker-registry"),
)
_WITHOUT_ZSTD = frozenset(("docker",))
"""Docker 20.10 takes a layer of zstd for a broken archive."""


def measure_images(
    home: Path, kept: Path, *, rounds: int, parts: tuple[str, ...] = PARTS
) -> tuple[dict[str, Any], str]:
    """The chosen parts' results, as a document and as a page.

    Args:
        home: an empty directory, for everybody's stores.
        kept: where the images to measure with are kept from run to run.
        rounds: repetitions of each contender.
        parts: those of ``PARTS``.
    """
    scratch = home / "scratch"
    scratch.mkdir()
    inputs = make_inputs(kept, scratch)
    shutil.rmtree(scratch)
    document: dict[str, Any] = {"inputs": {name: asdict(each) for name, each in inputs.images.items()}}
    pages = ["## Images", "", _describe(inputs), ""]
    contests: list[Contest] = []
    if not {"pull", "archives"}.isdisjoint(parts):
        contests += _compare_transfers(home, inputs, rounds=rounds, parts=parts)
    if "layers" in parts:
        contests += _compare_layers(home, inputs, rounds=rounds)
    if "registry" in parts:
        blobs, crowds = compare_blobs(home, rounds=max(rounds, 5))
        contests += blobs
        document["crowds"] = [asdict(crowd) for crowd in crowds]
        pages.append(_crowd_page(crowds))
    if "memory" in parts:
        document["memory_kb"] = measure_memory(home, inputs)
        pages.append(_memory_page(document["memory_kb"]))
    document["contests"] = {contest.name: contest.as_document() for contest in contests}
    pages[4:4] = [contest.as_markdown() for contest in contests]
    return document, "\n".join(pages)


# pull, load, save


def _compare_transfers(home: Path, inputs: Inputs, *, rounds: int, parts: tuple[str, ...]) -> list[Contest]:
    with registries(home) as servers, engines(home) as contenders:
        for server in servers.values():
            publish(home, inputs.all(), server, inputs.store)
        found: list[Contest] = []
        if "pull" in parts:
            for name, place in _PULLS:
                if place in servers:
                    found.append(_compare_pull(contenders, inputs[name], servers[place], place, rounds))
                    print(found[-1].as_markdown(), flush=True)
        if "archives" in parts:
            found += _compare_archives(home, contenders, name_at(servers["pier registry"], "big"), rounds)
        return found


def publish(home: Path, images: Sequence[Input], server: Registry, source: Path) -> None:
    """The registry has these images of the source, a store of ours."""
    store = home / "publishing"
    shutil.copytree(source, store, symlinks=True)
    with launcher() as usual:
        publisher = pier(store, usual)
        for image in images:
            name = name_at(server, image.name)
            publisher.ask("tag", image.reference, name)
            publisher.run("push", "-q", name)
    shutil.rmtree(store)


def name_at(server: Registry, name: str) -> str:
    """What the image is called in the registry."""
    return f"{server.address}/bench/{name}:1"


def _compare_pull(
    contenders: Mapping[str, Engine], image: Input, server: Registry, place: str, rounds: int
) -> Contest:
    reference = name_at(server, image.name)
    pulls = {
        name: _bound(engine.pull, reference)
        for name, engine in contenders.items()
        if not (image.name.endswith("zstd") and name in _WITHOUT_ZSTD)
    }
    title = (
        f"Pull of {image.name} ({image.plain_mb:.0f} MB, {image.compressed_mb:.0f} compressed) from {place}"
    )
    return _against_peers(title, _QUARTER, take_turns(pulls, rounds=rounds))


def _compare_archives(
    home: Path, contenders: Mapping[str, Engine], reference: str, rounds: int
) -> list[Contest]:
    for engine in contenders.values():
        engine.pull(reference)
    archives = {name: home / f"{name}.tar" for name in contenders}
    saves = {name: _bound(engine.save, reference, archives[name]) for name, engine in contenders.items()}
    found = [_against_peers("Save of big", _QUARTER, take_turns(saves, rounds=rounds))]
    for maker, archive in archives.items():
        if maker != "podman":  # the same form as docker's
            loads = {name: _bound(engine.load, archive) for name, engine in contenders.items()}
            title = f"Load of big, saved by {maker} ({archive.stat().st_size / 1e6:.0f} MB)"
            found.append(_against_peers(title, _QUARTER, take_turns(loads, rounds=rounds)))
        archive.unlink()
    return found


def _bound(action: Callable[..., Cost], *given: object) -> Callable[[], Cost]:
    return lambda: action(*given)


def _against_peers(title: str, target: float, costs: Mapping[str, list[Cost]]) -> Contest:
    return Contest(name=title, target=target, ours=("pier",), peers=("docker", "podman"), costs=costs)


# layers


def _compare_layers(home: Path, inputs: Inputs, *, rounds: int) -> list[Contest]:
    with registry(home / "registry") as server, engines(home) as contenders:
        publish(home, [inputs["busybox"]], server, inputs.store)
        base = name_at(server, "busybox")
        found = []
        for title, number in _CHANGES.items():
            digest = inputs["big"].layers[number]
            found.append(
                _compare_layer(home, contenders, base, unpack_to(inputs, digest, home / title), rounds)
            )
            print(found[-1].as_markdown(), flush=True)
        return found


def _compare_layer(
    home: Path, contenders: Mapping[str, Engine], base: str, upper: Path, rounds: int
) -> Contest:
    """The directory's files upon the base."""
    commits: dict[str, Callable[[], Cost]] = {}
    archive = home / "upper.tar"
    _pack(upper, archive)
    for name, engine in contenders.items():
        if name == "pier":
            for compression in ("gzip", "zstd"):
                commits[f"pier, {compression}"] = _bound(_commit, home, engine, base, upper, compression)
        else:
            engine.pull(base)
            container = engine.ask("create", "--network=none", base, "true")
            engine.ask("cp", "-", f"{container}:/", stdin=archive)
            commits[f"{name} commit alone"] = _bound(_commit_container, engine, container)
            commits[f"{name} commit and push"] = _bound(_commit_and_push, home, engine, container)
    archive.unlink()
    costs = take_turns(commits, rounds=rounds)
    shutil.rmtree(upper)
    return Contest(
        name=f"Layer of {upper.name}: made, compressed, pushed",
        target=_THIRD,
        ours=("pier, gzip", "pier, zstd"),
        peers=("docker commit and push", "podman commit and push"),
        costs=costs,
        notes=["They push to a registry that is new each time, Debian's."],
    )


def unpack_to(inputs: Inputs, digest: str, directory: Path) -> Path:
    """The layer's files are in the new directory, which is returned."""
    directory.mkdir()
    with ImageService(inputs.store) as service:
        source_fd = service.content.open(digest)
        directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            unpack_layer(source_fd, directory_fd, whiteouts="overlay")
        finally:
            os.close(source_fd)
            os.close(directory_fd)
    return directory


def _commit(home: Path, engine: Engine, base: str, upper: Path, compression: str) -> Cost:
    engine.pull(base)
    with _new_registry(home) as server:
        words = [sys.executable, images_commit.__file__, engine.store, base, str(upper), compression]
        return cost_of(engine.launcher.run([*words, f"{server.address}/bench/made:1"]))


def _commit_container(engine: Engine, container: str) -> Cost:
    made = "localhost/bench/made:1"
    cost = engine.run(*engine.committing, container, made)
    engine.ask("rmi", "-f", made)
    return cost


def _commit_and_push(home: Path, engine: Engine, container: str) -> Cost:
    with _new_registry(home) as server:
        made = f"{server.address}/bench/made:1"
        committed = engine.run(*engine.committing, container, made)
        pushed = engine.run(*engine.pushing, made)
        engine.ask("rmi", "-f", made)
    return Cost(committed.wall_s + pushed.wall_s, committed.cpu_s + pushed.cpu_s)


def _pack(directory: Path, archive: Path) -> None:
    """An archive of the directory, by tar."""
    tar = find_program("tar")
    assert tar is not None, "tar is not installed"
    subprocess.run([tar, "--numeric-owner", "-cf", archive, "-C", directory, "."], check=True)


@contextmanager
def _new_registry(home: Path) -> Iterator[Registry]:
    place = home / "pushed"
    try:
        if find_program("docker-registry"):
            with fresh_docker_registry(place) as server:
                yield server
        else:
            with registry(place) as server:
                yield server
    finally:
        shutil.rmtree(place, ignore_errors=True)


# memory


def measure_memory(home: Path, inputs: Inputs) -> dict[str, dict[str, int]]:
    """By image, in kB: the largest process of a pull, and all its processes together."""
    found = {}
    with registry(home / "registry") as server, launcher() as usual:
        publish(home, inputs.all(), server, inputs.store)
        engine = pier(home / "pier", usual)
        for name in inputs.images:
            largest_kb = engine.pull(name_at(server, name)).peak_kb
            engine.forget()
            together_kb = watch_pss_kb([*engine.words, *engine.pulling, name_at(server, name)])
            found[name] = {"largest": largest_kb, "together": together_kb}
        engine.forget()
    shutil.rmtree(home / "registry")
    return found


# pages


def _describe(inputs: Inputs) -> str:
    told = (f"{each.name} {each.plain_mb:.0f} MB in {len(each.layers)}" for each in inputs.images.values())
    return f"Made of {inputs.note}; sizes without compression, and layers: {', '.join(told)}."


def _crowd_page(crowds: list[Crowd]) -> str:
    lines = [
        "### Many clients download a blob at once",
        "",
        "| | MB/s | processors' s | RSS before, MB | at most | after |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for each in crowds:
        memory = " | ".join(f"{kb / 1000:.0f}" for kb in (each.before_kb, each.peak_kb, each.after_kb))
        lines.append(f"| {each.name} | {each.mb_per_s:.0f} | {each.cpu_s:.2f} | {memory} |")
    return "\n".join([*lines, ""])


def _memory_page(memory: dict[str, dict[str, int]]) -> str:
    lines = ["### Memory of a pull", "", "| | largest process, MB | together (PSS), MB | at most 150 |"]
    lines.append("|---|---:|---:|---|")
    for name, kb in memory.items():
        held = "held" if max(kb.values()) < _MEMORY_KB_MAX else "missed"
        lines.append(f"| {name} | {kb['largest'] / 1000:.0f} | {kb['together'] / 1000:.0f} | {held} |")
    return "\n".join([*lines, ""])
