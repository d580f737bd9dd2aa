"""Answers that say no, as sentences."""

from __future__ import annotations

import email.utils
import errno
import json
import socket

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import (
    Forbidden,
    InvalidInput,
    NotFound,
    OperationFailed,
    PierheadError,
    TimedOut,
    Unavailable,
)
from pierhead.images.remote.connection import Patience
from pierhead.images.remote.hosts import Endpoint
from pierhead.images.remote.refusals import failure, is_permanent, parse_retry_after, refusal

ORIGIN = Endpoint(registry="r.lan", address="r.lan:5000")
MIRROR = ORIGIN.replace(address="m.lan", is_mirror=True)


def said(code: object = "DENIED", message: object = "no", detail: object = None) -> bytes:
    """A body of the standard form."""
    return json.dumps({"errors": [{"code": code, "message": message, "detail": detail}]}).encode()


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (400, InvalidInput, "registry-refused"),
        (401, Forbidden, "registry-denied"),
        (403, Forbidden, "registry-denied"),
        (404, NotFound, "not-in-registry"),
        (405, OperationFailed, "registry-refused"),
        (413, InvalidInput, "registry-refused"),
        (429, Unavailable, "too-many-requests"),
        (500, Unavailable, "registry-unavailable"),
        (503, Unavailable, "registry-unavailable"),
    ],
)
def test_statuses(status: int, kind: type[PierheadError], code: str) -> None:
    """Each has its kind, its code, and the registry's words."""
    error = refusal(ORIGIN, "give the manifest 1 of a/b", status, said())
    assert type(error) is kind
    assert error.code == code
    assert error.message == "the registry r.lan did not give the manifest 1 of a/b: DENIED, no"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (said(detail="more"), "DENIED, no (more)"),
        (said(message="", detail="more"), "DENIED, more"),
        (said(code=""), "no"),
        (said(message="Ends here.\nAnd \x1b[31mthere."), "DENIED, Ends here. And [31mthere"),
        (said(message=3, code=None), "it has none"),
        (b"", "it has none"),
        (b"<html>", "it has none"),
        (b'{"errors":{}}', "it has none"),
    ],
)
def test_words(body: bytes, words: str) -> None:
    """On one line, without what a terminal would obey; ours where there are none."""
    assert refusal(MIRROR, "do it", 404, body).message == f"the mirror m.lan of r.lan did not do it: {words}"


TEXTS = st.one_of(st.none(), st.integers(), st.text(max_size=20), st.lists(st.text(max_size=5), max_size=2))
BODIES = st.builds(said, TEXTS, TEXTS, TEXTS)


@given(st.one_of(BODIES, st.binary(max_size=200)), st.integers(300, 599))
def test_any_answer_is_a_sentence(body: bytes, status: int) -> None:
    """Whatever comes with it."""
    message = refusal(ORIGIN, "do it", status, body).message
    assert message.startswith("the registry r.lan did not do it: ")
    assert message.isprintable()


def test_failures() -> None:
    """Connections that fail are told without the library's names."""
    assert isinstance(failure(ORIGIN, "do it", TimeoutError()), TimedOut)
    error = failure(ORIGIN, "do it", aiohttp.ServerDisconnectedError())
    assert error.message == "the registry r.lan did not do it: the connection ended in the middle"
    error = failure(ORIGIN, "do it", ConnectionResetError(104, "Connection reset by peer"))
    assert error.message == "the registry r.lan did not do it: connection reset by peer"


KEY = aiohttp.client_reqrep.ConnectionKey("r.lan", 5000, False, True, None, None, None)


