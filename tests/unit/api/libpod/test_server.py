"""Libpod's API over HTTP, beside Docker's, with an engine that runs nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.record import Event
from pierhead.errors import Conflict, NotFound
from tests.support.api_server import Client, served
from tests.support.fake_engine import ID, FakeEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

V = "/v4.3.1/libpod"
IMAGE: dict[str, Any] = {"Id": "sha256:1d", "RepoTags": ["box:1", "box:2"], "RepoDigests": []}


@pytest.fixture
def engine() -> FakeEngine:
    """An engine that runs nothing."""
    return FakeEngine(
        {"inspect_image": IMAGE, "inspect_container": {"Id": ID, "State": {"Status": "exited"}}}
    )


@pytest.fixture
def api(engine: FakeEngine, tmp_path: Path) -> Iterator[Client]:
    """Its API."""
    with served(engine, tmp_path) as client:
        yield client


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", [f"{V}/_ping", "/libpod/_ping"])
def test_ping(api: Client, method: str, path: str) -> None:
    """Clients learn libpod's version; Docker's are told of none."""
    assert api(method, path).headers["Libpod-API-Version"] == "5.4.2"
    assert api(method, "/_ping").headers["Libpod-API-Version"] is None


def test_docker_s_versions_stay_docker_s(api: Client) -> None:
    """And libpod's are none of Docker's paths."""
    assert api.get("/v4.3.1/version").message == "invalid API version: 4.3.1"
    old = api.get("/v1.41/libpod/version")
    assert (old.status, old.json()["response"]) == (400, 400)


def test_what_is_not_served(api: Client) -> None:
    """A sentence, in libpod's form."""
    answer = api.get(f"{V}/tea")
    assert (answer.status, answer.message) == (404, "this engine does not serve this part of libpod's API")
    answer = api.post(f"{V}/pods/create", {})
    assert (answer.status, answer.json()["cause"]) == (501, "operation not supported")


def test_create(engine: FakeEngine, api: Client) -> None:
    """The image is called as the engine knows it."""
    answer = api.post(f"{V}/containers/create", {"image": "box", "name": "web", "command": ["sh"]})
    assert (answer.status, answer.json()) == (201, {"Id": ID, "Warnings": []})
    verb, given = engine.last()
    assert (verb, given["name"], given["config"].cmd) == ("create_container", "web", ("sh",))
    assert given["config"].image == "box"


