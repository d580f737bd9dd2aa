"""Documents of images: manifests, indexes, configurations, and the descriptors that tie them together.

    index ──▶ manifest ──▶ config      what to run, history, diff ids of the layers
      │          └───────▶ layers      tar archives, mostly compressed
      └─────▶ manifest …               one for each platform

Fields are those of image-spec 1.1 under its names in snake_case; Docker's schema 2 documents have the same
shape under other media types.  A document is read from the bytes that were received, and those bytes are
kept: what is decoded here is never written back in their place.  Fields that nobody here knows are passed
over, as the specification demands ("Extensibility").

Source: https://github.com/opencontainers/image-spec (manifest.md, image-index.md, config.md, descriptor.md).
"""

# Annotations stay real objects here (no ``from __future__ import annotations``): the decoder reads them.

import re

from pierhead import jsontext
from pierhead.digests import algorithm_of, check_digest, is_digest, is_well_formed
from pierhead.errors import InvalidInput
from pierhead.oci.document import INT64, decode, empty, names, ranges
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    V = TypeVar("V", bound=Value)

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = "application/vnd.oci.image.layer.v1.tar+gzip"
LAYER_ZSTD = "application/vnd.oci.image.layer.v1.tar+zstd"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_LAYER_GZIP = "application/vnd.docker.image.rootfs.diff.tar.gzip"
DOCKER_LAYER_ZSTD = "application/vnd.docker.image.rootfs.diff.tar.zstd"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

MANIFEST_TYPES = frozenset((MANIFEST, DOCKER_MANIFEST))
INDEX_TYPES = frozenset((INDEX, DOCKER_INDEX))
CONFIG_TYPES = frozenset((CONFIG, DOCKER_CONFIG))
SCHEMA1_TYPES = frozenset((DOCKER_SCHEMA1, DOCKER_SCHEMA1_SIGNED))

_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_PARAMETER = rf"[ \t]*;[ \t]*{_NAME}=(?:{_NAME}|\"[^\"\\\x00-\x1f\x7f]{{0,126}}\")"
_MEDIA_TYPE = re.compile(rf"{_NAME}/{_NAME}(?:{_PARAMETER}){{0,8}}")
"""RFC 6838 section 4.2, with parameters: they do not belong there, but Podman's artifacts have them, a text's
``text/plain; charset=utf-8``.
"""

DOCUMENT_BYTES_MAX = 4 << 20
"""The largest manifest that registries must take (distribution-spec, "Pushing Manifests")."""

EMPTY_DIGEST = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
"""Of ``{}``, what artifacts have for a configuration (manifest.md, "Guidance for an Empty Descriptor")."""

REF_NAME = "org.opencontainers.image.ref.name"
"""Annotation of a layout's index.json: the tag (annotations.md)."""


class Platform(Value):
    """What an image runs on (image-index.md, "platform")."""

    json_names = names(os_version="os.version", os_features="os.features")

    architecture: str = ""
    os: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    variant: str = ""


class Descriptor(Value):
    """Points at a content: its media type, digest and size in bytes (descriptor.md)."""

    json_ranges = ranges(size=(0, INT64[1]))
    json_always = ("media_type", "size")

    media_type: str = ""
    digest: str
    size: int
    urls: tuple[str, ...] = ()
    annotations: dict[str, str] = empty()
    data: str = ""
    platform: Platform | None = None
    artifact_type: str = ""


class Manifest(Value):
    """One platform's image, or an artifact (manifest.md)."""

    json_always = ("layers",)

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    config: Descriptor
    layers: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    annotations: dict[str, str] = empty()


class Index(Value):
    """A list of manifests, one for each platform as a rule (image-index.md)."""

    json_always = ("manifests",)

    schema_version: int
    media_type: str = ""
    artifact_type: str = ""
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    annotations: dict[str, str] = empty()


class Healthcheck(Value):
    """How Docker finds out whether a container is well; times are nanoseconds (Docker's extension)."""

    json_names = names(
        test="Test",
        interval="Interval",
        timeout="Timeout",
        start_period="StartPeriod",
        start_interval="StartInterval",
        retries="Retries",
    )

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0


class Execution(Value):
    """What a container of the image runs by default (config.md, "config", and Docker's extensions)."""

    json_names = names(  # noqa: S604 - an image's shell, not a process's
        user="User",
        exposed_ports="ExposedPorts",
        env="Env",
        entrypoint="Entrypoint",
        cmd="Cmd",
        volumes="Volumes",
        working_dir="WorkingDir",
        labels="Labels",
        stop_signal="StopSignal",
        args_escaped="ArgsEscaped",
        healthcheck="Healthcheck",
        on_build="OnBuild",
        shell="Shell",
    )

    user: str = ""
    exposed_ports: dict[str, dict[str, str]] = empty()
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    volumes: dict[str, dict[str, str]] = empty()
    working_dir: str = ""
    labels: dict[str, str] = empty()
    stop_signal: str = ""
    args_escaped: bool = False
    healthcheck: Healthcheck | None = None
    on_build: tuple[str, ...] = ()
    shell: tuple[str, ...] = ()


