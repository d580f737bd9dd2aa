"""Images in the store to one archive, or a directory, that is an OCI layout and what ``docker load`` reads.

    oci-layout           {"imageLayoutVersion": "1.0.0"}
    index.json           every image under every name
    manifest.json        the same images for docker load: paths of their blobs
    blobs/ALGORITHM/HEX  everything that they need

What is saved is whole.  It is planned before the first byte is written: a content that is not here is an
error that names it and its platform, and so is nothing to write at all.  Where only some platforms are
wanted, an index of these takes the place of the whole one.

The same images give the same bytes: entries are sorted, owned by 0, and of the year 1970.
"""

from __future__ import annotations

import contextlib
import os

from pierhead import jsontext
from pierhead.digests import algorithm_of, compute_digest, digest_of, hasher
from pierhead.errors import Conflict, InvalidInput, NotFound, OperationFailed
from pierhead.images.archive.compose import encode_document
from pierhead.images.archive.dockersave import MANIFEST_FILE, SavedImage
from pierhead.images.archive.files import blob_name
from pierhead.images.archive.ocilayout import FULL_NAME, INDEX_FILE, LAYOUT_FILE, LAYOUT_VERSION
from pierhead.images.library.collection import exists_in, reader
from pierhead.images.reference import parse_reference
from pierhead.images.tarlayer.entry import Entry
from pierhead.images.tarlayer.writer import TarWriter
from pierhead.images.walk import children, find_presences, is_distributed, kind_of, walk
from pierhead.linux.files import remove_if_there, replace_file, write_all
from pierhead.oci.document import encode
from pierhead.oci.image import (
    CONFIG_TYPES,
    INDEX,
    REF_NAME,
    Descriptor,
    Index,
    Platform,
    decode_config,
    decode_index,
    decode_manifest,
)
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from pierhead.images.content import ContentStore
    from pierhead.images.library import Lease
    from pierhead.images.walk import Exists, Presence, Read
    from pierhead.oci.image import Manifest

    Choose = Callable[[Presence], bool]
    Prefer = Callable[[Platform], bool]

_BLOCK_BYTES = 1 << 20
_SUBJECT = "vnd.docker.reference.digest"
"""Annotation of an attestation in an index: the manifest that it is about (BuildKit)."""


class NamedImage(Value):
    """An image to save, and the names that it has in the archive."""

    descriptor: Descriptor
    names: tuple[str, ...] = ()


class SavePlan(Value):
    """Everything that an archive will have.

    Fields:
        documents: files that are made for it, by name.
        blobs: digests and sizes in bytes of what is copied from the store, sorted.
    """

    documents: dict[str, bytes]
    blobs: tuple[tuple[str, int], ...]

    @property
    def size_bytes(self) -> int:
        """Of all files, without what the archive adds."""
        return sum(size for _, size in self.blobs) + sum(map(len, self.documents.values()))


# Planning


def plan_save(
    images: Iterable[NamedImage],
    content: ContentStore,
    *,
    choose: Choose | None = None,
    prefer: Prefer | None = None,
) -> SavePlan:
    """What an archive of these images consists of; nothing is written.

    Args:
        images: what to save.
        content: where it is.
        choose: which platforms' images; all where it is None.
        prefer: whether a platform's image has the names for docker load, which knows no indexes; where it is
            None, or says so of none, the first one has them.

    Raises:
        Conflict: something that is wanted is not here.
        NotFound: no platform is wanted.
        InvalidInput: a document is not what its media type says.
    """
    read, exists = reader(content), exists_in(content)
    made: dict[str, bytes] = {}
    blobs: dict[str, int] = {}
    listed: list[Descriptor] = []
    docker: dict[str, SavedImage] = {}

    def read_made(digest: str) -> bytes | None:
        return made.get(digest) or read(digest)

    for image in images:
        shown = image.names[0] if image.names else image.descriptor.digest
        root, document = _wanted_root(image.descriptor, read, exists, choose, shown)
        if document is not None:
            made[root.digest] = document
        _check_whole(root, read_made, exists, shown)
        for step in walk(root, read_made, lambda digest: digest in made or exists(digest)):
            digest = step.child.descriptor.digest
            if digest not in made and step.present:
                blobs[digest] = content.find_size(digest) or 0
        listed += _listed(root, image.names)
        manifests = sorted(
            _manifests(root, read_made),
            key=lambda each: prefer is not None and not prefer(_platform(each, read)),
        )
        _add_docker(docker, manifests, image.names)
    return SavePlan(
        documents={
            LAYOUT_FILE: _json({"imageLayoutVersion": LAYOUT_VERSION}),
            INDEX_FILE: encode_document(Index(schema_version=2, media_type=INDEX, manifests=tuple(listed))),
            MANIFEST_FILE: _json([_docker_document(each) for each in docker.values()]),
            **{blob_name(digest): document for digest, document in sorted(made.items())},
        },
        blobs=tuple(sorted(blobs.items())),
    )


