"""Where engines are."""

from __future__ import annotations

import pytest

from pierhead.client.address import Address, parse_address
from pierhead.errors import InvalidInput


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("unix:///run/x.sock", Address(path="/run/x.sock")),
        ("tcp://box:99", Address(host="box", port=99)),
        ("tcp://box", Address(host="box", port=2375)),
        ("tcp://[fd00::1]:7/", Address(host="fd00::1", port=7)),
        ("https://box", Address(host="box", port=2376)),
    ],
)
def test_addresses(text: str, address: Address) -> None:
    """Docker's forms, with docker's ports."""
    assert parse_address(text) == address
    assert parse_address(str(address)) == address


def test_tls_has_its_own_port() -> None:
    """As docker's."""
    assert parse_address("tcp://box", tls=True).port == 2376


@pytest.mark.parametrize(
    "text",
    [
        "",
        "box",
        "unix://",
        "unix://x",
        "tcp://",
        "tcp://a:b",
        "tcp://a:0",
        "tcp://[::1",
        "ssh://x",
        "tcp://a:1:2",
    ],
)
def test_what_is_none(text: str) -> None:
    """The error shows the forms."""
    with pytest.raises(InvalidInput) as caught:
        parse_address(text)
    assert "tcp://HOST:PORT" in caught.value.hint
