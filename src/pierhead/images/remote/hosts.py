"""Which servers answer for a registry: mirrors in order and then itself, and how each is spoken to.

    # registries.toml
    [registry."docker.io"]                  # or "*": every registry without a table of its own
    [[registry."docker.io".mirror]]
    host = "mirror.example.com:5000"
    prefix = "hub"                          # docker.io/library/busybox is hub/library/busybox there
    resolve = false                         # asked for contents, but not what a tag means
    ca = "/etc/pierhead/mirror.pem"

    [registry."registry.lan:5000"]
    insecure = true                         # any certificate, or none at all
    client-certificate = "/etc/pierhead/me.pem"
    client-key = "/etc/pierhead/me.key"
    headers = { "X-Team" = "ours" }

A table of a later file replaces the table of the same registry in an earlier one.  This machine's own
registries (``localhost``, 127.0.0.0/8, ``::1``) may be without a certificate, as they may for docker.

Source: docker's daemon.json ("registry-mirrors", "insecure-registries"), containerd's hosts.toml; proxies
as Go's net/http reads HTTP_PROXY, HTTPS_PROXY and NO_PROXY.
"""

from __future__ import annotations

import ipaddress
import tomllib

from pierhead.errors import InvalidInput
from pierhead.images.reference import DEFAULT_DOMAIN, is_domain, is_repository
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

REGISTRIES = "/etc/pierhead/registries.toml"
"""The machine's own file."""
_HUB_ADDRESS = "registry-1.docker.io"
_ANY = "*"
_SWITCHES = ("insecure", "plain-http")
_PATHS = ("ca", "client-certificate", "client-key")
_COMMON = (*_SWITCHES, *_PATHS, "headers")
_MIRROR = (*_COMMON, "host", "prefix", "pull", "resolve")
_ORIGIN = (*_COMMON, "host", "mirror")


class Endpoint(Value):
    """One server that answers for a registry.

    Fields:
        registry: the domain for which it answers.
        address: its host, with the port if it has one.
        schemes: how it is spoken to, in the order in which it is tried.
        verify: whether its certificate must be right.
        prefix: put before a repository's path; empty or without a slash at its end.
        is_mirror: whether it is not the registry itself.
        pulls: whether it is asked for contents.
        resolves: whether it is asked what a tag means.
    """

    registry: str
    address: str
    schemes: tuple[str, ...] = ("https",)
    verify: bool = True
    prefix: str = ""
    is_mirror: bool = False
    pulls: bool = True
    resolves: bool = True
    ca_path: str = ""
    certificate_path: str = ""
    key_path: str = ""
    headers: tuple[tuple[str, str], ...] = ()

    def repository(self, path: str) -> str:
        """What a repository of the registry is called here."""
        return f"{self.prefix}/{path}" if self.prefix else path


class Hosts:
    """Where every registry is."""

    def __init__(self, tables: Mapping[str, tuple[Endpoint, ...]] | None = None) -> None:
        """``tables`` has the endpoints of registries that are not simply where their name says."""
        self._tables = dict(tables or {})

    def with_tables(self, tables: Mapping[str, tuple[Endpoint, ...]]) -> Hosts:
        """The same, with other endpoints for these registries."""
        return Hosts({**self._tables, **tables})

    def endpoints(self, domain: str) -> tuple[Endpoint, ...]:
        """The servers for a registry in the order in which they are asked, the registry itself last."""
        found = self._tables.get(domain)
        if found is not None:
            return found
        mirrors = tuple(
            each.replace(registry=domain) for each in self._tables.get(_ANY, ()) if each.is_mirror
        )
        return (*mirrors, _plain_origin(domain))

    def origin(self, domain: str) -> Endpoint:
        """The registry itself: what is written goes there."""
        return self.endpoints(domain)[-1]


def load_hosts(paths: Sequence[str]) -> Hosts:
    """What these files say, those that are there; later ones win.

    Raises:
        InvalidInput: one is not TOML, or says what has no meaning; the message names file and table.
    """
    tables: dict[str, tuple[Endpoint, ...]] = {}
    for path in paths:
        try:
            with open(path, "rb") as file:
                text = file.read().decode()
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise InvalidInput(f"cannot read {path}: {error}", code="invalid-registries") from None
        tables.update(parse_hosts(text, name=path))
    return Hosts(tables)


