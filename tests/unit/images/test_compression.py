"""Compressed streams: seen by their magic, read to their true end, and not believed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import InvalidInput, OperationFailed, Unsupported
from pierhead.images import compression
from pierhead.images.compression import Compressor, detect, open_reader
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

    from pierhead.images.compression import Written

pytestmark = requires("python:isal", "python:backports.zstd")

TEXT = b"some content that repeats itself\n" * 20_000
SKIPPABLE = b"\x5a\x2a\x4d\x18" + (1000).to_bytes(4, "little") + bytes(1000)


def compressed(data: bytes, kind: Written, level: int | None = None) -> bytes:
    """Compressed by our compressor."""
    compressor = Compressor(kind, level)
    return bytes(compressor.compress(data)) + compressor.flush()


def read(data: bytes, *, size: int = 1 << 18, limit_bytes: int = 0, ratio_max: int = 0) -> bytes:
    """What a reader gives of a file of these bytes."""
    fd = os.memfd_create("content")
    try:
        os.write(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
        reader = open_reader(fd, limit_bytes=limit_bytes, ratio_max=ratio_max)
        content = b"".join(iter(lambda: reader.read(size), b""))
        assert reader.size == len(content)
        assert reader.taken == len(data)
        assert reader.kind == detect(data)
        return content
    finally:
        os.close(fd)


FORMS = {
    "none": TEXT,
    "gzip": compressed(TEXT, "gzip"),
    "zlib's": gzip.compress(TEXT),
    "gzip of members": gzip.compress(TEXT[:999]) + compressed(TEXT[999:], "gzip"),
    "gzip with zeros": gzip.compress(TEXT) + bytes(3000),
    "zstd": compressed(TEXT, "zstd"),
    "zstd of frames": b"".join(
        (SKIPPABLE, compressed(TEXT[:99], "zstd"), SKIPPABLE, compressed(TEXT[99:], "zstd", 9), SKIPPABLE)
    ),
    "bzip2": bz2.compress(TEXT),
    "xz": lzma.compress(TEXT),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [1000, 1 << 18])
def test_every_form_is_read(form: str, size: int) -> None:
    """Whatever it is, its content comes out."""
    assert read(FORMS[form], size=size) == TEXT


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"none", "gzip with zeros"}))
def test_truncated_streams(form: str) -> None:
    """What ends too early is damaged, not short."""
    data = FORMS[form]
    for size in (len(data) // 2, len(data) - 1, 8):
        with pytest.raises(InvalidInput, match=r"damaged after .* ends too early"):
            read(data[:size])


@pytest.mark.parametrize("form", ["gzip", "zstd"])
@given(at=st.integers(0, 1 << 30), bit=st.integers(0, 7))
def test_damaged_streams(form: str, at: int, bit: int) -> None:
    """No changed bit gives another content: there are checksums, and they are looked at."""
    data = bytearray(FORMS[form])
    data[at % len(data)] ^= 1 << bit
    try:
        content = read(bytes(data))
    except InvalidInput:
        return
    assert content in (TEXT, bytes(data))  # a header's unimportant bit; or its magic


@pytest.mark.parametrize("form", ["gzip", "zstd"])
def test_what_follows_a_stream(form: str) -> None:
    """Something that is no such stream is not passed over."""
    with pytest.raises(InvalidInput, match="something else follows it"):
        read(FORMS[form] + b"something")


def test_empty_contents() -> None:
    """They are empty in every form."""
    for kind in ("none", "gzip", "zstd"):
        assert read(compressed(b"", kind)) == b""


@pytest.mark.parametrize("form", ["none", "gzip", "zstd"])
def test_a_limit_of_bytes(form: str) -> None:
    """It is reached, not passed."""
    assert read(FORMS[form], limit_bytes=len(TEXT)) == TEXT
    with pytest.raises(InvalidInput, match="more than the 1000 bytes"):
        read(FORMS[form], limit_bytes=1000)


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_bombs(kind: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    """A content that grows a thousandfold is stopped once it is large."""
    monkeypatch.setattr(compression, "RATIO_BYTES", 1 << 20)
    bomb = compressed(bytes(20 << 20), kind)
    with pytest.raises(InvalidInput, match="more than 100 times as many") as caught:
        read(bomb, ratio_max=100)
    assert caught.value.code == "decompression-bomb"
    assert len(read(compressed(bytes(1 << 20), kind), ratio_max=100)) == 1 << 20


@given(st.binary(max_size=5000), st.sampled_from(("gzip", "zstd")), st.integers(0, 3))
def test_what_is_compressed_is_read(data: bytes, kind: Written, level: int) -> None:
    """At any level, and the same each time."""
    form = compressed(data, kind, level)
    assert read(form) == data
    assert compressed(data, kind, level) == form


@pytest.mark.parametrize(("kind", "level"), [("gzip", 9), ("zstd", 99)])
def test_levels(kind: Written, level: int) -> None:
    """One that there is not is refused."""
    with pytest.raises(InvalidInput, match="no level"):
        Compressor(kind, level)


def test_no_time_in_it() -> None:
    """A gzip header can hold the time and a name; ours holds neither."""
    assert compressed(TEXT, "gzip")[3:8] == bytes(5)


@requires("gzip", "zstd")
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_other_programs_read_it(kind: Written) -> None:
    """They are the formats' own."""
    run = subprocess.run(
        [shutil.which(kind) or kind, "-dc"], input=FORMS[kind], capture_output=True, check=True
    )
    assert run.stdout == TEXT


def test_threads() -> None:
    """Zstd's own threads give the same content."""
    compressor = Compressor("zstd", threads=2)
    parts = [bytes(compressor.compress(TEXT)) for _ in range(50)]
    assert read(b"".join(parts) + compressor.flush()) == TEXT * 50


def test_skipping(tmp_path: Path) -> None:
    """A file that is not compressed can be passed over without reading, but not beyond its end."""
    (tmp_path / "file").write_bytes(b"head" + bytes(1 << 20) + b"tail")
    fd = os.open(tmp_path / "file", os.O_RDONLY)
    try:
        reader = open_reader(fd)
        skip = reader.find_skip()
        assert skip is not None
        assert reader.read(4) == b"head"
        skip(1 << 20)
        assert reader.read(100) == b"tail"
        with pytest.raises(InvalidInput, match="in the middle"):
            skip(1)
    finally:
        os.close(fd)


def test_a_disk_that_fails(tmp_path: Path) -> None:
    """What cannot be read is an error of the machine's, and no damaged stream."""
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OperationFailed, match="cannot read the content: is a directory"):
            open_reader(fd)
    finally:
        os.close(fd)


@pytest.fixture
def without_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine where nothing optional is installed."""
    for name in ("isal", "isal.igzip_lib", "backports", "backports.zstd", "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize(("kind", "package"), [("gzip", "isal"), ("zstd", "backports.zstd")])
@pytest.mark.usefixtures("without_packages")
def test_missing_packages(kind: Written, package: str) -> None:
    """The sentence says which package is missing and how to get it."""
    for act in (lambda: read(FORMS[kind]), lambda: Compressor(kind)):
        with pytest.raises(Unsupported, match=f"package {package} is not installed") as caught:
            act()
        assert caught.value.hint == "pip install 'pierhead[images]'"
