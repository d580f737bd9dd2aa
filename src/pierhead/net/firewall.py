"""Our table of nftables in the kernel: made whole, and changed by elements.

The table is this module's and nobody else's.  Who removes it nevertheless (``nft flush ruleset`` in a script
of the machine's) is noticed at the next change, and it is made again.
"""

from __future__ import annotations

from errno import EEXIST, ENOENT
from typing import TYPE_CHECKING

from pierhead.errors import OperationFailed
from pierhead.linux.nftables_codec import (
    NFPROTO_INET,
    add_elements,
    add_table,
    delete_elements,
    delete_table,
    interface_name,
)
from pierhead.net.model import EVERYWHERE
from pierhead.net.rules import plan_table, port_elements

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.linux.nfnetlink import Request
    from pierhead.linux.nftables import NftablesSocket
    from pierhead.linux.nftables_codec import Element
    from pierhead.net.model import Endpoint, Network

_NOT_AS_IT_WAS = (ENOENT, EEXIST)


class Firewall:
    """One table.

    Args:
        nftables: a socket in the namespace; stays the caller's.
        table: its name.
        one_address: whatever address of the machine a port is published at, packets come to ours.
    """

    def __init__(self, nftables: NftablesSocket, table: str, *, one_address: bool = False) -> None:
        self._one_address = one_address
        self._nftables = nftables
        self._table = table
        self._generation = -1

    def changed(self) -> bool:
        """Whether anybody but this object has changed any rules since this was last asked."""
        generation = self._nftables.generation()
        same, self._generation = generation == self._generation, generation
        return not same

    def replace(self, networks: Iterable[Network], endpoints: Iterable[Endpoint]) -> None:
        """The table is as networks and endpoints want it, in one step: no packet meets a half of it."""
        self._apply(plan_table(self._table, networks, map(self._as_here, endpoints)))

    def serves(self, networks: Iterable[Network]) -> bool:
        """Whether the table is there and knows the networks."""
        try:
            found = self._nftables.elements(NFPROTO_INET, self._table, "bridges")
        except OperationFailed as error:
            if error.errno != ENOENT:
                raise
            return False
        known = {element.key for element in found}
        return all(interface_name(network.bridge) in known for network in networks)

    def publish(self, endpoint: Endpoint) -> bool:
        """The endpoint's ports lead to it; False when the table is not what it was."""
        return self._try(add_elements(NFPROTO_INET, self._table, self._elements(endpoint)))

    def withdraw(self, endpoint: Endpoint) -> bool:
        """They do not any more; False when the table is not what it was."""
        return self._try(delete_elements(NFPROTO_INET, self._table, self._elements(endpoint)))

    def publishes(self, endpoint: Endpoint) -> bool:
        """Whether the kernel has every port of the endpoint."""
        for wanted in self._elements(endpoint):
            found = self._nftables.elements(NFPROTO_INET, self._table, wanted.set_name)
            if not any((each.key, each.data) == (wanted.key, wanted.data) for each in found):
                return False
        return True

    def remove(self) -> None:
        """The table is not there."""
        self._apply((add_table(NFPROTO_INET, self._table), delete_table(NFPROTO_INET, self._table)))

    def _elements(self, endpoint: Endpoint) -> tuple[Element, ...]:
        return port_elements(self._as_here(endpoint))

    def _as_here(self, endpoint: Endpoint) -> Endpoint:
        if not self._one_address:
            return endpoint
        return endpoint.replace(ports=tuple(port.replace(host_ip=EVERYWHERE[0]) for port in endpoint.ports))

    def _try(self, requests: tuple[Request, ...]) -> bool:
        try:
            self._apply(requests)
        except OperationFailed as error:
            if error.errno not in _NOT_AS_IT_WAS:
                raise
            return False
        return True

    def _apply(self, requests: tuple[Request, ...]) -> None:
        if requests:
            self._nftables.apply(requests)
            self._generation += 1  # if another change came in between, the next question tells