def test_create_of_what_was_made_here(
    engine: FakeEngine, api: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the engine has only under localhost is meant by its short name too, and is called so there."""
    known = engine.inspect_image

    async def inspect_image(reference: str, platform: str) -> Any:
        if reference == "box":
            raise NotFound("No such image: box", code="image-not-found")
        return await known(reference, platform)

    monkeypatch.setattr(engine, "inspect_image", inspect_image)
    assert api.post(f"{V}/containers/create", {"image": "box"}).status == 201
    assert engine.last()[1]["config"].image == "localhost/box"


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ("", "not-running"),
        ("?condition=exited&condition=stopped", "not-running"),
        ("?condition=removed", "removed"),
    ],
)
def test_wait(engine: FakeEngine, api: Client, query: str, condition: str) -> None:
    """The answer is a number alone."""
    engine.going_on.set()
    assert api.post(f"{V}/containers/web/wait{query}").json() == 3
    assert engine.last() == ("wait_container", {"reference": ID, "condition": condition})


def test_wait_for_what_has_not_begun(engine: FakeEngine, api: Client) -> None:
    """To Podman a container that was made only has not ended."""
    engine.documents["inspect_container"] = {"Id": ID, "State": {"Status": "created"}}
    engine.going_on.set()
    api.post(f"{V}/containers/web/wait")
    assert engine.last()[1]["condition"] == "next-exit"


def test_wait_for_what_is_gone(engine: FakeEngine, api: Client) -> None:
    """A container may have removed itself before its client waits: its end stands in the journal."""
    engine.happened = [
        Event(kind="container", action="die", actor="missing", attributes={"exitCode": "7"}, time_ns=1)
    ]
    assert api.post(f"{V}/containers/missing/wait").json() == 7
    engine.happened = []
    answer = api.post(f"{V}/containers/missing/wait")
    assert (answer.status, answer.json()["cause"]) == (404, "no such container")


def test_wait_for_a_state(engine: FakeEngine, api: Client) -> None:
    """What is no end is -1."""
    engine.documents["inspect_container"] = {"Id": ID, "State": {"Status": "running"}}
    assert api.post(f"{V}/containers/web/wait?condition=running").json() == -1
    assert api.post(f"{V}/containers/web/wait?condition=odd").status == 400


def test_remove(engine: FakeEngine, api: Client) -> None:
    """A report; with a time it is stopped first; who said so is not told that it is missing."""
    report = api.delete(f"{V}/containers/web?force=true&timeout=3").json()
    assert report == [{"Id": ID, "RawInput": "web"}]
    verbs = [verb for verb, _ in engine.asked]
    assert verbs == ["inspect_container", "stop_container", "remove_container"]
    assert api.delete(f"{V}/containers/missing?ignore=true").json() == []
    assert api.delete(f"{V}/containers/missing").status == 404


def test_remove_what_removes_itself(engine: FakeEngine, api: Client) -> None:
    """It is waited for, and is no error."""
    engine.fails["remove_container"] = Conflict("already in progress", code="removal-in-progress")
    engine.going_on.set()
    assert api.delete(f"{V}/containers/web").status == 200
    assert engine.last() == ("wait_container", {"reference": ID, "condition": "removed"})


@pytest.mark.parametrize(
    ("query", "arguments"),
    [
        ("", "-eo user,pid,ppid,pcpu,etime,tty,time,args"),
        ("?ps_args=pid,comm", "-eo pid,comm"),
        ("?ps_args=-eo,pid,args", "-eo pid,args"),
        ("?ps_args=-ef", "-ef"),
    ],
)
def test_top(engine: FakeEngine, api: Client, query: str, arguments: str) -> None:
    """Columns by name, or what ps itself takes."""
    api.get(f"{V}/containers/web/top{query}")
    assert engine.last()[1]["ps_arguments"] == arguments


def test_top_without_process_ids(engine: FakeEngine, api: Client) -> None:
    """They are asked for, since the engine needs them, and left out."""
    found = api.get(f"{V}/containers/web/top?ps_args=comm").json()
    assert engine.last()[1]["ps_arguments"] == "-eo pid,comm"
    assert found == {"Titles": ["CMD"], "Processes": [["sh"]]}


def test_logs_have_heads_also_of_terminals(engine: FakeEngine, api: Client) -> None:
    """Clients read them whatever it is."""
    engine.terminal = True
    found = api.get(f"{V}/containers/web/logs?stdout=true&stderr=true&tail=-1&since=0001-01-01T00:00:00Z")
    assert found.body == b"\1\0\0\0\0\0\0\4out\n\2\0\0\0\0\0\0\4err\n"
    assert engine.last()[1]["query"].tail is None


def test_pull(engine: FakeEngine, api: Client) -> None:
    """What is there is not fetched, if that is enough; else it is told of, and its end has the id."""
    done = api.post(f"{V}/images/pull?reference=box&policy=missing").json()
    assert done == {"images": ["1d"], "id": "1d"}
    lines = api.post(f"{V}/images/pull?reference=box&policy=always").body.splitlines()
    assert [json.loads(line) for line in lines] == [
        {"stream": "Trying to pull docker.io/library/box:latest...\n"},
        {"stream": "Pulling\n"},
        {"stream": "Done\n"},
        {"images": ["1d"], "id": "1d"},
    ]
    engine.fails["inspect_image"] = NotFound("No such image: box", code="image-not-found")
    failed = api.post(f"{V}/images/pull?reference=box&policy=never").json()
    assert failed == {"error": "failed to find image box: image not known"}


def test_pull_all_tags(engine: FakeEngine, api: Client) -> None:
    """The end has the ids of all; none need be called latest."""
    engine.documents["list_images"] = [{"Id": "sha256:1d"}, {"Id": "sha256:2d"}]
    engine.fails["inspect_image"] = NotFound("No such image: box:latest", code="image-not-found")
    answer = api.post(f"{V}/images/pull?reference=docker.io/library/box&alltags=true&quiet=true")
    assert answer.json() == {"images": ["1d", "2d"], "id": "2d"}
    assert engine.last()[1]["filters"] == {"reference": ["box"]}


def test_push_under_another_name(engine: FakeEngine, api: Client) -> None:
    """A name that is there already stays; the digest is told to those who know it."""
    answer = api.post(f"{V}/images/box/push?destination=127.0.0.1:5000/box:3&username=a&password=b")
    assert [json.loads(line) for line in answer.body.splitlines()] == [{"stream": "Pushed\n"}]
    verb, given = engine.last()
    assert (verb, given["reference"]) == ("push_image", "127.0.0.1:5000/box:3")
    assert given["credentials"] == {"username": "a", "password": "b"}
    answer = api.post("/v5.4.2/libpod/images/box/push?destination=127.0.0.1:5000/box:3")
    assert json.loads(answer.body.splitlines()[-1]) == {"manifestdigest": ""}


def test_remove_images(engine: FakeEngine, api: Client) -> None:
    """All that are named, and what went wrong beside what went well."""
    report = api.delete(f"{V}/images/remove?images=box&images=box:2").json()
    assert report["Untagged"] == ["docker.io/library/box:latest", "docker.io/library/box:2"]
    assert report["ExitCode"] == 0
    engine.fails["remove_image"] = Conflict("it is used", code="image-in-use")
    report = api.delete(f"{V}/images/remove?images=box").json()
    assert report["ExitCode"] == 2
    assert report["Errors"] == ["it is used: image is in use by a container"]


def test_health(engine: FakeEngine, api: Client) -> None:
    """The command has run once more; one that takes too long is the engine's to kill."""
    healthcheck = {"Test": ["CMD", "look"], "Timeout": 2_000_000_000}
    engine.documents["inspect_container"] = {"Id": ID, "Config": {"Healthcheck": healthcheck}}
    found = api.get(f"{V}/containers/web/healthcheck").json()
    assert (found["Status"], found["Log"][0]["Output"]) == ("healthy", "ran\n")
    verb, given = engine.last()
    assert (verb, given["config"].cmd, given["timeout_s"]) == ("run_exec", ("look",), 2)
    engine.fails["run_exec"] = TimeoutError()
    found = api.get(f"{V}/containers/web/healthcheck").json()
    assert (found["Status"], found["Log"][0]["Output"]) == ("unhealthy", "it took longer than 2 s")
    engine.fails["run_exec"] = Conflict("container web is not running", code="not-running")
    assert api.get(f"{V}/containers/web/healthcheck").status == 409


def test_untag(engine: FakeEngine, api: Client) -> None:
    """One of several names; the last one holds the image, and so all of them do."""
    assert api.post(f"{V}/images/box:1/untag?repo=box&tag=2").status == 201
    assert engine.last() == ("remove_image", {"reference": "box:2", "force": False, "no_prune": True})
    assert api.post(f"{V}/images/box:1/untag?repo=&tag=").status == 501
    engine.documents["inspect_image"] = {**IMAGE, "RepoTags": ["box:1"]}
    assert api.post(f"{V}/images/box:1/untag?repo=box&tag=1").status == 501


def test_untag_another_image_s_name(engine: FakeEngine, api: Client) -> None:
    """It is refused, and the other image keeps its name; one of localhost is found by its short name."""
    answer = api.post(f"{V}/images/box:1/untag?repo=other&tag=1")
    assert (answer.status, answer.json()["cause"]) == (404, "tag not known")
    assert not [verb for verb, _ in engine.asked if verb == "remove_image"]
    engine.documents["inspect_image"] = {**IMAGE, "RepoTags": ["box:1", "localhost/own:latest"]}
    assert api.post(f"{V}/images/box:1/untag?repo=own").status == 201
    assert engine.last()[1]["reference"] == "localhost/own:latest"


def test_save(engine: FakeEngine, api: Client) -> None:
    """A name without a tag is the latest here, and not all tags as for docker; an id stays one."""
    engine.documents["inspect_image"] = {**IMAGE, "RepoTags": ["box:1", "box:latest"]}
    for given, asked in (("box", "docker.io/library/box:latest"), ("1d2e3f", "1d2e3f"), ("box:1", "box:1")):
        assert api.get(f"{V}/images/{given}/get?format=docker-archive").status == 200
        references = [what["references"] for verb, what in engine.asked if verb == "save_images"][-1]
        assert references in ([asked], [f"docker.io/library/{asked}"])


def test_create_volume(engine: FakeEngine, api: Client) -> None:
    """What a client says is checked, and either name of labels is known."""
    engine.documents["create_volume"] = {
        "Name": "v",
        "Driver": "local",
        "Mountpoint": "/v",
        "CreatedAt": "2026-11-26T08:00:00Z",
        "Labels": None,
        "Options": None,
        "Scope": "local",
    }
    body = {"Name": "v", "Labels": {"a": "b"}, "Label": {"c": "d"}, "Options": None, "IgnoreIfExists": True}
    assert api.post(f"{V}/volumes/create", body).status == 201
    wanted = engine.last()[1]["wanted"]
    assert (wanted.name, wanted.labels, wanted.driver_opts) == ("v", {"a": "b", "c": "d"}, {})
    assert api.post(f"{V}/volumes/create", {"Labels": ["a"]}).status == 400
    assert api.post(f"{V}/volumes/create", {"Name": 5}).status == 400


def test_exists(api: Client) -> None:
    """By its status alone."""
    assert api.get(f"{V}/containers/web/exists").status == 204
    assert api.get(f"{V}/containers/missing/exists").status == 404
    assert api.get(f"{V}/images/localhost%2Fbox:1/exists").status == 204
    assert api.get(f"{V}/volumes/v/exists").status == 204


def test_update(engine: FakeEngine, api: Client) -> None:
    """Limits as an OCI document has them; the answer is the id."""
    body = {"memory": {"limit": 5}, "cpu": {"shares": 7}}
    answer = api.post(f"{V}/containers/web/update?restartPolicy=always", body)
    assert (answer.status, answer.json()) == (201, ID)
    wanted = next(given["update"] for verb, given in engine.asked if verb == "update_container")
    assert (wanted.memory, wanted.cpu_shares, wanted.restart_policy.name) == (5, 7, "always")
    assert api.post(f"{V}/containers/web/update", {"rdma": {"x": {}, "y": 1}}).status == 501
