"""Containers as the API's documents have them, and times in words."""

from __future__ import annotations

from typing import Any

import pytest

from pierhead.engine.describing import inspection, state_document, status_text, summary
from pierhead.engine.documents import Empty, EndpointSettings, PortBinding
from pierhead.engine.moments import format_moment, parse_moment
from pierhead.engine.record import Health, State
from pierhead.engine.settings import Paths
from tests.support.records import ID, record

MINUTE_NS = 60 * 10**9
NOW_NS = 1_800_000_000 * 10**9
STARTED: dict[str, Any] = {"started_ns": NOW_NS - 3 * MINUTE_NS}
ENDED: dict[str, Any] = {**STARTED, "finished_ns": NOW_NS - 2 * MINUTE_NS, "exit_code": 7}


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State(), "Created"),
        (State(status="running", **STARTED), "Up 3 minutes"),
        (State(status="running", health=Health(status="healthy"), **STARTED), "Up 3 minutes (healthy)"),
        (State(status="running", health=Health(), **STARTED), "Up 3 minutes (health: starting)"),
        (State(status="running", health=Health(status="unhealthy"), **STARTED), "Up 3 minutes (unhealthy)"),
        (State(status="paused", **STARTED), "Up 3 minutes (Paused)"),
        (State(status="restarting", **ENDED), "Restarting (7) 2 minutes ago"),
        (State(status="exited", **ENDED), "Exited (7) 2 minutes ago"),
        (State(status="removing"), "Removal In Progress"),
        (State(status="dead"), "Dead"),
    ],
)
def test_status_texts(state: State, text: str) -> None:
    """As ``docker ps`` shows them."""
    assert status_text(record(state=state), NOW_NS) == text


def test_moments() -> None:
    """Go writes no zeros at the end, and has a zero time of its own."""
    assert format_moment(0) == "0001-01-01T00:00:00Z"
    assert format_moment(1_500_000_000) == "1970-01-01T00:00:01.5Z"
    assert format_moment(2_000_000_000) == "1970-01-01T00:00:02Z"
    assert parse_moment("1970-01-01T00:00:01.500000000Z") == 1_500_000_000


def test_summary() -> None:
    """Names have their slash, words with a blank are quoted, ports are with and without a place outside."""
    found = summary(
        record(
            state=State(status="running"),
            entrypoint=("sh", "-c"),
            cmd=("echo a b",),
            exposed_ports={"53/udp": Empty()},
            ports={"80/tcp": (PortBinding(host_ip="0.0.0.0", host_port="8080"),)},
            endpoint=EndpointSettings(ip_address="172.17.0.2"),
        ),
        NOW_NS,
    )
    assert found["Names"] == ["/web"]
    assert found["Command"] == "sh -c 'echo a b'"
    ports = sorted(found["Ports"], key=lambda port: port["PrivatePort"])
    assert ports == [
        {"PrivatePort": 53, "Type": "udp"},
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8080, "Type": "tcp"},
    ]
    assert found["NetworkSettings"]["Networks"]["bridge"]["IPAddress"] == "172.17.0.2"
    assert summary(record(exposed_ports={"53/udp": Empty()}), NOW_NS)["Ports"] == []


@pytest.mark.parametrize("network", ["none", "host", "container:other"])
def test_ports_without_a_network(network: str) -> None:
    """Nobody sees them there: dockerd 26.1 shows none."""
    running = State(status="running")
    found = record(state=running, exposed_ports={"80/tcp": Empty()}, network_mode=network)
    assert summary(found, NOW_NS)["Ports"] == []
    document = inspection(found, Paths(data_root="/data", exec_root="/exec"), {"Name": "overlay2"}, (), "")
    assert document["NetworkSettings"]["Ports"] == {}


def test_inspection() -> None:
    """All that is known, with the program apart from its arguments."""
    paths = Paths(data_root="/data", exec_root="/exec")
    made = record(cmd=("sleep", "1"), state=State(status="running", pid=42, **STARTED))
    found = inspection(made, paths, {"Name": "overlay2", "Data": {}}, ["e1"], "")
    assert (found["Path"], found["Args"], found["ExecIDs"]) == ("sleep", ["1"], ["e1"])
    assert found["HostsPath"] == f"/data/containers/{ID}/hosts"
    assert found["Config"]["Cmd"] == ["sleep", "1"]
    assert found["HostConfig"]["RestartPolicy"] == {"Name": "", "MaximumRetryCount": 0}
    assert found["NetworkSettings"]["SandboxKey"] == "/proc/42/ns/net"


@pytest.mark.parametrize("status", ["created", "running", "paused", "restarting", "exited", "dead"])
def test_states_as_switches(status: str) -> None:
    """One word becomes Docker's five: what is paused runs, and so does what restarts."""
    found = state_document(record(state=State(status=status)))
    assert found["Running"] is (status in ("running", "paused", "restarting"))
    assert (found["Paused"], found["Restarting"], found["Dead"]) == (
        status == "paused",
        status == "restarting",
        status == "dead",
    )
