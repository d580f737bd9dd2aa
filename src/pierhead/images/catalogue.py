"""Images by the names that people have for them, and what there is to say about each.

    busybox             docker.io/library/busybox:latest
    busybox@sha256:…    by the digest of its manifest or index
    3f57d9401f8d        the beginning of an image's id, which is the digest of its configuration

One name may stand for an index with several platforms; what is said of it then is about one of them: the
nearest to this machine that is here whole.

Reads the library and the store; changes nothing.
"""

from __future__ import annotations

import contextlib

from pierhead.digests import encoded_of, is_digest
from pierhead.errors import Conflict, InvalidInput, NotFound
from pierhead.images.platforms import find_nearest, format_platform, host_platform, is_attestation
from pierhead.images.reference import is_identifier, parse_any, parse_reference
from pierhead.nearest import nearest_image
from pierhead.oci.image import (
    CONFIG_TYPES,
    DOCUMENT_BYTES_MAX,
    MANIFEST_TYPES,
    Descriptor,
    History,
    ImageConfig,
    Manifest,
    Platform,
    decode_config,
    decode_manifest,
)
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from pierhead.images.content import ContentStore
    from pierhead.images.library import Image, Library
    from pierhead.images.reference import Reference
    from pierhead.images.walk import Presence

_ID_LENGTH_MIN = 4
_HEX = frozenset("0123456789abcdef")


class PlatformImage(Value):
    """One platform's image, its documents read.

    Fields:
        descriptor: of the manifest.
        manifest: decoded.
        config: decoded; None for an artifact, which has no such configuration.
    """

    descriptor: Descriptor
    manifest: Manifest
    config: ImageConfig | None

    @property
    def id(self) -> str:
        """The digest of the configuration."""
        return self.manifest.config.digest


class Summary(Value):
    """One line about a name.

    Fields:
        name: as the library has it.
        digest: what the name stands for, of a manifest or an index.
        id: of the image for this machine, or the nearest one; the digest again if there is none.
        created: when it was made, as RFC 3339; "" if it does not say.
        size_bytes: of the contents that are here.
        platforms: those that are here whole.
        labels: of the same image as the id.
    """

    name: str
    digest: str
    id: str
    created: str
    size_bytes: int
    platforms: tuple[str, ...]
    labels: dict[str, str]

    @property
    def names(self) -> tuple[str, ...]:
        """The one."""
        return (self.name,)

    @property
    def dangling(self) -> bool:
        """Whether the name has no tag."""
        return not parse_reference(self.name).tag


class HistoryLine(Value):
    """One step of an image's making, with what it weighs; ``id`` is "" but for the newest."""

    step: History
    id: str
    size_bytes: int


