"""The files in /etc that an engine writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from pierhead.engine.etcfiles import (
    EtcFiles,
    Resolver,
    format_hosts,
    format_resolver,
    parse_resolver,
    settle_resolver,
    without_loopback,
    write_etc_files,
)

if TYPE_CHECKING:
    from pathlib import Path

WORD = st.text("abc.0:", min_size=1, max_size=8)
RESOLVERS = st.builds(
    lambda servers, search, options: Resolver(
        servers=tuple(servers), search=tuple(search), options=tuple(options)
    ),
    st.lists(WORD, max_size=3),
    st.lists(WORD, max_size=3),
    st.lists(WORD, max_size=3),
)


@given(RESOLVERS)
def test_resolvers_are_read_back(resolver: Resolver) -> None:
    """What was written is what is read."""
    assert parse_resolver(format_resolver(resolver)) == resolver


PIECES = (
    "nameserver",
    "search",
    "domain",
    "options",
    "a",
    "::1",
    "#",
    ";",
    " ",
    "\t",
    "\n",
    "\r",
    "\x0b",
    "\x85",
    "\u2028",
)


@given(st.lists(st.sampled_from(PIECES), max_size=12).map("".join) | st.text())
def test_any_resolv_conf(text: str) -> None:
    """A file that says anything is read; nothing of it becomes a second line of ours."""
    found = parse_resolver(text)
    again = format_resolver(found)
    assert parse_resolver(again) == found
    assert len(again.splitlines()) == len(found.servers) + bool(found.search) + bool(found.options)


def test_comments_and_old_words() -> None:
    """Comments are none of it, ``domain`` is a search, the last search holds (resolv.conf(5))."""
    text = "# nameserver 9.9.9.9\n;x\nnameserver 1.1.1.1\ndomain a\nsearch b c\noptions ndots:2\n"
    text += "options rotate\n"
    assert parse_resolver(text) == Resolver(
        servers=("1.1.1.1",), search=("b", "c"), options=("ndots:2", "rotate")
    )


def test_servers_that_only_the_host_reaches() -> None:
    """Loopback addresses are left out; with nothing left there are Docker's public servers."""
    found = without_loopback(
        Resolver(servers=("127.0.0.53", "10.0.0.1", "::1", "fe80::1%eth0"), search=("x",))
    )
    assert found == Resolver(servers=("10.0.0.1", "fe80::1%eth0"), search=("x",))
    assert without_loopback(Resolver(servers=("127.0.0.1",))).servers == ("8.8.8.8", "8.8.4.4")


def test_what_is_asked_for_goes_first() -> None:
    """Each of the three by itself; a dot is no search at all."""
    own = Resolver(servers=("1.1.1.1",), search=("own",), options=("rotate",))
    asked = Resolver(servers=("2.2.2.2",), search=(".",))
    assert settle_resolver(asked, own) == Resolver(servers=("2.2.2.2",), options=("rotate",))
    assert settle_resolver(Resolver(), own) == own


def test_hosts() -> None:
    """The usual names, those that were asked for, the container's own with each of its addresses."""
    wanted = EtcFiles(
        hostname="box",
        domainname="example.org",
        addresses=("172.17.0.2", "fd00::2"),
        extra_hosts=("db:10.0.0.5", "six:[fd00::5]", "host:host-gateway", "old:fd00::6"),
        host_address="172.17.0.1",
    )
    lines = format_hosts(wanted).splitlines()
    assert lines[0] == "127.0.0.1\tlocalhost"
    assert lines[-6:] == [
        "10.0.0.5\tdb",
        "fd00::5\tsix",
        "172.17.0.1\thost",
        "fd00::6\told",
        "172.17.0.2\tbox.example.org box",
        "fd00::2\tbox.example.org box",
    ]


def test_hosts_of_the_host() -> None:
    """In the host's network the host's file holds, and what was asked for comes after it."""
    wanted = EtcFiles(hostname="box", extra_hosts=("db:10.0.0.5",), addresses=("1.2.3.4",), host_network=True)
    assert format_hosts(wanted, host_text="127.0.0.1 me") == "127.0.0.1 me\n10.0.0.5\tdb\n"


def test_no_gateway() -> None:
    """A name for the host is left out where the container cannot reach it."""
    assert "way" not in format_hosts(EtcFiles(hostname="box", extra_hosts=("way:host-gateway",)))


def test_written_in_place(tmp_path: Path) -> None:
    """The same files hold the new text, so that a mount of them shows it; everybody may read them."""
    write_etc_files(str(tmp_path), EtcFiles(hostname="one"))
    before = (tmp_path / "hostname").stat().st_ino
    write_etc_files(str(tmp_path), EtcFiles(hostname="two", resolver=Resolver(servers=("9.9.9.9",))))
    assert (tmp_path / "hostname").read_text() == "two\n"
    assert (tmp_path / "hostname").stat().st_ino == before
    assert (tmp_path / "resolv.conf").read_text().startswith("nameserver 9.9.9.9\n")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o644}
