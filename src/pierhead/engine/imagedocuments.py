"""Images as the Docker API describes them.  Reads the store; changes nothing."""

from __future__ import annotations

import time
from collections import Counter

from pierhead.engine.choosing import parse_until, says_yes
from pierhead.engine.moments import NEVER, format_moment
from pierhead.errors import InvalidInput, NotFound
from pierhead.images.choosing import has_label
from pierhead.images.exchange import UNNAMED
from pierhead.images.reference import matches, parse_reference
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


LIST_FILTERS = ("dangling", "label", "reference", "before", "since", "until")
"""Those of a list of images."""
PRUNE_FILTERS = ("dangling", "label", "label!", "until")
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
    def created_s(self) -> int:
        """Unix time; 0 where it does not say."""
        config = self.shown.config if self.shown else None
        return int(parse_time(config.created)) if config else 0

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
    found: Iterable[Described], filters: Filters, known: tuple[str, ...] = LIST_FILTERS
) -> list[Described]:
    """Those that every filter takes: ``dangling``, ``label``, ``reference``, ``before``, …, of those known.

    Raises:
        InvalidInput: there is no such filter, or a value is none for it.
        NotFound: ``before`` or ``since`` name nothing.
    """
    images = list(found)
    for name in filters:
        if name not in known:
            hint = f"there are {', '.join(known)}"
            raise InvalidInput(f"invalid filter '{name}'", code="invalid-filter", hint=hint)
    takes = [_TAKES[name](values, images) for name, values in filters.items() if values]
    return [each for each in images if all(take(each) for take in takes)]


def _takes_dangling(values: list[str], _: list[Described]) -> Callable[[Described], bool]:
    wanted = says_yes({"dangling": values}, "dangling")
    return lambda each: each.dangling == wanted


def _takes_label(values: list[str], _: list[Described]) -> Callable[[Described], bool]:
    return lambda each: all(has_label(each.labels, value) for value in values)


def _takes_other_label(values: list[str], _: list[Described]) -> Callable[[Described], bool]:
    return lambda each: not any(has_label(each.labels, value) for value in values)


def _takes_reference(values: list[str], _: list[Described]) -> Callable[[Described], bool]:
    return lambda each: any(matches(parse_reference(name), value) for name in each.names for value in values)


def _time_of(value: str, images: list[Described]) -> int:
    for each in images:
        if {value, f"{value}:latest"} & {*each.tags, each.id, each.digest}:
            return each.created_s
        if each.id.partition(":")[2].startswith(value):
            return each.created_s
    raise no_such_image(value)


def no_such_image(reference: str, *, hint: str = "") -> NotFound:
    """That there is none, in docker's words, by which clients know it; with the tag that was meant."""
    last = reference.rpartition("/")[2]
    meant = reference if ":" in last or "@" in last else f"{reference}:latest"
    return NotFound(f"No such image: {meant}", code="image-not-found", hint=hint)


def _takes_before(values: list[str], images: list[Described]) -> Callable[[Described], bool]:
    limit = min(_time_of(value, images) for value in values)
    return lambda each: each.created_s < limit


def _takes_since(values: list[str], images: list[Described]) -> Callable[[Described], bool]:
    limit = max(_time_of(value, images) for value in values)
    return lambda each: each.created_s > limit


def _takes_until(values: list[str], _: list[Described]) -> Callable[[Described], bool]:
    now_ns = time.time_ns()
    limit_s = min(parse_until(value, now_ns) for value in values) / 1e9
    return lambda each: each.created_s < limit_s


_TAKES = {
    "dangling": _takes_dangling,
    "label": _takes_label,
    "label!": _takes_other_label,
    "reference": _takes_reference,
    "before": _takes_before,
    "since": _takes_since,
    "until": _takes_until,
}
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
