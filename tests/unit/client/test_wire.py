"""Answers of HTTP/1.1, in pieces of any size."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.client.engine import encode_query, quote, split_documents
from pierhead.client.streams import split_frames
from pierhead.client.wire import Answer, encode_chunk
from pierhead.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


def receiver(data: bytes, size: int = 1) -> Callable[[int], bytes]:
    """Gives the data a few bytes at a time."""
    pieces = iter([data[at : at + size] for at in range(0, len(data), size)])
    return lambda _: next(pieces, b"")


def cut(data: bytes, size: int) -> Iterable[bytes]:
    """The data in pieces."""
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(size=st.integers(1, 50), chunks=st.lists(st.binary(min_size=1, max_size=40), max_size=5))
def test_chunks(size: int, chunks: list[bytes]) -> None:
    """A body in chunks comes whole, however it arrives."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(
        map(encode_chunk, [*chunks, b""])
    )
    answer = Answer(receiver(raw, size), method="GET")
    assert answer.status == 200
    assert b"".join(answer.body()) == b"".join(chunks)


def test_a_length() -> None:
    """A body of a length ends there."""
    answer = Answer(receiver(b"HTTP/1.1 404 Not Found\r\ncontent-length: 3\r\n\r\nabcdef"), method="GET")
    assert (answer.status, b"".join(answer.body())) == (404, b"abc")


def test_neither() -> None:
    """A body of no length goes to the end of the connection."""
    answer = Answer(receiver(b"HTTP/1.0 200 OK\r\n\r\nall of it", 30), method="GET")
    assert b"".join(answer.body()) == b"all of it"


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("POST", 204), ("POST", 304)])
def test_no_body(method: str, status: int) -> None:
    """An answer that has none is not waited for."""
    answer = Answer(receiver(b"HTTP/1.1 %d X\r\nContent-Length: 9\r\n\r\n" % status), method=method)
    assert list(answer.body()) == []


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1 200",
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"x" * 70_000,
    ],
)
def test_what_is_no_answer(raw: bytes) -> None:
    """Is an error with a sentence, never a part of an answer."""
    with pytest.raises(Unavailable):
        list(Answer(receiver(raw, 1000), method="GET").body())


@given(size=st.integers(1, 30))
def test_documents(size: int) -> None:
    """One a line; an empty line is none, and the last needs no end."""
    raw = b'{"a":1}\r\n\n{"b":"\xc3\xa4"}\n{"c":3}'
    assert list(split_documents(cut(raw, size))) == [{"a": 1}, {"b": "ä"}, {"c": 3}]


@given(size=st.integers(1, 30))
def test_frames(size: int) -> None:
    """Each with its stream; half a frame at the end is none."""
    raw = b"\1\0\0\0\0\0\0\3abc\2\0\0\0\0\0\0\1x\1\0\0\0\0\0\0\0\1\0\0"
    assert list(split_frames(cut(raw, size))) == [("stdout", b"abc"), ("stderr", b"x"), ("stdout", b"")]


def test_queries() -> None:
    """What is not asked for is not there; documents are JSON; nothing breaks out of its place."""
    query = {
        "all": True,
        "limit": 0,
        "since": None,
        "force": False,
        "filters": {"a": ["b"]},
        "t": ["x", "y&z"],
    }
    found = encode_query(query)
    assert found == "?all=1&limit=0&filters=%7B%22a%22:%5B%22b%22%5D%7D&t=x&t=y%26z"
    assert quote("/containers/a b?c#d/") == "/containers/a%20b%3Fc%23d/"
    assert encode_query({}) == ""
