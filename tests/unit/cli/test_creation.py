"""Flags of ``run`` become the document that docker sends for them."""

from __future__ import annotations

from typing import Any

import pytest

from pierhead.cli.creation import creation_document, update_document
from pierhead.cli.creation_places import device_of, mount_of, published
from pierhead.cli.detachkeys import KeyWatch, parse_keys
from pierhead.cli.flags import BadUsage, parse
from pierhead.cli.pier_life import VERBS as LIFE
from pierhead.cli.pier_list import format_ports
from pierhead.cli.pier_run import VERBS, start_status
from pierhead.cli.pier_stats import cpu_percent, format_binary
from pierhead.cli.words import filters
from pierhead.engine.documents import ContainerConfig, HostConfig, NetworkingConfig
from pierhead.figures import parse_span_ns
from pierhead.oci.document import decode


def document(*words: str) -> dict[str, Any]:
    """What ``run`` asks for; the engine reads every part of it."""
    options, arguments = parse(VERBS["run"].flags, words, literal=True)
    found = creation_document(options, arguments[0], tuple(arguments[1:]), foreground=True)
    rest = dict(found)
    decode(HostConfig, rest.pop("HostConfig"))
    decode(NetworkingConfig, rest.pop("NetworkingConfig"))
    decode(ContainerConfig, rest)
    return found


def test_what_the_process_is() -> None:
    """Program, variables, user, streams."""
    found = document(
        "-it", "-eA=1", "-w", "/w", "-u", "me", "--entrypoint", "sh", "-h", "h", "box", "-c", "ls"
    )
    assert (found["Image"], found["Cmd"], found["Entrypoint"]) == ("box", ["-c", "ls"], ["sh"])
    assert (found["Env"], found["WorkingDir"], found["User"], found["Hostname"]) == (["A=1"], "/w", "me", "h")
    assert found["Tty"]
    assert found["OpenStdin"]
    assert found["StdinOnce"]
    assert document("@host", "id")["Image"] == "pierhead/host"
    assert document("box")["Cmd"] is None


def test_ports() -> None:
    """What is published is exposed."""
    found = document("-p8080:80", "-p", "127.0.0.1::53/udp", "--expose", "7-8", "box")
    assert set(found["ExposedPorts"]) == {"80/tcp", "53/udp", "7/tcp", "8/tcp"}
    assert found["HostConfig"]["PortBindings"] == {
        "80/tcp": [{"HostIp": "", "HostPort": "8080"}],
        "53/udp": [{"HostIp": "127.0.0.1", "HostPort": ""}],
    }


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("80", [("80/tcp", "", "")]),
        ("8000-8001:80-81", [("80/tcp", "", "8000"), ("81/tcp", "", "8001")]),
        ("8000-8009:80", [("80/tcp", "", "8000-8009")]),
        ("[::1]:8080:80", [("80/tcp", "::1", "8080")]),
        ("192.0.2.7:8080:80/sctp", [("80/sctp", "192.0.2.7", "8080")]),
    ],
)
def test_forms_of_a_published_port(text: str, wanted: list[tuple[str, str, str]]) -> None:
    """Addresses, ranges, protocols."""
    found = [(key, binding["HostIp"], binding["HostPort"]) for key, binding in published(text)]
    assert found == wanted


def test_files() -> None:
    """Volumes with and without a source, mounts, file systems in memory, devices."""
    mount = "type=bind,src=/s,dst=/t,ro,bind-propagation=rshared"
    found = document("-v", "/data", "-v", "v:/v:ro", "--mount", mount, "--tmpfs", "/run:size=1m", "box")
    host = found["HostConfig"]
    assert found["Volumes"] == {"/data": {}}
    assert host["Binds"] == ["v:/v:ro"]
    assert host["Tmpfs"] == {"/run": "size=1m"}
    (bind,) = host["Mounts"]
    assert (bind["Type"], bind["Source"], bind["Target"], bind["ReadOnly"]) == ("bind", "/s", "/t", True)
    assert bind["BindOptions"] == {"Propagation": "rshared"}
    volume = mount_of("source=v,target=/t,volume-opt=a=b,volume-driver=local,volume-nocopy")
    assert volume["VolumeOptions"] == {
        "DriverConfig": {"Options": {"a": "b"}, "Name": "local"},
        "NoCopy": True,
    }
    assert mount_of("type=tmpfs,target=/t,tmpfs-size=1k,tmpfs-mode=1777")["TmpfsOptions"] == {
        "SizeBytes": 1024,
        "Mode": 0o1777,
    }
    assert device_of("/dev/a:/dev/b:r")["CgroupPermissions"] == "r"
    assert device_of("/dev/a")["PathInContainer"] == "/dev/a"