@pytest.mark.parametrize(
    ("cause", "words"),
    [
        (OSError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.1', 5000)"), "connection refused"),
        (OSError(errno.EHOSTUNREACH, "Connect call failed ('10.0.0.1', 5000)"), "no route to host"),
        (
            OSError(
                "Multiple exceptions: [Errno 111] Connect call failed ('::1', 9, 0, 0), "
                "[Errno 113] Connect call failed ('10.0.0.1', 9)"
            ),
            "connection refused, no route to host",
        ),
    ],
)
def test_refused_connections(cause: OSError, words: str) -> None:
    """The kernel's words, not those that asyncio puts in their place, and what to look at."""
    error = failure(ORIGIN, "do it", aiohttp.ClientConnectorError(KEY, cause))
    assert error.message == f"the registry r.lan did not do it: {words}"
    assert error.hint == "look whether a registry listens at r.lan:5000"


LOOK_AT_IT = "an image's name begins with its registry's: look at it"


@pytest.mark.parametrize(
    ("number", "words", "hint"),
    [
        (
            socket.EAI_NONAME,
            "there is no host r.lan",
            LOOK_AT_IT,
        ),
        (
            socket.EAI_NODATA,
            "there is no host r.lan",
            LOOK_AT_IT,
        ),
        (socket.EAI_AGAIN, "no name server tells where r.lan is", "look at the network and /etc/resolv.conf"),
    ],
)
def test_names_that_lead_nowhere(number: int, words: str, hint: str) -> None:
    """No such host, and nobody to ask, are told apart."""
    cause = socket.gaierror(number, "Name or service not known")
    error = failure(ORIGIN, "do it", aiohttp.ClientConnectorDNSError(KEY, cause))
    assert isinstance(error, Unavailable)
    assert (error.message, error.hint) == (f"the registry r.lan did not do it: {words}", hint)


def test_what_is_no_host() -> None:
    """A name that no resolver can be asked for is a sentence too; it is not tried again, nor one unknown."""
    error = UnicodeError("encoding with 'idna' codec failed (UnicodeError: label empty or too long)")
    assert is_permanent(error)
    assert (
        failure(ORIGIN, "do it", error).message == "the registry r.lan did not do it: there is no host r.lan"
    )
    assert is_permanent(aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_NONAME, "")))
    assert not is_permanent(aiohttp.ClientConnectorDNSError(KEY, socket.gaierror(socket.EAI_AGAIN, "")))


def test_proxies_that_do_not_answer() -> None:
    """It is not the registry that is looked for."""
    key = KEY._replace(host="proxy.lan", port=3128)
    cause = OSError(errno.ECONNREFUSED, "Connect call failed ('10.0.0.2', 3128)")
    error = failure(ORIGIN, "do it", aiohttp.ClientProxyConnectionError(key, cause))
    assert error.message == "the registry r.lan did not do it: the proxy proxy.lan:3128: connection refused"
    assert error.hint == "look at HTTPS_PROXY and HTTP_PROXY, or name the registry in NO_PROXY"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("9" * 30, 86400.0),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90.0),
        ("Thu, 01 Jan 1970 00:00:05 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("-3", None),
        ("3\x1f", 3.0),
    ],
)
def test_retry_after(text: str, seconds: float | None) -> None:
    """Seconds or a date; nonsense is nothing."""
    assert parse_retry_after(text, now_s=10.0) == seconds


DATES = st.lists(
    st.sampled_from(
        [
            "Thu, ",
            "01 ",
            "31 ",
            "Jan ",
            "1970 ",
            "9999 ",
            "0 ",
            "00:01:40 ",
            "24:00 ",
            "GMT",
            "-0000",
            "+9999",
        ]
    ),
    max_size=7,
).map("".join)


@given(
    st.one_of(
        DATES, st.integers().map(str), st.datetimes().map(email.utils.format_datetime), st.text(max_size=40)
    )
)
def test_no_retry_after_breaks_the_reading(text: str) -> None:
    """Whatever it is."""
    found = parse_retry_after(text, now_s=0.0)
    assert found is None or found >= 0


@given(st.integers(1, 30), st.one_of(st.none(), st.floats(0, 1e6)), st.floats(0, 1))
def test_patience_has_an_end(attempt: int, asked_s: float | None, chance: float) -> None:
    """No wait is longer than the longest; what the server asks for is waited for, up to there."""
    patience = Patience()
    delay_s = patience.delay_s(attempt, asked_s, chance)
    assert 0 <= delay_s <= patience.longest_delay_s
    assert asked_s is None or delay_s >= min(asked_s, patience.longest_delay_s)


def test_patience_is_not_begun_for_nothing() -> None:
    """A server that wants to be left alone for longer than all attempts would take is not asked again."""
    patience = Patience(attempts=3, longest_delay_s=10.0)
    asked = [(1, None), (2, 10.0), (1, 20.0), (1, 20.5), (2, 20.0), (3, None)]
    assert [patience.lasts(*each) for each in asked] == [True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("asked_s", "hint"),
    [(None, "wait, log in"), (7200.0, "wait 2 hours, log in"), (0.5, "wait less than a second, log in")],
)
def test_how_long_to_wait(asked_s: float | None, hint: str) -> None:
    """Is told, if the server says it."""
    error = refusal(ORIGIN, "give the manifest 1 of a/b", 429, b"", asked_s=asked_s)
    assert error.hint.startswith(hint)


def test_patience_grows() -> None:
    """Each wait is twice the one before, up to half of it left to chance."""
    patience = Patience(first_delay_s=1.0, longest_delay_s=10.0)
    assert [patience.delay_s(attempt, None, 0.0) for attempt in (1, 2, 3, 4, 5)] == [1, 2, 4, 8, 10]
    assert patience.delay_s(3, None, 1.0) == 2
