"""What has been acknowledged stays, and what was on its way goes on: kills, restarts, collections."""

from __future__ import annotations

import errno
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import threading
import time
from itertools import count, takewhile
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import PierheadError
from pierhead.registry.collect import collect
from pierhead.registry.storage import Storage
from tests.support.peers import wait_until
from tests.support.registries import Registry, digest_of, registry
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
HOUR_S = 3600


def image_of(*blobs: bytes) -> bytes:
    """A manifest that needs these blobs; the first is its configuration."""
    config, *layers = ({"mediaType": LAYER, "digest": digest_of(blob), "size": len(blob)} for blob in blobs)
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    return json.dumps(document).encode()


def send_half(reg: Registry, location: str, data: bytes, sent: int) -> http.client.HTTPConnection:
    """A chunk of which only a part is sent; the connection stays open."""
    connection = http.client.HTTPConnection("127.0.0.1", reg.port, timeout=60)
    connection.putrequest("PATCH", location)
    connection.putheader("Content-Length", str(len(data)))
    connection.putheader("Content-Range", f"0-{len(data) - 1}")
    connection.endheaders(data[:sent])
    return connection


def is_refused(reg: Registry) -> bool:
    """Whether nobody listens there any more."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", reg.port)) == errno.ECONNREFUSED


def received(reg: Registry, location: str) -> int:
    """How much of the upload is there."""
    answer = reg.get(location)
    assert answer.status == 204
    last = int(answer["Range"].partition("-")[2])
    return last + 1 if last else 0


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_an_upload_survives_its_server(tmp_path: Path, algorithm: str) -> None:
    """Killed in mid-chunk, the next server says how much it has, and takes the rest."""
    data = os.urandom(5 << 20)
    with registry(tmp_path / "root") as reg:
        location = reg.begin("a/b")
        connection = send_half(reg, location, data, 3 << 20)
        wait_until(lambda: received(reg, location) >= 2 << 20, what="the first part's arrival")
        os.kill(reg.pid, signal.SIGKILL)
        connection.close()
    with registry(tmp_path / "root") as reg:
        have = received(reg, location)
        assert 2 << 20 <= have <= 3 << 20
        assert reg.patch(location, data[have:], have).status == 202
        digest = digest_of(data, algorithm)
        answer = reg.finish(location, digest)
        assert answer.status == 201
        assert reg.get(answer["Location"]).body == data


def test_an_upload_survives_its_connection(tmp_path: Path) -> None:
    """What was read before the connection broke counts."""
    data = os.urandom(2 << 20)
    with registry(tmp_path / "root") as reg:
        location = reg.begin("a/b")
        connection = send_half(reg, location, data, 1_500_000)
        wait_until(lambda: received(reg, location) >= 500_000, what="the first part's arrival")
        connection.close()
        answer = reg.patch(location, data[:1], 0)
        assert answer.status == 416
        have = int(answer["Range"].partition("-")[2]) + 1
        assert 500_000 <= have <= 1_500_000
        assert reg.patch(location, data[have:], have).status == 202
        assert reg.finish(location, digest_of(data)).status == 201


def test_a_client_that_stalls_is_hung_up_on(tmp_path: Path) -> None:
    """What it sent is kept for its next try, which does not have to wait for long."""
    data = os.urandom(1 << 20)
    with registry(tmp_path / "root", idle_s=2) as reg:
        location = reg.begin("a/b")
        connection = send_half(reg, location, data, 600_000)
        assert connection.getresponse().status == 408
        connection.close()
        assert received(reg, location) == 600_000
        assert reg.finish(location, digest_of(data), data[600_000:]).status == 201


@pytest.mark.parametrize("begun", [b"", b"GET /v2/ HTTP/1.1\r\nHost: x\r\nUser-"], ids=["nothing", "half"])
def test_a_client_that_asks_for_nothing_is_hung_up_on(tmp_path: Path, begun: bytes) -> None:
    """Also one that never comes to the end of its question, at first and after others."""
    with registry(tmp_path / "root", idle_s=0.5) as reg:
        host, _, port = reg.address.partition(":")
        for before in (b"", b"GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"):
            with socket.create_connection((host, int(port))) as client, client.makefile("rb") as answers:
                client.sendall(before + begun)
                assert answers.read().startswith(before and b"HTTP/1.1 200 ")


def push_until_killed(reg: Registry, acknowledged: dict[str, bytes], seed: int) -> None:
    """Pushes image after image; notes what was acknowledged."""
    chance = random.Random(seed)
    shared = chance.randbytes(50_000)
    try:
        while True:
            blobs = (chance.randbytes(2000), shared, chance.randbytes(chance.randrange(300_000)))
            for blob in blobs:
                acknowledged[f"/v2/k/{seed}/blobs/{reg.push_blob(f'k/{seed}', blob)}"] = blob
            raw = image_of(*blobs)
            tag = f"t{chance.randrange(10**9)}"
            assert reg.put_manifest(f"k/{seed}", tag, raw).status == 201
            acknowledged[f"/v2/k/{seed}/manifests/{tag}"] = raw
    except (OSError, http.client.HTTPException):
        return


def test_kills_lose_nothing(tmp_path: Path) -> None:
    """Killed at random moments, again and again: all that was acknowledged is there, whole."""
    acknowledged: dict[str, bytes] = {}
    chance = random.Random(7)
    for turn in range(8):
        before = len(acknowledged)
        with registry(tmp_path / "root", collect_every_s=0.05, grace_s=HOUR_S) as reg:
            threads = [
                threading.Thread(target=push_until_killed, args=(reg, acknowledged, turn * 10 + number))
                for number in range(3)
            ]
            for thread in threads:
                thread.start()
            wait_until(lambda: len(acknowledged) >= before + 3, what="a push")  # noqa: B023 - called here
            time.sleep(chance.random() * 0.5)
            os.kill(reg.pid, signal.SIGKILL)
            for thread in threads:
                thread.join()
    assert len(acknowledged) > 20
    with registry(tmp_path / "root") as reg:
        for path, data in acknowledged.items():
            answer = reg.get(path)
            assert (answer.status, answer.body == data) == (200, True), path


def test_stopping_lets_requests_end(tmp_path: Path) -> None:
    """Told to stop, the registry takes the rest of what is being sent, and then ends."""
    data = os.urandom(1 << 20)
    with registry(tmp_path / "root") as reg:
        location = reg.begin("a/b")
        connection = send_half(reg, location, data, 600_000)
        wait_until(lambda: received(reg, location) > 0, what="the first part's arrival")
        os.kill(reg.pid, signal.SIGTERM)
        wait_until(lambda: is_refused(reg), what="the stop")
        connection.send(data[600_000:])
        assert connection.getresponse().status == 202
        connection.close()


@requires("root", "mount")
def test_a_full_disk(tmp_path: Path) -> None:
    """What does not fit is refused in a sentence; what fits is taken, and space comes back."""
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6m", "pierhead-test", disk], check=True)
    try:
        with registry(disk / "root", collect_every_s=0.2, grace_s=1) as reg:
            half = os.urandom(2 << 20)
            location = reg.patch(reg.begin("a"), half, 0)["Location"]
            answer = reg.patch(location, os.urandom(5 << 20), len(half))
            assert (answer.status, answer.word) == (507, "UNKNOWN")
            assert "the disk is full" in answer.json()["errors"][0]["message"]
            have = received(reg, location)
            assert have >= len(half)
            assert reg.delete(location).status == 204
            for name in ("a", "b"):
                digest = reg.push_blob(name, os.urandom(3 << 20))
                assert reg.delete(f"/v2/{name}/blobs/{digest}").status == 202
                content = disk / f"root/content/blobs/sha256/{digest[7:]}"
                wait_until(lambda path=content: not path.exists(), what="the collection")  # type: ignore[misc]
    finally:
        subprocess.run(["umount", disk], check=True)


def test_one_server_for_a_directory(tmp_path: Path) -> None:
    """A second one is refused, in a sentence."""
    second = registry(tmp_path / "root")
    with registry(tmp_path / "root"), pytest.raises(AssertionError, match="another registry serves"):
        second.__enter__()


def test_a_port_that_is_used(tmp_path: Path) -> None:
    """Is said as the kernel says it, with the address once."""
    with registry(tmp_path / "one") as first:
        message = rf"\ncannot listen at 127\.0\.0\.1:{first.port}: address already in use\n"
        with pytest.raises(AssertionError, match=message):
            registry(tmp_path / "two", port=first.port).__enter__()


def test_a_host_that_is_not_ours(tmp_path: Path) -> None:
    """A name that leads nowhere, an address of another machine."""
    for host, reason in (("nowhere.invalid", "there is no such host"), ("192.0.2.1", "cannot assign")):
        with pytest.raises(AssertionError, match=f"\ncannot listen at {host}:0: {reason}"):
            registry(tmp_path / "root", host=host).__enter__()


class Clock:
    """A clock that tests turn."""

    now_s = 1_000_000.0

    def __call__(self) -> float:
        """Seconds since 1970."""
        return self.now_s


def test_what_is_garbage(tmp_path: Path) -> None:
    """What nothing needs goes when its grace is over; everything else stays."""
    clock = Clock()
    needed, config, alone, mounted = (os.urandom(1000) for _ in range(4))
    with Storage(tmp_path / "root", clock) as storage:
        for blob in (needed, config, alone, mounted):
            storage.put_blob("a", digest_of(blob), blob)
        storage.put_manifest("a", image_of(config, needed), content_type=MANIFEST, tags=["t"])
        half = storage.uploads.start("a")
        assert collect(storage, grace_s=HOUR_S).contents == 0
        clock.now_s += HOUR_S + 61
        assert storage.mount("b", digest_of(mounted), ["a"])
        collected = collect(storage, grace_s=HOUR_S)
        assert (collected.blobs, collected.contents, collected.freed_bytes) == (2, 1, 1000)
        assert storage.find_blob("b", digest_of(mounted)) == 1000
        assert storage.find_blob("a", digest_of(alone)) is None
        assert storage.find_blob("a", digest_of(needed)) == 1000
        assert storage.uploads.get_size("a", half) == 0
        clock.now_s += HOUR_S + 61
        storage.remove_manifest("a", "t")
        assert storage.find_blob("b", digest_of(mounted)) == 1000  # it is asked for: young again
        collected = collect(storage, grace_s=HOUR_S, upload_age_s=HOUR_S, untagged=True)
        assert (collected.manifests, collected.blobs, collected.contents) == (1, 2, 3)
        assert collected.uploads == 1
        assert storage.index.repositories() == ["b"]
        assert [digest for digest, _ in storage.content.digests()] == [digest_of(mounted)]


def test_untagged_manifests(tmp_path: Path) -> None:
    """An index keeps its manifests, a subject what refers to it; the rest goes if that is wanted."""
    clock = Clock()
    config = os.urandom(100)
    with Storage(tmp_path / "root", clock) as storage:
        storage.put_blob("a", digest_of(config), config)

        def put(raw: bytes, *tags: str) -> dict[str, object]:
            digest, facts = storage.put_manifest("a", raw, content_type="", tags=tags)
            return {"mediaType": facts.media_type, "digest": digest, "size": len(raw)}

        def variant(**more: object) -> bytes:
            return json.dumps({**json.loads(image_of(config)), **more}).encode()

        child, lost = put(variant(annotations={"n": "1"})), put(variant(annotations={"n": "2"}))
        index = {"schemaVersion": 2, "mediaType": MANIFEST.replace("manifest", "index"), "manifests": [child]}
        put(json.dumps(index).encode(), "top")
        referrer = put(variant(subject=child))
        orphan = put(variant(subject=lost))
        clock.now_s += HOUR_S
        assert collect(storage, grace_s=10).manifests == 0
        assert collect(storage, grace_s=10, untagged=True).manifests == 2
        for kept in (child, referrer):
            storage.get_manifest("a", str(kept["digest"]))
        for gone in (lost, orphan):
            with pytest.raises(PierheadError, match="has no manifest"):
                storage.get_manifest("a", str(gone["digest"]))


BLOBS = [random.Random(number).randbytes(3000) for number in range(6)]


class Pusher(threading.Thread):
    """Pushes images made of the same few blobs to a few repositories, and deletes some of them again."""

    def __init__(self, storage: Storage, seed: int, enough: Callable[[], bool]) -> None:
        super().__init__()
        self.storage, self.seed, self.enough = storage, seed, enough
        self.taken: list[tuple[str, str]] = []
        self.refused: set[str] = set()

    def run(self) -> None:
        """Forty of them, and more until it is enough."""
        chance = random.Random(self.seed)
        for turn in takewhile(lambda turn: turn < 40 or not self.enough(), count()):
            name, tag = f"r{chance.randrange(3)}", f"{self.seed}-{turn}"
            parts = chance.sample(BLOBS, 3)
            for part in parts:
                self.bring(name, part)
            try:
                self.storage.put_manifest(name, image_of(*parts), content_type="", tags=[tag])
                self.taken.append((name, tag))
            except PierheadError as error:
                self.refused.add(error.code)
            if chance.random() < 0.5 and self.taken:
                self.storage.remove_manifest(*self.taken.pop())

    def bring(self, name: str, part: bytes) -> None:
        """As clients do: sent only if it is neither here nor elsewhere."""
        digest = digest_of(part)
        here = self.storage.find_blob(name, digest) is not None
        if not (here or self.storage.mount(name, digest, ["r0", "r1"])):
            self.storage.put_blob(name, digest, part)


@pytest.mark.parametrize("grace_s", [0, 60])
def test_collecting_while_images_are_pushed(tmp_path: Path, grace_s: int) -> None:
    """A manifest that was taken has its blobs, whatever is collected meanwhile through another connection.

    Without any grace a push may be refused, but is never taken and then incomplete.
    """
    ended = threading.Event()
    freed: list[int] = []

    def sweep() -> None:
        with Storage(tmp_path / "root") as another:
            while not ended.is_set():
                freed.append(collect(another, grace_s=grace_s, untagged=True).contents)

    def enough() -> bool:
        """What nobody needs goes in the second after it was asked for, at the earliest."""
        return len(freed) > 2 and (grace_s > 0 or any(freed))

    with Storage(tmp_path / "root") as storage:
        storage.put_blob("r0", digest_of(b"nobody's"), b"nobody's")
        sweepers = [threading.Thread(target=sweep) for _ in range(2)]
        pushers = [Pusher(storage, seed, enough) for seed in range(3)]
        for thread in (*sweepers, *pushers):
            thread.start()
        for pusher in pushers:
            pusher.join()
        ended.set()
        for thread in sweepers:
            thread.join()
        refused = set().union(*(pusher.refused for pusher in pushers))
        assert refused <= ({"manifest-blob-unknown"} if grace_s == 0 else set())
        assert any(freed) == (grace_s == 0)
        taken = [each for pusher in pushers for each in pusher.taken]
        assert taken
        for name, tag in taken:
            for layer in json.loads(storage.get_manifest(name, tag).raw)["layers"]:
                assert storage.content.find_size(layer["digest"]) == 3000
                assert storage.find_blob(name, layer["digest"]) == 3000
