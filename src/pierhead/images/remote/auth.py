"""Who we are, as a header: passwords as they are, or tokens that a server of tokens gives for a time.

    registry  ── 401, WWW-Authenticate: Bearer realm, service, scope ──▶ us
    us        ── realm?service=…&scope=… (and who we are) ──▶ server of tokens ──▶ token, expires_in
    us        ── Authorization: Bearer TOKEN ──▶ registry

A token is kept for its server, service and scope until shortly before it ends.  One that is refused all the
same is fetched anew, once for all who wait for it.

Source: Docker's "Token Authentication Specification" and "OAuth2 Token Authentication".
"""

from __future__ import annotations

import asyncio
import base64
import urllib.parse

from pierhead import jsontext
from pierhead.errors import Forbidden, InvalidInput, Unavailable
from pierhead.images.remote.credentials import Credentials
from pierhead.images.remote.refusals import PASSING_STATUSES, describe_endpoint
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from pierhead.images.remote.challenge import Challenge
    from pierhead.images.remote.hosts import Endpoint

    Fetch = Callable[[Endpoint, str, Mapping[str, str], bytes | None], Awaitable[tuple[int, bytes]]]
    """Sends GET, or POST if there is a body, to a URL; returns status and body."""
    FindCredentials = Callable[[str, str], Credentials | None]
    """Who we are to a registry's domain and a repository's path; may block."""

_CLIENT = "pierhead"
_LEAST_LIFE_S = 60
_MARGIN_S = 10


class _Token(Value):
    header: str
    ends_s: float


