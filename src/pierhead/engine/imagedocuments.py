"""Images as the Docker API describes them.  Reads the store; changes nothing."""

from __future__ import annotations

import math
import time
from collections import Counter

from pierhead.engine.filters import check_names, parse_until
from pierhead.engine.moments import NEVER, format_moment
from pierhead.errors import NotFound
from pierhead.images.choosing import choose
from pierhead.images.exchange import UNNAMED
from pierhead.images.reference import parse_reference
from pierhead.images.times import parse_time
from pierhead.oci.document import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from pierhead.images.catalogue import PlatformImage
    from pierhead.images.library import Image
    from pierhead.images.service import ImageService
    from pierhead.oci.image import Platform

    Document = dict[str, Any]
    Filters = dict[str, list[str]]


_UNTIL = "until"
LIST_FILTERS = ("dangling", "label", "reference", "before", "since", _UNTIL)
"""Those of a list of images."""
PRUNE_FILTERS = ("dangling", "label", "label!", _UNTIL)
"""Those by which images are removed."""


class Described:
    """One image under all its names."""

    def __init__(self, service: ImageService, digest: str, names: tuple[str, ...], image: Image) -> None:
        """Reads its documents."""
        self.digest = digest
        self.image = image
        self.tags = tuple(service.catalogue.familiar(name) for name in names if "@" not in name)
        self.digests = tuple(
            sorted(
                {
                    f"{parse_reference(name).familiar_name()}@{digest}"
                    for name in names
                    if not name.startswith(f"{UNNAMED}@")
                }
            )
        )
        self.names = names
        self.size_bytes = sum(each.size_bytes for each in service.library.presences(image.descriptor))
        self.shown: PlatformImage | None
        try:
            self.shown = service.catalogue.open(image)
        except NotFound:
            self.shown = None

    @property
    def id(self) -> str:
        """The configuration's digest; what the name stands for, where nothing for this machine is here."""
        return self.shown.id if self.shown else self.digest

    @property
    def dangling(self) -> bool:
        """Whether nobody can call it by a name."""
        return not self.tags and not self.digests

    @property
    def labels(self) -> dict[str, str]:
        """Those of its configuration."""
        config = self.shown.config if self.shown else None
        return dict(config.config.labels) if config and config.config else {}

    @property
    def created(self) -> str:
        """As RFC 3339; "" where it does not say."""
        config = self.shown.config if self.shown else None
        return config.created if config else ""

    @property
    def created_s(self) -> int:
        """Unix time; 0 where it does not say."""
        return int(parse_time(self.created))

    def summary(self) -> Document:
        """A line of ``GET /images/json``."""
        return {
            "Id": self.id,
            "ParentId": "",
            "RepoTags": list(self.tags),
            "RepoDigests": list(self.digests),
            "Created": self.created_s,
            "Size": self.size_bytes,
            "SharedSize": -1,
            "Labels": self.labels,
            "Containers": -1,
        }


def shared_sizes(service: ImageService) -> tuple[dict[str, int], int]:
    """Bytes of every image's layers that another image has too, by the image's id; and of these layers, each
    counted once.
    """
    layers = {
        each.id: {layer.digest: layer.size for layer in each.shown.manifest.layers}
        for each in describe_all(service)
        if each.shown
    }
    uses = Counter(digest for sizes in layers.values() for digest in sizes)
    shared = {
        identity: sum(size for digest, size in sizes.items() if uses[digest] > 1)
        for identity, sizes in layers.items()
    }
    once = {digest: size for sizes in layers.values() for digest, size in sizes.items() if uses[digest] > 1}
    return shared, sum(once.values())


def describe_all(service: ImageService) -> list[Described]:
    """Every image once, the newest first."""
    by_digest: dict[str, list[Image]] = {}
    for image in service.library.images():
        by_digest.setdefault(image.descriptor.digest, []).append(image)
    found = [
        Described(service, digest, tuple(each.name for each in images), images[0])
        for digest, images in by_digest.items()
    ]
    return sorted(found, key=lambda each: (-each.created_s, each.names))


def select(
    found: Iterable[Described],
    filters: Filters,
    find_created: Callable[[str], str],
    known: tuple[str, ...] = LIST_FILTERS,
) -> list[Described]:
    """Those that every filter takes: those of ``images.choosing``, and ``until``, of those known.

    Raises:
        InvalidInput: there is no such filter, or a value is none for it.
        NotFound: ``before`` or ``since`` name nothing.
    """
    check_names(filters, known)
    now_ns = time.time_ns()
    until_s = min((parse_until(value, now_ns) / 1e9 for value in filters.get(_UNTIL, ())), default=math.inf)
    others = {name: values for name, values in filters.items() if name != _UNTIL}
    return [each for each in choose(found, others, find_created) if parse_time(each.created) < until_s]


def no_such_image(reference: str, *, hint: str = "") -> NotFound:
    """That there is none, in docker's words, by which clients know it; with the tag that was meant."""
    last = reference.rpartition("/")[2]
    meant = reference if ":" in last or "@" in last else f"{reference}:latest"
    return NotFound(f"No such image: {meant}", code="image-not-found", hint=hint)


_NOTHING: Document = {
    "Cmd": None,
    "Entrypoint": None,
    "Env": None,
    "Labels": None,
    "OnBuild": None,
    "User": "",
    "Volumes": None,
    "WorkingDir": "",
}
"""What ``Config`` has of an image that says nothing: clients look without asking whether it is there."""


def inspect_document(service: ImageService, image: Image, platform: Platform | None) -> Document:
    """What ``GET /images/{name}/json`` answers.

    Raises:
        NotFound: nothing of it for the platform is here.
    """
    document = service.inspect(image.name, platform)
    shown = service.catalogue.open(image, platform)
    config = shown.config
    return {
        **document,
        "Parent": "",
        "Comment": config.history[-1].comment if config and config.history else "",
        "Created": document["Created"] or NEVER,
        "OsVersion": config.os_version if config else "",
        "Metadata": {"LastTagTime": format_moment(image.updated_ns)},
        "Config": _NOTHING | (encode(config.config) if config and config.config else {}),
    }


def history_documents(service: ImageService, image: Image, platform: Platform | None) -> list[Document]:
    """What ``GET /images/{name}/history`` answers, newest first."""
    tags = [
        service.catalogue.familiar(name)
        for name in service.catalogue.names_of(image.descriptor.digest)
        if "@" not in name
    ]
    return [
        {
            "Id": line.id or "<missing>",
            "Created": int(parse_time(line.step.created)),
            "CreatedBy": line.step.created_by,
            "Tags": tags if line.id else None,
            "Size": line.size_bytes,
            "Comment": line.step.comment,
        }
        for line in service.catalogue.history(image, platform)
    ]
