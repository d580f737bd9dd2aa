"""Archives of images in and out, with their names: what ``archive`` reads and writes, the library knows."""

from __future__ import annotations

import asyncio
import os

from pierhead.errors import InvalidInput, NotFound
from pierhead.images.archive.frozen import FrozenImage, write_frozen
from pierhead.images.archive.load import load, load_archive, open_archive
from pierhead.images.archive.rootfs import RootfsImage, import_rootfs
from pierhead.images.archive.save import NamedImage, appender, new_file, plan_save, save_to_fd, save_to_path
from pierhead.images.diff import write_tree
from pierhead.images.platforms import find_rank, host_platform
from pierhead.images.reference import parse_reference
from pierhead.images.roots import open_root
from pierhead.images.snapshots import open_mounts
from pierhead.images.times import format_time
from pierhead.images.unpacking import keeps_owners, unpack_image

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pierhead.images.archive.loaded import LoadedImage
    from pierhead.images.library import Lease
    from pierhead.images.service import ImageService
    from pierhead.images.unpackprogress import UnpackProgress
    from pierhead.images.walk import Presence
    from pierhead.oci.image import Descriptor, Execution, Platform

UNNAMED = "localhost/unnamed"
"""Repository of images whose archive does not say what they are called."""


# save


def save_images(
    service: ImageService,
    texts: Iterable[str],
    target: str | int,
    *,
    platforms: Sequence[Platform] = (),
) -> int:
    """One archive has these images; returns its size in bytes.

    Args:
        service: has the images.
        texts: their names or ids.  A name without a tag means all tags of its repository, and what only an id
            or a digest means has no name in the archive, as docker has it.
        target: path of a file, or a descriptor.
        platforms: those of an index; all that it names where there is none.

    Raises:
        NotFound, Conflict: an image, or something of it, is not here; nothing was written.
        OperationFailed: the archive cannot be written.
    """
    wanted: dict[str, NamedImage] = {}
    with service.library.lease(purpose="save") as lease:
        for text in texts:
            for image in service.catalogue.list_named(text):
                lease.pin_graph(image.descriptor)
                before = wanted.get(image.descriptor.digest, NamedImage(descriptor=image.descriptor))
                by_name = (image.name,) if service.catalogue.is_name_of(image, text) else ()
                names = dict.fromkeys((*before.names, *by_name))
                wanted[image.descriptor.digest] = before.replace(names=tuple(names))

        def choose(presence: Presence) -> bool:
            return _is_wanted(presence, platforms)

        plan = plan_save(wanted.values(), service.content, choose=choose if platforms else _is_whole)
        if isinstance(target, int):
            save_to_fd(plan, service.content, target)
        else:
            save_to_path(plan, service.content, target)
    return plan.size_bytes


def _is_wanted(presence: Presence, platforms: Sequence[Platform]) -> bool:
    platform = presence.platform
    return platform is not None and any(find_rank(wanted, platform) == 0 for wanted in platforms)


def _is_whole(presence: Presence) -> bool:
    """Of an index that was pulled for one machine only that machine's image is here."""
    return presence.state == "whole"


# load


def load_images(
    service: ImageService,
    source: str | int,
    *,
    name: str = "",
    progress: UnpackProgress | None = None,
) -> list[str]:
    """The archive's images are here under their names, and unpacked; returns the names.

    Args:
        service: gets the images.
        source: path of a file or directory, or a descriptor.
        name: of the only image, whatever the archive says.
        progress: is told of layers.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it holds no image, or several where one was named.
        Forbidden: the policy wants images of such a name to be signed, or wants none.
    """
    with service.library.lease(purpose="load") as lease:
        if isinstance(source, int):
            images = load_archive(source, service.library, lease)
        else:
            images = load(source, service.library, lease)
        if name and len(images) != 1:
            message = f"the archive has {len(images)} images, and one name was given"
            raise InvalidInput(message, code="several-images")
        named = [(image, _names(image, name)) for image in images]
        for _, names in named:
            for each in names:
                service.check_unsigned(each)
        found: list[str] = []
        for image, names in named:
            for each in names:
                service.library.set_image(each, image.descriptor)
            asyncio.run(_unpack(service, lease, names[0], progress))
            found += names
    return found


def describe_loaded(service: ImageService, name: str) -> str:
    """What docker says of an image that has come under this name: of one that nobody named its id."""
    if not name.startswith(f"{UNNAMED}@"):
        return f"Loaded image: {service.catalogue.familiar(name)}"
    image = service.library.get_image(name)
    try:
        return f"Loaded image ID: {service.catalogue.open(image).id}"
    except NotFound:  # it is for other machines
        return f"Loaded image ID: {image.descriptor.digest}"