class Authorizer:
    """Headers for requests, and tokens for headers."""

    def __init__(self, fetch: Fetch, find: FindCredentials, clock: Callable[[], float]) -> None:
        """``clock`` gives seconds that only grow."""
        self._fetch = fetch
        self._find = find
        self._clock = clock
        self._challenges: dict[str, Challenge] = {}
        self._tokens: dict[tuple[str, tuple[str, ...]], _Token] = {}
        self._locks: dict[tuple[str, tuple[str, ...]], asyncio.Lock] = {}

    async def header(self, endpoint: Endpoint, scopes: tuple[str, ...]) -> str:
        """What to send as Authorization; "" before the registry has asked for it.

        Raises:
            Forbidden: the server of tokens refuses.
            Unavailable: it does not answer.
        """
        if endpoint.address not in self._challenges:
            return ""
        token = self._current(endpoint, scopes)
        return token.header if token else await self._renew(endpoint, scopes, used="")

    async def answer(
        self, endpoint: Endpoint, scopes: tuple[str, ...], challenges: tuple[Challenge, ...], used: str
    ) -> None:
        """There is a header that the registry has not refused yet.

        Args:
            endpoint: who asked.
            scopes: what the request needs.
            challenges: what it asked for.
            used: the header that it refused.

        Raises:
            Forbidden: there is none: it wants what we do not have.
            Unavailable: the server of tokens does not answer.
        """
        known = {challenge.scheme: challenge for challenge in challenges}
        challenge = known.get("bearer") or known.get("basic")
        if challenge is None:
            message = f"{describe_endpoint(endpoint)} asks for a login of a kind that is not known here"
            raise Forbidden(message, code="unknown-authentication")
        self._challenges[endpoint.address] = challenge
        await self._renew(endpoint, scopes, used=used)

    def _current(self, endpoint: Endpoint, scopes: tuple[str, ...]) -> _Token | None:
        token = self._tokens.get((endpoint.address, scopes))
        return token if token and self._clock() < token.ends_s else None

    async def _renew(self, endpoint: Endpoint, scopes: tuple[str, ...], *, used: str) -> str:
        key = (endpoint.address, scopes)
        async with self._locks.setdefault(key, asyncio.Lock()):
            token = self._current(endpoint, scopes)
            if token is None or token.header == used:  # else somebody was quicker
                token = await self._get(endpoint, scopes, self._challenges[endpoint.address])
                self._tokens[key] = token
            return token.header

    async def _get(self, endpoint: Endpoint, scopes: tuple[str, ...], challenge: Challenge) -> _Token:
        domain = endpoint.address if endpoint.is_mirror else endpoint.registry
        repository = scopes[0].split(":")[1] if scopes and scopes[0].startswith("repository:") else ""
        credentials = await asyncio.to_thread(self._find, domain, repository) or Credentials()
        if challenge.scheme == "basic":
            if not credentials.username:
                message = f"{describe_endpoint(endpoint)} wants a name and a password"
                raise Forbidden(message, code="login-needed", hint=f"pier login {domain}")
            return _Token(header=_basic(credentials), ends_s=float("inf"))
        if credentials.registry_token:
            return _Token(header=f"Bearer {credentials.registry_token}", ends_s=float("inf"))
        wanted = tuple(dict.fromkeys((*scopes, *challenge.get("scope").split())))
        started_s = self._clock()
        raw = await self._ask(endpoint, challenge, wanted, credentials)
        return _read_token(endpoint, raw, started_s)

    async def _ask(
        self, endpoint: Endpoint, challenge: Challenge, scopes: tuple[str, ...], credentials: Credentials
    ) -> bytes:
        """What the server of tokens answers: POST with a token that stands for us, else GET."""
        realm, service = challenge.get("realm"), challenge.get("service")
        _check_realm(endpoint, realm)
        if credentials.identity_token:
            form = {
                "grant_type": "refresh_token",
                "service": service,
                "client_id": _CLIENT,
                "scope": " ".join(scopes),
                "refresh_token": credentials.identity_token,
            }
            headers = {"Content-Type": "application/x-www-form-urlencoded"}
            status, raw = await self._fetch(endpoint, realm, headers, urllib.parse.urlencode(form).encode())
        else:
            query = [("service", service)] if service else []
            query += [("scope", scope) for scope in scopes]
            query += [("account", credentials.username)] if credentials.username else []
            headers = {"Authorization": _basic(credentials)} if credentials.username else {}
            url = f"{realm}{'&' if '?' in realm else '?'}{urllib.parse.urlencode(query)}"
            status, raw = await self._fetch(endpoint, url, headers, None)
        if status == 200:
            return raw
        host = urllib.parse.urlsplit(realm).netloc
        message = (
            f"{host}, which gives the tokens of {describe_endpoint(endpoint)}, refuses: HTTP status {status}"
        )
        if status in PASSING_STATUSES:
            raise Unavailable(message, code="token-unavailable")
        hint = f"pier login {endpoint.registry}; the name or the password may be wrong"
        raise Forbidden(message, code="login-refused", hint=hint)


def _check_realm(endpoint: Endpoint, realm: str) -> None:
    """Passwords that would have gone over TLS go over TLS."""
    scheme = urllib.parse.urlsplit(realm).scheme
    if scheme not in ("http", "https") or (scheme == "http" and "http" not in endpoint.schemes):
        message = f"{describe_endpoint(endpoint)} sends us to {realm[:200]!r} for a token, which is not https"
        raise Forbidden(message, code="insecure-realm")


def _read_token(endpoint: Endpoint, raw: bytes, started_s: float) -> _Token:
    document = jsontext.parse(raw, name=f"the token for {describe_endpoint(endpoint)}")
    found = document.get("token") or document.get("access_token") if isinstance(document, dict) else None
    if not isinstance(found, str) or not found.isascii() or not found.isprintable():
        message = f"the server of tokens for {describe_endpoint(endpoint)} gave none"
        raise InvalidInput(message, code="no-token")
    life_s = document.get("expires_in")
    life_s = life_s if isinstance(life_s, int) and life_s > 0 else _LEAST_LIFE_S
    return _Token(header=f"Bearer {found}", ends_s=started_s + max(life_s - _MARGIN_S, life_s / 2))


def _basic(credentials: Credentials) -> str:
    pair = f"{credentials.username}:{credentials.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"
