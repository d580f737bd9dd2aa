"""What a real engine answers is what Docker's description of the API says (``PIERHEAD_VECTORS``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.api_schema import description
from tests.support.daemons import Daemon, daemon
from tests.support.pierds import add_image
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "python:yaml", "python:jsonschema")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with an image, a container of the host as an image, and a volume."""
    description()
    directory = tmp_path_factory.mktemp("described")
    add_image(directory)
    with daemon(directory, "--bridge", "none") as it:
        body = {
            "Image": "pierhead/host",
            "Cmd": ["true"],
            "HostConfig": {"NetworkMode": "none", "Binds": ["kept:/kept"], "Memory": 1 << 26},
            "Healthcheck": {"Test": ["NONE"]},
        }
        made = it.client.post("/containers/create?name=some", body)
        description().check("POST", "/containers/create", made.status, made.json())
        yield it
        assert it.client("DELETE", "/containers/some?v=1").status == 204
        assert it.client("DELETE", "/volumes/kept").status == 204


def test_space(running: Daemon) -> None:
    """All layers take as much as one image that shares none with another: nothing less can be reclaimed."""
    found = running.client.get("/system/df").json()
    assert [each["SharedSize"] for each in found["Images"]] == [0]
    assert found["LayersSize"] == found["Images"][0]["Size"]
    assert found["Volumes"][0]["UsageData"]["RefCount"] == 1


@pytest.mark.parametrize(
    ("path", "described"),
    [
        ("/version", "/version"),
        ("/info", "/info"),
        ("/containers/json?all=1", "/containers/json"),
        ("/containers/json?all=1&size=1", "/containers/json"),
        ("/containers/some/json", "/containers/{id}/json"),
        ("/containers/some/json?size=1", "/containers/{id}/json"),
        ("/images/json", "/images/json"),
        ("/volumes", "/volumes"),
        ("/volumes/kept", "/volumes/{name}"),
        ("/networks", "/networks"),
        ("/networks/host", "/networks/{id}"),
        ("/system/df", "/system/df"),
        ("/containers/nobody/json", "/containers/{id}/json"),
        ("/volumes/nobody", "/volumes/{name}"),
        ("/images/nobody/json", "/images/{name}/json"),
    ],
)
def test_answers(running: Daemon, path: str, described: str) -> None:
    """Types, required fields and words of every document; errors have theirs."""
    answer = running.client.get(path)
    description().check("GET", described, answer.status, answer.json())
    assert answer.status == (404 if "nobody" in path else 200), answer.body
