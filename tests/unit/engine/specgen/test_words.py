"""Small grammars of requests: each text is a value, or refused with a sentence, and nothing else happens."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.engine.documents import BindOptions, Empty, HostConfig, Mount, VolumeOptions
from pierhead.engine.specgen.devicerules import parse_device_rule
from pierhead.engine.specgen.limits import numbers_of
from pierhead.engine.specgen.logwords import parse_size
from pierhead.engine.specgen.mountwords import (
    WantedMount,
    check_mount,
    parse_bind,
    parse_volumes_from,
    wanted_mounts,
)
from pierhead.engine.specgen.portwords import parse_container_port, parse_port_range
from pierhead.engine.specgen.rights import parse_capabilities, parse_security_options
from pierhead.engine.specgen.tmpfswords import parse_tmpfs
from pierhead.errors import InvalidInput
from pierhead.signals import parse_signal
from tests.support.requests import container_config

if TYPE_CHECKING:
    from collections.abc import Callable

PARSERS: list[Callable[[str], object]] = [
    parse_bind,
    parse_volumes_from,
    parse_container_port,
    parse_port_range,
    parse_device_rule,
    parse_signal,
    parse_size,
    parse_tmpfs,
    lambda text: parse_security_options((text,)),
    lambda text: parse_capabilities((text,), "CapAdd"),
]


@given(text=st.text(st.sampled_from("/:,.-=aZz019 crwmo\0é\udc80+SIG"), max_size=30) | st.text(max_size=30))
@pytest.mark.parametrize("parser", PARSERS)
def test_any_text(parser: Callable[[str], object], text: str) -> None:
    """Whatever is written is understood or is InvalidInput."""
    with contextlib.suppress(InvalidInput):
        parser(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/a:/b", WantedMount(mount=Mount(type="bind", source="/a", target="/b"), makes_source=True)),
        (
            "/a//c/:/b/./x:ro",
            WantedMount(
                mount=Mount(type="bind", source="/a/c", target="/b/x", read_only=True),
                mode="ro",
                makes_source=True,
            ),
        ),
        (
            "/a:/b:rslave,z",
            WantedMount(
                mount=Mount(
                    type="bind",
                    source="/a",
                    target="/b",
                    bind_options=BindOptions(propagation="rslave"),
                ),
                mode="rslave,z",
                makes_source=True,
            ),
        ),
        (
            "data:/b:nocopy,ro",
            WantedMount(
                mount=Mount(
                    type="volume",
                    source="data",
                    target="/b",
                    read_only=True,
                    volume_options=VolumeOptions(no_copy=True),
                ),
                mode="nocopy,ro",
            ),
        ),
        (
            "/b",
            WantedMount(mount=Mount(type="volume", target="/b", volume_options=VolumeOptions())),
        ),
    ],
)
def test_binds(text: str, expected: WantedMount) -> None:
    """A text of ``-v`` is this mount."""
    assert parse_bind(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid volume specification: ''"),
        (":/b", "invalid volume specification: ':/b'"),
        ("/a:", "invalid volume specification: '/a:'"),
        ("/a:ro", "invalid volume specification: '/a:ro'"),
        ("/a:/b:/c:/d", "invalid volume specification: '/a:/b:/c:/d'"),
        ("/a:/b:rq", "invalid mode: rq"),
        ("/a:/b:ro,rw", "invalid mode: ro,rw"),
        ("data:/b:rshared", "invalid volume specification: 'data:/b:rshared'"),
        ("/a:/b:nocopy", "invalid volume specification: '/a:/b:nocopy'"),
        (
            "/a:/",
            (
                "invalid volume specification: '/a:/': invalid mount config for type \"bind\": "
                "invalid specification: destination can't be '/'"
            ),
        ),
        (
            "/a:b",
            (
                "invalid volume specification: '/a:b': invalid mount config for type \"bind\": "
                "invalid mount path: 'b' mount path must be absolute"
            ),
        ),
        (
            "a/b:/c",
            (
                "invalid volume specification: 'a/b:/c': invalid mount config for type \"volume\": "
                '"a/b" includes invalid characters for a local volume name, only '
                '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, '
                "use absolute path"
            ),
        ),
    ],
)
def test_bad_binds(text: str, message: str) -> None:
    """A text that is no mount is refused with Docker's sentence."""
    with pytest.raises(InvalidInput) as caught:
        parse_bind(text)
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("mount", "fault"),
    [
        (Mount(type="npipe", target="/a"), "mount type unknown"),
        (Mount(type="bind", source="/a"), "field Target must not be empty"),
        (Mount(type="bind", target="/a"), "field Source must not be empty"),
        (Mount(type="tmpfs", source="x", target="/a"), "field Source must not be specified"),
        (
            Mount(type="tmpfs", target="/a", bind_options=BindOptions()),
            "field BindOptions must not be specified",
        ),
        (
            Mount(type="bind", source="/a", target="/a", bind_options=BindOptions(propagation="up")),
            "invalid propagation mode: up",
        ),
        (
            Mount(type="volume", target="/a", read_only=True),
            "must not set ReadOnly mode when using anonymous volumes",
        ),
        (
            Mount(type="volume", source="ab", target="/a", volume_options=VolumeOptions(subpath="../b")),
            "subpath must be a relative path within the volume",
        ),
        (
            Mount(
                type="bind",
                source="/a",
                target="/a",
                bind_options=BindOptions(read_only_force_recursive=True),
            ),
            "mount options conflict: !ReadOnly && ReadOnlyForceRecursive",
        ),
    ],
)
def test_bad_mounts(mount: Mount, fault: str) -> None:
    """A mount that cannot be one is refused with Docker's sentence."""
    with pytest.raises(InvalidInput) as caught:
        check_mount(mount)
    assert caught.value.message == f'invalid mount config for type "{mount.type}": {fault}'


