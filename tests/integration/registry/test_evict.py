"""Copies of upstreams' contents are kept within a size and an age."""

from __future__ import annotations

import http.client
import os
import re
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from pierhead.registry.collect import collect
from pierhead.registry.evict import Room, evict
from pierhead.registry.storage import Storage
from tests.integration.registry.test_cache import copies, push_image
from tests.support.commands import Command
from tests.support.peers import wait_until
from tests.support.registries import Registry, digest_of, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1 << 20
HOUR_S = 3600
CONFIG = digest_of(b"{}")


@pytest.fixture
def upstream(tmp_path: Path) -> Iterator[Registry]:
    """A registry of ours, from which others copy."""
    with registry(tmp_path / "upstream") as running:
        yield running


def layers(upstream: Registry, count: int, *, size: int = MIB) -> list[bytes]:
    """Images team/0:1, team/1:1, … with a layer each; the layers."""
    made = [os.urandom(size) for _ in range(count)]
    for number, layer in enumerate(made):
        push_image(upstream, f"team/{number}", "1", layer)
    return made


def take(reg: Registry, number: int, layer: bytes) -> None:
    """The image is pulled through the copy."""
    assert reg.get(f"/v2/hub/team/{number}/manifests/1").status == 200
    for blob in (b"{}", layer):
        assert reg.get(f"/v2/hub/team/{number}/blobs/{digest_of(blob)}").body == blob


def age(root: Path, seconds: int) -> None:
    """What the registry has was last asked for so much earlier."""
    with closing(sqlite3.connect(root / "registry.db", timeout=60)) as db, db:
        for table in ("blobs", "manifests"):
            db.execute(f"UPDATE {table} SET used_s = used_s - ?", (seconds,))


def kept(root: Path, made: list[bytes]) -> list[int]:
    """Numbers of the layers that are in the store."""
    here = {path.name for path in (root / "content/blobs/sha256").iterdir()}
    return [number for number, layer in enumerate(made) if digest_of(layer).split(":")[1] in here]


def figures(reg: Registry) -> dict[str, float]:
    """The registry's figures by their names, of those without labels."""
    lines = [line.split() for line in reg.get("/metrics").body.decode().splitlines() if "{" not in line]
    return {line[0].removeprefix("pierhead_registry_"): float(line[1]) for line in lines if line[0] != "#"}


def test_the_least_recently_used_goes_first(tmp_path: Path, upstream: Registry) -> None:
    """Until the rest fits; what went is fetched again when it is asked for."""
    made = layers(upstream, 4)
    root = tmp_path / "copy"
    with registry(root, **copies(upstream)) as reg:
        for number, layer in enumerate(made):
            take(reg, number, layer)
            age(root, 100)
        take(reg, 0, made[0])  # the oldest becomes the youngest
        with Storage(root) as storage:
            found = evict(storage, Room(bytes_most=2 * MIB + 10_000))
        assert kept(root, made) == [0, 3]
        assert found.freed_bytes >= 2 * MIB
        assert figures(reg)["copies_bytes"] <= 2 * MIB + 10_000
        for number, layer in enumerate(made):
            take(reg, number, layer)
        assert kept(root, made) == [0, 1, 2, 3]


def test_what_nobody_asked_for_in_a_while_goes(tmp_path: Path, upstream: Registry) -> None:
    """Manifests and their tags too; what was asked for since stays whole."""
    made = layers(upstream, 2)
    root = tmp_path / "copy"
    with registry(root, **copies(upstream)) as reg:
        for number, layer in enumerate(made):
            take(reg, number, layer)
        age(root, 2 * HOUR_S)
        take(reg, 1, made[1])
        with Storage(root) as storage:
            found = evict(storage, Room(age_s=HOUR_S))
            assert found.copies == 2  # a manifest and its layer; both have the configuration
            assert storage.index.tags("hub/team/0") == []
        os.kill(upstream.pid, signal.SIGKILL)
        take(reg, 1, made[1])
        assert reg.get("/v2/hub/team/0/manifests/1").status in (502, 503)


def test_what_clients_brought_stays(tmp_path: Path, upstream: Registry) -> None:
    """In a repository of our own, mounted from a copy, and in one that became a copy only later."""
    made = layers(upstream, 3)
    root = tmp_path / "copy"
    early, pushed = os.urandom(MIB), os.urandom(MIB)
    with registry(root) as reg:
        push_image(reg, "hub/team/0", "own", early)
    with registry(root, **copies(upstream)) as reg:
        push_image(reg, "own", "1", pushed)
        for number, layer in enumerate(made):
            take(reg, number, layer)
        mounted = f"?mount={digest_of(made[1])}&from=hub/team/1"
        assert reg("POST", f"/v2/own/blobs/uploads/{mounted}").status == 201
        assert reg.push_blob("own", made[2]) == digest_of(made[2])
        assert reg.get("/v2/hub/team/0/manifests/own").status in (200, 404)
        age(root, 2 * HOUR_S)
        with Storage(root) as storage:
            assert evict(storage, Room(bytes_most=1, age_s=1)).freed_bytes >= MIB
        assert kept(root, [*made, early, pushed]) == [1, 2, 3, 4]
        assert reg.get("/v2/own/manifests/1").status == 200
        for layer in (pushed, made[1], made[2]):
            assert reg.get(f"/v2/own/blobs/{digest_of(layer)}").body == layer
        assert reg.get(f"/v2/hub/team/0/blobs/{digest_of(early)}").body == early


