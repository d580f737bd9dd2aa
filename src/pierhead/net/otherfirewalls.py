"""Other firewalls of this machine, which may drop what ours lets pass.

A packet that is forwarded meets the chains of every table, one after the other; each can drop it, and none
can accept it for the others (nft(8), "Verdict statement").  Docker sets the policy of iptables' FORWARD chain
to DROP.  There we add at the end what lets our bridges' packets pass: behind all rules of others, so that
only the policy is changed for them, and nothing that somebody forbids becomes allowed.  The rules have the
form of iptables' own, so that iptables(8) lists them.

In any other table a policy of DROP is somebody's intention: it stays, and a sentence says what to do.

The older iptables of the kernel's ip_tables module is not seen here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.linux.nftables_codec import (
    HOOKS,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    Rule,
    add_rule,
    compare,
    counter,
    delete_rule,
    encode_comment,
    interface_name,
    meta,
    verdict,
)

if TYPE_CHECKING:
    from pierhead.linux.nftables import NftablesSocket
    from pierhead.linux.nftables_codec import ChainFound
    from pierhead.net.model import Network

_NF_DROP = 0
_IPTABLES = ("filter", "FORWARD")
_FAMILIES = {1: "inet", NFPROTO_IPV4: "ip", NFPROTO_IPV6: "ip6"}


def pass_other_firewalls(nftables: NftablesSocket, network: Network) -> tuple[str, ...]:
    """The network's packets pass iptables; a sentence for each chain that does not, and is not ours to
    change.
    """
    warnings = []
    for chain in dropping_chains(nftables, network):
        if _is_iptables(chain):
            _accept_at_the_end(nftables, chain, network.bridge)
        else:
            warnings.append(_warning(chain, network.bridge))
    return tuple(warnings)


def leave_other_firewalls(nftables: NftablesSocket, bridge: str) -> None:
    """What was added for this bridge is gone."""
    for chain in nftables.chains():
        if _is_iptables(chain):
            ours = [number for number, userdata in _rules(nftables, chain) if userdata == _mark(bridge)]
            nftables.apply(
                tuple(delete_rule(chain.family, chain.table, chain.name, number) for number in ours)
            )


def dropping_chains(nftables: NftablesSocket, network: Network) -> tuple[ChainFound, ...]:
    """Chains of others that forwarded packets of the network meet, with a policy of DROP."""
    families = {1, NFPROTO_IPV4} | ({NFPROTO_IPV6} if network.ipv6_subnet else set())
    return tuple(
        chain
        for chain in nftables.chains()
        if chain.hook == HOOKS["forward"] and chain.policy == _NF_DROP and chain.family in families
    )


def lets_pass(nftables: NftablesSocket, chain: ChainFound, bridge: str) -> bool:
    """Whether our rules stand in this chain."""
    return any(userdata == _mark(bridge) for _, userdata in _rules(nftables, chain))


def in_words(chain: ChainFound) -> str:
    """How nft(8) names the chain."""
    return f"{_FAMILIES.get(chain.family, chain.family)} {chain.table} {chain.name}"


def _accept_at_the_end(nftables: NftablesSocket, chain: ChainFound, bridge: str) -> None:
    if lets_pass(nftables, chain, bridge):
        return
    nftables.apply(
        tuple(
            add_rule(
                chain.family,
                chain.table,
                Rule(
                    chain=chain.name,
                    expressions=(side, compare(interface_name(bridge)), counter(), verdict("accept")),
                    why=_comment(bridge),
                ),
            )
            for side in (meta("iifname"), meta("oifname"))
        )
    )


def _warning(chain: ChainFound, bridge: str) -> str:
    where = in_words(chain)
    return (
        f"chain {where} of the firewall drops what it does not know, so containers on {bridge} may reach "
        f"nobody; let them pass there: nft add rule {where} iifname {bridge} accept; "
        f"nft add rule {where} oifname {bridge} accept"
    )


def _is_iptables(chain: ChainFound) -> bool:
    return (chain.table, chain.name) == _IPTABLES and chain.family in (NFPROTO_IPV4, NFPROTO_IPV6)


def _rules(nftables: NftablesSocket, chain: ChainFound) -> tuple[tuple[int, bytes], ...]:
    return nftables.rules(chain.family, chain.table, chain.name)


def _comment(bridge: str) -> str:
    return f"pierhead, for {bridge}"


def _mark(bridge: str) -> bytes:
    return encode_comment(_comment(bridge))