def test_one_mount_at_one_place() -> None:
    """Two mounts that were asked for cannot share a place, however it is written; the image's gives way."""
    config = container_config(volumes={"/a": Empty(), "/c/": Empty()})
    with pytest.raises(InvalidInput, match=r"^Duplicate mount point: /a$"):
        wanted_mounts(config, HostConfig(binds=("/x:/a", "/y:/b/../a")))
    with pytest.raises(InvalidInput, match=r"^Duplicate mount point: /a$"):
        wanted_mounts(config, HostConfig(binds=("/x:/a",), tmpfs={"/a/": ""}))
    found = wanted_mounts(config, HostConfig(binds=("/x:/a",), tmpfs={"/c": ""}))
    assert [each.mount.source for each in found] == ["/x"]


@pytest.mark.parametrize(
    ("text", "number"), [("TERM", 15), ("sigterm", 15), ("9", 9), ("SIGRTMIN+3", 37), ("RTMAX-1", 63)]
)
def test_signals(text: str, number: int) -> None:
    """A signal's name is its number."""
    assert parse_signal(text) == number


@pytest.mark.parametrize("text", ["", "0", "65", "SIG_DFL", "RTMIN+99", "SIGSIGTERM", "-1"])
def test_no_signals(text: str) -> None:
    """What is no signal is refused."""
    with pytest.raises(InvalidInput):
        parse_signal(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("10m", 10 << 20), ("1.5k", 1536), ("7", 7), ("2GiB", 2 << 30), ("3 kb", 3072)]
)
def test_sizes(text: str, expected: int) -> None:
    """A size is bytes."""
    assert parse_size(text) == expected


def test_ports() -> None:
    """A port or a range, with its protocol."""
    assert parse_container_port("80") == (80, 80, "tcp")
    assert parse_container_port("8000-8010/UDP") == (8000, 8010, "udp")


def test_volumes_from() -> None:
    """A container and a mode, of which only some words have a meaning."""
    assert parse_volumes_from("web") == ("web", "")
    assert parse_volumes_from("web:ro,z") == ("web", "ro,z")
    with pytest.raises(InvalidInput, match=r"^invalid mode: nocopy$"):
        parse_volumes_from("web:nocopy")


def test_tmpfs_options_above_the_defaults() -> None:
    """What is asked for takes its opposite away."""
    assert parse_tmpfs("") == ("noexec", "nosuid", "nodev")
    assert parse_tmpfs("exec,size=1m") == ("nosuid", "nodev", "exec", "size=1m")


def test_numbers_of_a_huge_range() -> None:
    """A range beyond all machines takes no memory for each number."""
    assert len(numbers_of("0-999999999")) < 10**5


@given(st.sets(st.integers(0, 500), max_size=20))
def test_numbers_of_lists(numbers: set[int]) -> None:
    """A list of numbers is read back."""
    assert numbers_of(",".join(map(str, numbers))) == numbers
