"""Containers as libpod's clients read them."""

from __future__ import annotations

from typing import Any

import pytest

from pierhead.api.libpod.container_documents import inspection, list_entry, stats_entry
from pierhead.engine.describing import inspection as docker_inspection
from pierhead.engine.describing import summary as docker_summary
from pierhead.engine.documents import HealthConfig, PortBinding, Ulimit
from pierhead.engine.record import MountPoint, Record, State
from pierhead.engine.settings import Paths
from tests.support.records import ID, record

V4, V5 = (4, 3), (5, 4)
PATHS = Paths(data_root="/data", exec_root="/exec")
S = 10**9


def inspected(one: Record, version: tuple[int, int] = V5) -> dict[str, Any]:
    """The container for a client."""
    document = docker_inspection(one, PATHS, {"Name": "overlay2", "Data": {}}, [], "")
    image = {"RepoDigests": ["box@sha256:5e"]}
    return inspection(document, image, version)


def listed(one: Record) -> dict[str, Any]:
    """Its line in a list."""
    document = docker_inspection(one, PATHS, {"Name": "overlay2"}, [], "")
    return list_entry(docker_summary(one, 10**18), document, with_size=False)


def test_names_are_whole() -> None:
    """An image has its registry, an id no algorithm, a container no slash."""
    found = inspected(record(image="box:latest", image_id="sha256:1d"))
    assert found["Image"] == "1d"
    assert found["ImageDigest"] == "sha256:5e"
    assert found["Name"] == "web"
    assert listed(record(image="box"))["Image"] == "docker.io/library/box:latest"
    assert listed(record(image="sha256:1d"))["Image"] == "1d"


@pytest.mark.parametrize(
    ("version", "entrypoint", "signal"), [(V4, "sh -c", 2), (V5, ["sh", "-c"], "SIGINT")]
)
def test_what_has_changed_since(version: tuple[int, int], entrypoint: object, signal: object) -> None:
    """A list was one text before, and a signal a number."""
    found = inspected(record(entrypoint=("sh", "-c"), stop_signal="INT"), version)["Config"]
    assert (found["Entrypoint"], found["StopSignal"]) == (entrypoint, signal)


def test_a_signal_of_none() -> None:
    """It is the one that asks to end."""
    assert inspected(record())["Config"]["StopSignal"] == "SIGTERM"
    assert inspected(record(), V4)["Config"]["StopSignal"] == 15


@pytest.mark.parametrize(
    ("status", "running", "word"),
    [
        ("created", False, "created"),
        ("running", True, "running"),
        ("paused", False, "paused"),
        ("restarting", False, "exited"),
        ("exited", False, "exited"),
        ("dead", False, "exited"),
    ],
)
def test_states(status: str, *, running: bool, word: str) -> None:
    """To Podman what is paused does not run."""
    state = inspected(record(state=State(status=status)))["State"]
    assert (state["Running"], state["Status"]) == (running, word)


def test_host_config() -> None:
    """Capabilities, limits and modes by libpod's names."""
    host = inspected(
        record(
            cap_add=("net_admin", "CAP_CHOWN", "ALL"),
            ulimits=(Ulimit(name="nofile", soft=1, hard=2),),
            mounts=(
                MountPoint(type="volume", name="v", source="/data/v", destination="/v", rw=False),
                MountPoint(type="tmpfs", destination="/t"),
            ),
        )
    )["HostConfig"]
    assert host["CapAdd"] == ["CAP_NET_ADMIN", "CAP_CHOWN", "ALL"]
    assert host["Ulimits"] == [{"Name": "RLIMIT_NOFILE", "Soft": 1, "Hard": 2}]
    assert host["Binds"] == ["v:/v:ro,rprivate,rbind"]
    assert (host["NetworkMode"], host["PidMode"], host["IpcMode"]) == ("bridge", "private", "private")
    assert host["MemorySwappiness"] == -1


def test_a_line_of_one_that_runs() -> None:
    """Its command, its ports once for both families of addresses, its moments."""
    both = (PortBinding(host_ip="0.0.0.0", host_port="8080"), PortBinding(host_ip="::", host_port="8080"))
    line = listed(
        record(
            cmd=("sleep", "9"),
            labels={"a": "b"},
            ports={"80/tcp": both},
            state=State(status="running", pid=7, started_ns=5 * S),
            auto_remove=True,
        )
    )
    assert line["Command"] == ["sleep", "9"]
    assert line["Ports"] == [
        {"host_ip": "", "container_port": 80, "host_port": 8080, "range": 1, "protocol": "tcp"}
    ]
    assert (line["Pid"], line["StartedAt"], line["ExitedAt"]) == (7, 5, -62135596800)
    assert (line["AutoRemove"], line["Exited"], line["Size"]) == (True, False, None)


def test_a_line_of_one_that_has_ended() -> None:
    """Its code, and the ports that it asked for."""
    line = listed(
        record(
            port_bindings={"80/udp": (PortBinding(host_ip="127.0.0.1", host_port="8080"), PortBinding())},
            state=State(status="exited", exit_code=3, finished_ns=9 * S),
        )
    )
    assert (line["Exited"], line["ExitCode"], line["ExitedAt"], line["State"]) == (True, 3, 9, "exited")
    assert [port["host_ip"] for port in line["Ports"]] == ["127.0.0.1"]


def test_health() -> None:
    """Who is not asked how they fare has an empty one."""
    assert inspected(record())["State"]["Health"]["Status"] == ""
    known = inspected(record(healthcheck=HealthConfig(test=("CMD", "true"))))["Config"]
    assert known["Healthcheck"]["Test"] == ["CMD", "true"]


def _sample(used_ns: int, system_ns: int) -> dict[str, Any]:
    usage = {"total_usage": used_ns, "usage_in_kernelmode": 0, "usage_in_usermode": 0}
    return {
        "id": ID,
        "name": "/web",
        "cpu_stats": {"cpu_usage": usage, "system_cpu_usage": system_ns, "online_cpus": 2},
        "memory_stats": {"usage": 5, "limit": 50},
        "pids_stats": {"current": 3},
        "blkio_stats": {
            "io_service_bytes_recursive": [{"op": "read", "value": 7}, {"op": "write", "value": 8}]
        },
        "networks": {"eth0": {"rx_bytes": 1, "tx_bytes": 2}},
    }


def test_figures() -> None:
    """Shares are of one processor: since the start, then since the figures before."""
    first = _sample(S, 100 * S)
    entry = stats_entry(first, None, 10 * S)
    assert (entry["CPU"], entry["AvgCPU"], entry["MemPerc"]) == (10.0, 10.0, 10.0)
    assert (entry["BlockInput"], entry["BlockOutput"], entry["PIDs"]) == (7, 8, 3)
    assert (entry["NetInput"], entry["NetOutput"], entry["Network"]["eth0"]["RxBytes"]) == (1, 2, 1)
    later = stats_entry(_sample(2 * S, 104 * S), first, 20 * S)
    assert (later["CPU"], later["AvgCPU"]) == (50.0, 10.0)
    assert stats_entry(first, None, 0)["CPU"] == 0.0
