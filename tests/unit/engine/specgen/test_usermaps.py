"""Ids of the host that a container's users are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.engine.specgen.usermaps import host_owner, plan_user_maps
from pierhead.errors import InvalidInput
from pierhead.oci.runtime import IDMapping

SUBUID = "root:1:2\napp:100000:65536\nbroken:x:y\ndockremap:300000:65536\napp:500000:1000\n"
SUBGID = "app:200000:65536\nweb:700000:2000\ndockremap:300000:65536\n"
ONE = IDMapping(container_id=0, host_id=300000, size=65536)


def test_maps() -> None:
    """All ranges of a user follow each other; groups may have another name."""
    assert plan_user_maps("", SUBUID, SUBGID) == ((), ())
    assert plan_user_maps("default", SUBUID, SUBGID) == ((ONE,), (ONE,))
    users, groups = plan_user_maps("app:web", SUBUID, SUBGID)
    assert users == (
        IDMapping(container_id=0, host_id=100000, size=65536),
        IDMapping(container_id=65536, host_id=500000, size=1000),
    )
    assert groups == (IDMapping(container_id=0, host_id=700000, size=2000),)
    assert [host_owner(users, number) for number in (0, 65536, 70000)] == [100000, 500000, -1]


@pytest.mark.parametrize("name", ["nobody", "root", "broken"])
def test_too_few(name: str) -> None:
    """Who has no ranges, or small ones, is told which file says so."""
    with pytest.raises(
        InvalidInput, match=r"^/etc/subuid gives \S+ \d ids, and containers need at least 1000$"
    ):
        plan_user_maps(name, SUBUID, SUBGID)


LINES = st.lists(
    st.builds(
        "{}:{}:{}\n".format,
        st.sampled_from(["app", "web", "dockremap", "", "0"]),
        st.one_of(st.integers(-1, 2**33), st.just("x"), st.just("")),
        st.one_of(st.integers(-1, 2**33), st.just("x"), st.just("")),
    ),
    max_size=5,
).map("".join)


@given(st.sampled_from(["", "default", "app", "app:web", "app:", ":", "0"]) | st.text(), LINES | st.text())
def test_any_file(setting: str, text: str) -> None:
    """Whatever the files say, there are mappings or an error."""
    try:
        users, groups = plan_user_maps(setting, text, text)
    except InvalidInput:
        return
    assert bool(users) == bool(groups) == bool(setting)
