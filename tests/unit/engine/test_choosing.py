"""Filters of ``docker ps`` and of prune."""

from __future__ import annotations

import pytest

from pierhead.engine.choosing import choose, choose_for_prune
from pierhead.engine.documents import Empty, PortBinding
from pierhead.engine.naming import no_such_container
from pierhead.engine.record import Health, MountPoint, Record, State
from pierhead.errors import InvalidInput, NotFound
from tests.support.records import record

WEB = record(
    id="a" * 64,
    created_ns=1,
    state=State(status="running", health=Health(status="healthy")),
    labels={"tier": "front", "x": ""},
    exposed_ports={"80/tcp": Empty()},
    ports={"80/tcp": (PortBinding(host_ip="0.0.0.0", host_port="8080"),)},
    mounts=(MountPoint(type="volume", name="vol", destination="/data"),),
    image_id="sha256:" + "c" * 64,
)
OLD = record(
    id="b" * 64, name="old", created_ns=2, state=State(status="exited", exit_code=3), network_mode="host"
)
NEW = record(id="c" * 64, name="new-web", created_ns=3, image="pierhead/host")
ALL = (WEB, OLD, NEW)


def find(reference: str) -> Record:
    """By name."""
    for each in ALL:
        if each.name == reference:
            return each
    raise no_such_container(reference)


def names(filters: dict[str, list[str]], *, stopped: bool = True, limit: int = 0) -> list[str]:
    """Of those that are chosen."""
    chosen = choose(ALL, filters, find, {WEB.image_id}, stopped=stopped, limit=limit)
    return [each.name for each in chosen]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, ["new-web", "old", "web"]),
        ({"name": ["web"]}, ["new-web", "web"]),
        ({"name": ["^/web$"]}, ["web"]),
        ({"name": ["^web$", "old"]}, ["old", "web"]),
        ({"id": ["bbbb"]}, ["old"]),
        ({"label": ["tier=front", "x"]}, ["web"]),
        ({"label": ["tier=back"]}, []),
        ({"status": ["exited", "created"]}, ["new-web", "old"]),
        ({"exited": ["3"]}, ["old"]),
        ({"exited": ["0"]}, []),
        ({"ancestor": ["whatever"]}, ["web"]),
        ({"ancestor": ["whatever", "pierhead/host"]}, ["new-web", "web"]),
        ({"volume": ["/data"]}, ["web"]),
        ({"volume": ["vol"]}, ["web"]),
        ({"network": ["host"]}, ["old"]),
        ({"network": ["bridge"]}, ["new-web", "web"]),
        ({"publish": ["8080"]}, ["web"]),
        ({"publish": ["8000-8100/udp"]}, []),
        ({"publish": ["80"]}, []),  # the container's port: that is what it exposes
        ({"expose": ["80"]}, ["web"]),
        ({"health": ["healthy"]}, ["web"]),
        ({"health": ["none"]}, ["new-web", "old"]),
        ({"before": ["old"]}, ["web"]),
        ({"since": ["old"]}, ["new-web"]),
        ({"is-task": ["true"]}, []),
        ({"is-task": ["0"]}, ["new-web", "old", "web"]),
        ({"name": ["web"], "status": ["running"]}, ["web"]),
    ],
)
def test_filters(filters: dict[str, list[str]], wanted: list[str]) -> None:
    """One value of each has to fit; the newest comes first."""
    assert names(filters) == wanted


def test_what_is_shown_without_being_asked_for() -> None:
    """Those that run; a limit and some filters mean all."""
    assert names({}, stopped=False) == ["web"]
    assert names({}, stopped=False, limit=2) == ["new-web", "old"]
    assert names({"status": ["exited"]}, stopped=False) == ["old"]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"no": ["x"]}, "invalid filter 'no'"),
        ({"status": ["no"]}, "invalid filter 'status=no'"),
        ({"health": ["no"]}, "unrecognized filter value for health: no"),
        ({"exited": ["x"]}, "invalid filter 'exited=x'"),
        ({"is-task": ["x"]}, "invalid filter 'is-task=[x]'"),
        ({"is-task": ["true", "false"]}, "invalid filter 'is-task=[true false]'"),
        ({"publish": ["x"]}, "error while looking up for publish x"),
        ({"expose": ["80", "99999999"]}, "error while looking up for expose 99999999"),
    ],
)
def test_what_is_no_filter(filters: dict[str, list[str]], message: str) -> None:
    """It is refused in dockerd 26.1's words, also where there are no containers."""
    with pytest.raises(InvalidInput) as caught:
        choose((), filters, find, stopped=True, limit=0)
    assert caught.value.message.startswith(message)


def test_what_is_no_expression() -> None:
    """Is found nowhere, which is no reason to show nothing of what the others find."""
    assert names({"name": ["("]}) == []
    assert names({"name": ["(", "web"]}) == ["new-web", "web"]
    assert names({"id": ["["]}) == []


def test_bounds_that_are_no_containers() -> None:
    """``before`` and ``since`` name containers."""
    with pytest.raises(NotFound, match="No such container: x"):
        names({"before": ["x"]})


def test_prune() -> None:
    """What does not run, is old enough, and has or has not the labels."""
    assert choose_for_prune(ALL, {}, now_ns=10) == [OLD, NEW]
    assert choose_for_prune(ALL, {"until": ["0.000000003"]}, now_ns=10) == [OLD]
    assert choose_for_prune(ALL, {"label": ["x"]}, now_ns=10) == []
    assert choose_for_prune(ALL, {"label!": ["x"]}, now_ns=10) == [OLD, NEW]
    with pytest.raises(InvalidInput, match="invalid filter 'name'"):
        choose_for_prune(ALL, {"name": ["x"]}, now_ns=10)
