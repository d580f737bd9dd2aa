"""Versions of the API, and what changes with them."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from pierhead.api.older_answers import shape
from pierhead.api.older_requests import adapt_config, adapt_host, adapt_networking
from pierhead.api.versions import NEWEST, OLDEST, format_version, parse_version
from pierhead.engine.documents import (
    BindOptions,
    ContainerConfig,
    EndpointSettings,
    HealthConfig,
    HostConfig,
    Mount,
    NetworkingConfig,
    VolumeOptions,
)
from pierhead.errors import InvalidInput


def test_versions_compare_by_their_numbers() -> None:
    """1.5 is older than 1.24, and 1.51 is not a float."""
    assert parse_version("1.30") == (1, 30)
    assert parse_version(format_version(NEWEST)) == NEWEST
    for text in ("1.5", "1.9", "0.99", "1.52", "2.0"):
        with pytest.raises(InvalidInput, match="client version"):
            parse_version(text)
    for text in ("1", "1.", "..", "1.2.3"):
        with pytest.raises(InvalidInput, match="invalid API version"):
            parse_version(text)


IMAGE = {"Id": "sha256:1", "RepoTags": [], "RepoDigests": [], "Size": 7, "Manifests": [], "Descriptor": {}}


@pytest.mark.parametrize(
    ("kind", "version", "document", "wanted"),
    [
        ("image-list", (1, 51), [IMAGE], [IMAGE]),
        ("image-list", (1, 47), [IMAGE], [{k: v for k, v in IMAGE.items() if k != "Descriptor"}]),
        (
            "image-list",
            (1, 42),
            [IMAGE],
            [
                {
                    "Id": "sha256:1",
                    "RepoTags": ["<none>:<none>"],
                    "RepoDigests": ["<none>@<none>"],
                    "Size": 7,
                    "VirtualSize": 7,
                }
            ],
        ),
        ("disk-usage", (1, 43), {"Images": [{"Size": 1}]}, {"Images": [{"Size": 1, "VirtualSize": 1}]}),
        ("disk-usage", (1, 43), {"Images": None}, {"Images": None}),
        (
            "container-inspect",
            (1, 44),
            {"NetworkSettings": {"Networks": {"a": {"Aliases": ["x"], "DNSNames": ["x", "y"]}}}},
            {"NetworkSettings": {"Networks": {"a": {"Aliases": ["x", "y"]}}}},
        ),
        (
            "info",
            (1, 43),
            {"RuncCommit": {"ID": "a"}, "FirewallBackend": {}, "Containerd": {}},
            {"RuncCommit": {"ID": "a", "Expected": "a"}},
        ),
        (
            "info",
            (1, 24),
            {"SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"]},
            {
                "SecurityOptions": ["seccomp", "cgroupns"],
                "ExecutionDriver": "<not supported>",
                "KernelMemory": False,
                "KernelMemoryTCP": False,
            },
        ),
        (
            "container-list",
            (1, 45),
            [{"HostConfig": {"NetworkMode": "host", "Annotations": {"a": "b"}}}],
            [{"HostConfig": {"NetworkMode": "host"}}],
        ),
    ],
)
def test_answers_of_old(kind: str, version: tuple[int, int], document: Any, wanted: Any) -> None:
    """Each is what a client of that version knows; what the engine gave is not changed."""
    before = copy.deepcopy(document)
    assert shape(kind, version, document) == wanted
    assert document == before


def test_images_of_old_told_of_their_container() -> None:
    """Until 1.45; the names of a configuration that images no longer have are there until 1.50."""
    document = {"Config": {"Cmd": ["sh"], "Image": "kept"}, "Size": 1}
    assert shape("image-inspect", (1, 50), document) is document
    older = shape("image-inspect", (1, 44), document)
    assert older["Config"]["Image"] == "kept"
    assert older["Config"]["Tty"] is False
    assert older["ContainerConfig"]["Hostname"] == ""
    assert "VirtualSize" not in older


def test_requests_of_old() -> None:
    """What a version did not have is passed over, and its defaults are those of its time."""
    host = HostConfig(annotations={"a": "b"}, pids_limit=-1, kernel_memory=5, console_size=(1, 2))
    oldest = adapt_host(host, OLDEST)
    assert (oldest.ipc_mode, oldest.cgroupns_mode, oldest.annotations) == ("shareable", "host", {})
    assert (oldest.pids_limit, oldest.kernel_memory, oldest.console_size) == (None, 5, ())
    newest = adapt_host(host, NEWEST)
    assert (newest.ipc_mode, newest.cgroupns_mode, newest.annotations) == ("", "", {"a": "b"})
    assert (newest.pids_limit, newest.kernel_memory, newest.console_size) == (None, 0, (1, 2))
    config = ContainerConfig(healthcheck=HealthConfig(start_interval=3))
    assert adapt_config(config, (1, 43)).healthcheck == HealthConfig()
    assert adapt_config(config, (1, 44)) is config


def test_mounts_of_old() -> None:
    """Their options came one after the other."""
    bind = Mount(type="bind", bind_options=BindOptions(non_recursive=True, create_mountpoint=True))
    volume = Mount(type="volume", volume_options=VolumeOptions(subpath="a"))
    host = HostConfig(mounts=(bind, volume))
    assert adapt_host(host, NEWEST).mounts == host.mounts
    found = adapt_host(host, (1, 41)).mounts
    assert found[0].bind_options == BindOptions(non_recursive=True)
    assert found[1].volume_options == VolumeOptions()
    with pytest.raises(InvalidInput, match=r"1\.48"):
        adapt_host(HostConfig(mounts=(Mount(type="image", target="/a"),)), (1, 47))


def test_networks_of_old() -> None:
    """One network, whose address of hardware nobody chose."""
    one = NetworkingConfig(endpoints_config={"a": EndpointSettings(mac_address="02:00:00:00:00:01")})
    assert adapt_networking(one, (1, 43)).endpoints_config == {"a": EndpointSettings()}
    assert adapt_networking(one, NEWEST) == one
    two = NetworkingConfig(endpoints_config={"a": EndpointSettings(), "b": EndpointSettings()})
    with pytest.raises(InvalidInput, match="network endpoints: a, b"):
        adapt_networking(two, (1, 43))