def _wanted_root(
    root: Descriptor, read: Read, exists: Exists, choose: Choose | None, shown: str
) -> tuple[Descriptor, bytes | None]:
    """What stands for the image: itself, one of its manifests, or a new index of several and its bytes."""
    if choose is None:
        return root, None
    presences = find_presences(root, read, exists)
    wanted = [each.descriptor for each in presences if choose(each)]
    if kind_of(root.media_type) != "index" and (wanted or presences[0].state != "whole"):
        return root, None
    if not wanted:
        hint = "pier inspect shows the platforms that it has"
        raise NotFound(f"the image {shown} has none of the wanted platforms", code="no-platform", hint=hint)
    if len(wanted) == 1:
        return wanted[0].replace(annotations={}), None
    index = decode_index(read(root.digest) or b"")
    digests = {each.digest for each in wanted}
    chosen = tuple(each for each in wanted if each.annotations.get(_SUBJECT, each.digest) in digests)
    if chosen == index.manifests:
        return root, None
    raw = encode_document(index.replace(manifests=chosen))
    return Descriptor(media_type=root.media_type, digest=compute_digest(raw), size=len(raw)), raw


def _check_whole(root: Descriptor, read: Read, exists: Exists, shown: str) -> None:
    """All platforms are here.

    Raises:
        Conflict: one is not; the sentence has its name and the first content that is not here.
    """
    if read(root.digest) is None:
        raise Conflict(f"cannot save {shown}: {root.digest} is not here", code="incomplete-image")
    for presence in find_presences(root, read, exists):
        if presence.state == "whole":
            continue
        found = presence.platform
        words = "/".join(filter(None, (found.os, found.architecture, found.variant))) if found else "image"
        raise Conflict(
            f"cannot save {shown}: {presence.missing[0].digest} of its {words} is not here",
            code="incomplete-image",
            hint="pull that platform first (pier pull --platform), or save others (pier save --platform)",
        )


def _listed(root: Descriptor, names: tuple[str, ...]) -> list[Descriptor]:
    """Descriptors for index.json: one for each name, as Docker has them."""
    return [root.replace(annotations={FULL_NAME: name, REF_NAME: _tag(name)}) for name in sorted(names)] or [
        root
    ]


def _tag(name: str) -> str:
    """The tag or digest at a name's end; the whole name where it has none."""
    last = name.rpartition("/")[2]
    if "@" in last:
        return last.partition("@")[2]
    return last.partition(":")[2] or name


def _add_docker(docker: dict[str, SavedImage], manifests: list[Manifest], names: tuple[str, ...]) -> None:
    """What docker load can run: images of archives that are here.  The first one has the names."""
    tags = tuple(sorted(parse_reference(name).familiar() for name in names if "@" not in name))
    for manifest in manifests:
        archives = [is_distributed(each.media_type) and ".tar" in each.media_type for each in manifest.layers]
        if manifest.config.media_type not in CONFIG_TYPES or not all(archives):
            continue
        saved = SavedImage(
            config=blob_name(manifest.config.digest),
            layers=tuple(blob_name(layer.digest) for layer in manifest.layers),
        )
        before = docker.get(saved.config, saved)
        known = {tag for each in docker.values() for tag in each.repo_tags}
        more = tuple(tag for tag in tags if tag not in known)
        docker[saved.config] = before.replace(repo_tags=before.repo_tags + more)


def _docker_document(image: SavedImage) -> dict[str, Any]:
    """As Docker has it, where no name is no list."""
    document: dict[str, Any] = encode(image)
    return document | ({} if image.repo_tags else {"RepoTags": None})


def _platform(manifest: Manifest, read: Read) -> Platform:
    raw = read(manifest.config.digest) if manifest.config.media_type in CONFIG_TYPES else None
    return decode_config(raw).platform if raw else Platform()


def _manifests(root: Descriptor, read: Read) -> Iterator[Manifest]:
    raw = read(root.digest)
    if raw is None:
        return
    if kind_of(root.media_type) == "manifest":
        yield decode_manifest(raw)
    elif kind_of(root.media_type) == "index":
        for child in children(raw, root.media_type):
            yield from _manifests(child.descriptor, read)


def _json(value: object) -> bytes:
    return jsontext.format_compact(value).encode()


# Writing


