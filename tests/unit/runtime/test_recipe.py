"""What containers of one configuration have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import InvalidInput, NotFound, Unsupported
from pierhead.oci.runtime import IntelRdt, Namespace
from pierhead.runtime import Config, ProcessSpec
from pierhead.runtime.recipe import recipe_for

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A configuration of an empty root."""
    return Config(rootfs=str(tmp_path), process=ProcessSpec(args=("true",)))


def test_same_configuration_same_recipe(config: Config) -> None:
    """A configuration is checked and resolved once."""
    assert recipe_for(config) is recipe_for(config)


def test_changes_of_the_root_are_seen(config: Config, tmp_path: Path) -> None:
    """A user's number is looked up each time: the passwd file may have changed."""
    named = config.replace(process=ProcessSpec(args=("true",), user="app"))
    (tmp_path / "etc").mkdir()
    passwd = tmp_path / "etc/passwd"
    passwd.write_text("app:x:1000:1000::/:/bin/sh\n")
    assert "uid=1000" in repr(recipe_for(named).process.user)
    passwd.write_text("app:x:1001:1001::/:/bin/sh\n")
    assert "uid=1001" in repr(recipe_for(named).process.user)


def test_no_process(config: Config) -> None:
    """A configuration without a process makes no container."""
    with pytest.raises(InvalidInput, match=r"\$\.process"):
        recipe_for(config.replace(process=None))


def test_no_root(config: Config) -> None:
    """A root that is not there is named."""
    with pytest.raises(NotFound, match="rootfs /no/such/root: no such file"):
        recipe_for(config.replace(rootfs="/no/such/root"))


def test_what_is_not_supported_is_refused(config: Config) -> None:
    """Nothing that is asked for is passed over in silence."""
    with pytest.raises(Unsupported, match=r"\$\.linux\.intelRdt"):
        recipe_for(config.replace(intel_rdt=IntelRdt(l3_cache_schema="L3:0=f")))


def test_unknown_namespaces_are_invalid(config: Config) -> None:
    """A namespace that nobody knows is an error of the configuration, with its place."""
    with pytest.raises((InvalidInput, Unsupported), match=r"namespaces"):
        recipe_for(config.replace(namespaces=(Namespace(type="mount"), Namespace(type="keys"))))


@pytest.mark.parametrize(
    ("kind", "file", "changes", "path"),
    [
        (
            "network",
            "net",
            {"sysctl": {"net.ipv4.ip_default_ttl": "65"}},
            '$.sysctl["net.ipv4.ip_default_ttl"]',
        ),
        ("ipc", "ipc", {"sysctl": {"kernel.msgmax": "65"}}, '$.sysctl["kernel.msgmax"]'),
        ("uts", "uts", {"hostname": "box"}, "$.hostname"),
        ("uts", "uts", {"domainname": "box"}, "$.domainname"),
    ],
)
def test_nothing_is_set_for_the_host(
    config: Config, tmp_path: Path, kind: str, file: str, changes: dict[str, Any], path: str
) -> None:
    """A namespace that is joined may be the host's own under another name: what is set there would be its."""
    other = tmp_path / "other"
    other.symlink_to(f"/proc/self/ns/{file}")
    joined = tuple(each for each in config.namespaces if each.type != kind)
    shared = config.replace(namespaces=(*joined, Namespace(type=kind, path=str(other))), networks=())
    assert recipe_for(shared)
    with pytest.raises(InvalidInput) as caught:
        recipe_for(shared.replace(**changes))
    assert str(caught.value) == f"{path}: would change the host's, whose {kind} namespace {other} is"


def test_parameters_of_a_namespace_of_others(config: Config, tmp_path: Path) -> None:
    """They may be set: a pod's network belongs to its containers.  A path may come to lead elsewhere."""
    other = tmp_path / "other"
    other.touch()
    joined = tuple(each for each in config.namespaces if each.type != "network")
    shared = config.replace(
        namespaces=(*joined, Namespace(type="network", path=str(other))),
        networks=(),
        sysctl={"net.ipv4.ip_default_ttl": "65"},
    )
    assert recipe_for(shared) is recipe_for(shared)
    other.unlink()
    other.symlink_to("/proc/self/ns/net")
    with pytest.raises(InvalidInput, match="the host's"):
        recipe_for(shared)
