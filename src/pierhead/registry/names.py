"""Names in the protocol: repositories, tags, and the paths that hold them.  Pure.

    /v2/                                    whether this is a registry
    /v2/_catalog                            its repositories
    /v2/NAME/tags/list
    /v2/NAME/referrers/DIGEST
    /v2/NAME/manifests/TAG-OR-DIGEST
    /v2/NAME/blobs/DIGEST
    /v2/NAME/blobs/uploads/[ID]

Source: distribution-spec "Pulling manifests" (the grammars), "Endpoints".
"""

from __future__ import annotations

import re

from pierhead.digests import is_digest
from pierhead.registry.faults import Fault
from pierhead.values import Value

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_NAME_LENGTH_MOST = 255
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_PATH = re.compile(
    r"/v2/(?P<name>.+)/(?:blobs/uploads(?:/(?P<upload>[^/]*))?|blobs/(?P<blob>[^/]+)"
    r"|manifests/(?P<manifest>[^/]+)|tags/(?P<tags>list)|referrers/(?P<referrers>[^/]+))"
)


class Place(Value):
    """What a path means.

    Fields:
        kind: ping, catalog, tags, referrers, manifest, blob, uploads (where they begin) or upload.
        name: the repository, "" for the first two.
        reference: tag, digest or id, as it stands in the path.
    """

    kind: str
    name: str = ""
    reference: str = ""


def parse_path(path: str) -> Place | None:
    """The place that the path means; None if it means none."""
    if path in ("/v2/", "/v2"):
        return Place(kind="ping")
    if path == "/v2/_catalog":
        return Place(kind="catalog")
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    name = match["name"]
    for kind in ("upload", "blob", "manifest", "tags", "referrers"):
        if match[kind]:
            return Place(kind=kind, name=name, reference=match[kind])
    return Place(kind="uploads", name=name)


def is_name(text: str) -> bool:
    """Whether a repository may be called that."""
    return len(text) <= _NAME_LENGTH_MOST and _NAME.fullmatch(text) is not None


def check_name(text: str) -> None:
    """A repository may be called that.

    Raises:
        Fault: NAME_INVALID.
    """
    if not is_name(text):
        hint = "names have lower-case letters, digits and single . _ - between them, and / between parts"
        raise Fault("NAME_INVALID", f"{_shown(text)} is not a name for a repository", hint=hint)


def is_tag(text: str) -> bool:
    """Whether a tag may be called that."""
    return _TAG.fullmatch(text) is not None


def check_tag(text: str) -> None:
    """A tag may be called that.

    Raises:
        Fault: TAG_INVALID.
    """
    if not is_tag(text):
        hint = "a tag has up to 128 letters, digits and . _ -, and begins with none of . -"
        raise Fault("TAG_INVALID", f"{_shown(text)} is not a tag", hint=hint)


def check_digest_of_path(text: str) -> None:
    """The text is a digest of a known algorithm.

    Raises:
        Fault: DIGEST_INVALID.
    """
    if not is_digest(text):
        hint = "a digest is sha256: and 64, or sha512: and 128 of the characters 0-9 a-f"
        raise Fault("DIGEST_INVALID", f"{_shown(text)} is not a digest", hint=hint)


def is_digest_reference(reference: str) -> bool:
    """Whether a manifest's reference means a digest, well-formed or not; else it means a tag."""
    return ":" in reference


def _shown(text: str) -> str:
    return repr(text if len(text) <= 160 else text[:157] + "...")
