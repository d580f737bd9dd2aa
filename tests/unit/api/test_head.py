"""Heads of requests: what is one, and what two readers could read differently."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.api.head import CHUNKED, parse_chunk_size, parse_head
from pierhead.errors import InvalidInput


def head(first: str, *headers: str) -> bytes:
    """Bytes of a request's head."""
    return "\r\n".join([first, *headers, "", ""]).encode()


def test_a_whole_head() -> None:
    """Path and query are decoded, names of headers are in small letters."""
    found = parse_head(
        head(
            "POST /v1.51/images/a%2Fb/tag?repo=x%20y&repo=z&tag= HTTP/1.1",
            "Host: docker",
            "X-Twice: a",
            "x-twice:b ",
            "Content-Length: 12",
        )
    )
    assert (found.method, found.path, found.length) == ("POST", "/v1.51/images/a/b/tag", 12)
    assert found.query == {"repo": ["x y", "z"], "tag": [""]}
    assert found.headers["x-twice"] == "a, b"
    assert found.stays


@pytest.mark.parametrize(
    ("first", "connection", "stays"),
    [
        ("GET / HTTP/1.1", "", True),
        ("GET / HTTP/1.1", "close", False),
        ("GET / HTTP/1.0", "", False),
        ("GET / HTTP/1.0", "Keep-Alive", True),
    ],
)
def test_who_stays(first: str, connection: str, *, stays: bool) -> None:
    """HTTP/1.1 goes on unless told otherwise, HTTP/1.0 ends."""
    headers = (f"Connection: {connection}",) if connection else ()
    assert parse_head(head(first, *headers)).stays is stays


def test_upgrades_need_both_headers() -> None:
    """A protocol alone is no wish to change."""
    assert parse_head(head("GET / HTTP/1.1", "Upgrade: tcp")).upgrade == ""
    both = head("GET / HTTP/1.1", "Connection: keep-alive, Upgrade", "Upgrade: TCP")
    assert parse_head(both).upgrade == "tcp"


def test_chunked() -> None:
    """The length is the body's own."""
    assert parse_head(head("POST / HTTP/1.1", "Transfer-Encoding: Chunked")).length == CHUNKED


def test_a_target_as_for_a_proxy() -> None:
    """Scheme and host are left out."""
    assert parse_head(head("GET http://docker/info?x=1 HTTP/1.1")).path == "/info"


@pytest.mark.parametrize(
    "raw",
    [
        head("GET /"),
        head("GET / HTTP/2.0"),
        head("GET  / HTTP/1.1"),
        head("G<T / HTTP/1.1"),
        head("GET info HTTP/1.1"),
        head("GET /a\nb HTTP/1.1"),
        head("GET /\t HTTP/1.1"),
        head("GET / HTTP/1.1", "no colon"),
        head("GET / HTTP/1.1", "Space : before"),
        head("GET / HTTP/1.1", "A: b", " folded: c"),
        head("GET / HTTP/1.1", "A: b\x00c"),
        head("GET / HTTP/1.1", "A: b\nB: c"),
        head("POST / HTTP/1.1", "Content-Length: 1", "Content-Length: 1"),
        head("POST / HTTP/1.1", "Content-Length: +1"),
        head("POST / HTTP/1.1", "Content-Length: 1_0"),
        head("POST / HTTP/1.1", "Content-Length: ٣"),
        head("POST / HTTP/1.1", "Content-Length: 1", "Transfer-Encoding: chunked"),
        head("POST / HTTP/1.1", "Transfer-Encoding: gzip, chunked"),
        head("POST / HTTP/1.0", "Transfer-Encoding: chunked"),
        head("GET /?" + "a&" * 2000 + " HTTP/1.1"),
    ],
)
def test_what_is_no_head(raw: bytes) -> None:
    """Each of these could be read in two ways, or in none."""
    with pytest.raises(InvalidInput, match="malformed HTTP request"):
        parse_head(raw)


HEADS = st.builds(
    lambda words, headers: b" ".join(words) + b"\r\n" + b"".join(each + b"\r\n" for each in headers),
    st.tuples(
        st.sampled_from([b"GET", b"POST", b"get", b""]),
        st.builds(
            b"".join,
            st.lists(
                st.sampled_from(
                    [
                        b"/",
                        b"a",
                        b"%2F",
                        b"%",
                        b"?",
                        b"=",
                        b"&",
                        b"#",
                        b"*",
                        b"http://d",
                        b"\xff",
                        b":",
                        b"[",
                        b"@",
                    ]
                ),
                max_size=6,
            ),
        ),
        st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0"]),
    ),
    st.lists(
        st.builds(
            b"%b: %b".__mod__,
            st.tuples(
                st.sampled_from(
                    [b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"A", b"\xe9"]
                ),
                st.sampled_from([b"5", b"chunked", b"upgrade, close", b"tcp", b"\xff", b"9" * 30, b""]),
            ),
        ),
        max_size=4,
    ),
)


@given(st.one_of(HEADS, st.binary(max_size=200).map(lambda raw: raw + b"\r\n")))
def test_any_bytes(raw: bytes) -> None:
    """They are a head or InvalidInput, and never another error."""
    with suppress(InvalidInput):
        assert parse_head(raw + b"\r\n").path.startswith("/")


@pytest.mark.parametrize(
    "raw", [b"GET / HTTP/1.0\r\n\n", b"GET / HTTP/1.0\r\nA: b\r\n\n", b"GET / HTTP/1.0\nA: b\n\n"]
)
def test_bare_line_feeds(raw: bytes) -> None:
    """The empty line may be one, and all lines may end with one, but not some of them."""
    assert parse_head(raw).path == "/"
    with pytest.raises(InvalidInput):
        parse_head(raw.replace(b"HTTP/1.0", b"HTTP/1.0\r\nC: d\nE: f"))


def test_a_target_that_is_not_escaped() -> None:
    """Is read as UTF-8, path and query alike."""
    found = parse_head("GET /images/é/json?name=ü HTTP/1.1\r\n\r\n".encode())
    assert (found.path, found.query) == ("/images/é/json", {"name": ["ü"]})


def test_a_line_within_a_line_of_a_chunk() -> None:
    """Whoever takes a bare line feed for an end would see another body."""
    for line in (b"2;a\nb\r\n", b"2\n\r\n", b"2;a\rb\r\n"):
        with pytest.raises(InvalidInput):
            parse_chunk_size(line)


def test_sizes_of_chunks() -> None:
    """Hexadecimal, extensions passed over; nothing that int() alone would take."""
    assert parse_chunk_size(b"1aF;name=value\r\n") == 0x1AF
    for line in (b"\r\n", b"0x10\r\n", b"-1\r\n", b"1_0\r\n", b"f" * 20 + b"\r\n", b";\r\n"):
        with pytest.raises(InvalidInput):
            parse_chunk_size(line)