def parse_hosts(text: str, *, name: str = "registries.toml") -> dict[str, tuple[Endpoint, ...]]:
    """The endpoints that the text gives to registries, by their domain; ``*`` is any other one.

    Raises:
        InvalidInput: as ``load_hosts``.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{name} is not TOML: {error}", code="invalid-registries") from None
    strange = [key for key in document if key != "registry"]
    registries = document.get("registry", {})
    if strange or not isinstance(registries, dict):
        what = strange[0] if strange else "registry"
        hint = 'tables are called [registry."HOST"]'
        raise InvalidInput(
            f"{name}: {what!r} is no table of registries", code="invalid-registries", hint=hint
        )
    return {
        domain: _read_registry(domain, table, f"{name}: {domain}") for domain, table in registries.items()
    }


def _read_registry(domain: str, table: object, where: str) -> tuple[Endpoint, ...]:
    if domain != _ANY and not is_domain(domain):
        raise InvalidInput(f"{where} is no registry's host", code="invalid-registries")
    checked = _check_table(table, _ORIGIN if domain != _ANY else ("mirror",), where)
    mirrors = checked.get("mirror", [])
    if not isinstance(mirrors, list):
        hint = f'mirrors are written as [[registry."{domain}".mirror]]'
        raise InvalidInput(f"{where}: mirror is not a list of tables", code="invalid-registries", hint=hint)
    found = []
    for number, mirror in enumerate(mirrors, 1):
        place = f"{where}: mirror {number}"
        options = _check_table(mirror, _MIRROR, place)
        if not options.get("host"):
            raise InvalidInput(f"{place} has no host", code="invalid-registries")
        endpoint = _read_endpoint(domain, options["host"], options, place).replace(is_mirror=True)
        found.append(endpoint)
    if domain == _ANY:
        return tuple(found)
    address = checked.get("host") or _plain_origin(domain).address
    return (*found, _read_endpoint(domain, address, checked, where))


def _check_table(table: object, known: tuple[str, ...], where: str) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise InvalidInput(f"{where} is not a table", code="invalid-registries")
    for key, value in table.items():
        if key not in known:
            hint = f"there is: {', '.join(known)}"
            raise InvalidInput(f"{where} has an unknown {key!r}", code="invalid-registries", hint=hint)
        kind = bool if key in (*_SWITCHES, "pull", "resolve") else dict if key == "headers" else str
        if key != "mirror" and not isinstance(value, kind):
            words = {bool: "true or false", dict: "a table", str: "a string"}
            raise InvalidInput(f"{where}: {key} is not {words[kind]}", code="invalid-registries")
    return table


def _read_endpoint(domain: str, address: str, options: Mapping[str, Any], where: str) -> Endpoint:
    prefix = options.get("prefix", "").strip("/")
    headers = options.get("headers", {})
    if not is_domain(address):
        hint = "a host is written without a scheme: mirror.example.com:5000"
        raise InvalidInput(f"{where}: {address!r} is no host", code="invalid-registries", hint=hint)
    if prefix and not is_repository(prefix):
        raise InvalidInput(f"{where}: {prefix!r} is no beginning of a repository", code="invalid-registries")
    if not all(isinstance(value, str) and _is_header(f"{key}: {value}") for key, value in headers.items()):
        raise InvalidInput(f"{where}: headers are not strings of one line", code="invalid-registries")
    if bool(options.get("client-certificate")) != bool(options.get("client-key")):
        hint = "client-certificate and client-key belong together"
        raise InvalidInput(
            f"{where} has half of a client's certificate", code="invalid-registries", hint=hint
        )
    lenient = options.get("insecure", is_this_machine(address))
    return Endpoint(
        registry=domain,
        address=address,
        schemes=("http",) if options.get("plain-http") else ("https", "http") if lenient else ("https",),
        verify=not lenient,
        prefix=prefix,
        pulls=options.get("pull", True),
        resolves=options.get("resolve", True),
        ca_path=options.get("ca", ""),
        certificate_path=options.get("client-certificate", ""),
        key_path=options.get("client-key", ""),
        headers=tuple(sorted(headers.items())),
    )


def _is_header(text: str) -> bool:
    return text.isprintable() and text.isascii()


def _plain_origin(domain: str) -> Endpoint:
    address = _HUB_ADDRESS if domain == DEFAULT_DOMAIN else domain
    lenient = is_this_machine(domain)
    schemes = ("https", "http") if lenient else ("https",)
    return Endpoint(registry=domain, address=address, schemes=schemes, verify=not lenient)


def is_this_machine(address: str) -> bool:
    """Whether the address, with or without a port, is one that no other machine can answer at."""
    host = _host_of(address)
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _host_of(address: str) -> str:
    return address[1:].partition("]")[0] if address.startswith("[") else address.partition(":")[0]


class Proxies(Value):
    """Through whom servers are reached: the proxy's URL for each scheme, and who is reached directly."""

    http: str = ""
    https: str = ""
    direct: tuple[str, ...] = ()

    def find(self, scheme: str, address: str) -> str:
        """The proxy for a server; "" is none."""
        proxy = self.https if scheme == "https" else self.http
        return "" if not proxy or is_this_machine(address) or self._is_direct(address) else proxy

    def _is_direct(self, address: str) -> bool:
        host = _host_of(address).lower()
        for rule in self.direct:
            if rule in ("*", host, address.lower()):
                return True
            if _is_in_network(host, rule) or host.endswith(f".{rule.removeprefix('.').removeprefix('*.')}"):
                return True
        return False


def _is_in_network(host: str, rule: str) -> bool:
    if "/" not in rule:
        return False
    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(rule, strict=False)
    except ValueError:
        return False


def parse_proxies(environment: Mapping[str, str]) -> Proxies:
    """The proxies that an environment names; names in lower case win, as they do for curl."""
    found = {name: environment.get(name) or environment.get(name.upper(), "") for name in _PROXY_VARIABLES}
    direct = tuple(rule.strip().lower() for rule in found["no_proxy"].split(",") if rule.strip())
    return Proxies(
        http=_proxy_url(found["http_proxy"]), https=_proxy_url(found["https_proxy"]), direct=direct
    )


_PROXY_VARIABLES = ("http_proxy", "https_proxy", "no_proxy")


def _proxy_url(text: str) -> str:
    return text if not text or "://" in text else f"http://{text}"
