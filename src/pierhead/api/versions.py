"""Versions of the API: which are spoken, and what is said to who wants another.  Pure.

A client takes the lesser of its own newest and the ``Api-Version`` of ``/_ping``, and begins every path with
it.  Many clients stand still at an old one, so the oldest is that of Docker 1.12.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    Version = tuple[int, int]

NEWEST: Version = (1, 51)
OLDEST: Version = (1, 24)


def format_version(version: Version) -> str:
    """``1.51``."""
    return f"{version[0]}.{version[1]}"


def parse_version(text: str) -> Version:
    """The version that a path's ``v`` is followed by, if it is spoken here.

    Raises:
        InvalidInput: it is not, in Docker's words (moby, api/server/middleware/version.go).
    """
    major, _, minor = text.partition(".")
    if not (major.isdecimal() and minor.isdecimal()):
        raise InvalidInput(f"invalid API version: {text[:20]}", code="bad-version")
    version = (int(major[:4]), int(minor[:4]))
    if version < OLDEST:
        message = (
            f"client version {text} is too old. Minimum supported API version is {format_version(OLDEST)}, "
            "please upgrade your client to a newer version"
        )
        raise InvalidInput(message, code="client-too-old")
    if version > NEWEST:
        message = (
            f"client version {text} is too new. Maximum supported API version is {format_version(NEWEST)}"
        )
        raise InvalidInput(message, code="client-too-new")
    return version
