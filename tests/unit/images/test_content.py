"""The store of contents: whole or not at all, one writer at a time, going on where another one stopped."""

from __future__ import annotations

import json
import os
import stat
import threading
from pathlib import Path

import pytest

from pierhead.digests import compute_digest
from pierhead.errors import InvalidInput, NotFound
from pierhead.images.content import ContentStore, part_digest

DATA = b"some content" * 1000
DIGEST = compute_digest(DATA)


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    """An empty one."""
    return ContentStore(tmp_path / "content")


def parts(store: ContentStore) -> list[str]:
    """What lies in the place for what is on its way."""
    return sorted(os.listdir(f"{store.root}/ingest"))


def test_it_is_an_image_layout(store: ContentStore) -> None:
    """Any tool that reads OCI layouts finds the blobs."""
    store.write(DATA)
    root = Path(store.root)
    assert json.loads((root / "oci-layout").read_text()) == {"imageLayoutVersion": "1.0.0"}
    assert (root / "blobs/sha256" / DIGEST[7:]).read_bytes() == DATA
    assert not parts(store)


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    """Other users of the machine do not come to the contents, also where they once could."""
    store = ContentStore(tmp_path / "new")
    assert stat.S_IMODE(os.stat(store.root).st_mode) == 0o700
    (tmp_path / "old").mkdir()
    (tmp_path / "old").chmod(0o755)
    store = ContentStore(tmp_path / "old")
    assert stat.S_IMODE(os.stat(store.root).st_mode) == 0o750


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_writing_and_reading(store: ContentStore, algorithm: str) -> None:
    """What was written is found by its digest, of either algorithm."""
    digest = compute_digest(DATA, algorithm)
    assert store.find_size(digest) is None
    assert store.write(DATA, digest) == digest
    assert store.find_size(digest) == len(DATA)
    assert store.read(digest, limit_bytes=len(DATA)) == DATA
    assert list(store.digests()) == [(digest, len(DATA))]
    assert store.remove(digest) == len(DATA)
    assert store.remove(digest) == 0
    with pytest.raises(NotFound, match="is not here"):
        store.open(digest)


def test_what_is_too_large_is_not_read(store: ContentStore) -> None:
    """A document that pretends to be small does not fill the memory."""
    store.write(DATA)
    with pytest.raises(InvalidInput, match="has more than 100 bytes"):
        store.read(DIGEST, limit_bytes=100)


def test_damage_is_noticed(store: ContentStore) -> None:
    """A content that is no longer what its name says is not given."""
    store.write(DATA)
    Path(store.path(DIGEST)).write_bytes(DATA[:-1] + b"!")
    with pytest.raises(InvalidInput, match="is damaged"):
        store.read(DIGEST, limit_bytes=len(DATA))


@pytest.mark.parametrize("name", ["sha256:..", "../../etc/passwd", "", "sha1:" + "0" * 40])
def test_only_digests_become_paths(store: ContentStore, name: str) -> None:
    """Whatever else is asked for is refused."""
    with pytest.raises(InvalidInput, match="is not a digest"):
        store.path(name)
    with pytest.raises(InvalidInput, match="is not a digest"):
        store.ingest(name)


def test_a_fetch_goes_on_where_the_last_one_stopped(store: ContentStore) -> None:
    """What had come is kept and counts."""
    with store.ingest(DIGEST) as ingest:
        ingest.append(DATA[:5000])
    assert store.find_size(DIGEST) is None
    assert [size for _, size in store.parts()] == [5000]
    with store.ingest(DIGEST) as ingest:
        assert ingest.size == 5000
        ingest.append(memoryview(DATA)[5000:])
        assert ingest.commit(size=len(DATA)) == DIGEST
    assert store.read(DIGEST, limit_bytes=len(DATA)) == DATA
    assert not parts(store)


def test_what_is_wrong_is_not_kept(store: ContentStore) -> None:
    """A wrong digest or size says so; the next fetch begins anew."""
    with store.ingest(DIGEST) as ingest:
        ingest.append(b"lies")
        with pytest.raises(InvalidInput, match="what came is not sha256"):
            ingest.commit()
        assert ingest.size == 0
        ingest.append(DATA)
        with pytest.raises(InvalidInput, match="has 12000 bytes and was to have 7"):
            ingest.commit(size=7)
    assert not parts(store)
    assert not list(store.digests())


def test_an_unnamed_content_is_named_by_what_it_is(store: ContentStore) -> None:
    """And gone if it is not finished."""
    with store.ingest_new() as ingest:
        ingest.append(DATA)
        assert ingest.commit() == DIGEST
    with store.ingest_new() as ingest:
        ingest.append(b"half")
        assert not list(store.parts())
    assert not parts(store)


def test_one_writer_at_a_time(store: ContentStore) -> None:
    """A second fetch of the same content waits for the first, and finds it done."""
    found: list[int | None] = []

    def fetch() -> None:
        with store.ingest(DIGEST):
            found.append(store.find_size(DIGEST))

    with store.ingest(DIGEST) as ingest:
        assert store.find_ingest(DIGEST) is None
        waiting = threading.Thread(target=fetch)
        waiting.start()
        ingest.append(DATA)
        assert not found
        ingest.commit()
    waiting.join()
    assert found == [len(DATA)]
    assert not parts(store)


def test_parts_that_nobody_writes_can_go(store: ContentStore) -> None:
    """Those that somebody writes stay."""
    with store.ingest(DIGEST) as ingest:
        ingest.append(b"x" * 100)
    other = compute_digest(b"other")
    with store.ingest(other) as ingest:
        ingest.append(b"o")
        assert store.remove_parts() == 100
        assert len(parts(store)) == 2
        ingest.append(b"ther")
        ingest.commit()


def test_what_a_killed_writer_left_behind_goes(store: ContentStore) -> None:
    """Also a lock without a part: its writer was killed after the content was whole."""
    with store.ingest(DIGEST) as ingest:
        ingest.append(b"x")
    [(path, _)] = store.parts()
    assert part_digest(path) == DIGEST
    Path(path).unlink()
    assert len(parts(store)) == 1
    store.remove_parts()
    assert not parts(store)


def test_a_part_that_is_written_again_stays(store: ContentStore) -> None:
    """Somebody may have gone on with it since it was listed."""
    with store.ingest(DIGEST) as ingest:
        ingest.append(DATA[:10])
    [(path, _)] = store.parts()
    with store.ingest(DIGEST) as ingest:
        assert store.remove_part(path) == 0
        ingest.append(DATA[10:])
        ingest.commit()
    with store.ingest_new() as ingest:
        [name] = parts(store)
        assert store.remove_part(f"{store.root}/ingest/{name}") == 0
        ingest.append(b"more")
        ingest.commit()


def test_what_is_coming_is_announced(tmp_path: Path) -> None:
    """Before anybody can find it, so that it can be protected from collections."""
    heard: list[tuple[str, int | None]] = []
    plain = ContentStore(tmp_path)
    store = ContentStore(tmp_path, announce=lambda digest: heard.append((digest, plain.find_size(digest))))
    store.write(DATA)
    assert heard == [(DIGEST, None)]
    other = compute_digest(b"other")
    with store.ingest(other) as ingest:
        assert heard[1:] == [(other, None)]
        ingest.append(b"other")
        ingest.commit()
    assert set(heard[1:]) == {(other, None)}
