"""A small nftables client: changes rules in batches, each taken whole or not at all, and reads what is there.

    with NftablesSocket.open() as nftables:
        nftables.apply((add_table(NFPROTO_INET, "web"), *add_elements(NFPROTO_INET, "web", elements)))

Not for use by two threads at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.linux.nfnetlink import NetfilterSocket, Request
from pierhead.linux.nftables_codec import (
    NFT_MSG_GETCHAIN,
    NFT_MSG_GETGEN,
    NFT_MSG_GETRULE,
    NFT_MSG_GETSETELEM,
    ChainFound,
    Element,
    batch_mark,
    decode_chain,
    decode_elements,
    decode_generation,
    decode_rule,
    encode_query,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class NftablesSocket(NetfilterSocket):
    """Talks to the nftables of the network namespace in which the socket was opened."""

    def apply(self, requests: Sequence[Request]) -> None:
        """All requests are done, or none is.

        Raises:
            OperationFailed: the first that the kernel refused, with its errno and reason.
        """
        if requests:
            self.perform_batch(batch_mark(begin=True), requests, batch_mark(begin=False))

    def generation(self) -> int:
        """How often anybody has changed rules in this namespace; counts on with every batch."""
        what = "read the generation of the firewall's rules"
        return decode_generation(self.ask(what, NFT_MSG_GETGEN, encode_query(0)))

    def chains(self) -> tuple[ChainFound, ...]:
        """Every chain of every table."""
        bodies = self.list_bodies("list the firewall's chains", NFT_MSG_GETCHAIN, encode_query(0))
        return tuple(map(decode_chain, bodies))

    def rules(self, family: int, table: str, chain: str) -> tuple[tuple[int, bytes], ...]:
        """Number and userdata of each rule of a chain."""
        query = encode_query(family, table, chain=chain)
        bodies = self.list_bodies(f"list the rules of chain {chain} of table {table}", NFT_MSG_GETRULE, query)
        return tuple(map(decode_rule, bodies))

    def elements(self, family: int, table: str, set_name: str) -> tuple[Element, ...]:
        """What is in a set; raises OperationFailed (ENOENT) where there is none."""
        query = encode_query(family, table, set_name)
        bodies = self.list_bodies(f"list set {set_name} of table {table}", NFT_MSG_GETSETELEM, query)
        return tuple(element for body in bodies for element in decode_elements(set_name, body))
