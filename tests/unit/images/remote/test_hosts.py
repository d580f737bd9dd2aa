"""Where registries are, and through whom they are reached."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import InvalidInput
from pierhead.images.remote.hosts import Hosts, is_this_machine, load_hosts, parse_hosts, parse_proxies
from tests.support.pages import blocks
from tests.support.repository import ROOT

if TYPE_CHECKING:
    from pathlib import Path

MIRRORS = """
[registry."docker.io"]
[[registry."docker.io".mirror]]
host = "one.example.com:5000"
prefix = "hub"
resolve = false
[[registry."docker.io".mirror]]
host = "two.example.com"
plain-http = true

[[registry."*".mirror]]
host = "any.example.com"

[registry."registry.lan"]
insecure = true
ca = "/ca.pem"
client-certificate = "/me.pem"
client-key = "/me.key"
headers = { "X-Team" = "ours" }
"""


def test_a_registry_is_where_its_name_says() -> None:
    """Over TLS and with a right certificate; Docker Hub is elsewhere."""
    (endpoint,) = Hosts().endpoints("example.com:5000")
    assert (endpoint.address, endpoint.schemes, endpoint.verify) == ("example.com:5000", ("https",), True)
    assert Hosts().origin("docker.io").address == "registry-1.docker.io"


@pytest.mark.parametrize(
    "domain", ["localhost", "localhost:5000", "127.0.0.1:5000", "127.8.0.1", "[::1]:5000"]
)
def test_this_machine_may_be_without_a_certificate(domain: str) -> None:
    """As for docker; nobody else may."""
    assert is_this_machine(domain)
    assert Hosts().origin(domain).schemes == ("https", "http")
    assert not Hosts().origin(domain).verify


@pytest.mark.parametrize("domain", ["example.com", "128.0.0.1:80", "localhost.example.com", "[fd00::1]:80"])
def test_others_may_not(domain: str) -> None:
    """A name that only looks like this machine's is somebody else's."""
    assert not is_this_machine(domain)


def test_mirrors_come_first_and_in_order() -> None:
    """The registry itself is the last to be asked."""
    hosts = Hosts(parse_hosts(MIRRORS))
    one, two, origin = hosts.endpoints("docker.io")
    assert (one.address, one.resolves, one.pulls, one.is_mirror) == (
        "one.example.com:5000",
        False,
        True,
        True,
    )
    assert one.repository("library/busybox") == "hub/library/busybox"
    assert two.schemes == ("http",)
    assert (origin.address, origin.is_mirror) == ("registry-1.docker.io", False)
    assert origin.repository("library/busybox") == "library/busybox"


def test_mirrors_for_any_registry() -> None:
    """Whoever has no table of its own is asked for there first."""
    mirror, origin = Hosts(parse_hosts(MIRRORS)).endpoints("ghcr.io")
    assert (mirror.address, mirror.registry, mirror.is_mirror) == ("any.example.com", "ghcr.io", True)
    assert origin.address == "ghcr.io"
    (only,) = Hosts(parse_hosts(MIRRORS)).endpoints("registry.lan")
    assert only.schemes == ("https", "http")
    assert (only.ca_path, only.certificate_path, only.key_path) == ("/ca.pem", "/me.pem", "/me.key")
    assert only.headers == (("X-Team", "ours"),)


def test_the_example_in_the_documentation() -> None:
    """Is understood as the page says."""
    (example,) = [
        block.text for block in blocks(ROOT / "docs/reference/registries.md") if block.language == "toml"
    ]
    tables = parse_hosts(example)
    assert [each.address for each in tables["docker.io"]] == [
        "mirror.example.com:5000",
        "registry-1.docker.io",
    ]
    assert tables["docker.io"][0].repository("library/busybox") == "hub/library/busybox"
    assert [each.address for each in Hosts(tables).endpoints("any.lan")] == ["cache.lan", "any.lan"]


def test_later_files_win(tmp_path: Path) -> None:
    """A user's file says otherwise than the machine's; a file that is not there says nothing."""
    (tmp_path / "machine").write_text(MIRRORS)
    (tmp_path / "user").write_text('[registry."docker.io"]\nhost = "elsewhere.example.com"\n')
    hosts = load_hosts([str(tmp_path / name) for name in ("machine", "none", "user")])
    assert [each.address for each in hosts.endpoints("docker.io")] == ["elsewhere.example.com"]
    assert len(hosts.endpoints("ghcr.io")) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not TOML"),
        ("mirrors = []", "'mirrors' is no table of registries"),
        ("registry = 1", "'registry' is no table of registries"),
        ('[registry."https://a"]', "https://a is no registry's host"),
        ("[registry.a]\ninsecur = true", "a has an unknown 'insecur'"),
        ("[registry.a]\ninsecure = 1", "insecure is not true or false"),
        ("[registry.a]\nheaders = 'x'", "headers is not a table"),
        ('[registry.a]\nheaders = { A = "b\\nc" }', "headers are not strings of one line"),
        ("[registry.a]\nmirror = 'x'", "mirror is not a list"),
        ("[[registry.a.mirror]]\nprefix = 'x'", "mirror 1 has no host"),
        ("[[registry.a.mirror]]\nhost = 'http://x'", "'http://x' is no host"),
        ("[[registry.a.mirror]]\nhost = 'x'\nprefix = 'A'", "'A' is no beginning of a repository"),
        ("[registry.a]\nclient-key = 'x'", "half of a client's certificate"),
        ("registry.a = 1", "a is not a table"),
    ],
)
def test_what_has_no_meaning_is_refused(text: str, message: str) -> None:
    """A misspelt word does not go unnoticed."""
    with pytest.raises(InvalidInput, match=message):
        parse_hosts(text)


def test_unreadable_files_are_told(tmp_path: Path) -> None:
    """A folder is no configuration."""
    with pytest.raises(InvalidInput, match="cannot read"):
        load_hosts([str(tmp_path)])


@pytest.mark.parametrize(
    ("address", "direct"),
    [
        ("registry.lan", True),
        ("a.registry.lan:5000", True),
        ("xregistry.lan", False),
        ("10.1.2.3:5000", True),
        ("11.1.2.3", False),
        ("exact.example.com:81", False),
        ("exact.example.com:80", True),
        ("localhost:5000", True),
        ("[fd00::5]:80", True),
        ("docker.io", False),
    ],
)
def test_who_is_reached_directly(address: str, *, direct: bool) -> None:
    """Names with what is below them, networks, single ports, and always this machine."""
    rules = "registry.lan, 10.0.0.0/8,exact.example.com:80,fd00::/64"
    proxies = parse_proxies({"HTTPS_PROXY": "proxy:3128", "NO_PROXY": rules})
    assert proxies.find("https", address) == ("" if direct else "http://proxy:3128")


def test_proxies_by_scheme() -> None:
    """Each scheme has its own; small letters win; a star is everybody."""
    proxies = parse_proxies({"HTTP_PROXY": "http://a", "http_proxy": "http://b", "HTTPS_PROXY": ""})
    assert proxies.find("http", "x.org") == "http://b"
    assert proxies.find("https", "x.org") == ""
    assert parse_proxies({"http_proxy": "b", "no_proxy": "*"}).find("http", "x.org") == ""


@given(st.text(max_size=30), st.text(alphabet="a.*:/0[]1-", max_size=12))
def test_no_rule_breaks_the_search(rules: str, address: str) -> None:
    """Whatever somebody wrote into NO_PROXY."""
    assert parse_proxies({"http_proxy": "p", "no_proxy": rules}).find("http", address) in ("", "http://p")
