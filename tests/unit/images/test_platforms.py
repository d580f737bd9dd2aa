"""Platforms: names, what runs where, and which image of an index is taken."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import InvalidInput, NotFound
from pierhead.images.platforms import (
    accepted,
    choose,
    find_rank,
    format_platform,
    host_platform,
    is_attestation,
    normalise,
    offered,
    parse_platform,
    select,
)
from pierhead.oci.image import INDEX, MANIFEST, Descriptor, Index, Platform


def described(text: str, *, media_type: str = MANIFEST) -> Descriptor:
    """A manifest for the platform; "" has none."""
    platform = None
    if text:
        system, architecture, *variant = text.split("/")
        platform = Platform(os=system, architecture=architecture, variant="".join(variant))
    digest = "sha256:" + text.encode().hex().rjust(64, "0")[:64]
    return Descriptor(media_type=media_type, digest=digest, size=1, platform=platform)


def listed(*texts: str) -> Index:
    """An index of such manifests."""
    return Index(schema_version=2, manifests=tuple(described(text) for text in texts))


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("linux/x86_64", "linux/amd64"),
        ("Linux/AMD64/v1", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/8", "linux/arm64"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/arm/6", "linux/arm/v6"),
        ("linux/i386", "linux/386"),
        ("linux/amd64/v3", "linux/amd64/v3"),
        ("macos/arm64", "darwin/arm64"),
        ("riscv64", "linux/riscv64"),
        ("s390x", "linux/s390x"),
    ],
)
def test_normal_names(text: str, normal: str) -> None:
    """One platform has one name, whatever it was called."""
    assert format_platform(parse_platform(text)) == normal


@given(
    st.sampled_from(["amd64", "arm", "arm64", "386", "x86_64"]), st.sampled_from(["", "v1", "v6", "8", "v8"])
)
def test_normal_is_final(architecture: str, variant: str) -> None:
    """Normalising once is enough."""
    once = normalise(Platform(os="linux", architecture=architecture, variant=variant))
    assert normalise(once) == once
    assert parse_platform(format_platform(once)) == once
    assert accepted(once)[0] == once


@pytest.mark.parametrize("text", ["", "a/b/c/d", "linux/", "linux/*", "linux//v7", "../etc"])
def test_what_is_none_is_refused(text: str) -> None:
    """A sentence says so."""
    with pytest.raises(InvalidInput, match="is not a platform"):
        parse_platform(text)


def test_a_system_alone_is_of_this_machine() -> None:
    """``linux`` is this machine's architecture."""
    assert parse_platform("linux") == host_platform()
    assert parse_platform("windows").architecture == host_platform().architecture


@pytest.mark.parametrize(
    ("wanted", "order"),
    [
        ("linux/arm64", ["arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm64/v9", ["arm64/v9", "arm64", "arm/v8", "arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm", ["arm/v7", "arm/v6", "arm/v5"]),
        ("linux/arm/v5", ["arm/v5"]),
        ("linux/amd64", ["amd64", "386"]),
        ("linux/amd64/v3", ["amd64/v3", "amd64/v2", "amd64", "386"]),
        ("linux/386", ["386"]),
        ("linux/riscv64", ["riscv64"]),
    ],
)
def test_what_runs_where(wanted: str, order: list[str]) -> None:
    """A machine runs what was made for its predecessors, the nearest first."""
    found = [format_platform(each).removeprefix("linux/") for each in accepted(parse_platform(wanted))]
    assert found == order


def test_systems_do_not_mix() -> None:
    """Nothing of another system runs here."""
    assert find_rank(parse_platform("linux/amd64"), parse_platform("windows/amd64")) is None


@pytest.mark.parametrize(
    ("wanted", "there", "taken"),
    [
        ("linux/amd64", ["linux/386", "linux/amd64"], "linux/amd64"),
        ("linux/amd64", ["linux/386", "linux/arm64"], "linux/386"),
        ("linux/amd64", ["linux/amd64/v2", "linux/amd64/v1"], "linux/amd64/v1"),
        ("linux/amd64/v4", ["linux/amd64", "linux/amd64/v3"], "linux/amd64/v3"),
        ("linux/arm64", ["linux/arm/v6", "linux/arm/v7", "linux/amd64"], "linux/arm/v7"),
        ("linux/arm64", ["linux/arm64/v8", "linux/arm/v7"], "linux/arm64/v8"),
        ("linux/amd64", ["unknown/unknown", ""], ""),
        ("linux/amd64", ["", "linux/amd64"], "linux/amd64"),
    ],
)
def test_the_nearest_is_taken(wanted: str, there: list[str], taken: str) -> None:
    """Of several that run the nearest, whatever the order of the index."""
    assert choose(listed(*there).manifests, parse_platform(wanted)) == described(taken)


def test_builds_of_windows() -> None:
    """An image of another build of Windows does not run."""
    wanted = parse_platform("windows/amd64").replace(architecture="amd64", os_version="10.0.17763.1")
    there = Platform(os="windows", architecture="amd64", os_version="10.0.17763.2000")
    assert find_rank(wanted, there) == 0
    assert find_rank(wanted, there.replace(os_version="10.0.20348.1")) is None


def test_attestations_are_no_images() -> None:
    """Neither by their platform nor by their annotation; with all platforms they come along."""
    index = listed("unknown/unknown", "linux/amd64")
    assert is_attestation(index.manifests[0])
    noted = described("linux/amd64").replace(
        annotations={"vnd.docker.reference.type": "attestation-manifest"}
    )
    assert choose((noted,), parse_platform("linux/amd64")) is None
    assert select(index, None, name="a") == index.manifests
    assert [format_platform(each) for each in offered(index)] == ["linux/amd64"]


def test_selecting() -> None:
    """Each platform's image once, in the order wanted; what is missing is named, with what there is."""
    index = listed("linux/386", "linux/arm64", "linux/amd64", "unknown/unknown")
    wanted = tuple(parse_platform(text) for text in ("linux/arm64", "linux/amd64", "linux/amd64/v2"))
    assert select(index, wanted, name="a") == (described("linux/arm64"), described("linux/amd64"))
    with pytest.raises(NotFound, match="the image a has nothing for linux/s390x") as caught:
        select(index, (parse_platform("linux/s390x"),), name="a")
    assert caught.value.hint == "there is: linux/386, linux/amd64, linux/arm64"


def test_indexes_within_indexes_are_looked_into() -> None:
    """One that says nothing of platforms may hold what is wanted."""
    inner = described("", media_type=INDEX)
    index = Index(schema_version=2, manifests=(described("linux/amd64"), inner))
    assert select(index, (parse_platform("linux/s390x"),), name="a") == (inner,)
    assert select(index, (parse_platform("linux/amd64"),), name="a") == (described("linux/amd64"),)
