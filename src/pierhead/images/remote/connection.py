"""One request to one server: authorized, sent again while that may help, followed where it leads.

Authorization and a client's certificate go to the registry's own address only: a redirect elsewhere is
followed without them, and never from TLS to plain text.

Source: RFC 9110 (redirects 15.4, Retry-After 10.2.3).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import time

import aiohttp
from yarl import URL

from pierhead import __version__
from pierhead.errors import InvalidInput, PierheadError
from pierhead.images.remote.auth import Authorizer
from pierhead.images.remote.challenge import parse_challenges
from pierhead.images.remote.hosts import Proxies
from pierhead.images.remote.refusals import (
    PASSING_STATUSES,
    describe_endpoint,
    failure,
    is_permanent,
    parse_retry_after,
    refusal,
)
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from typing import Self, TypeVar

    from pierhead.images.remote.auth import FindCredentials
    from pierhead.images.remote.hosts import Endpoint

    T = TypeVar("T")
    Body = Callable[[], bytes | AsyncIterator[bytes]]
    """Gives what is sent, from its beginning, each time it is called."""

FAILURES = (aiohttp.ClientError, TimeoutError, OSError, UnicodeError)
"""What a connection raises that fails; UnicodeError for a host of which no resolver can be asked."""

_REDIRECTS = frozenset((301, 302, 303, 307, 308))
_REDIRECTS_MAX = 10
_LOGINS_MAX = 2
_ERROR_BYTES_MAX = 1 << 16
_BUFFER_BYTES = 1 << 18


class Patience(Value):
    """How often and how long.

    Fields:
        attempts: of one request, all in all.
        first_delay_s: before the second; it doubles from there, with up to its half left to chance.
        longest_delay_s: between two, also if the server wants longer.
        connect_timeout_s: until there is a connection.
        read_timeout_s: without a single byte.
        answer_timeout_s: until the server answers what was sent to it, which it may have to store first.
    """

    attempts: int = 5
    first_delay_s: float = 0.5
    longest_delay_s: float = 60.0
    connect_timeout_s: float = 15.0
    read_timeout_s: float = 60.0
    answer_timeout_s: float = 300.0

    def lasts(self, attempt: int, asked_s: float | None) -> bool:
        """Whether to try again after this many attempts; not if the server wants more time than all of them
        would be given.
        """
        left = self.attempts - attempt
        return left > 0 and (asked_s or 0.0) <= left * self.longest_delay_s

    def delay_s(self, attempt: int, asked_s: float | None, chance: float) -> float:
        """Before the next attempt, after this many; ``chance`` is from 0 to 1."""
        own = self.first_delay_s * 2.0 ** (attempt - 1) * (1 - chance / 2)
        return min(self.longest_delay_s, own if asked_s is None else asked_s + self.first_delay_s * chance)


class Request(Value):
    """What is asked of a server.

    Fields:
        method: HTTP's.
        path: below ``/v2/``; or a whole URL, as servers give them for uploads and contents elsewhere.
        about: in words, for messages: "give the manifest latest of library/busybox".
        headers: beside those that every request has.
        scopes: of the token that it needs.
        accepts: the statuses that are no refusal.
        body: what is sent; None is nothing.
        repeats: whether it may be sent again when it failed.
        foreign: whether it goes to somebody who is no registry: without authorization and its headers.
    """

    method: str
    path: str
    about: str
    headers: tuple[tuple[str, str], ...] = ()
    scopes: tuple[str, ...] = ()
    accepts: tuple[int, ...] = (200,)
    body: Body | None = None
    repeats: bool = True
    foreign: bool = False


class Answer(Value):
    """What came back: the headers' names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes
    url: str


