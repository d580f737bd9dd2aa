"""Plans of a keeper and of those who enter its namespaces."""

from __future__ import annotations

from pierhead.oci.runtime import IDMapping
from pierhead.runtime.keeper import plan_accompany, plan_enter, plan_keep
from pierhead.runtime.wire import JOINER, strings

MAPS = (IDMapping(container_id=0, host_id=1000, size=1),)


def test_keeper() -> None:
    """It has its maps before it is root, a session and streams of its own, and only waits."""
    plan = plan_keep(MAPS, MAPS, "/lib/pier-init")
    names = [each.name for each in plan.operations]
    assert names[:3] == ["sync", "become_root", "session"]
    assert names.index("stdio") < names.index("own_descriptors")
    assert plan.operations[-1].arguments[0] == strings(("/lib/pier-init", "keep"))
    assert plan.uid_mappings == MAPS
    assert not plan.joiner


def test_entering() -> None:
    """The joiner enters all namespaces at once; the signal for the launcher's death is asked for as root,
    since a change of user takes it back (prctl(2)).
    """
    plan = plan_enter(("/bin/true",), {"A": "b"}, "/home/me", ("/run/file", "/etc/file"))
    names = [each.name for each in plan.operations]
    assert plan.operations[0].place == JOINER
    assert names.index("become_root") < names.index("parent_death_signal")
    assert plan.operations[-1].arguments == (strings(("/bin/true",)), strings(("A=b",)))
    assert plan.joiner
    assert names.index("root_here") < names.index("bind")
    plan = plan_enter(("/bin/true",), {}, "/", ("", ""))
    assert "bind" not in [each.name for each in plan.operations]


def test_accompanying() -> None:
    """It has nobody's streams or session, does not end with its launcher, and keeps one descriptor: its 3."""
    plan = plan_accompany(("/bin/true",), {})
    names = [each.name for each in plan.operations]
    assert "session" in names
    assert "parent_death_signal" not in names
    held = next(each for each in plan.operations if each.name == "own_descriptors")
    assert held.arguments[:2] == ("held", 1)
    assert names.index("stdio") < names.index("own_descriptors")