def test_what_is_pushed_later_is_a_clients(tmp_path: Path, upstream: Registry) -> None:
    """A copy that a client pushes, when its repository is no upstream's any more, is a copy no longer."""
    (layer,) = layers(upstream, 1)
    root = tmp_path / "copy"
    with registry(root, **copies(upstream)) as reg:
        take(reg, 0, layer)
    with registry(root) as reg, Storage(root) as storage:
        push_image(reg, "hub/team/0", "1", layer)
        assert evict(storage, Room(bytes_most=1)).copies == 0
        assert collect(storage, grace_s=0).contents == 0
        take(reg, 0, layer)


def test_what_is_being_served_stays(tmp_path: Path, upstream: Registry) -> None:
    """A client that reads slowly keeps the blob; it goes when the client has it."""
    made = layers(upstream, 2, size=24 * MIB)
    root = tmp_path / "copy"
    with registry(root, **copies(upstream)) as reg:
        for number, layer in enumerate(made):
            take(reg, number, layer)
        age(root, HOUR_S)
        connection = http.client.HTTPConnection("127.0.0.1", reg.port)
        with closing(connection), Storage(root) as storage:
            connection.request("GET", f"/v2/hub/team/1/blobs/{digest_of(made[1])}")
            response = connection.getresponse()
            evict(storage, Room(bytes_most=1))
            assert kept(root, made) == [1]
            assert response.read() == made[1]

            def goes() -> bool:
                evict(storage, Room(bytes_most=1))
                return kept(root, made) == []

            wait_until(goes, what="the eviction")
        take(reg, 0, made[0])


def test_a_running_registry_keeps_within_its_room(tmp_path: Path, upstream: Registry) -> None:
    """As soon as more comes, without waiting for a collection, and its figures say so."""
    made = layers(upstream, 6)
    root = tmp_path / "copy"
    most = 2 * MIB + 20_000
    with registry(root, **copies(upstream, copies_bytes_most=most, collect_every_s=0)) as reg:
        for number, layer in enumerate(made):
            take(reg, number, layer)
        wait_until(lambda: len(kept(root, made)) == 2, what="the eviction")
        wait_until(lambda: figures(reg)["copies_evicted_bytes_total"] >= 4 * MIB, what="its figure")
        found = figures(reg)
        assert found["copies_bytes"] <= most
        assert found["copies"] >= 2
        assert found["copies_evicted_total"] >= 4
        assert found["upstream_blobs_total"] >= 7
        assert found["upstream_bytes_total"] >= 6 * MIB


def test_counters_begin_at_zero(tmp_path: Path, upstream: Registry) -> None:
    """Nothing was collected yet, and the figures say so."""
    with registry(tmp_path / "copy", **copies(upstream, copies_bytes_most=MIB, collect_every_s=0)) as reg:
        found = figures(reg)
        assert [found[name] for name in ("collections_total", "freed_bytes_total")] == [0, 0]
        assert [found[name] for name in ("copies_evicted_total", "copies_evicted_bytes_total")] == [0, 0]


def test_age_is_looked_after_with_the_garbage(tmp_path: Path, upstream: Registry) -> None:
    """By the registry that runs, each time it collects."""
    made = layers(upstream, 1)
    root = tmp_path / "copy"
    settings = copies(upstream, copies_age_s=HOUR_S, collect_every_s=0.05)
    with registry(root, **settings) as reg:
        take(reg, 0, made[0])
        wait_until(lambda: figures(reg)["collections_total"] >= 2, what="collections")
        assert kept(root, made) == [0]
        age(root, 2 * HOUR_S)
        wait_until(lambda: not kept(root, made), what="the eviction")


def test_by_hand_beside_a_running_registry(tmp_path: Path, upstream: Registry) -> None:
    """``registry gc`` evicts too, and says how much; a size that is none is refused."""
    made = layers(upstream, 2)
    root = tmp_path / "copy"
    with registry(root, **copies(upstream)) as reg:
        for number, layer in enumerate(made):
            take(reg, number, layer)
            age(root, 100)
        gc = Command("pier", "registry", "gc", "--root", root)
        said = gc("--copies-size", "1.5m")
        assert re.search(r"(1 copy of an|2 copies of) upstream.*; freed 1.05MB", said)
        assert kept(root, made) == [1]
        answer = gc.result("--copies-size", "much")
        assert answer.returncode == 1
        assert "--copies-size cannot be 'much'" in answer.stderr
        take(reg, 0, made[0])


def test_pulls_while_copies_are_evicted(tmp_path: Path, upstream: Registry) -> None:
    """Every pull gets everything, however little the copies may take."""
    made = layers(upstream, 4, size=300_000)
    settings = copies(upstream, copies_bytes_most=1, collect_every_s=0.01, upstream_fresh_s=0)
    with registry(tmp_path / "copy", **settings) as reg:
        for _ in range(15):
            for number, layer in enumerate(made):
                take(reg, number, layer)
        assert figures(reg)["copies_evicted_total"] > 0
