"""Which registries an engine asks and who it is to them: as its settings and its clients say.

The engine reads no user's credentials: a client sends its own with the request (``X-Registry-Auth``).
"""

from __future__ import annotations

import contextlib
import os

from pierhead.errors import InvalidInput
from pierhead.images.reference import DEFAULT_DOMAIN, is_domain
from pierhead.images.remote.credentials import Credentials
from pierhead.images.remote.hosts import REGISTRIES, Endpoint, Hosts, load_hosts, parse_proxies

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import Any

    from pierhead.engine.settings import Settings
    from pierhead.images.remote.client import Client

_SCHEMES = (("https://", ("https",)), ("http://", ("http",)), ("", ("https",)))


def hosts_of(settings: Settings) -> Hosts:
    """Where registries are: the machine's file, and what the settings say in docker's words.

    Raises:
        InvalidInput: a mirror or an insecure registry is written wrongly.
    """
    machine = load_hosts((REGISTRIES,))
    tables: dict[str, tuple[Endpoint, ...]] = {}
    for registry in settings.insecure_registries:
        if not is_domain(registry):
            hint = "write HOST or HOST:PORT"
            raise InvalidInput(
                f"{registry!r} is no registry", code="bad-setting", path="insecure-registries", hint=hint
            )
        tables[registry] = (
            Endpoint(registry=registry, address=registry, schemes=("https", "http"), verify=False),
        )
    if settings.mirrors:
        mirrors = tuple(_mirror(text) for text in settings.mirrors)
        tables[DEFAULT_DOMAIN] = (*mirrors, machine.origin(DEFAULT_DOMAIN))
    return machine.with_tables(tables)


def _mirror(text: str) -> Endpoint:
    """``https://mirror.example.com``, as daemon.json has it."""
    prefix, schemes = next(each for each in _SCHEMES if text.startswith(each[0]))
    address = text.removeprefix(prefix).rstrip("/")
    if not is_domain(address):
        hint = "write https://HOST or https://HOST:PORT"
        raise InvalidInput(f"{text!r} is no mirror", code="bad-setting", path="registry-mirrors", hint=hint)
    return Endpoint(registry=DEFAULT_DOMAIN, address=address, schemes=schemes, is_mirror=True)


def read_credentials(document: dict[str, Any]) -> Credentials:
    """Who a client is to a registry, by the decoded ``X-Registry-Auth``."""

    def text(name: str) -> str:
        value = document.get(name, "")
        return value if isinstance(value, str) else ""

    return Credentials(
        username=text("username"),
        password=text("password"),
        identity_token=text("identitytoken"),
        registry_token=text("registrytoken"),
    )


@contextlib.asynccontextmanager
async def open_client(hosts: Hosts, document: dict[str, Any]) -> AsyncIterator[Client]:
    """A client of registries, for the one whose client sent these credentials."""
    from pierhead.images.remote.client import Client  # 0.3 s and 8 MB, of no use to those who only run
    from pierhead.images.remote.connection import Connection

    credentials = read_credentials(document)
    given = credentials if credentials != Credentials() else None
    connection = Connection(find_credentials=lambda *_: given, proxies=parse_proxies(os.environ))
    async with connection:
        yield Client(connection, hosts)
