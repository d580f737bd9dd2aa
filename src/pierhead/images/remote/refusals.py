"""Answers that say no, and connections that fail, as sentences.

    {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown", "detail": …}]}

A sentence names registry and repository and what was wanted, and has the registry's own code and words.
Source: distribution-spec, "Error Codes".  Pure.
"""

from __future__ import annotations

import email.utils
import os
import re
import socket
import ssl

import aiohttp

from pierhead import jsontext
from pierhead.errors import (
    Forbidden,
    InvalidInput,
    NotFound,
    OperationFailed,
    PierheadError,
    TimedOut,
    Unavailable,
)
from pierhead.figures import describe_span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.images.remote.hosts import Endpoint

PASSING_STATUSES = frozenset((408, 425, 429, 500, 502, 503, 504))
"""What a server says that may answer the next time."""
_WORDS_LENGTH_MAX = 300
_DOCKER_HUB = "docker.io"
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_STATUS_WORDS = {
    401: "it wants to know who asks",
    403: "it does not allow it",
    404: "it has none",
    429: "there were too many requests",
}


def describe_endpoint(endpoint: Endpoint) -> str:
    """``the registry registry.lan``, or the mirror of one."""
    if endpoint.is_mirror:
        return f"the mirror {endpoint.address} of {endpoint.registry}"
    return f"the registry {endpoint.registry}"


def refusal(
    endpoint: Endpoint, about: str, status: int, body: bytes, *, asked_s: float | None = None
) -> PierheadError:
    """The error that an answer is.

    Args:
        endpoint: who answered.
        about: what it was asked to do: "give the manifest latest of library/busybox".
        status: HTTP's.
        body: of the answer, in the standard form or any.
        asked_s: how long it wants to be left alone, if it says.
    """
    code, words = _read_errors(body)
    reason = ", ".join(part for part in (code, words) if part) or _STATUS_WORDS.get(
        status, f"HTTP status {status}"
    )
    message = f"{describe_endpoint(endpoint)} did not {about}: {reason}"
    if status in (401, 403):
        hint = f"pier login {endpoint.address if endpoint.is_mirror else endpoint.registry}"
        hint = f"{hint}, if there is such a repository" if status == 401 else "ask for the right to do so"
        return Forbidden(message, code="registry-denied", hint=hint)
    if status == 404:
        return NotFound(message, code="not-in-registry")
    if status == 429:
        wait = f"wait {describe_span(asked_s).lower()}" if asked_s else "wait"
        return Unavailable(message, code="too-many-requests", hint=f"{wait}, log in, or use a mirror")
    if status in PASSING_STATUSES:
        return Unavailable(message, code="registry-unavailable")
    kind: Callable[..., PierheadError] = InvalidInput if status in (400, 413) else OperationFailed
    return kind(message, code="registry-refused")


def _read_errors(body: bytes) -> tuple[str, str]:
    """Code and words of the first error in the body."""
    try:
        first = jsontext.parse(body)["errors"][0]
        code, words, detail = first.get("code"), first.get("message"), first.get("detail")
    except (InvalidInput, KeyError, IndexError, TypeError, AttributeError):
        return "", ""
    words = words if isinstance(words, str) else ""
    if isinstance(detail, str) and detail and detail not in words:
        words = f"{words} ({detail})" if words else detail
    return _clean(code if isinstance(code, str) else ""), _clean(words)


def _clean(text: str) -> str:
    """One line that no terminal takes for a command."""
    printable = "".join(each if each.isprintable() else " " for each in text)
    return " ".join(printable.split()).rstrip(".")[:_WORDS_LENGTH_MAX]


def failure(endpoint: Endpoint, about: str, error: Exception) -> PierheadError:
    """The error that a failed connection is."""
    start = f"{describe_endpoint(endpoint)} did not {about}"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        hint = f'its authority\'s certificate may be named in registries.toml, as ca of "{endpoint.registry}"'
        reason = _certificate_words(error.certificate_error)
        return Forbidden(
            f"{start}: its certificate is not right ({reason})", code="wrong-certificate", hint=hint
        )
    if isinstance(error, TimeoutError):
        return TimedOut(f"{start}: it does not answer", code="registry-timeout")
    words, hint = _connection_words(endpoint, error)
    return Unavailable(f"{start}: {words}", code="registry-unreachable", hint=hint)


def is_permanent(error: Exception) -> bool:
    """Whether trying again will give the same."""
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return error.os_error.errno == socket.EAI_NONAME
    return isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.InvalidURL | UnicodeError)


def _certificate_words(error: Exception) -> str:
    return _clean(getattr(error, "verify_message", "") or str(error))


def _connection_words(endpoint: Endpoint, error: Exception) -> tuple[str, str]:
    """What was wrong with the connection, and what to do about it."""
    cause = getattr(error, "os_error", None) or error
    if isinstance(error, aiohttp.ClientConnectorSSLError) or isinstance(cause, ssl.SSLError):
        return "it does not speak TLS as it should", ""
    if isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientPayloadError):
        return "the connection ended in the middle", ""
    if isinstance(error, UnicodeError):  # of a label that is too long, from the codec idna
        return _resolver_words(endpoint.address.partition(":")[0], socket.EAI_NONAME)
    if not isinstance(error, aiohttp.ClientConnectorError):
        return _system_words(cause), ""
    words, hint = _system_words(cause), f"look whether a registry listens at {endpoint.address}"
    if isinstance(cause, socket.gaierror):
        words, hint = _resolver_words(error.host, cause.errno or 0)
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        hint = "look at HTTPS_PROXY and HTTP_PROXY, or name the registry in NO_PROXY"
        return f"the proxy {error.host}:{error.port}: {words}", hint
    return words, hint


def _resolver_words(host: str, number: int) -> tuple[str, str]:
    """Source: getaddrinfo(3): EAI_AGAIN is that no server answered, or none that knows."""
    if number == socket.EAI_AGAIN:
        return f"no name server tells where {host} is", "look at the network and /etc/resolv.conf"
    if host.endswith(_DOCKER_HUB):  # where names lead that begin with no registry's
        return (
            f"there is no host {host}",
            "does this machine reach the world? registries.toml may name a mirror",
        )
    return f"there is no host {host}", "an image's name begins with its registry's: look at it"


def _system_words(cause: Exception) -> str:
    """The kernel's words for its number.

    asyncio and aiohttp put other words into ``strerror``, with the address, and of several addresses that
    fail in different ways a list: ``Multiple exceptions: [Errno 111] Connect call failed …``.
    """
    numbers = [getattr(cause, "errno", None) or 0]
    if not numbers[0]:
        numbers = [int(number) for number in _ERRNO.findall(str(cause))]
    words = ", ".join(dict.fromkeys(os.strerror(number).lower() for number in numbers))
    if words:
        return words
    text = str(cause) or type(cause).__name__
    return _clean(text[:1].lower() + text[1:])


def parse_retry_after(text: str, now_s: float) -> float | None:
    """The seconds to wait that the header Retry-After means, a number or a date; None if it is neither."""
    text = text.strip()
    if text.isdecimal():
        return float(min(int(text[:12]), 86400))
    try:
        return max(0.0, email.utils.parsedate_to_datetime(text).timestamp() - now_s)
    except (ValueError, TypeError, OverflowError):
        return None
