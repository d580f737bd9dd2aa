"""Networks and endpoints to rules of the firewall.  Pure.

The rules are always the same; networks and published ports are elements of sets.  So whatever starts or ends
is one small message, and a packet meets the same few look-ups with one container as with a thousand.

    prerouting      what a container sends to 127.0.0.0/8 of the machine is dropped, before anything else
      (nat)         to an address of this machine → published
    output (nat)    to an address of this machine → published
    published       (address, protocol, port) or else (protocol, port) → (address, port) of a container
    forward         answers pass; then published ports; then neighbours by their bridge's rule;
                    nobody else reaches a container; internal networks reach nobody;
                    a machine that was no router before is none now
    postrouting     a container's address is exchanged for the machine's on the way out;
      (nat)         so is the source where the answer would not find the way back: the machine's own
                    loopback addresses, and containers that use published ports

Only new connections meet the chains of the kind nat; the kernel remembers what it has decided.

An ``accept`` ends our chain and not those of other tables, so another firewall may drop what passes here:
``pierhead.net.otherfirewalls`` sees to that.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from pierhead.linux.nftables_codec import (
    IFNAME,
    INET_PROTO,
    INET_SERVICE,
    IPV4_ADDR,
    IPV6_ADDR,
    NFPROTO_INET,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    Chain,
    Element,
    Expression,
    NamedSet,
    Rule,
    add_chain,
    add_elements,
    add_rule,
    add_set,
    add_table,
    compare,
    conntrack,
    counter,
    delete_table,
    destination_kind,
    destination_nat,
    interface_name,
    joined,
    lookup,
    masked,
    masquerade,
    meta,
    payload,
    verdict,
)
from pierhead.net.model import PROTOCOLS, Endpoint, Network

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.linux.nfnetlink import Request

COMMENT = "made by pierhead; changes by hand are lost"

_RAW, _DESTINATION_NAT, _FILTER, _SOURCE_NAT = -300, -100, 0, 100  # nft(8), "Standard priority names"
_LOCAL = b"\x02\0\0\0"  # RTN_LOCAL, in the host's order
_ESTABLISHED, _RELATED = 0x2, 0x4  # NF_CT_STATE_BIT of nf_conntrack_common.h
_DNAT = 0x20  # IPS_DST_NAT
_IPV4_SOURCE, _IPV4_DESTINATION, _IPV6_SOURCE, _IPV6_DESTINATION = 12, 16, 8, 24
_PART_2, _PART_3, _PART_5, _PART_6 = 9, 10, 2, 13  # NFT_REG32: register 1 is 8 to 11, register 2 12 to 15

SETS = (
    NamedSet(name="bridges", key=(IFNAME,)),
    NamedSet(name="internal", key=(IFNAME,)),
    NamedSet(name="edges4", key=(IFNAME,)),
    NamedSet(name="edges6", key=(IFNAME,)),
    NamedSet(name="neighbours", key=(IFNAME, IFNAME), verdicts=True),
    NamedSet(name="containers4", key=(IPV4_ADDR,), intervals=True),
    NamedSet(name="containers6", key=(IPV6_ADDR,), intervals=True),
    NamedSet(name="masqueraded4", key=(IPV4_ADDR,), intervals=True),
    NamedSet(name="masqueraded6", key=(IPV6_ADDR,), intervals=True),
    NamedSet(name="ports4", key=(INET_PROTO, INET_SERVICE), data=(IPV4_ADDR, INET_SERVICE)),
    NamedSet(name="ports6", key=(INET_PROTO, INET_SERVICE), data=(IPV6_ADDR, INET_SERVICE)),
    NamedSet(name="ports4at", key=(IPV4_ADDR, INET_PROTO, INET_SERVICE), data=(IPV4_ADDR, INET_SERVICE)),
    NamedSet(name="ports6at", key=(IPV6_ADDR, INET_PROTO, INET_SERVICE), data=(IPV6_ADDR, INET_SERVICE)),
)

CHAINS = (
    Chain(name="published"),
    Chain(name="guard", kind="filter", hook="prerouting", priority=_RAW),
    Chain(name="prerouting", kind="nat", hook="prerouting", priority=_DESTINATION_NAT),
    Chain(name="output", kind="nat", hook="output", priority=_DESTINATION_NAT),
    Chain(name="forward", kind="filter", hook="forward", priority=_FILTER),
    Chain(name="postrouting", kind="nat", hook="postrouting", priority=_SOURCE_NAT),
)


def plan_rules() -> tuple[Rule, ...]:
    """The rules of every chain, in order."""
    return (*_guard(), *_entrances(), *_published(), *_forward(), *_postrouting())


def plan_table(name: str, networks: Iterable[Network], endpoints: Iterable[Endpoint]) -> tuple[Request, ...]:
    """The batch after which the table is as it should be, whatever it was before."""
    family = NFPROTO_INET
    elements = (
        *(element for network in networks for element in network_elements(network)),
        *(element for endpoint in endpoints for element in port_elements(endpoint)),
    )
    return (
        add_table(family, name),  # so that there is one to delete
        delete_table(family, name),
        add_table(family, name, COMMENT),
        *(add_set(family, name, each, number) for number, each in enumerate(SETS, 1)),
        *(add_chain(family, name, chain) for chain in CHAINS),
        *(add_rule(family, name, rule) for rule in plan_rules()),
        *add_elements(family, name, elements),
    )


def network_elements(network: Network) -> tuple[Element, ...]:
    """What the sets hold for a network."""
    link = interface_name(network.bridge)
    verdict_word = "accept" if network.inter_container else "drop"
    elements = [
        Element(set_name="bridges", key=link),
        Element(set_name="neighbours", key=link + link, verdict=verdict_word),
    ]
    if network.internal:
        elements.append(Element(set_name="internal", key=link))
    for subnet, version in ((network.subnet, 4), (network.ipv6_subnet, 6)):
        if subnet:
            edges = network.edges4 if version == 4 else network.edges6
            elements += [Element(set_name=f"edges{version}", key=interface_name(edge)) for edge in edges]
            elements += _interval(f"containers{version}", subnet)
            if network.masquerade and not network.internal:
                elements += _interval(f"masqueraded{version}", subnet)
    return tuple(elements)


def port_elements(endpoint: Endpoint) -> tuple[Element, ...]:
    """What the sets hold for an endpoint."""
    elements = []
    for port in endpoint.ports:
        version = 6 if port.is_ipv6 else 4
        target = (endpoint.ipv6_address if port.is_ipv6 else endpoint.address).partition("/")[0]
        key = (bytes((PROTOCOLS[port.protocol],)), port.host_port.to_bytes(2, "big"))
        name = f"ports{version}"
        if not port.everywhere:
            key = (ip_address(port.host_ip).packed, *key)  # type: ignore[assignment]
            name += "at"
        data = joined(ip_address(target).packed, port.container_port.to_bytes(2, "big"))
        elements.append(Element(set_name=name, key=joined(*key), data=data))
    return tuple(elements)


def _interval(set_name: str, subnet: str) -> list[Element]:
    """A subnet as an interval: its first address, and the first behind it (if there is one)."""
    network = ip_network(subnet)
    elements = [Element(set_name=set_name, key=network.network_address.packed)]
    after = int(network.broadcast_address) + 1
    if after < 1 << network.max_prefixlen:
        behind = after.to_bytes(network.max_prefixlen // 8, "big")
        elements.append(Element(set_name=set_name, key=behind, interval_end=True))
    return elements


# The rules


def _guard() -> tuple[Rule, ...]:
    """Bridges have route_localnet, so that the machine's 127.0.0.1 can be led to containers.  It would also
    let containers send to the machine's 127.0.0.1 and from it (CVE-2020-8558).
    """
    return tuple(
        Rule(
            chain="guard",
            expressions=(*_from_bridge(), *_is_ipv4(), *_loopback(offset), counter(), verdict("drop")),
            why=f"{what} a loopback address, by a container",
        )
        for what, offset in (("to", _IPV4_DESTINATION), ("from", _IPV4_SOURCE))
    )


def _entrances() -> tuple[Rule, ...]:
    """Which packets may be for a published port."""
    to_published = (destination_kind(), compare(_LOCAL), verdict("jump", "published"))
    from_elsewhere = (meta("iifname"), compare(interface_name("lo"), equal=False))
    return (
        Rule(
            chain="prerouting",
            expressions=(*from_elsewhere, *_is_ipv4(), *_loopback(_IPV4_DESTINATION), verdict("return")),
            why="a neighbour's packet to 127.0.0.1 is not for us",
        ),
        Rule(chain="prerouting", expressions=to_published, why="to an address of this machine"),
        # Linux routes nothing from ::1 to another link.  Whoever tries it is refused at once, since nobody
        # listens there, and goes on with 127.0.0.1; redirected, it would wait for nothing.
        Rule(
            chain="output",
            expressions=(
                *_is_ipv6(),
                payload("network", _IPV6_DESTINATION, 16),
                compare(bytes(15) + b"\x01"),
                verdict("return"),
            ),
            why="::1 cannot be led to a container",
        ),
        Rule(chain="output", expressions=to_published, why="to an address of this machine"),
    )


def _published() -> tuple[Rule, ...]:
    return (
        Rule(
            chain="published",
            expressions=(
                *_is_ipv4(),
                payload("network", _IPV4_DESTINATION, 4),
                meta("l4proto", _PART_2),
                payload("transport", 2, 2, _PART_3),
                lookup("ports4at", 1),
                destination_nat(NFPROTO_IPV4, 1, _PART_2),
            ),
            why="published at one address",
        ),
        Rule(
            chain="published",
            expressions=(
                *_is_ipv4(),
                meta("l4proto"),
                payload("transport", 2, 2, _PART_2),
                lookup("ports4", 1),
                destination_nat(NFPROTO_IPV4, 1, _PART_2),
            ),
            why="published at all addresses",
        ),
        Rule(
            chain="published",
            expressions=(
                *_is_ipv6(),
                payload("network", _IPV6_DESTINATION, 16),
                meta("l4proto", _PART_5),
                payload("transport", 2, 2, _PART_6),
                lookup("ports6at", 1),
                destination_nat(NFPROTO_IPV6, 1, _PART_5),
            ),
            why="published at one address",
        ),
        Rule(
            chain="published",
            expressions=(
                *_is_ipv6(),
                meta("l4proto"),
                payload("transport", 2, 2, _PART_2),
                lookup("ports6", 1),
                destination_nat(NFPROTO_IPV6, 1, _PART_5),
            ),
            why="published at all addresses",
        ),
    )


def _forward() -> tuple[Rule, ...]:
    answers = (conntrack("state"), masked(_ESTABLISHED | _RELATED), compare(bytes(4), equal=False))
    both = (meta("iifname"), meta("oifname", 2))
    from_internal = (meta("iifname"), lookup("internal"))
    return (
        Rule(chain="forward", expressions=(*answers, verdict("accept")), why="answers"),
        Rule(
            chain="forward",
            expressions=(*_to_bridge(), *_was_redirected(), verdict("accept")),
            why="to a published port",
        ),
        Rule(chain="forward", expressions=(*both, lookup("neighbours", 0)), why="within one network"),
        Rule(
            chain="forward",
            expressions=(*_to_bridge(), counter(), verdict("drop")),
            why="to a container, from outside of its network",
        ),
        Rule(
            chain="forward",
            expressions=(*from_internal, counter(), verdict("drop")),
            why="out of an internal network",
        ),
        *(
            Rule(
                chain="forward",
                expressions=(
                    *family,
                    meta("iifname"),
                    lookup(edges),
                    meta("oifname"),
                    lookup(edges),
                    counter(),
                    verdict("drop"),
                ),
                why="forwarding is on for containers: this machine is no router",
            )
            for family, edges in ((_is_ipv4(), "edges4"), (_is_ipv6(), "edges6"))
        ),
    )


def _postrouting() -> tuple[Rule, ...]:
    to_elsewhere = (meta("oifname"), lookup("bridges", inverted=True))
    from_ipv4 = (*_is_ipv4(), payload("network", _IPV4_SOURCE, 4))
    from_ipv6 = (*_is_ipv6(), payload("network", _IPV6_SOURCE, 16))
    rules = []
    for version, source in ((4, from_ipv4), (6, from_ipv6)):
        rules += [
            Rule(
                chain="postrouting",
                expressions=(*to_elsewhere, *source, lookup(f"masqueraded{version}"), masquerade()),
                why="from a container to the world",
            ),
            Rule(
                chain="postrouting",
                expressions=(
                    *_to_bridge(),
                    *_was_redirected(),
                    *source,
                    lookup(f"containers{version}"),
                    masquerade(),
                ),
                why="from a container to a published port",
            ),
        ]
    loopback = (*_to_bridge(), *_is_ipv4(), *_loopback(_IPV4_SOURCE), masquerade())
    why = "from this machine's loopback to a published port"
    return (*rules, Rule(chain="postrouting", expressions=loopback, why=why))


def _is_ipv4() -> tuple[Expression, ...]:
    return meta("nfproto"), compare(bytes((NFPROTO_IPV4,)))


def _is_ipv6() -> tuple[Expression, ...]:
    return meta("nfproto"), compare(bytes((NFPROTO_IPV6,)))


def _loopback(offset: int) -> tuple[Expression, ...]:
    """The address at this offset of the IPv4 header is one of 127.0.0.0/8."""
    return payload("network", offset, 1), compare(b"\x7f")


def _from_bridge() -> tuple[Expression, ...]:
    return meta("iifname"), lookup("bridges")


def _to_bridge() -> tuple[Expression, ...]:
    return meta("oifname"), lookup("bridges")


def _was_redirected() -> tuple[Expression, ...]:
    """The connection's destination was exchanged: somebody published it."""
    return conntrack("status"), masked(_DNAT), compare(bytes(4), equal=False)
