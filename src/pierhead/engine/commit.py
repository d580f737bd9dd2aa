"""A container's changes become an image: its image's layers, and one of what the container changed."""

from __future__ import annotations

import time

from pierhead.engine.changes import list_places, upper_of
from pierhead.errors import Conflict, InvalidInput, NotFound
from pierhead.images.archive.compose import compose_image, encode_document
from pierhead.images.changes import apply_changes
from pierhead.images.diff import write_layer
from pierhead.images.exchange import UNNAMED
from pierhead.images.reference import parse_reference
from pierhead.images.times import format_time
from pierhead.oci.document import decode, encode
from pierhead.oci.image import Execution, History
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.engine.documents import ContainerConfig
    from pierhead.engine.record import Record
    from pierhead.images.catalogue import PlatformImage
    from pierhead.images.service import ImageService
    from pierhead.images.snapshots import Mount
    from pierhead.oci.image import Descriptor, ImageConfig


class CommitRequest(Value):
    """What a commit is to be.

    Fields:
        name: of the image, with its tag; "" for none.
        comment, author: stand in its history.
        changes: instructions of a Dockerfile.
        config: what a container of it runs; None as this container.
    """

    name: str = ""
    comment: str = ""
    author: str = ""
    changes: tuple[str, ...] = ()
    config: ContainerConfig | None = None


def commit(service: ImageService, record: Record, mount: Mount, request: CommitRequest) -> str:
    """The image is there; returns its id.

    Args:
        service: gets the image.
        record: the container, which stands still.
        mount: how its files come to be seen.
        request: what the image is to be.

    Raises:
        Conflict: the container's image is gone, or something changed while it was read.
        InvalidInput: the name is none, or a change is none.
        Forbidden: the policy wants images of such a name to be signed.
    """
    full = str(parse_reference(request.name).canonical()) if request.name else ""
    if "@" in full:
        raise InvalidInput(
            f"{request.name} names a digest, which nobody can choose", code="invalid-reference"
        )
    if full:
        service.check_unsigned(full)
    base = _base_of(service, record)
    execution = apply_changes(_execution_of(request.config or record.config), request.changes)
    with service.library.lease(purpose=f"commit of {record.name}") as lease:
        lease.pin_graph(base.descriptor)
        layer = write_layer(lease.content, upper_of(mount), left_out=list_places(mount))
        descriptor = compose_image(
            lease.content,
            encode_document(_config_of(base, layer.diff_id, execution, request, record)),
            (*base.manifest.layers, layer.descriptor),
        )
        service.library.record_compressed(layer.diff_id, layer.descriptor)
        service.library.set_image(full or f"{UNNAMED}@{descriptor.digest}", descriptor)
    return _id_of(service, descriptor)


def _base_of(service: ImageService, record: Record) -> PlatformImage:
    if not record.image_id:
        message = f"container {record.name} is a view of this machine, and no image comes of it"
        raise Conflict(message, code="no-own-files")
    try:
        return service.catalogue.open(service.catalogue.get(record.image_id))
    except NotFound:
        message = f"the image of container {record.name} is gone"
        raise Conflict(message, code="image-gone", hint=f"pull {record.image} again") from None


def _execution_of(config: ContainerConfig) -> Execution:
    """The part of a container's configuration that an image can have."""
    document = encode(config)
    for name in ("Cmd", "Entrypoint"):
        if isinstance(document[name], str):
            document[name] = [document[name]]
    return decode(Execution, document, unknown=[])


def _config_of(
    base: PlatformImage, diff_id: str, execution: Execution, request: CommitRequest, record: Record
) -> ImageConfig:
    """The image's configuration: the base's, and one step of history more."""
    assert base.config is not None
    command = record.config.cmd or ()
    created = format_time(time.time())
    step = History(
        created=created,
        author=request.author,
        created_by=command if isinstance(command, str) else " ".join(command),
        comment=request.comment,
    )
    return base.config.replace(
        created=created,
        author=request.author or base.config.author,
        config=execution,
        rootfs=base.config.rootfs.replace(diff_ids=(*base.config.rootfs.diff_ids, diff_id)),
        history=(*_told(base.config), step),
    )


def _told(config: ImageConfig) -> tuple[History, ...]:
    """The base's history, with a step for each layer: a step without one would be taken for ours."""
    layers = sum(1 for step in config.history if not step.empty_layer)
    missing = len(config.rootfs.diff_ids) - layers
    return (*config.history, *(History(comment="not told") for _ in range(missing)))


def _id_of(service: ImageService, descriptor: Descriptor) -> str:
    found = next(each for each in service.library.images() if each.descriptor.digest == descriptor.digest)
    return service.catalogue.open(found).id
