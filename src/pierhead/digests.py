"""Digests: names of contents, ``sha256:`` or ``sha512:`` and the hash in lower-case hexadecimal.

Source: image-spec descriptor.md, "Digests".  Pure.
"""

from __future__ import annotations

import hashlib
import re

from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import _Hash

DEFAULT_ALGORITHM = "sha256"
_HEX_LENGTHS = {"sha256": 64, "sha512": 128}
_HEX = frozenset("0123456789abcdef")
_FORM = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")


def is_digest(text: str) -> bool:
    """Whether the text is a digest of an algorithm that is known here."""
    algorithm, _, encoded = text.partition(":")
    return len(encoded) == _HEX_LENGTHS.get(algorithm, -1) and _HEX.issuperset(encoded)


def is_well_formed(text: str) -> bool:
    """Whether the text has a digest's form, of whatever algorithm: documents may name contents by digests
    that we cannot compute.
    """
    return _FORM.fullmatch(text) is not None


def check_digest(text: str) -> None:
    """The text is a digest.

    Raises:
        InvalidInput: it is not, or of an algorithm that is not known here.
    """
    if not is_digest(text):
        shown = repr(text if len(text) <= 160 else text[:157] + "...")
        hint = "a digest is sha256: and 64, or sha512: and 128 of the characters 0-9 a-f"
        raise InvalidInput(f"{shown} is not a digest", code="invalid-digest", hint=hint)


def algorithm_of(digest: str) -> str:
    """``sha256`` or ``sha512``."""
    return digest.partition(":")[0]


def encoded_of(digest: str) -> str:
    """The hexadecimal part."""
    return digest.partition(":")[2]


def short_digest(digest: str) -> str:
    """The first twelve characters of the hexadecimal part, as people read it."""
    return encoded_of(digest)[:12]


def hasher(algorithm: str = DEFAULT_ALGORITHM) -> _Hash:
    """A hash of this algorithm, of nothing yet; ``digest_of`` names what was fed to it."""
    return hashlib.new(algorithm, usedforsecurity=False)


def digest_of(hashed: _Hash) -> str:
    """The digest of what a hash was fed."""
    return f"{hashed.name}:{hashed.hexdigest()}"


def compute_digest(data: bytes | memoryview, algorithm: str = DEFAULT_ALGORITHM) -> str:
    """The digest of these bytes."""
    hashed = hasher(algorithm)
    hashed.update(data)
    return digest_of(hashed)
