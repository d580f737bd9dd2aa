"""Ports as requests say them: ``80/tcp``, ``8080``, ``8000-8010``.  Pure."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

from pierhead.errors import InvalidInput

if TYPE_CHECKING:
    from pierhead.engine.documents import ContainerConfig, HostConfig

PROTOCOLS = ("tcp", "udp", "sctp")
_PORT_MOST = 65535


def parse_container_port(text: str) -> tuple[int, int, str]:
    """First port, last port and protocol of ``80/tcp`` or ``8000-8010/udp``.

    Raises:
        InvalidInput: it is none.
    """
    ports, slash, protocol = text.partition("/")
    first, last = parse_port_range(ports)
    protocol = protocol.lower() if slash else "tcp"
    if protocol not in PROTOCOLS:
        raise InvalidInput(f"invalid proto: {protocol}", code="bad-port")
    return first, last, protocol


def parse_port_range(text: str) -> tuple[int, int]:
    """First and last port of ``80`` or ``8000-8010``.

    Raises:
        InvalidInput: it is none; Docker's sentence.
    """
    first, dash, last = text.partition("-")
    numbers = (first, last if dash else first)
    if not all(each.isascii() and each.isdecimal() and len(each) < 6 for each in numbers):
        raise InvalidInput(f'invalid port specification: "{text}"', code="bad-port")
    low, high = int(numbers[0]), int(numbers[1])
    if not low <= high <= _PORT_MOST:
        raise InvalidInput(f'invalid port specification: "{text}"', code="bad-port")
    return low, high


def check_port_bindings(config: ContainerConfig, host: HostConfig) -> None:
    """Every port and address can be one.

    Raises:
        InvalidInput: one cannot.
    """
    for text in config.exposed_ports:
        parse_container_port(text)
    for text, bindings in host.port_bindings.items():
        parse_container_port(text)
        for binding in bindings:
            if binding.host_port:
                parse_port_range(binding.host_port)
            if binding.host_ip:
                try:
                    ipaddress.ip_address(binding.host_ip)
                except ValueError:
                    raise InvalidInput(f"invalid IP address: {binding.host_ip}", code="bad-port") from None