class Catalogue:
    """Finds and describes images."""

    def __init__(self, library: Library, content: ContentStore) -> None:
        self._library = library
        self._content = content
        self._known_ids: dict[str, tuple[str, ...]] = {}
        """Ids of the images in a manifest or an index, by its digest; see ``find_moved``."""

    # By name

    def get(self, text: str) -> Image:
        """The image that a person means.

        Raises:
            NotFound: there is none.
            Conflict: several ids begin so.
            InvalidInput: the text can be neither a name nor an id.
        """
        found = self._find_by_name(text)
        if found is None and _looks_like_id(text):
            found = self._find_by_id(text)
        if found is None:
            hint = (
                f"pull it: pier pull {text}" if not is_identifier(text) else "pier images lists what there is"
            )
            if near := self.find_near(text):
                hint = f"did you mean {near}?"
            raise NotFound(f"there is no image {text}", code="image-not-found", hint=hint)
        return found

    def is_name_of(self, image: Image, text: str) -> bool:
        """Whether the text is this image's name, or its repository's; not an id, nor a name beside a digest
        that says more.
        """
        try:
            meant = parse_any(text)
        except InvalidInput:  # the beginning of an id that can be no name
            return False
        if isinstance(meant, str):
            return False
        return str(meant.canonical()) == image.name or (
            _is_repository(meant) and image.name.startswith(f"{meant.name}:")
        )

    def find_near(self, text: str) -> str:
        """The name of an image that somebody meant who has mistyped it; "" if none is near."""
        names = [self.familiar(image.name) for image in self._library.images()]
        return nearest_image(text, names)

    def _find_by_name(self, text: str) -> Image | None:
        try:
            meant = parse_any(text)
        except InvalidInput:
            if _looks_like_id(text):
                return None
            raise
        if isinstance(meant, str):
            return self._find_by_digest(meant)
        exact = self._library.find_image(str(meant.canonical()))
        if exact is not None or not meant.digest:
            return exact
        return _of_digest(meant, self._library.images())

    def _find_by_digest(self, digest: str) -> Image | None:
        by_digest = (image for image in self._library.images() if image.descriptor.digest == digest)
        return next(by_digest, None) or self._find_by_id(encoded_of(digest))

    def _find_by_id(self, beginning: str) -> Image | None:
        """Of images with the same configuration the first: they hold the same, however it is compressed."""
        return next(iter(self._list_by_id(beginning)), None)

    def _list_by_id(self, beginning: str) -> tuple[Image, ...]:
        """All names of the image, in every form in which it is here."""
        found: dict[str, Image] = {}
        meant: set[str] = set()
        for image in self._library.images():
            for digest in (image.descriptor.digest, *self._ids(image)):
                if encoded_of(digest).startswith(beginning):
                    found[image.name] = image
                    meant.add(digest)
        forms = {image.descriptor.digest for image in found.values()}
        if len(forms) > 1 and len(meant) > 1:
            message = f"{len(forms)} images have an id that begins with {beginning}"
            raise Conflict(message, code="ambiguous-id", hint="give more of it")
        return tuple(found.values())

    def has_id(self, identity: str) -> bool:
        """Whether any name stands for the image, in whatever form."""
        return any(
            identity in (image.descriptor.digest, *self._ids(image)) for image in self._library.images()
        )

    def ids_of(self, texts: Iterable[str]) -> frozenset[str]:
        """The ids of the images that these texts mean; what means none is passed over."""
        found: set[str] = set()
        for text in texts:
            with contextlib.suppress(NotFound, Conflict, InvalidInput):
                image = self.get(text)
                found |= {image.descriptor.digest, *self._ids(image)}
        return frozenset(found)

    def list_named(self, text: str) -> tuple[Image, ...]:
        """The image that a person means; of a repository's name without a tag those of all its tags, as
        docker has it where it saves.

        Raises:
            NotFound, Conflict, InvalidInput: as ``get``.
        """
        with contextlib.suppress(InvalidInput):
            meant = parse_any(text)
            if not isinstance(meant, str) and _is_repository(meant):
                tags = self.tags_of(meant.name)
                if tags:
                    return tuple(self._library.get_image(str(each)) for each in tags)
        return (self.get(text),)

    def find_moved(self, used: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        """Of texts, each with the id of the image that it once meant, those that do not mean it any more.

        The library is asked once for all.  What is in a manifest never changes, and is not read again while
        it is asked for; an index may get another platform's image, so that it is read for what it had not.
        """
        images = {image.name: image for image in self._library.images()}
        kept: dict[str, tuple[str, ...]] = {}
        read: dict[str, tuple[str, ...]] = {}
        moved = set()
        for text, identity in used:
            beginning = text.removeprefix("sha256:")
            if _looks_like_id(beginning) and encoded_of(identity).startswith(beginning):
                continue
            image = _named(text, images)
            if image is None:
                moved.add((text, identity))
                continue
            digest, is_fixed = image.descriptor.digest, image.descriptor.media_type in MANIFEST_TYPES
            ids = read.get(digest) or self._known_ids.get(digest, ())
            if identity not in ids and digest not in read and not (ids and is_fixed):
                ids = read[digest] = self._ids_or_none(image)
            kept[digest] = ids
            if identity not in ids:
                moved.add((text, identity))
        self._known_ids = kept
        return frozenset(moved)

    def _ids_or_none(self, image: Image) -> tuple[str, ...]:
        try:
            return tuple(self._ids(image))
        except NotFound:  # it is being removed
            return ()

    def list_meant(self, text: str) -> tuple[Image, ...]:
        """Of a name that image; of an id or a digest the image under all its names, in every form.

        Raises:
            NotFound, Conflict, InvalidInput: as ``get``.
        """
        image = self.get(text)
        if image.name in _spellings(text):
            return (image,)
        beginning = encoded_of(text) if is_digest(text) else text
        if _looks_like_id(beginning):
            return self._list_by_id(beginning)
        digest = image.descriptor.digest
        return tuple(each for each in self._library.images() if each.descriptor.digest == digest)

    def names_of(self, digest: str) -> tuple[str, ...]:
        """All names that stand for this manifest or index."""
        return tuple(image.name for image in self._library.images() if image.descriptor.digest == digest)

    def tags_of(self, repository: str) -> tuple[Reference, ...]:
        """The tagged names of a repository, which is named as ``Reference.name`` has it."""
        names = (parse_reference(image.name) for image in self._library.images())
        return tuple(each for each in names if each.name == repository and each.tag)

    # What it is

    def open(self, image: Image, platform: Platform | None = None) -> PlatformImage:
        """The image's documents for a platform; None is this machine's, or the nearest that is here.

        Raises:
            NotFound: nothing of it for that platform is here.
        """
        wanted = platform or host_platform()
        here = self._here(image)
        best = _nearest(here, wanted)
        if best is None and platform is None:
            best = next(filter(_is_image, here), None)
        if best is None:
            there = ", ".join(sorted(filter(None, map(_platform_text, here)))) or "nothing"
            raise NotFound(
                f"of the image {image.name} there is nothing for {format_platform(wanted)} here",
                code="platform-not-found",
                hint=f"here is: {there}; pull with --platform {format_platform(wanted)}",
            )
        return self._read(best.descriptor)

    def find(self, image: Image, platform: Platform) -> PlatformImage | None:
        """The image's documents for a platform, if that is here; None as well for what is no image."""
        best = _nearest(self._here(image), platform)
        return self._read(best.descriptor) if best is not None and _is_manifest(best) else None

    def _here(self, image: Image) -> list[Presence]:
        return [each for each in self._library.presences(image.descriptor) if each.state == "whole"]

    def _read(self, descriptor: Descriptor) -> PlatformImage:
        if descriptor.media_type not in MANIFEST_TYPES:
            message = f"{descriptor.digest} is a {descriptor.media_type}, which is not run or described here"
            raise InvalidInput(message, code="unknown-manifest", hint="pull the image again")
        manifest = decode_manifest(self._document(descriptor.digest))
        config = None
        if manifest.config.media_type in CONFIG_TYPES:
            config = decode_config(self._document(manifest.config.digest))
        return PlatformImage(descriptor=descriptor, manifest=manifest, config=config)

    def _document(self, digest: str) -> bytes:
        return self._content.read(digest, limit_bytes=DOCUMENT_BYTES_MAX)

    def _ids(self, image: Image) -> Iterator[str]:
        for presence in self._here(image):
            if presence.descriptor.media_type in MANIFEST_TYPES:
                yield self._read(presence.descriptor).id

    # In words

    def summaries(self) -> list[Summary]:
        """Of every name, in the names' order."""
        return [self.summarise(image) for image in self._library.images()]

    def summarise(self, image: Image) -> Summary:
        """What a list of images says of one."""
        here = self._here(image)
        closest = _nearest(here, host_platform()) or next(filter(_is_image, here), next(iter(here), None))
        shown = self._read(closest.descriptor) if closest is not None and _is_manifest(closest) else None
        execution = shown.config.config if shown and shown.config else None
        return Summary(
            name=image.name,
            digest=image.descriptor.digest,
            id=shown.id if shown else image.descriptor.digest,
            created=shown.config.created if shown and shown.config else "",
            size_bytes=sum(presence.size_bytes for presence in here),
            platforms=tuple(filter(None, map(_platform_text, here))),
            labels=dict(execution.labels) if execution else {},
        )

    def history(self, image: Image, platform: Platform | None = None) -> list[HistoryLine]:
        """How the image came to be, newest first.  Layers of which nothing is told come without words."""
        shown = self.open(image, platform)
        sizes = [layer.size for layer in shown.manifest.layers]
        steps = shown.config.history if shown.config else ()
        untold = len(sizes) - sum(1 for step in steps if not step.empty_layer)
        if untold > 0:
            steps = (*steps, *(History() for _ in range(untold)))
        lines, layers = [], iter(sizes)
        for number, step in enumerate(steps, 1):
            size = 0 if step.empty_layer else next(layers, 0)
            newest = number == len(steps)
            lines.append(HistoryLine(step=step, id=shown.id if newest else "", size_bytes=size))
        return lines[::-1]

    def familiar(self, name: str) -> str:
        """A library's name as people write it."""
        return parse_reference(name).familiar()


def _nearest(here: list[Presence], wanted: Platform) -> Presence | None:
    return find_nearest(here, wanted, lambda presence: presence.platform)


def _named(text: str, images: Mapping[str, Image]) -> Image | None:
    """The image that a person calls so, of these by their names; None as well for an id."""
    try:
        meant = parse_any(text)
    except InvalidInput:
        return None
    if isinstance(meant, str):
        return None
    exact = images.get(str(meant.canonical()))
    return exact or (_of_digest(meant, images.values()) if meant.digest else None)


def _is_repository(meant: Reference) -> bool:
    return not meant.tag and not meant.digest


def _of_digest(meant: Reference, images: Iterable[Image]) -> Image | None:
    """The first image of the repository that has this digest."""
    beginnings = (f"{meant.name}:", f"{meant.name}@")
    same = (each for each in images if each.descriptor.digest == meant.digest)
    return next((each for each in same if each.name.startswith(beginnings)), None)


def _spellings(text: str) -> tuple[str, ...]:
    """Names in the library that a person's text is; none for an id."""
    try:
        reference = parse_reference(text)
    except InvalidInput:
        return ()
    return (str(reference.canonical()), str(reference.replace(digest="").canonical()), str(reference))


def _looks_like_id(text: str) -> bool:
    return len(text) >= _ID_LENGTH_MIN and _HEX.issuperset(text)


def _is_manifest(presence: Presence) -> bool:
    return presence.descriptor.media_type in MANIFEST_TYPES


def _is_image(presence: Presence) -> bool:
    return _is_manifest(presence) and not is_attestation(presence.descriptor)


def _platform_text(presence: Presence) -> str:
    return format_platform(presence.platform) if presence.platform is not None else ""
