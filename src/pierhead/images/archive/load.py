"""Files, pipes and directories to images in the store; their form is seen by what they hold.

    with library.lease(purpose="load") as lease:
        for image in load_archive(fd, library, lease):
            for name in image.names:
                library.set_image(name, image.descriptor)

An archive that is of two forms at once, as ``docker save`` makes them today, is read as an OCI layout, whose
contents have digests of their own.
"""

from __future__ import annotations

import contextlib
import os

from pierhead.errors import InvalidInput, NotFound, OperationFailed
from pierhead.images.archive.dockersave import MANIFEST_FILE, is_docker_save, load_docker_save
from pierhead.images.archive.files import ArchiveFiles, DirectoryFiles
from pierhead.images.archive.ocilayout import INDEX_FILE, is_layout, load_layout
from pierhead.images.archive.v1layout import REPOSITORIES_FILE, is_v1_layout, load_v1_layout

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.images.archive.compose import ComposedLayer
    from pierhead.images.archive.files import Files, Limits
    from pierhead.images.archive.loaded import LoadedImage
    from pierhead.images.library import Lease, Library


def load(
    path: str | os.PathLike[str], library: Library, lease: Lease, *, limits: Limits | None = None
) -> tuple[LoadedImage, ...]:
    """The images of this archive or directory are in the store, as ``load_archive`` says.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it holds no image, or is not what it says.
    """
    if os.path.isdir(path):
        return load_directory(path, library, lease)
    with open_archive(path) as fd:
        return load_archive(fd, library, lease, limits=limits)


@contextlib.contextmanager
def open_archive(source: str | os.PathLike[str] | int) -> Iterator[int]:
    """A descriptor of the archive; what is wrong with a file's content names the file.

    Args:
        source: path of a file, or a descriptor, which stays the caller's.

    Raises:
        NotFound: there is no such file.
        OperationFailed: it cannot be opened.
    """
    if isinstance(source, int):
        yield source
        return
    path = os.fspath(source)
    with _reading(path):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise NotFound(f"there is no file {path}", code="no-file") from None
    try:
        yield fd
    except InvalidInput as error:
        message = f"cannot read {path}: {error.message}"
        raise InvalidInput(message, code=error.code, hint=error.hint) from error
    finally:
        os.close(fd)


def load_archive(
    fd: int, library: Library, lease: Lease, *, limits: Limits | None = None
) -> tuple[LoadedImage, ...]:
    """The images of an archive are in the store; the lease keeps them until the caller has named them.

    Args:
        fd: a file, pipe or socket with a tar archive, compressed or not; read to its end; the caller's.
        library: learns which contents are forms of which layers.
        lease: one of the library's.
        limits: what the archive may have.

    Raises:
        InvalidInput: it holds no image, is damaged, or is not what it says.
        OperationFailed: it cannot be read, or the store's disk is full.
    """
    with _reading("the archive"):
        return _load(ArchiveFiles(lease.content, fd, limits), library, "the archive")


def load_directory(path: str | os.PathLike[str], library: Library, lease: Lease) -> tuple[LoadedImage, ...]:
    """The images of a directory are in the store, as ``load_archive`` says.

    Raises:
        NotFound: there is no such directory.
        InvalidInput: it holds no image, or is not what it says.
    """
    with _reading(os.fspath(path)), DirectoryFiles(lease.content, path) as files:
        return _load(files, library, f"the directory {os.fspath(path)}")


def _load(files: Files, library: Library, what: str) -> tuple[LoadedImage, ...]:
    layers: dict[str, ComposedLayer] = {}
    if is_layout(files):
        name, images = INDEX_FILE, load_layout(files)
    elif is_docker_save(files):
        name, (images, layers) = MANIFEST_FILE, load_docker_save(files)
    elif is_v1_layout(files):
        name, (images, layers) = REPOSITORIES_FILE, load_v1_layout(files)
    else:
        raise InvalidInput(
            f"{what} holds no image: it has neither index.json nor manifest.json nor repositories",
            code="not-an-image",
            hint="pier import makes an image of a root file system",
        )
    if not images:
        raise InvalidInput(f"{what} holds no image: its {name} lists none", code="not-an-image")
    library.record_forms((diff_id, layer.descriptor) for diff_id, layer in layers.items())
    return images


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    """The kernel's refusals become sentences."""
    try:
        yield
    except OSError as error:
        message = f"cannot read {what}: {(error.strerror or str(error)).lower()}"
        raise OperationFailed(message, errno=error.errno or 0, code="cannot-read") from error