def _names(image: LoadedImage, given: str) -> tuple[str, ...]:
    if given:
        return (str(parse_reference(given).canonical()),)
    if image.names:
        return tuple(str(parse_reference(name).canonical()) for name in image.names)
    if image.tag:
        return (f"{UNNAMED}:{image.tag}",)
    return (f"{UNNAMED}@{image.descriptor.digest}",)


async def _unpack(service: ImageService, lease: Lease, name: str, progress: UnpackProgress | None) -> None:
    """What of the image runs on this machine is ready to run, if we may give files their owners."""
    if not keeps_owners():
        return
    image = service.library.get_image(name)
    shown = service.catalogue.find(image, host_platform())
    if shown is not None and shown.config is not None:
        if progress is not None:
            progress.planned(shown.manifest.layers)
        await unpack_image(service, lease, shown, progress)


# import


def import_image(
    service: ImageService,
    source: str | int,
    name: str,
    *,
    platform: Platform | None = None,
    execution: Execution | None = None,
    comment: str = "",
    now_s: float = 0,
) -> Descriptor:
    """The archive of a root file system is an image of one layer; returns its manifest's descriptor.

    Args:
        service: gets the image.
        source: path of the archive, compressed or not, or a descriptor, which stays the caller's.
        name: of the image; "" names it by its digest.
        platform: what its programs run on; None is this machine's.
        execution: what it runs.
        comment: for its history.
        now_s: when it was made, seconds since 1970.

    Raises:
        NotFound: there is no such file.
        InvalidInput: the name is none, or what came is no archive.
        Forbidden: the policy wants images of such a name to be signed, or wants none.
    """
    full = str(parse_reference(name).canonical()) if name else ""
    if full:
        service.check_unsigned(full)
    made = RootfsImage(
        platform=platform or host_platform(),
        execution=execution,
        created=format_time(now_s),
        comment=comment,
    )
    with service.library.lease(purpose=f"import of {name or 'an archive'}") as lease:
        with open_archive(source) as fd:
            descriptor = import_rootfs(fd, service.library, lease, made)
        full = full or f"{UNNAMED}@{descriptor.digest}"
        service.library.set_image(full, descriptor)
        asyncio.run(_unpack(service, lease, full, None))
    return descriptor


# frozen images


async def freeze_images(
    service: ImageService,
    texts: Iterable[str],
    directory: str | os.PathLike[str],
    *,
    platform: Platform | None = None,
    progress: UnpackProgress | None = None,
) -> None:
    """The directory has the images in their registries' words, in the form of Docker's first archives.

    Args:
        service: keeps the images on their way.
        texts: ``NAME:TAG@DIGEST``, or without the digest; the digest is what must come.
        directory: made if need be.
        platform: None is this machine's.
        progress: is told.

    Raises:
        NotFound, Forbidden, Unavailable: an image cannot be had.
        OperationFailed: the directory cannot be written.
    """
    from pierhead.images.pulling import open_client, pull_image  # 0.3 s, of no use to those who load or save

    frozen = []
    with service.library.lease(purpose="frozen images") as lease:
        async with open_client() as client:
            for text in texts:
                platforms = (platform,) if platform else ()
                pulled = await pull_image(
                    service, text, platforms=platforms, unpack=False, progress=progress, client=client
                )
                lease.pin_graph(pulled.descriptor)
                shown = service.catalogue.open(service.library.get_image(pulled.name), platform)
                reference = parse_reference(text)
                frozen.append(
                    FrozenImage(
                        repository=reference.familiar_name(),
                        tag=reference.tag or "latest",
                        descriptor=shown.descriptor,
                    )
                )
        write_frozen(frozen, service.content, directory)


# export


def export_image(
    service: ImageService,
    text: str,
    target: str | int,
    *,
    platform: Platform | None = None,
    sparse: bool = False,
) -> None:
    """The archive has all files of the image, as a container of it would see them first.

    Args:
        service: has the image.
        text: the image's name.
        target: a path, or a descriptor.
        platform: None is this machine's.
        sparse: holes of files are left out where that saves something, which not every reader knows.

    Raises:
        NotFound: there is no such image, or nothing of it for the platform.
        OperationFailed: the archive cannot be written.
    """
    image = service.catalogue.get(text)
    with open_root(service, image, platform, readonly=True) as root:
        directory_fd = open_mounts(root.mounts)
        directory = f"/proc/self/fd/{directory_fd}"
        try:
            if isinstance(target, int):
                write_tree(appender(target), directory, sparse=sparse)
            else:
                with new_file(target) as fd:
                    write_tree(appender(fd), directory, sparse=sparse)
        finally:
            os.close(directory_fd)
