"""What each repository has."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Unsupported
from pierhead.oci.image import INDEX, MANIFEST
from pierhead.registry.documents import Facts
from pierhead.registry.index import Index

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

A, B, C, D = (f"sha256:{letter * 64}" for letter in "abcd")


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    """An empty one, whose clock stands."""
    with Index(str(tmp_path / "db"), lambda: 100.5) as made:
        yield made


def test_blobs_belong_to_repositories(index: Index) -> None:
    """One has it, another has not; sizes and times are kept."""
    with index.change() as change:
        change.add_blob("a", A, 7)
        change.add_blob("b", A, 7)
        assert change.has_blob("a", A)
        assert not change.has_blob("c", A)
    assert index.find_blob("a", A) == (7, 100)
    assert index.find_blob("a", B) is None
    assert index.repositories_of_blob(A) == ["a", "b"]
    with index.change() as change:
        assert change.remove_blob("a", A)
        assert not change.remove_blob("a", A)
        assert change.is_wanted(A)
        assert change.remove_empty_repositories() == 1
    assert index.repositories() == ["b"]


def test_a_change_is_whole_or_nothing(index: Index) -> None:
    """What raises changes nothing, and the next one goes on."""

    def fail() -> None:
        with index.change() as change:
            change.add_blob("a", A, 7)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert not index.has_repository("a")
    with index.change() as change:
        change.add_blob("a", A, 7)
    assert index.has_repository("a")


def test_manifests(index: Index) -> None:
    """Tags lead to them; what refers to one is told; with a manifest its tags go."""
    facts = Facts(media_type=MANIFEST, artifact_type="x/y", blobs=(A,), subject=D, annotations={"k": "ü"})
    with index.change() as change:
        change.add_manifest("a", B, 3, facts)
        change.add_manifest("a", C, 4, Facts(media_type=INDEX, manifests=(B,), subject=D, annotations={}))
        for tag in ("z", "1", "B"):
            change.set_tag("a", tag, B)
    assert (index.find_manifest("a", B), index.find_manifest("b", B)) == (MANIFEST, None)
    assert (index.find_tag("a", "z"), index.find_tag("a", "none")) == (B, None)
    assert index.tags("a") == ["1", "B", "z"]
    assert index.tags("a", after="1", count=1) == ["B"]
    first, second = index.referrers("a", D)
    assert (first.digest, first.size, first.artifact_type, first.annotations) == (B, 3, "x/y", {"k": "ü"})
    assert (second.digest, second.media_type) == (C, INDEX)
    assert [each.digest for each in index.referrers("a", D, after=B)] == [C]
    with index.change() as change:
        assert change.remove_manifest("a", B)
        assert not change.remove_manifest("a", B)
    assert index.tags("a") == []


def test_uploads(index: Index) -> None:
    """They are known from beginning to end."""
    with index.change() as change:
        change.add_upload("u", "a", "sha512")
    found = index.find_upload("u")
    assert found is not None
    assert (found.repository, found.algorithm, found.used_s) == ("a", "sha512", 100)
    assert index.totals()["uploads"] == 1
    with index.change() as change:
        assert change.remove_upload("u")
        assert not change.remove_upload("u")
    assert index.uploads() == []


def test_newer_tables(tmp_path: Path) -> None:
    """A registry does not touch what a newer one has made."""
    path = str(tmp_path / "db")
    db = sqlite3.connect(path)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(Unsupported, match="was made by a newer version"):
        Index(path)


def test_what_is_no_database(tmp_path: Path) -> None:
    """It is not opened, and nothing of it stays open."""
    path = tmp_path / "db"
    path.write_bytes(b"not a database, but long enough to be taken for one" * 100)
    with pytest.raises(sqlite3.DatabaseError, match="not a database") as caught:
        Index(str(path))
    links = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert str(path) not in links, caught.value
