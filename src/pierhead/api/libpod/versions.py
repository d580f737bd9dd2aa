"""Versions of libpod's API: which are spoken, and where answers differ.  Pure.

A client begins every path with the version of its own release, and takes any server that is not older than
4.0.0 (``Libpod-API-Version`` of ``/_ping``).  Source: podman, "Podman REST API versioning".
"""

from __future__ import annotations

from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.api.versions import Version

RELEASE = "5.4.2"
"""The release whose API this is."""
OLDEST_RELEASE = "4.0.0"
NEWEST: Version = (5, 4)
OLDEST: Version = (4, 0)
LISTS_ENTRYPOINT: Version = (5, 0)
"""Since then ``Entrypoint`` is a list and ``StopSignal`` a name."""
TELLS_DIGEST: Version = (5, 0)
"""Clients before it do not know what is told at the end of a push."""


def parse_version(text: str) -> Version:
    """The version that the path's ``v`` is followed by; of a newer one, the newest that is known here.

    Raises:
        InvalidInput: it is too old, or none.
    """
    major, _, rest = text.partition(".")
    minor = rest.partition(".")[0] or "0"
    if not (major.isdecimal() and minor.isdecimal()):
        raise InvalidInput(f"invalid API version: {text[:20]}", code="bad-version")
    version = (int(major[:4]), int(minor[:4]))
    if version < OLDEST:
        message = f"client version {text} is too old: the oldest that is spoken here is {OLDEST_RELEASE}"
        raise InvalidInput(message, code="client-too-old", hint="upgrade podman")
    return min(version, NEWEST)
