"""What queries say."""

from __future__ import annotations

import base64

import pytest

from pierhead.api import queries
from pierhead.errors import InvalidInput


@pytest.mark.parametrize(
    ("value", "truth"),
    [("1", True), ("true", True), ("yes", True), ("x", True), ("0", False), ("False", False), ("", False)],
)
def test_words_for_true_and_false(value: str, *, truth: bool) -> None:
    """Everything is true but the words for false; an empty one is one of them."""
    assert queries.boolean({"all": [value]}, "all") is truth


def test_defaults() -> None:
    """What is not given is as the endpoint has it."""
    assert queries.boolean({}, "stream", default=True)
    assert queries.number({}, "t") is None
    assert queries.moment_ns({}, "since") == 0
    assert queries.filters({}) == {}


@pytest.mark.parametrize(
    ("value", "nanoseconds"),
    [("5", 5_000_000_000), ("5.5", 5_500_000_000), ("5.000000001", 5_000_000_001), ("-3", 0), ("0", 0)],
)
def test_moments(value: str, nanoseconds: int) -> None:
    """Seconds with a fraction, to the nanosecond: a float would lose some."""
    assert queries.moment_ns({"since": [value]}, "since") == nanoseconds


@pytest.mark.parametrize("value", ["soon", "1.x", "1e9", "0x1", "9" * 30])
def test_what_is_no_moment(value: str) -> None:
    """The parameter is named."""
    with pytest.raises(InvalidInput, match="since"):
        queries.moment_ns({"since": [value]}, "since")


def test_filters_in_both_forms() -> None:
    """Lists, and objects of truths as clients of old wrote them; null is nothing."""
    assert queries.filters({"filters": ['{"label":["a","b"],"status":{"running":true}}']}) == {
        "label": ["a", "b"],
        "status": ["running"],
    }
    assert queries.filters({"filters": ["null"]}) == {}


@pytest.mark.parametrize(
    "value", ["{", "[]", '{"label":"a"}', '{"label":[1]}', "7", "[" * 40_000, '{"a":' * 40_000]
)
def test_what_is_no_filter(value: str) -> None:
    """Docker's words come first."""
    with pytest.raises(InvalidInput, match=r"^invalid filter"):
        queries.filters({"filters": [value]})


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padding", ["=", ""])
def test_credentials(encode: object, padding: str) -> None:
    """Either alphabet, padded or not: clients do all of it."""
    assert callable(encode)
    sent = encode(b'{"username":"a","password":"??>>~~"}').decode()
    assert queries.credentials(sent if padding else sent.rstrip("="))["password"] == "??>>~~"


@pytest.mark.parametrize("value", ["!", "YQ==", "WzFd", base64.b64encode(b"[" * 40_000).decode()])
def test_what_are_no_credentials(value: str) -> None:
    """Who they were for would otherwise be taken for nobody."""
    with pytest.raises(InvalidInput, match="X-Registry-Auth"):
        queries.credentials(value)
    assert queries.credentials("bnVsbA==") == {}


def test_platforms() -> None:
    """Text, or the JSON of 1.48."""
    assert queries.platform({"platform": ["linux/arm64"]}) == "linux/arm64"
    sent = '{"os":"linux","architecture":"arm","variant":"v7"}'
    assert queries.platform({"platform": [sent]}) == "linux/arm/v7"
    with pytest.raises(InvalidInput):
        queries.platform({"platform": ["{"]})
