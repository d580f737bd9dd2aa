"""Filters of the networks that are always there."""

from __future__ import annotations

import asyncio

import pytest

from pierhead.engine.networks import NetworkDesk
from pierhead.errors import InvalidInput


def desk(told: list[tuple[object, ...]] | None = None) -> NetworkDesk:
    """Without a network of its own; what it tells is in the list."""
    return NetworkDesk(None, lambda: (), lambda *event: (told if told is not None else []).append(event))


def names(filters: dict[str, list[str]]) -> list[str]:
    """Of those that are listed."""
    found = asyncio.run(desk().list_networks(filters))
    return sorted(each["Name"] for each in found)


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({"name": ["ho"]}, ["host"]),
        ({"driver": ["null"]}, ["none"]),
        ({"type": ["custom"]}, []),
        ({"dangling": ["false"]}, ["host", "none"]),
        ({"dangling": ["1"]}, []),
        ({"label": ["x"]}, []),
    ],
)
def test_filters(filters: dict[str, list[str]], wanted: list[str]) -> None:
    """Those that are always there are never without use."""
    assert names(filters) == wanted


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"bogus": ["x"]}, "invalid filter 'bogus'"),
        ({"type": ["x"]}, "invalid filter: 'type'='x'"),
        ({"dangling": ["x"]}, "invalid filter 'dangling=[x]'"),
        ({"dangling": ["true", "false"]}, "invalid filter 'dangling=[true false]'"),
    ],
)
def test_what_is_no_filter(filters: dict[str, list[str]], message: str) -> None:
    """It is refused."""
    with pytest.raises(InvalidInput) as caught:
        names(filters)
    assert caught.value.message == message


def test_prune() -> None:
    """They stay, which is told as any pruning is; what is no filter is refused."""
    told: list[tuple[object, ...]] = []
    assert asyncio.run(desk(told).prune_networks({"until": ["1h"]})) == {"NetworksDeleted": None}
    with pytest.raises(InvalidInput, match="invalid filter 'x'"):
        asyncio.run(desk(told).prune_networks({"x": ["y"]}))
    assert told == [("network", "prune", "", {"reclaimed": "0"})]