def save_archive(
    plan: SavePlan, content: ContentStore, append: Callable[[bytes | memoryview], object]
) -> None:
    """The archive's bytes have been given to ``append``, in their order.

    Raises:
        InvalidInput: a content is damaged; what was given is no whole archive.
    """
    writer = TarWriter(append)
    directories = {"blobs"} | {f"blobs/{algorithm_of(digest)}" for digest, _ in plan.blobs}
    for name in (LAYOUT_FILE, INDEX_FILE, MANIFEST_FILE):
        writer.add(Entry(name=name.encode(), size=len(plan.documents[name])), (plan.documents[name],))
    for name in sorted(directories):
        writer.add(Entry(name=name.encode(), kind="directory", mode=0o755))
    sizes = {blob_name(digest): (digest, size) for digest, size in plan.blobs}
    for name in sorted(sizes.keys() | {each for each in plan.documents if each.startswith("blobs/")}):
        document = plan.documents.get(name)
        if document is not None:
            writer.add(Entry(name=name.encode(), size=len(document)), (document,))
        else:
            digest, size = sizes[name]
            writer.add(Entry(name=name.encode(), size=size), read_verified(content, digest))
    writer.finish()


def read_verified(content: ContentStore, digest: str) -> Iterator[bytes]:
    """A content's bytes, and an error instead of their end if they are not what the digest says.

    Raises:
        InvalidInput: the content is damaged.
        NotFound: it is not here.
    """
    hashed = hasher(algorithm_of(digest))
    fd = content.open(digest)
    try:
        while block := os.read(fd, _BLOCK_BYTES):
            hashed.update(block)
            yield block
    finally:
        os.close(fd)
    if digest_of(hashed) != digest:
        hint = "remove the image and pull it anew"
        raise InvalidInput(f"the content {digest} is damaged", code="damaged-content", hint=hint)


def save_to_fd(plan: SavePlan, content: ContentStore, fd: int) -> None:
    """The archive has been written to a descriptor, which may be a pipe; it stays the caller's.

    Raises:
        OperationFailed: it takes no more.
        InvalidInput: a content is damaged.
    """
    save_archive(plan, content, appender(fd))


def appender(fd: int) -> Callable[[bytes | memoryview], None]:
    """What writes an archive's pieces to a descriptor; it raises OperationFailed where that takes no more."""

    def append(data: bytes | memoryview) -> None:
        try:
            write_all(fd, data)
        except OSError as error:
            raise _cannot_write("the archive", error) from error

    return append


def save_to_path(plan: SavePlan, content: ContentStore, path: str | os.PathLike[str]) -> None:
    """The file is the archive; until it is whole, nothing or the old file is there.

    Raises:
        OperationFailed: it cannot be written.
        InvalidInput: a content is damaged.
    """
    path = os.fspath(path)
    with new_file(path) as fd:
        save_to_fd(plan, content, fd)


@contextlib.contextmanager
def new_file(path: str) -> Iterator[int]:
    """A descriptor to write the file through; it takes its place when the block ends well.

    Raises:
        OperationFailed: it cannot be made.
    """
    temporary = f"{path}.{os.urandom(4).hex()}.part"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _cannot_write(path, error) from error
    try:
        try:
            yield fd
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except BaseException:
        remove_if_there(temporary)
        raise


def save_to_directory(plan: SavePlan, content: ContentStore, path: str | os.PathLike[str]) -> None:
    """The directory is the layout; index.json comes last, so that what is listed is there.

    What is there already stays, so that images can be added to a layout only by writing all of them anew.

    Raises:
        OperationFailed: it cannot be written.
        InvalidInput: a content is damaged.
    """
    root = os.fspath(path)
    try:
        for digest, _ in plan.blobs:
            name = f"{root}/{blob_name(digest)}"
            os.makedirs(os.path.dirname(name), exist_ok=True)
            with new_file(name) as fd:
                for block in read_verified(content, digest):
                    write_all(fd, block)
        for name in sorted(plan.documents, key=lambda name: (name == INDEX_FILE, name)):
            os.makedirs(os.path.dirname(f"{root}/{name}"), exist_ok=True)
            _put(root, name, plan.documents[name])
    except OSError as error:
        raise _cannot_write(root, error) from error


def _put(root: str, name: str, data: bytes) -> None:
    directory_fd = os.open(os.path.dirname(f"{root}/{name}"), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        replace_file(directory_fd, os.path.basename(name), data, mode=0o644)
    finally:
        os.close(directory_fd)


def hold(images: Iterable[NamedImage], lease: Lease) -> tuple[NamedImage, ...]:
    """No collection takes anything of the images while the lease lasts."""
    found = tuple(images)
    for image in found:
        lease.pin_graph(image.descriptor)
    return found


def _cannot_write(what: str, error: OSError) -> OperationFailed:
    reason = (error.strerror or str(error)).lower()
    return OperationFailed(f"cannot write {what}: {reason}", errno=error.errno or 0, code="cannot-write")
