"""The files in /etc that an engine writes for a container: hosts, hostname, resolv.conf.

    DATA_ROOT/containers/ID/hosts
                            hostname
                            resolv.conf

Each is written in place, so that a container that has it mounted sees what is new, and its own edits are gone
at its next start only.  Source: hosts(5), hostname(5), resolv.conf(5); Docker's documentation of networking,
"DNS services", for what becomes of the host's name servers.
"""

from __future__ import annotations

import ipaddress
import os
from typing import TYPE_CHECKING

from pierhead.linux.files import read_text_if_there
from pierhead.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterable

HOSTS, HOSTNAME, RESOLV_CONF = "hosts", "hostname", "resolv.conf"

_BUILTIN_HOSTS = (
    ("127.0.0.1", "localhost"),
    ("::1", "localhost ip6-localhost ip6-loopback"),
    ("fe00::", "ip6-localnet"),
    ("ff00::", "ip6-mcastprefix"),
    ("ff02::1", "ip6-allnodes"),
    ("ff02::2", "ip6-allrouters"),
)
_PUBLIC_SERVERS = ("8.8.8.8", "8.8.4.4")
_STUB = "127.0.0.53"
"""systemd-resolved's own: it forwards, and the real servers stand in another file."""

HOST_RESOLV_CONF = "/etc/resolv.conf"
RESOLVED_RESOLV_CONF = "/run/systemd/resolve/resolv.conf"
HOST_HOSTS = "/etc/hosts"
HOST_GATEWAY = "host-gateway"


class Resolver(Value):
    """What a resolv.conf says, or a request wants of one."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class EtcFiles(Value):
    """What is to be written.

    Fields:
        hostname, domainname: the container's.
        addresses: its own in its network, for its name; none in the host's network.
        extra_hosts: ``name:address``; ``host-gateway`` stands for ``host_address``.
        host_address: of the host, as the container reaches it.
        resolver: of the request, above the engine's; see ``settle_resolver``.
        host_network: whether the container is in the host's network: its files begin as the host's.
    """

    hostname: str
    domainname: str = ""
    addresses: tuple[str, ...] = ()
    extra_hosts: tuple[str, ...] = ()
    host_address: str = ""
    resolver: Resolver = Resolver()
    host_network: bool = False


def write_etc_files(directory: str, wanted: EtcFiles, owner: tuple[int, int] | None = None) -> None:
    """The three files stand in the directory, readable to everybody.

    Args:
        directory: is there.
        wanted: what is in them.
        owner: user and group whose they are; None is the engine.

    Raises:
        OSError: the disk refuses.
    """
    own = read_host_resolver(loopback=wanted.host_network)
    hosts = read_text_if_there(HOST_HOSTS) if wanted.host_network else ""
    texts = {
        HOSTS: format_hosts(wanted, host_text=hosts),
        HOSTNAME: f"{wanted.hostname}\n",
        RESOLV_CONF: format_resolver(settle_resolver(wanted.resolver, own)),
    }
    for name, text in texts.items():
        _write(f"{directory}/{name}", text, owner)


def read_host_resolver(*, loopback: bool) -> Resolver:
    """The host's, as a container of its own network can use it.

    Args:
        loopback: whether servers at loopback addresses can be reached: in the host's network only.
    """
    found = parse_resolver(read_text_if_there(HOST_RESOLV_CONF))
    if loopback:
        return found
    if found.servers == (_STUB,):
        behind = read_text_if_there(RESOLVED_RESOLV_CONF)
        found = parse_resolver(behind) if behind else found
    return without_loopback(found)


def without_loopback(resolver: Resolver) -> Resolver:
    """The resolver without servers that only the host reaches; with public ones where none is left."""
    servers = tuple(server for server in resolver.servers if not _is_loopback(server))
    return resolver.replace(servers=servers or _PUBLIC_SERVERS)


def _is_loopback(server: str) -> bool:
    try:
        return ipaddress.ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False


def parse_resolver(text: str) -> Resolver:
    """What a resolv.conf says; of several ``search`` lines the last one holds, as for the C library."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in text.split("\n"):
        words = line.split()
        if len(words) < 2 or words[0][0] in "#;":
            continue
        if words[0] == "nameserver":
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1:])
        elif words[0] == "options":
            options += words[1:]
    return Resolver(servers=tuple(servers), search=search, options=tuple(options))


def settle_resolver(wanted: Resolver, own: Resolver) -> Resolver:
    """Each of the three as it was asked for, or as the host has it; a search for ``.`` is for none."""
    search = wanted.search or own.search
    return Resolver(
        servers=wanted.servers or own.servers,
        search=() if search == (".",) else search,
        options=wanted.options or own.options,
    )


def format_resolver(resolver: Resolver) -> str:
    """The file's text."""
    lines = [f"nameserver {server}" for server in resolver.servers]
    if resolver.search:
        lines.append(f"search {' '.join(resolver.search)}")
    if resolver.options:
        lines.append(f"options {' '.join(resolver.options)}")
    return "".join(f"{line}\n" for line in lines)


def format_hosts(wanted: EtcFiles, *, host_text: str = "") -> str:
    """The file's text: the usual names (or the host's file), names that were asked for, the own name."""
    lines = [] if host_text else [f"{address}\t{names}" for address, names in _BUILTIN_HOSTS]
    lines += [f"{address}\t{name}" for name, address in extra_addresses(wanted)]
    if not wanted.host_network:
        lines += [f"{address}\t{_own_names(wanted)}" for address in wanted.addresses]
    begin = host_text if not host_text or host_text.endswith("\n") else f"{host_text}\n"
    return begin + "".join(f"{line}\n" for line in lines)


def extra_addresses(wanted: EtcFiles) -> Iterable[tuple[str, str]]:
    """Names and addresses of ``extra_hosts``."""
    for entry in wanted.extra_hosts:
        name, _, address = entry.partition(":")
        address = wanted.host_address if address == HOST_GATEWAY else address
        if address:
            yield name, address.removeprefix("[").removesuffix("]")


def _own_names(wanted: EtcFiles) -> str:
    """``box.example.org box``: the whole name first (hosts(5))."""
    short = wanted.hostname.partition(".")[0]
    whole = f"{wanted.hostname}.{wanted.domainname}" if wanted.domainname else wanted.hostname
    return whole if whole == short else f"{whole} {short}"


def _write(path: str, text: str, owner: tuple[int, int] | None) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        os.fchmod(fd, 0o644)  # whatever the engine's umask
        if owner is not None:
            os.fchown(fd, *owner)
        file.write(text)