class RootFs(Value):
    """The layers' uncompressed digests, lowest first (config.md, "rootfs")."""

    json_names = names(diff_ids="diff_ids")
    json_always = ("type", "diff_ids")

    type: str = "layers"
    diff_ids: tuple[str, ...] = ()


class History(Value):
    """How a layer, or a property without one, came to be (config.md, "history")."""

    json_case = "snake"

    created: str = ""
    author: str = ""
    created_by: str = ""
    comment: str = ""
    empty_layer: bool = False


class ImageConfig(Value):
    """An image's configuration: its digest is the image's id (config.md)."""

    json_names = names(
        os_version="os.version", os_features="os.features", docker_version="docker_version", rootfs="rootfs"
    )

    created: str = ""
    author: str = ""
    architecture: str
    os: str
    os_version: str = ""
    os_features: tuple[str, ...] = ()
    variant: str = ""
    config: Execution | None = None
    rootfs: RootFs
    history: tuple[History, ...] = ()
    docker_version: str = ""

    @property
    def platform(self) -> Platform:
        """What it runs on."""
        return Platform(
            architecture=self.architecture,
            os=self.os,
            os_version=self.os_version,
            os_features=self.os_features,
            variant=self.variant,
        )


def decode_manifest(raw: bytes, *, name: str = "manifest") -> Manifest:
    """The manifest that the bytes are.

    Raises:
        InvalidInput: they are none: not JSON, of another shape, with a malformed digest, or an index as well.
    """
    document = _parse(raw, name)
    _refuse_both(document, name)
    manifest = _decode(Manifest, document, name)
    _check(manifest.schema_version, (manifest.config, *manifest.layers, manifest.subject), name)
    return manifest


def decode_index(raw: bytes, *, name: str = "index") -> Index:
    """The index that the bytes are.

    Raises:
        InvalidInput: as ``decode_manifest``.
    """
    document = _parse(raw, name)
    _refuse_both(document, name)
    index = _decode(Index, document, name)
    _check(index.schema_version, (*index.manifests, index.subject), name)
    return index


def decode_config(raw: bytes, *, name: str = "image configuration") -> ImageConfig:
    """The image configuration that the bytes are.

    Raises:
        InvalidInput: as ``decode_manifest``.
    """
    config = _decode(ImageConfig, _parse(raw, name), name)
    for digest in config.rootfs.diff_ids:
        check_digest(digest)
    return config


def media_type_of(raw: bytes) -> str:
    """The media type that a manifest's or an index's bytes declare, or that their shape shows; "" if neither.

    Source: image-spec manifest.md, "mediaType"; a document must not be both.
    """
    document = _parse(raw, "manifest")
    declared = _declared(document)
    if declared:
        return declared
    if document.get("schemaVersion") == 1:
        return DOCKER_SCHEMA1_SIGNED if "signatures" in document else DOCKER_SCHEMA1
    if "manifests" in document:
        return INDEX
    return MANIFEST if "config" in document else ""


def says_its_media_type(raw: bytes) -> bool:
    """Whether the bytes have a media type in them, and not only a shape that shows one."""
    return bool(_declared(_parse(raw, "manifest")))


def _declared(document: dict[str, object]) -> str:
    declared = document.get("mediaType")
    return declared if isinstance(declared, str) else ""


def _parse(raw: bytes, name: str) -> dict[str, object]:
    document = jsontext.parse(raw, name=name)
    if not isinstance(document, dict):
        raise InvalidInput(f"{name} is not a JSON object", code="wrong-type")
    return document


def _decode(cls: "type[V]", document: object, name: str) -> "V":
    try:
        return decode(cls, document, unknown=[])
    except InvalidInput as error:
        raise InvalidInput(f"{name}: {error.message}", code=error.code) from None


def _refuse_both(document: dict[str, object], name: str) -> None:
    """Readers that look at different fields would see different images (CVE-2021-41190)."""
    if "manifests" in document and ("layers" in document or "config" in document or "fsLayers" in document):
        raise InvalidInput(f"{name} is both a manifest and an index", code="ambiguous-manifest")


def _check(version: int, descriptors: tuple[Descriptor | None, ...], name: str) -> None:
    if version != 2:
        raise InvalidInput(f"{name} has the schema version {version}, not 2", code="schema-version")
    for descriptor in descriptors:
        if descriptor is None:
            continue
        if not is_well_formed(descriptor.digest):
            raise InvalidInput(f"{name}: {descriptor.digest!r} is not a digest", code="invalid-digest")
        if not _is_known(descriptor):
            check_digest(descriptor.digest)
        if not _MEDIA_TYPE.fullmatch(descriptor.media_type):
            message = f"{name}: {descriptor.media_type!r} is not a media type"
            raise InvalidInput(message, code="invalid-media-type")


def _is_known(descriptor: Descriptor) -> bool:
    """Whether the digest is whole, or of an algorithm whose digests we cannot tell from others."""
    return is_digest(descriptor.digest) or algorithm_of(descriptor.digest) not in ("sha256", "sha512")


def artifact_refused(name: str) -> InvalidInput:
    """That something else was asked of it than to be kept and passed on."""
    return InvalidInput(f"{name} is an artifact and has no files", code="not-an-image")
