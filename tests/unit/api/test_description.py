"""The table of routes beside Docker's own description of its API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pierhead.api.older_answers import CHANGES, shape
from pierhead.api.routes import TABLE
from pierhead.api.versions import NEWEST, format_version
from pierhead.engine.record import Event
from tests.support.api_schema import description
from tests.support.api_server import served
from tests.support.fake_engine import FakeEngine

if TYPE_CHECKING:
    from pathlib import Path

KINDS = {
    "container-inspect": ("ContainerInspectResponse", False),
    "container-list": ("ContainerSummary", True),
    "image-inspect": ("ImageInspect", False),
    "image-list": ("ImageSummary", True),
    "info": ("SystemInfo", False),
}
"""Kinds of answers, and what the description calls them; True for lists of them."""


def test_the_newest_version_is_described() -> None:
    """The description is of the version that is spoken."""
    assert description().version == format_version(NEWEST)


def test_every_endpoint_has_a_route() -> None:
    """What Docker has is answered by somebody, if only by who says that it is not here."""
    endpoints = description().endpoints()
    assert len(endpoints) > 100
    for method, path in endpoints:
        route, _ = TABLE.find(method, path.replace("{id}", "abc").replace("{name}", "abc"))
        assert route.pattern == path


@pytest.mark.parametrize(
    ("method", "path", "status", "described"),
    [
        ("GET", "/volumes", 200, "/volumes"),
        ("GET", "/containers/web/top", 200, "/containers/{id}/top"),
        ("GET", "/containers/web/changes", 200, "/containers/{id}/changes"),
        ("POST", "/containers/prune", 200, "/containers/prune"),
        ("POST", "/images/prune", 200, "/images/prune"),
        ("POST", "/build/prune", 200, "/build/prune"),
        ("DELETE", "/images/web", 200, "/images/{name}"),
        ("GET", "/events?until=1", 200, "/events"),
        ("GET", "/plugins", 200, "/plugins"),
        ("GET", "/nodes", 503, "/nodes"),
        ("GET", "/containers/missing/json", 404, "/containers/{id}/json"),
        ("GET", "/containers/web/logs", 400, None),
    ],
)
def test_answers_are_as_described(
    method: str, path: str, status: int, described: str | None, tmp_path: Path
) -> None:
    """Also errors are."""
    judge = description()
    engine = FakeEngine()
    engine.happened = [Event(kind="container", action="die", actor="abc", time_ns=1)]
    with served(engine, tmp_path) as api:
        answer = api(method, path)
    assert answer.status == status, answer.body
    if described is None:
        judge.check_definition("ErrorResponse", answer.json())
    else:
        judge.check(method, described, status, answer.json())


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_newest_shape_is_untouched(kind: str) -> None:
    """Nothing is done for a client of the newest version; older ones still get what the rest describes."""
    judge = description()
    name, listed = KINDS[kind]
    document = judge.example(name)
    judge.check_definition(name, document)
    given = [document] if listed else document
    assert shape(kind, NEWEST, given) is given
    older = shape(kind, (1, 24), given)
    assert older != given
    assert_described(name, older[0] if listed else older)


def assert_described(name: str, document: dict[str, Any]) -> None:
    """What is left of an older answer has the types that it has in the newest."""
    schema = {"allOf": [{"$ref": f"#/definitions/{name}"}]}
    try:
        description().judge(schema, document, name)
    except AssertionError as error:
        lines = [line for line in str(error).splitlines() if "is a required property" not in line]
        assert not lines, lines


def test_changes_stand_from_the_newest_to_the_oldest() -> None:
    """They are applied in the order of the table."""
    assert [below for below, _, _ in CHANGES] == sorted((below for below, _, _ in CHANGES), reverse=True)
