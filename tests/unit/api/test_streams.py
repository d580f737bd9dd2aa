"""Frames, keys that detach, web sockets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.api.duplex import accept_key, encode_frame, unmask
from pierhead.api.streams import DEFAULT_DETACH_KEYS, DetachKeys, frame, frame_lines, parse_detach_keys
from pierhead.errors import InvalidInput


def test_frames() -> None:
    """Stream, three zeros, length, piece: the bytes that docker's own client reads."""
    assert frame("stdout", b"hi\n") == b"\x01\x00\x00\x00\x00\x00\x00\x03hi\n"
    assert frame("stderr", b"a" * 70000)[:8] == b"\x02\x00\x00\x00\x00\x01\x11\x70"


def test_frames_of_lines() -> None:
    """Each line has one; the last may have no end."""
    one, two = frame("stderr", b"one\n"), frame("stderr", b"two")
    assert frame_lines("stderr", b"one\none\ntwo") == one + one + two
    assert frame_lines("stderr", b"\r\n\n") == frame("stderr", b"\r\n") + frame("stderr", b"\n")
    assert frame_lines("stderr", b"") == b""


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("", DEFAULT_DETACH_KEYS),
        ("ctrl-p,ctrl-q", b"\x10\x11"),
        ("ctrl-@,ctrl-[,ctrl-_", b"\x00\x1b\x1f"),
        ("a,B", b"aB"),
    ],
)
def test_keys(text: str, keys: bytes) -> None:
    """As docker writes them."""
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["ctrl-", "ctrl-P", "ab", "a,,b", "é"])
def test_what_are_no_keys(text: str) -> None:
    """They are refused before anything is attached."""
    with pytest.raises(InvalidInput, match="detach keys"):
        parse_detach_keys(text)


def test_keys_that_come_one_by_one() -> None:
    """Their beginning is held back, and given out if it was none."""
    keys = DetachKeys(b"\x10\x11")
    assert keys.feed(b"a\x10") == (b"a", False)
    assert keys.feed(b"b\x10") == (b"\x10b", False)
    assert keys.feed(b"\x10") == (b"\x10", False)
    assert keys.feed(b"\x11rest") == (b"", True)


@given(st.lists(st.binary(max_size=4)), st.binary(min_size=1, max_size=3))
def test_nothing_but_the_keys_is_lost(pieces: list[bytes], keys: bytes) -> None:
    """However the text is cut, the process reads what comes before the keys."""
    seen, looking, whole = b"", DetachKeys(keys), b"".join(pieces)
    pressed = False
    for piece in pieces:
        passed, pressed = looking.feed(piece)
        seen += passed
        if pressed:
            break
    assert pressed == (keys in whole)
    if pressed:
        assert seen == whole[: whole.index(keys)]
    else:
        assert whole.startswith(seen)
        assert keys.startswith(whole[len(seen) :])


def test_web_socket_key() -> None:
    """RFC 6455's own example, section 1.3."""
    assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


def test_web_socket_frames() -> None:
    """RFC 6455's examples, section 5.7, and the three forms of length."""
    assert encode_frame(b"Hello", 1) == b"\x81\x05Hello"
    assert unmask(b"\x7f\x9f\x4d\x51\x58", b"\x37\xfa\x21\x3d") == b"Hello"
    assert encode_frame(b"x" * 256)[:4] == b"\x82\x7e\x01\x00"
    assert encode_frame(b"x" * 65536)[:10] == b"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00"
    assert unmask(b"", b"1234") == b""
