"""Rows of lists of images, our own store's and an engine's elsewhere, by docker's names of fields.  Pure."""

from __future__ import annotations

import time

from pierhead.cli.rows import short_id
from pierhead.figures import format_age, format_size
from pierhead.images.reference import parse_reference
from pierhead.images.times import parse_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pierhead.images.catalogue import HistoryLine, Summary

    Row = dict[str, Any]
    Document = dict[str, Any]

NONE, MISSING = "<none>", "<missing>"
_COMMAND_WIDTH = 45
IMAGE_HEADINGS = {
    "Repository": "REPOSITORY",
    "Tag": "TAG",
    "Digest": "DIGEST",
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "Size": "SIZE",
    "VirtualSize": "SIZE",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "Containers": "CONTAINERS",
    "Platforms": "PLATFORMS",
}
HISTORY_HEADINGS = {
    "ID": "IMAGE",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "CreatedBy": "CREATED BY",
    "Size": "SIZE",
    "Comment": "COMMENT",
}


def summary_row(summary: Summary, *, now_s: float, whole: bool) -> Row:
    """Of a name in our store."""
    reference = parse_reference(summary.name)
    named = (reference.familiar_name(), reference.tag or NONE, summary.digest)
    times_s = parse_time(summary.created), now_s
    row = _image_row(named, summary.id, times_s, summary.size_bytes, whole=whole)
    return {**row, "Platforms": list(summary.platforms)}


def document_rows(document: Document, *, now_s: float, whole: bool) -> Iterator[Row]:
    """Of an image in an engine's list: one row for each of its tags, or one for its digest."""
    digests = dict(text.partition("@")[::2] for text in document.get("RepoDigests") or ())
    tags = [tuple(text.rpartition(":")[::2]) for text in document.get("RepoTags") or ()]
    names = [(name, tag, digests.get(name, NONE)) for name, tag in tags]
    names = names or [(name, NONE, digest) for name, digest in digests.items()]
    for named in names or [(NONE, NONE, NONE)]:
        times_s = float(document.get("Created") or 0), now_s
        row = _image_row(named, document["Id"], times_s, document.get("Size") or 0, whole=whole)
        used = document.get("Containers")
        yield {**row, "Containers": str(used) if used is not None and used >= 0 else "N/A"}


def _image_row(
    named: tuple[str, str, str], identity: str, times_s: tuple[float, float], size_bytes: int, *, whole: bool
) -> Row:
    (repository, tag, digest), (created_s, now_s) = named, times_s
    return {
        "Repository": repository,
        "Tag": tag,
        "Digest": digest,
        "ID": short_id(identity, whole=whole),
        "CreatedSince": _age(created_s, now_s),
        "CreatedAt": _moment(created_s),
        "Size": format_size(size_bytes),
        "VirtualSize": format_size(size_bytes),
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "Containers": "N/A",
    }


def step_row(line: HistoryLine, *, now_s: float, whole: bool, human: bool) -> Row:
    """Of a step of an image in our store."""
    document = {
        "Id": line.id,
        "Created": parse_time(line.step.created),
        "CreatedBy": line.step.created_by,
        "Size": line.size_bytes,
        "Comment": line.step.comment,
    }
    return history_row(document, now_s=now_s, whole=whole, human=human)


def history_row(document: Document, *, now_s: float, whole: bool, human: bool) -> Row:
    """Of a step as an engine tells it."""
    command = " ".join(str(document.get("CreatedBy") or "").split())
    if not whole and len(command) > _COMMAND_WIDTH:
        command = command[: _COMMAND_WIDTH - 1] + "…"
    created_s, size_bytes = float(document.get("Created") or 0), document.get("Size") or 0
    identity = str(document.get("Id") or MISSING)
    return {
        "ID": identity if identity == MISSING else short_id(identity, whole=whole),
        "CreatedSince": _age(created_s, now_s) if human else _moment(created_s),
        "CreatedAt": _moment(created_s),
        "CreatedBy": command,
        "Size": format_size(size_bytes) if human else str(size_bytes),
        "Comment": str(document.get("Comment") or ""),
    }


def _age(created_s: float, now_s: float) -> str:
    return format_age(max(0.0, now_s - created_s)) if created_s > 0 else "N/A"


def _moment(created_s: float) -> str:
    if created_s <= 0:
        return "N/A"
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(created_s))