class Connection:
    """Connections to any number of servers, kept while it is open."""

    def __init__(
        self,
        *,
        find_credentials: FindCredentials | None = None,
        proxies: Proxies | None = None,
        patience: Patience | None = None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """``pause`` is what waits between attempts."""
        self.patience = patience or Patience()
        self._proxies = proxies or Proxies()
        self._pause = pause
        self._authorizer = Authorizer(self._fetch, find_credentials or (lambda *_: None), time.monotonic)
        self._tls: dict[tuple[object, ...], ssl.SSLContext] = {}
        self._schemes: dict[str, str] = {}
        self._meeting: dict[str, asyncio.Lock] = {}
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        patience = self.patience
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ttl_dns_cache=300),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=patience.connect_timeout_s, sock_read=patience.read_timeout_s
            ),
            headers={"User-Agent": f"pierhead/{__version__}", "Accept-Encoding": "identity"},
            auto_decompress=False,
            read_bufsize=_BUFFER_BYTES,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def perform(
        self, endpoint: Endpoint, request: Request, *, limit_bytes: int = _ERROR_BYTES_MAX
    ) -> Answer:
        """The answer, whole.

        Raises:
            PierheadError: a refusal, a failure that lasted, or an answer of more than ``limit_bytes``.
        """

        async def read(response: aiohttp.ClientResponse) -> Answer:
            async with response:
                body = b"" if request.method == "HEAD" else await _read(response, limit_bytes)
            if len(body) > limit_bytes:
                reason = f"it sent more than {limit_bytes} bytes"
                raise _broken(endpoint, request, reason, code="too-large")
            headers = {name.lower(): value for name, value in response.headers.items()}
            return Answer(status=response.status, headers=headers, body=body, url=str(response.url))

        return await self._repeat(endpoint, request, read)

    @contextlib.asynccontextmanager
    async def stream(self, endpoint: Endpoint, request: Request) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer from its beginning, its body to be read; what fails then is the caller's.

        Raises:
            PierheadError: as ``perform``.
        """

        async def keep(response: aiohttp.ClientResponse) -> aiohttp.ClientResponse:
            return response

        response = await self._repeat(endpoint, request, keep)
        try:
            yield response
        finally:
            response.close() if not response.content.at_eof() else response.release()

    async def _repeat(
        self, endpoint: Endpoint, request: Request, use: Callable[[aiohttp.ClientResponse], Awaitable[T]]
    ) -> T:
        attempt, logins = 0, 0
        while True:
            asked_s = None
            try:
                used = "" if request.foreign else await self._authorizer.header(endpoint, request.scopes)
                response = await self._send(endpoint, request, used)
                if response.status in request.accepts:
                    return await use(response)
                async with response:
                    if self._wants_login(endpoint, request, response) and logins < _LOGINS_MAX:
                        logins += 1
                        await self._login(endpoint, request, response, used)
                        if await self._authorizer.header(endpoint, request.scopes) != used:
                            continue
                    asked_s = parse_retry_after(response.headers.get("Retry-After", ""), time.time())
                    body = await _read(response, _ERROR_BYTES_MAX)
                    error = refusal(endpoint, request.about, response.status, body, asked_s=asked_s)
                    passing = response.status in PASSING_STATUSES
            except FAILURES as cause:
                error, passing = failure(endpoint, request.about, cause), not is_permanent(cause)
                error.__cause__ = cause
            attempt += 1
            if not passing or not request.repeats or not self.patience.lasts(attempt, asked_s):
                raise error
            await self.pause(attempt, asked_s)

    async def pause(self, attempt: int, asked_s: float | None = None) -> None:
        """Time has passed, after this many attempts; ``asked_s`` is what the server wants."""
        await self._pause(self.patience.delay_s(attempt, asked_s, _chance()))

    def _wants_login(self, endpoint: Endpoint, request: Request, response: aiohttp.ClientResponse) -> bool:
        ours = response.url.authority == URL(f"{response.url.scheme}://{endpoint.address}").authority
        return (
            response.status == 401 and ours and not request.foreign and "WWW-Authenticate" in response.headers
        )

    async def _login(
        self, endpoint: Endpoint, request: Request, response: aiohttp.ClientResponse, used: str
    ) -> None:
        header = ", ".join(response.headers.getall("WWW-Authenticate"))
        await self._authorizer.answer(endpoint, request.scopes, parse_challenges(header), used)

    # Sending

    async def _send(self, endpoint: Endpoint, request: Request, authorization: str) -> aiohttp.ClientResponse:
        """The first answer that is no redirect."""
        url, own = await self._url(endpoint, request)
        hops = 0
        while True:
            is_own = own is not None and url.origin() == own
            headers = dict(request.headers)
            if is_own:
                headers |= dict(endpoint.headers)
                headers |= {"Authorization": authorization} if authorization else {}
            response = await self._send_once(
                endpoint, request.method, url, headers, request.body, is_own=is_own
            )
            if not _is_redirect(request.method, response):
                return response
            response.release()
            hops += 1
            url = _follow(endpoint, request, url, response.headers["Location"], hops)

    async def _send_once(
        self,
        endpoint: Endpoint,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: Body | None,
        *,
        is_own: bool,
    ) -> aiohttp.ClientResponse:
        assert self._session is not None, "used outside of its context"
        patience = self.patience
        read_timeout_s = patience.read_timeout_s if method in ("GET", "HEAD") else patience.answer_timeout_s
        return await self._session.request(
            method,
            url,
            headers=headers,
            data=body() if body is not None else None,
            allow_redirects=False,
            ssl=self._context(endpoint, is_own=is_own) if url.scheme == "https" else True,
            proxy=self._proxies.find(url.scheme, url.authority) or None,
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=patience.connect_timeout_s, sock_read=read_timeout_s
            ),
        )

    async def _url(self, endpoint: Endpoint, request: Request) -> tuple[URL, URL | None]:
        """Where to send it, and the origin that may know who we are."""
        if request.foreign:
            return _parse_url(endpoint, request, request.path), None
        scheme = await self._scheme(endpoint, request.about)
        own = URL(f"{scheme}://{endpoint.address}").origin()
        path = request.path if "://" in request.path else f"{scheme}://{endpoint.address}/v2/{request.path}"
        return _parse_url(endpoint, request, path), own

    async def _scheme(self, endpoint: Endpoint, about: str) -> str:
        """How the server is spoken to; one that may be without TLS is asked once how it is."""
        if len(endpoint.schemes) == 1:
            return endpoint.schemes[0]
        async with self._meeting.setdefault(endpoint.address, asyncio.Lock()):
            if endpoint.address in self._schemes:
                return self._schemes[endpoint.address]
            for scheme in endpoint.schemes:
                url = URL(f"{scheme}://{endpoint.address}/v2/")
                try:
                    async with await self._send_once(endpoint, "GET", url, {}, None, is_own=True):
                        self._schemes[endpoint.address] = scheme
                        return scheme
                except FAILURES:
                    if scheme == endpoint.schemes[-1]:
                        raise
            raise AssertionError(f"{describe_endpoint(endpoint)} did not {about}: it has no scheme")

    async def _fetch(
        self, endpoint: Endpoint, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        """For the authorizer: one exchange with the server of tokens."""
        target = URL(url, encoded=True)
        own = target.host == URL(f"//{endpoint.address}").host
        method, send = ("GET", None) if body is None else ("POST", lambda: body)
        for attempt in range(1, self.patience.attempts + 1):
            last = attempt == self.patience.attempts
            try:
                async with await self._send_once(
                    endpoint, method, target, headers, send, is_own=own
                ) as response:
                    raw = await _read(response, _ERROR_BYTES_MAX)
                if last or response.status not in PASSING_STATUSES:
                    return response.status, raw
            except FAILURES as cause:
                if last or is_permanent(cause):
                    raise failure(endpoint, f"let us have a token from {target.host}", cause) from cause
            await self.pause(attempt)
        raise AssertionError

    def _context(self, endpoint: Endpoint, *, is_own: bool) -> ssl.SSLContext:
        certificate = (endpoint.certificate_path, endpoint.key_path) if is_own else ("", "")
        key = (endpoint.verify, endpoint.ca_path, certificate)
        if key not in self._tls:
            self._tls[key] = _make_context(endpoint, certificate)
        return self._tls[key]


def _make_context(endpoint: Endpoint, certificate: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not endpoint.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    try:
        if endpoint.ca_path:
            context.load_verify_locations(endpoint.ca_path)
        if certificate[0]:
            context.load_cert_chain(*certificate)
    except (OSError, ssl.SSLError) as error:
        message = f"the certificates for {describe_endpoint(endpoint)} cannot be read: {error}"
        raise InvalidInput(message, code="invalid-registries") from error
    return context


def _parse_url(endpoint: Endpoint, request: Request, text: str) -> URL:
    try:
        url = URL(text, encoded=True)
    except ValueError:
        url = URL()
    if url.scheme not in ("http", "https") or not url.host:
        raise _broken(endpoint, request, f"{text[:200]!r} is no address", code="wrong-address")
    return url


def _is_redirect(method: str, response: aiohttp.ClientResponse) -> bool:
    """Whether to go on elsewhere; who sends something goes only where the same is to be sent."""
    statuses = _REDIRECTS if method in ("GET", "HEAD") else (307, 308)
    return response.status in statuses and "Location" in response.headers


def _follow(endpoint: Endpoint, request: Request, url: URL, location: str, hops: int) -> URL:
    if hops > _REDIRECTS_MAX:
        raise _broken(endpoint, request, "it sends us around in circles", code="too-many-redirects")
    try:
        target = str(url.join(URL(location, encoded=True)))
    except ValueError:
        target = location
    found = _parse_url(endpoint, request, target)
    if url.scheme == "https" and found.scheme == "http" and endpoint.verify:
        raise _broken(endpoint, request, f"it sends us to {found.host} without TLS", code="insecure-redirect")
    return found


def _broken(endpoint: Endpoint, request: Request, reason: str, *, code: str) -> InvalidInput:
    return InvalidInput(f"{describe_endpoint(endpoint)} did not {request.about}: {reason}", code=code)


async def _read(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """The body, or its beginning with one byte more than the limit."""
    parts: list[bytes] = []
    left = limit_bytes + 1
    while left > 0:
        part = await response.content.read(left)
        if not part:
            break
        parts.append(part)
        left -= len(part)
    return b"".join(parts)


def _chance() -> float:
    return os.urandom(1)[0] / 255


def retryable(error: PierheadError) -> bool:
    """Whether another server, or a later time, may give what this one did not."""
    return error.code in _PASSING_CODES


_PASSING_CODES = frozenset(
    (
        "registry-unavailable",
        "registry-unreachable",
        "registry-timeout",
        "too-many-requests",
        "token-unavailable",
    )
)
