"""Which process makes or joins which namespace, and where it meets the launcher."""

from __future__ import annotations

import pytest

from pierhead.oci.runtime import Namespace
from pierhead.runtime import wire_table
from pierhead.runtime.plan.namespaces import plan_namespaces
from pierhead.runtime.wire import INIT, JOINER, Operation

NEW_USER = Namespace(type="user")
CASES = [
    ((NEW_USER,), INIT),
    ((NEW_USER, Namespace(type="time")), JOINER),
    ((NEW_USER, Namespace(type="network", path="/proc/1/ns/net")), JOINER),
    ((Namespace(type="time"),), INIT),
    ((Namespace(type="user", path="/proc/1/ns/user"),), INIT),
    ((Namespace(type="network"),), INIT),
]


def syncs(operations: tuple[Operation, ...]) -> list[Operation]:
    """Where the launcher writes maps and score."""
    return [each for each in operations if each.name == "sync"]


@pytest.mark.parametrize(("listed", "place"), CASES)
def test_the_launcher_is_met_once(listed: tuple[Namespace, ...], place: int) -> None:
    """Maps can be written once only: who has to wait for them waits for the cgroup and the score as well."""
    plan = plan_namespaces((*listed, Namespace(type="mount")), {}, meet_launcher=True)
    found = syncs((*plan.joiner, *plan.opening))
    assert [(each.place, each.arguments) for each in found] == [(place, (wire_table.SYNC_MAPS,))]


@pytest.mark.parametrize(("listed", "place"), CASES)
def test_nobody_waits_for_nothing(listed: tuple[Namespace, ...], place: int) -> None:
    """Without a score or a cgroup to write, only maps of a new user namespace are waited for."""
    plan = plan_namespaces((*listed, Namespace(type="mount")), {}, meet_launcher=False)
    found = [each.place for each in syncs((*plan.joiner, *plan.opening))]
    assert found == ([place] if NEW_USER in listed else [])
