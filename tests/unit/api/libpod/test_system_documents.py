"""Events, filters, moments and errors in libpod's words."""

from __future__ import annotations

import json

import pytest

from pierhead.api.libpod.container_filters import adapt_filters
from pierhead.api.libpod.errors import reply_error, sentence
from pierhead.api.libpod.image_documents import full_name, removal, spellings
from pierhead.api.libpod.moments import moment_ns
from pierhead.api.libpod.routes_images import split_tag
from pierhead.api.libpod.system_documents import event, event_filters
from pierhead.api.libpod.versions import parse_version
from pierhead.engine.record import Event
from pierhead.errors import InvalidInput, NotFound, PierheadError, Unsupported

V4, V5 = (4, 3), (5, 4)
S = 10**9


def happened(action: str, kind: str = "container", **attributes: str) -> Event:
    """Something that happened."""
    return Event(kind=kind, action=action, actor="sha256:1d", attributes=attributes, time_ns=S)


@pytest.mark.parametrize(
    ("kind", "action", "word"),
    [
        ("container", "die", "died"),
        ("container", "destroy", "remove"),
        ("container", "exec_start: sh", "exec"),
        ("container", "health_status: healthy", "health_status"),
        ("image", "delete", "remove"),
        ("volume", "destroy", "remove"),
    ],
)
def test_words_of_events(kind: str, action: str, word: str) -> None:
    """Docker's to libpod's."""
    found = event(happened(action, kind), V5)
    assert found is not None
    assert (found["status"], found["Type"], found["Actor"]["ID"]) == (word, kind, "1d")


@pytest.mark.parametrize(
    "one", [happened("resize"), happened("reload", "daemon"), happened("mount", "volume")]
)
def test_events_without_a_word_are_not_told(one: Event) -> None:
    """Clients stop at a word that they do not know."""
    assert event(one, V5) is None


def test_a_word_of_the_fifth_version() -> None:
    """Older clients do not know it."""
    assert event(happened("update"), V4) is None
    assert event(happened("update"), V5) is not None


def test_every_event_has_an_exit_code() -> None:
    """Clients of the fourth version read a number there whatever has happened."""
    ended, begun = event(happened("die", exitCode="3"), V4), event(happened("start"), V4)
    assert ended is not None
    assert begun is not None
    assert ended["Actor"]["Attributes"]["containerExitCode"] == "3"
    assert begun["Actor"]["Attributes"]["containerExitCode"] == "0"


def test_filters() -> None:
    """Of events and of containers; what has no counterpart is refused."""
    assert event_filters({"event": ["died"], "type": ["container"]}) == {
        "event": ["die"],
        "type": ["container"],
    }
    assert event_filters({"event": ["remove"]}) == {"event": ["delete", "destroy"]}
    assert adapt_filters({"status": ["stopped", "running"]}) == {"status": ["exited", "running"]}
    with pytest.raises(Unsupported, match='"pod"'):
        adapt_filters({"pod": ["x"]})


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("", 0),
        ("0001-01-01T00:00:00Z", 0),
        ("1970-01-01T01:00:10+01:00", 10 * S),
        ("10", 10 * S),
        ("1m", 40 * S),
    ],
)
def test_moments(text: str, wanted: int) -> None:
    """None in Go's way, in any zone, of seconds, and before now."""
    assert moment_ns(text, 100 * S) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"), [("4.3.1", (4, 3)), ("5.4.2", (5, 4)), ("6.0.0", (5, 4)), ("5", (5, 0))]
)
def test_versions(text: str, wanted: tuple[int, int]) -> None:
    """A newer one is taken for the newest known."""
    assert parse_version(text) == wanted


@pytest.mark.parametrize("text", ["3.4.4", "1.41", "x"])
def test_versions_that_are_not_spoken(text: str) -> None:
    """Too old, or none."""
    with pytest.raises(InvalidInput):
        parse_version(text)


def test_errors() -> None:
    """Libpod's words stand at the end of the sentence, where clients look for them."""
    missing = NotFound("No such container: web", code="container-not-found", hint="pier ps --all lists them")
    answer = reply_error(missing)
    assert (answer.status, json.loads(answer.body)) == (
        404,
        {"cause": "no such container", "message": "web: no such container", "response": 404},
    )
    assert sentence(PierheadError("it broke", hint="mend it")) == "it broke\nhint: mend it"
    assert sentence(PierheadError("it broke", hint="pier mend")) == "it broke"
    assert sentence(InvalidInput("it is away", code="no-such-source", hint="use -v")) == "it is away"


def test_names() -> None:
    """What Docker means by a short name, then what Podman made here."""
    assert spellings("box") == ["box", "localhost/box"]
    assert spellings("team/box:1") == ["team/box:1", "localhost/team/box:1"]
    assert spellings("127.0.0.1:5000/box") == ["127.0.0.1:5000/box"]
    assert full_name("localhost/box") == "localhost/box:latest"
    assert split_tag("127.0.0.1:5000/box") == ("127.0.0.1:5000/box", "")
    assert split_tag("box:1") == ("box", "1")
    assert removal([{"Untagged": "box:1"}, {"Deleted": "sha256:1d"}]) == (
        ["1d"],
        ["docker.io/library/box:1"],
    )
