"""Which events a filter lets pass."""

from __future__ import annotations

import pytest

from pierhead.engine.happenings import container_event, passes
from pierhead.engine.record import Event
from tests.support.records import record

WEB = container_event(
    record(id="abc" + "0" * 61, name="web", image="registry.test:5000/box:1", labels={"a": "b"}),
    "exec_start: true",
    1,
)
PULLED = Event(kind="image", action="pull", actor="box:1", attributes={"name": "box"}, time_ns=1)
VOLUME = Event(kind="volume", action="create", actor="data", attributes={"driver": "local"}, time_ns=1)


@pytest.mark.parametrize(
    ("filters", "passed"),
    [
        ({"container": ["web"]}, [WEB]),
        ({"container": ["/web"]}, [WEB]),
        ({"container": ["we"]}, [WEB]),
        ({"container": ["abc0"]}, [WEB]),
        ({"container": ["eb"]}, []),
        ({"container": ["other", "web"], "event": ["exec_start"]}, [WEB]),
        ({"image": ["registry.test:5000/box:1"]}, [WEB]),
        ({"image": ["registry.test:5000/box"]}, [WEB]),
        ({"image": ["registry.test"]}, []),
        ({"image": ["box"]}, [PULLED]),
        ({"image": ["box:1"]}, [PULLED]),
        ({"volume": ["data"]}, [VOLUME]),
        ({"volume": ["other"]}, []),
        ({"label": ["a=b"]}, [WEB]),
        ({"type": ["image", "volume"]}, [PULLED, VOLUME]),
        ({"scope": ["local"]}, [WEB, PULLED, VOLUME]),
        ({"scope": ["swarm"]}, []),
        ({"container": []}, [WEB, PULLED, VOLUME]),
        ({"bogus": ["x"]}, [WEB, PULLED, VOLUME]),
        ({"bogus": ["x"], "type": ["volume"]}, [VOLUME]),
    ],
)
def test_filters(filters: dict[str, list[str]], passed: list[Event]) -> None:
    """Containers go by the beginning of name or id, and by their image; an image by its whole name.  What is
    no filter is passed over, as by dockerd 26.1.
    """
    assert [event for event in (WEB, PULLED, VOLUME) if passes(event, filters)] == passed
