"""Images as libpod's clients read them, made of Docker's documents.  Pure.

Libpod writes ids without ``sha256:`` and names in full; what Docker means by a name without a registry,
Podman does first, and an image of ``localhost/`` after it.

Source: the API's description (``ImageSummary``, ``ImageInspect``, ``ImagePullReport``, …).
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.images.reference import parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    Document = dict[str, Any]

LOCAL = "localhost/"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def bare_id(identity: str) -> str:
    """The id without its algorithm."""
    return identity.removeprefix("sha256:")


def full_name(name: str) -> str:
    """The name with its registry and tag; an id stays one."""
    if name.startswith("sha256:"):
        return bare_id(name)
    try:
        return str(parse_reference(name).canonical())
    except InvalidInput:
        return bare_id(name)


def spellings(name: str) -> list[str]:
    """What may be meant, in the order in which it is looked for."""
    first = name.partition("/")[0]
    short = "/" not in name or not (first == "localhost" or "." in first or ":" in first)
    return [name, f"{LOCAL}{name}"] if short else [name]


def digest_of(document: Document) -> str:
    """The manifest's digest; "" where it has no name that tells it."""
    digests = document.get("RepoDigests") or ()
    return str(digests[0]).partition("@")[2] if digests else ""


def summary(document: Document) -> Document:
    """A line of ``GET /libpod/images/json``."""
    names = [full_name(name) for name in document["RepoTags"] or ()]
    return {
        "Id": bare_id(document["Id"]),
        "ParentId": bare_id(document["ParentId"]),
        "RepoTags": names or None,
        "RepoDigests": _digests(document),
        "Created": document["Created"],
        "Size": document["Size"],
        "SharedSize": 0,
        "VirtualSize": document["Size"],
        "Labels": document["Labels"] or None,
        "Containers": max(document["Containers"], 0),
        "Dangling": not names,
        "Digest": digest_of(document),
        "History": names,
        "Names": names,
    }


def _digests(document: Document) -> list[str]:
    found = []
    for each in document["RepoDigests"] or ():
        name, _, digest = each.partition("@")
        found.append(f"{parse_reference(name).name}@{digest}")
    return found


def inspection(document: Document, history: Iterable[Document]) -> Document:
    """The answer of ``GET /libpod/images/{name}/json``.

    Args:
        document: Docker's.
        history: of ``GET /images/{name}/history``, newest first.
    """
    config = document["Config"] or {}
    names = [full_name(name) for name in document["RepoTags"] or ()]
    return {
        "Id": bare_id(document["Id"]),
        "Digest": digest_of(document),
        "RepoTags": names,
        "RepoDigests": _digests(document),
        "Parent": "",
        "Comment": document["Comment"],
        "Created": document["Created"],
        "Config": config,
        "Version": "",
        "Author": document.get("Author", ""),
        "Architecture": document["Architecture"],
        "Os": document["Os"],
        "Size": document["Size"],
        "VirtualSize": document["Size"],
        "GraphDriver": document.get("GraphDriver") or {"Name": "overlay", "Data": None},
        "RootFS": {"Type": document["RootFS"]["Type"], "Layers": document["RootFS"].get("Layers") or []},
        "Labels": config.get("Labels") or None,
        "Annotations": {},
        "ManifestType": _MANIFEST,
        "User": config.get("User", ""),
        "History": [
            {
                "created_by": step["CreatedBy"],
                **({"comment": step["Comment"]} if step["Comment"] else {}),
                **({"empty_layer": True} if not step["Size"] else {}),
            }
            for step in reversed(list(history))
        ],
        "NamesHistory": names,
    }


def history_entry(step: Document) -> Document:
    """A line of ``GET /libpod/images/{name}/history``."""
    tags = [full_name(name) for name in step["Tags"] or ()]
    return {**step, "Id": bare_id(step["Id"]), "Tags": tags or None}


def removal(lines: Iterable[Document]) -> tuple[list[str], list[str]]:
    """What was deleted, by ids, and which names were taken away."""
    deleted, untagged = [], []
    for line in lines:
        if "Deleted" in line:
            deleted.append(bare_id(line["Deleted"]))
        elif "Untagged" in line:
            untagged.append(full_name(line["Untagged"]))
    return deleted, untagged


def loaded_name(document: Document) -> str:
    """The name that a document of Docker's says was loaded; "" if it says something else."""
    stream = str(document.get("stream", ""))
    for beginning in ("Loaded image: ", "Loaded image ID: "):
        if stream.startswith(beginning):
            return full_name(stream.removeprefix(beginning).strip())
    return ""


def progress_line(document: Document) -> str:
    """What Podman shows of a document of Docker's: a line, or nothing for a bar's next step."""
    status = str(document.get("status", ""))
    if not status or document.get("progressDetail"):
        return ""
    identity = document.get("id")
    return f"{identity}: {status}\n" if identity else f"{status}\n"


def pushed_digest(document: Document) -> str:
    """The digest that a document of Docker's says was pushed; "" if it says something else."""
    return str((document.get("aux") or {}).get("Digest", ""))
