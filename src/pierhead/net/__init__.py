"""Networks of containers: addresses, links, rules of the firewall, published ports.

``NetworkService`` is all of it; the values it takes and gives are in ``model``.
"""

from __future__ import annotations

from pierhead.net.explain import Explanation
from pierhead.net.model import (
    Endpoint,
    EndpointRequest,
    Network,
    NetworkSettings,
    PortWish,
    PublishedPort,
    parse_port_wishes,
)
from pierhead.net.service import NetworkService

__all__ = [
    "Endpoint",
    "EndpointRequest",
    "Explanation",
    "Network",
    "NetworkService",
    "NetworkSettings",
    "PortWish",
    "PublishedPort",
    "parse_port_wishes",
]