def test_limits_and_rights() -> None:
    """Sizes, times, pairs."""
    limits = ("-m", "64m", "--memory-swap", "-1", "--cpus", "0.5", "--pids-limit", "7", "--ulimit", "core=0")
    health = ("--health-cmd", "true", "--health-interval", "1m30s", "--log-opt", "max-size=1m")
    host = document(*limits, *health, "--restart", "on-failure:3", "--sysctl", "a=b", "box")["HostConfig"]
    assert (host["Memory"], host["MemorySwap"], host["NanoCpus"], host["PidsLimit"]) == (
        64 << 20,
        -1,
        500_000_000,
        7,
    )
    assert host["Ulimits"] == [{"Name": "core", "Soft": 0, "Hard": 0}]
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    assert host["LogConfig"]["Config"] == {"max-size": "1m"}
    assert host["Sysctls"] == {"a": "b"}
    assert document(*health, "box")["Healthcheck"]["Interval"] == 90_000_000_000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("-p", "x:80"), "--publish cannot be 'x:80'"),
        (("-p", "1-3:1-2"), "--publish cannot be"),
        (("-v", "a/b:/c"), "--volume cannot be"),
        (("--mount", "type=bind"), "--mount cannot be"),
        (("--mount", "type=bind,target=/x,tmpfs-size=1"), "--mount cannot be"),
        (("-m", "lots"), "--memory cannot be 'lots'"),
        (("--cpus", "0"), "--cpus cannot be '0'"),
        (("--restart", "often"), "--restart cannot be 'often'"),
        (("--rm", "--restart", "always"), "contradict"),
        (("-e", "=x"), "--env needs"),
        (("--health-interval", "soon"), "--health-interval cannot be"),
        (("--no-healthcheck", "--health-cmd", "x"), "contradicts"),
        (("--ulimit", "nofile"), "--ulimit cannot be"),
        (("--security-opt", "seccomp=/nowhere"), "cannot read the profile /nowhere"),
        (("--add-host", "x"), "--add-host cannot be"),
        (("--gpus", "some"), "--gpus cannot be"),
        (("-a", "stdlog"), "--attach cannot be"),
        (("--device", "null"), "--device cannot be"),
    ],
)
def test_what_cannot_be(words: tuple[str, ...], message: str) -> None:
    """The flag and its value are named."""
    with pytest.raises(BadUsage) as caught:
        document(*words, "box")
    assert message in caught.value.message


def test_update() -> None:
    """Only what was given is sent."""
    options, _ = parse(LIFE["update"].flags, ["-m", "1g", "--cpuset-cpus", "0"], literal=False)
    assert update_document(options) == {"Memory": 1 << 30, "CpusetCpus": "0"}
    with pytest.raises(BadUsage):
        update_document(parse(LIFE["update"].flags, [], literal=False)[0])


def test_spans_and_filters() -> None:
    """As Go and docker write them."""
    assert parse_span_ns("1h2m3.5s") == 3_723_500_000_000
    assert parse_span_ns("10") is None
    assert filters("filter", ["status=exited", "status=dead", "label=a=b"]) == {
        "status": ["exited", "dead"],
        "label": ["a=b"],
    }
    with pytest.raises(BadUsage):
        filters("filter", ["exited"])


def test_detach_keys() -> None:
    """They are found in the middle and across two reads, and sent, since the engine looks for them too."""
    keys = parse_keys("ctrl-p,ctrl-q")
    assert keys == b"\x10\x11"
    watch = KeyWatch(keys)
    assert watch.pass_on(b"ab\x10") == (b"ab\x10", False)
    assert watch.pass_on(b"c") == (b"c", False)
    assert watch.pass_on(b"\x10") == (b"\x10", False)
    assert watch.pass_on(b"\x11z") == (b"\x11", True)
    assert KeyWatch(keys).pass_on(b"x\x10\x11y") == (b"x\x10\x11", True)
    assert parse_keys("a,ctrl-[") == b"a\x1b"
    with pytest.raises(BadUsage):
        parse_keys("ctrl-1")


def test_ports_in_a_list() -> None:
    """Neighbours are one range."""
    ports = [
        {"IP": "0.0.0.0", "PrivatePort": 80, "PublicPort": 8000, "Type": "tcp"},
        {"IP": "0.0.0.0", "PrivatePort": 81, "PublicPort": 8001, "Type": "tcp"},
        {"PrivatePort": 53, "Type": "udp"},
    ]
    assert format_ports(ports) == "53/udp, 0.0.0.0:8000-8001->80-81/tcp"


def test_figures() -> None:
    """As docker's ``stats`` has them."""
    assert format_binary(1536) == "1.5KiB"
    sample = {
        "cpu_stats": {"cpu_usage": {"total_usage": 300}, "system_cpu_usage": 2000, "online_cpus": 2},
        "precpu_stats": {"cpu_usage": {"total_usage": 100}, "system_cpu_usage": 1000},
    }
    assert cpu_percent(sample) == 40.0
    assert [start_status(text) for text in ("x: not found in $PATH", "permission denied", "no room")] == [
        127,
        126,
        125,
    ]
