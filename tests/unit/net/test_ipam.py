"""Subnets and addresses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import Conflict, InvalidInput, Unavailable
from pierhead.net.ipam import Pool, choose_subnet, default_subnets, first_address, mac_of, parse_subnet


def test_default_subnets() -> None:
    """Docker's pools in Docker's order."""
    subnets = [str(each) for each in default_subnets()]
    assert subnets[0] == "172.17.0.0/16"
    assert subnets[14:17] == ["172.31.0.0/16", "192.168.0.0/20", "192.168.16.0/20"]
    assert (len(subnets), subnets[-1]) == (31, "192.168.240.0/20")


def test_chosen_subnet() -> None:
    """The first that overlaps with nothing in use; default routes and IPv6 do not count."""
    assert choose_subnet([]) == "172.17.0.0/16"
    assert choose_subnet(["0.0.0.0/0", "::/0", "fe80::1/64", "127.0.0.1/8"]) == "172.17.0.0/16"
    assert choose_subnet(["172.17.255.255/32", "172.18.0.1/15"]) == "172.20.0.0/16"
    with pytest.raises(Unavailable, match="all subnets") as caught:
        choose_subnet(["172.16.0.0/12", "192.168.0.0/16"])
    assert "10.200.0.0/16" in caught.value.hint


def test_addresses_in_order() -> None:
    """Addresses are given one after the other, and again when the end was reached."""
    pool = Pool("10.0.0.0/29", ["10.0.0.1"])
    assert [pool.take() for _ in range(3)] == ["10.0.0.2", "10.0.0.3", "10.0.0.4"]
    pool.give_back("10.0.0.2")
    assert [pool.take() for _ in range(3)] == ["10.0.0.5", "10.0.0.6", "10.0.0.2"]
    with pytest.raises(Unavailable, match=r"no address is left in subnet 10\.0\.0\.0/29"):
        pool.take()
    assert len(pool) == 5


def test_wanted_address() -> None:
    """An address can be chosen, once, if it is one of the subnet's."""
    pool = Pool("10.0.0.0/29", ["10.0.0.1"])
    assert pool.take("10.0.0.3") == "10.0.0.3"
    assert [pool.take(), pool.take()] == ["10.0.0.2", "10.0.0.4"]
    for taken in ("10.0.0.3", "10.0.0.1"):
        with pytest.raises(Conflict, match="Address already in use"):
            pool.take(taken)
    for outside in ("10.0.0.0", "10.0.0.7", "10.0.1.2", "fd00::2"):
        with pytest.raises(InvalidInput, match="no configured subnet contains IP address"):
            pool.take(outside)
    with pytest.raises(InvalidInput, match="invalid IP address"):
        pool.take("ten")


def test_gateway_stays() -> None:
    """What is reserved is never given, not even when somebody gives it back."""
    pool = Pool("10.0.0.0/30", ["10.0.0.1"])
    pool.give_back("10.0.0.1")
    assert pool.take() == "10.0.0.2"
    with pytest.raises(Unavailable):
        pool.take()


def test_ipv6() -> None:
    """A subnet of IPv6 is as large as it is; its last address is one like others."""
    pool = Pool("fd00::/64", ["fd00::1"])
    assert (pool.take(), pool.prefix_length) == ("fd00::2", 64)
    assert pool.take("fd00::ffff:ffff:ffff:ffff") == "fd00::ffff:ffff:ffff:ffff"
    small = Pool("::/126", ["::1"])
    assert [small.take(), small.take()] == ["::2", "::3"]


@given(st.lists(st.booleans(), max_size=40))
def test_nobody_shares(taking: list[bool]) -> None:
    """Whatever is taken and given back, no two have one address."""
    pool = Pool("10.0.0.0/28", ["10.0.0.1"])
    mine: list[str] = []
    for take in taking:
        if take and len(mine) < 13:
            mine.append(pool.take())
        elif mine:
            pool.give_back(mine.pop(0))
        assert len(set(mine)) == len(mine) == len(pool)


def test_subnets_in_words() -> None:
    """What is no subnet, or too small, is refused; a host's address names its subnet."""
    assert str(parse_subnet("10.1.2.3/16")) == "10.1.0.0/16"
    assert first_address("10.1.0.0/16") == "10.1.0.1"
    for text, reason in (("ten", "is not a subnet"), ("10.0.0.0/31", "has no room for containers")):
        with pytest.raises(InvalidInput, match=reason):
            parse_subnet(text)


def test_hardware_address() -> None:
    """It is made of the address, as Docker's were."""
    assert mac_of("172.17.0.2") == "02:42:ac:11:00:02"
