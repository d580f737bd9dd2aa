"""The networks that there are, as the API has them: the default bridge, ``host`` and ``none``."""

from __future__ import annotations

from pierhead.engine.filters import check_names
from pierhead.engine.lifecycle import is_alive
from pierhead.engine.moments import format_moment
from pierhead.engine.networknames import NETWORK_DRIVERS, network_identity
from pierhead.errors import InvalidInput, NotFound
from pierhead.images.choosing import says_yes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pierhead.engine.record import Record
    from pierhead.net import Network, NetworkService

    Document = dict[str, Any]
    Filters = dict[str, list[str]]
    Publish = Callable[[str, str, str, dict[str, str]], None]

_PRUNE_FILTERS = ("until", "label", "label!")
_KINDS = ("builtin", "custom")
_FILTERS = ("driver", "id", "label", "name", "scope", "type", "dangling")


class NetworkDesk:
    """See ``api.ports.Networks``; making more of them is refused so far."""

    def __init__(
        self, service: NetworkService | None, records: Callable[[], Iterable[Record]], publish: Publish
    ) -> None:
        """Args:
        service: has the default network, if there is one.
        records: the containers that there are.
        publish: takes an event's kind, its action, the object's id, and attributes.
        """
        self._service = service
        self._records = records
        self._publish = publish

    async def list_networks(self, filters: Filters) -> list[Document]:
        """Those that every filter lets pass.

        Raises:
            InvalidInput: there is no such filter, or a value is none for it.
        """
        check_filters(filters)
        documents = [self._describe(each, with_containers=False) for each in self._all()]
        return [each for each in documents if all(_passes(each, *one) for one in filters.items())]

    async def inspect_network(self, reference: str) -> Document:
        """One, with the containers in it.

        Raises:
            NotFound: there is none.
        """
        for each in self._all():
            name, identity = (each, network_identity(each)) if isinstance(each, str) else (each.name, each.id)
            if reference == name or (reference and identity.startswith(reference)):
                return self._describe(each, with_containers=True)
        raise NotFound(f"network {reference} not found", code="network-not-found")

    async def prune_networks(self, filters: Filters) -> Document:
        """Nothing: those that there are stay.

        Raises:
            InvalidInput: there is no such filter.
        """
        check_names(filters, _PRUNE_FILTERS)
        self._publish("network", "prune", "", {"reclaimed": "0"})
        return {"NetworksDeleted": None}

    def _all(self) -> list[Network | str]:
        return [*(self._service.networks() if self._service is not None else ()), *NETWORK_DRIVERS]

    def _describe(self, network: Network | str, *, with_containers: bool) -> Document:
        if isinstance(network, str):
            document = _document(network, network_identity(network), NETWORK_DRIVERS[network], 0)
        else:
            document = _bridge_document(network)
        if with_containers:
            document["Containers"] = {
                record.id: _member(record)
                for record in self._records()
                if is_alive(record) and record.network_mode == document["Name"]
            }
        return document


def _document(name: str, identity: str, driver: str, created_ns: int) -> Document:
    return {
        "Name": name,
        "Id": identity,
        "Created": format_moment(created_ns),
        "Scope": "local",
        "Driver": driver,
        "EnableIPv4": True,
        "EnableIPv6": False,
        "IPAM": {"Driver": "default", "Options": None, "Config": []},
        "Internal": False,
        "Attachable": False,
        "Ingress": False,
        "ConfigFrom": {"Network": ""},
        "ConfigOnly": False,
        "Containers": {},
        "Options": {},
        "Labels": {},
    }


def _bridge_document(network: Network) -> Document:
    subnets = [(network.subnet, network.gateway), (network.ipv6_subnet, network.ipv6_gateway)]
    ranges = [{"Subnet": subnet, "Gateway": gateway} for subnet, gateway in subnets if subnet]
    return _document(network.name, network.id, "bridge", network.created_ns) | {
        "EnableIPv6": bool(network.ipv6_subnet),
        "IPAM": {"Driver": "default", "Options": None, "Config": ranges},
        "Internal": network.internal,
        "Options": {
            "com.docker.network.bridge.default_bridge": "true",
            "com.docker.network.bridge.enable_icc": str(network.inter_container).lower(),
            "com.docker.network.bridge.enable_ip_masquerade": str(network.masquerade).lower(),
            "com.docker.network.bridge.name": network.bridge,
            "com.docker.network.driver.mtu": str(network.mtu),
        },
    }


def _member(record: Record) -> Document:
    endpoint = record.endpoint
    if endpoint is None:
        return {"Name": record.name, "EndpointID": "", "MacAddress": "", "IPv4Address": "", "IPv6Address": ""}
    address6 = endpoint.global_ipv6_address
    return {
        "Name": record.name,
        "EndpointID": endpoint.endpoint_id,
        "MacAddress": endpoint.mac_address,
        "IPv4Address": f"{endpoint.ip_address}/{endpoint.ip_prefix_len}",
        "IPv6Address": f"{address6}/{endpoint.global_ipv6_prefix_len}" if address6 else "",
    }


def check_filters(filters: Filters) -> None:
    """All filters are known, with values that they may have.

    Raises:
        InvalidInput: one is not.
    """
    check_names(filters, _FILTERS)
    for value in filters.get("type", ()):
        if value not in _KINDS:
            message, hint = f"invalid filter: 'type'='{value}'", f"one of {', '.join(_KINDS)}"
            raise InvalidInput(message, code="invalid-filter", hint=hint)
    says_yes(filters, "dangling")


def _passes(document: Document, name: str, values: list[str]) -> bool:
    if not values:
        return True
    if name == "id":
        return any(document["Id"].startswith(value) for value in values)
    if name == "name":
        return any(value in document["Name"] for value in values)
    if name == "dangling":  # those that are always there never are
        return not says_yes({name: values}, name)
    known = {"driver": document["Driver"], "scope": "local", "type": "builtin"}
    return known.get(name) in values
