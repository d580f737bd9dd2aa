"""What the registry keeps: contents, and which repository has them.

    ROOT/
      content/          the contents (``pierhead.images.content``)
      uploads/          what is on its way (``uploads``)
      registry.db       which repository has what (``index``)

Blobs come by ``uploads``; here they are read, mounted and removed, and manifests come and go.  A file
becomes a content inside the change that gives it to a repository, so that no collection takes place in
between.  Whoever asks for a blob makes it young again: a client that was told that a blob is here will not
send it, and its manifest may come late.
"""

from __future__ import annotations

import os
import time

from pierhead.digests import DEFAULT_ALGORITHM, algorithm_of
from pierhead.errors import NotFound
from pierhead.images.content import ContentStore
from pierhead.registry.documents import Facts, read_facts
from pierhead.registry.faults import Fault
from pierhead.registry.index import Index
from pierhead.registry.names import check_tag, is_digest_reference
from pierhead.registry.uploads import USE_STEP_S, Uploads
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Self

    from pierhead.oci.image import Descriptor
    from pierhead.registry.index import Change

MANIFEST_BYTES_MOST = 8 << 20
"""The protocol wants four at least (distribution-spec "Pushing Manifests")."""


class ManifestRecord(Value):
    """A manifest as a repository has it."""

    digest: str
    media_type: str
    raw: bytes


class Storage:
    """One registry's directory.  Methods block; any thread may call them."""

    def __init__(self, root: str | os.PathLike[str], clock: Callable[[], float] = time.time) -> None:
        """Makes what is missing of the directory; ``clock`` gives seconds since 1970."""
        self.root = os.path.abspath(os.fspath(root))
        os.makedirs(self.root, mode=0o755, exist_ok=True)
        self.content = ContentStore(f"{self.root}/content")
        self.index = Index(f"{self.root}/registry.db", clock)
        self.uploads = Uploads(f"{self.root}/uploads", self.content, self.index)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """All files are closed."""
        self.uploads.close()
        self.index.close()

    # Blobs

    def find_blob(self, repository: str, digest: str) -> int | None:
        """A blob's size in bytes; it counts as used."""
        found = self.index.find_blob(repository, digest)
        if found is None:
            return None
        size, used_s = found
        if used_s < self.index.now_s() - USE_STEP_S:
            with self.index.change() as change:
                change.use_blob(repository, digest)
                if not change.has_blob(repository, digest):
                    return None
        return size

    def open_blob(self, repository: str, digest: str) -> tuple[int, int]:
        """A descriptor to read the blob from, the caller's, and its size in bytes.

        Raises:
            Fault: BLOB_UNKNOWN.
        """
        size = self.find_blob(repository, digest)
        if size is None:
            raise _blob_unknown(repository, digest)
        try:
            return self.content.open(digest), size
        except NotFound:
            raise _blob_unknown(repository, digest) from None

    def remove_blob(self, repository: str, digest: str) -> None:
        """The repository does not have the blob.

        Raises:
            Fault: BLOB_UNKNOWN.
        """
        with self.index.change() as change:
            if not change.remove_blob(repository, digest):
                raise _blob_unknown(repository, digest)

    def mount(self, repository: str, digest: str, sources: Sequence[str], *, copied: bool = False) -> bool:
        """The repository has the blob, if one of the sources has it; False: none has.

        ``copied``: the repository is an upstream's, and the blob counts as come from there.
        """
        with self.index.change() as change:
            if change.has_blob(repository, digest) or any(change.has_blob(each, digest) for each in sources):
                size = self.content.find_size(digest)
                if size is not None:
                    change.add_blob(repository, digest, size, copied=copied)
                    return True
        return False

    def put_blob(self, repository: str, digest: str, data: bytes) -> None:
        """The repository has this small blob.

        Raises:
            Fault: DIGEST_INVALID.
        """
        upload_id = self.uploads.start(repository, algorithm_of(digest))
        ingest = self.uploads.resume(repository, upload_id)
        ingest.append(data)
        self.uploads.finish(repository, upload_id, ingest, digest)

    # Manifests

    def get_manifest(self, repository: str, reference: str) -> ManifestRecord:
        """The manifest that a tag or a digest means.

        Raises:
            Fault: MANIFEST_UNKNOWN.
        """
        digest: str | None = reference
        if not is_digest_reference(reference):
            digest = self.index.find_tag(repository, reference)
        media_type = self.index.find_manifest(repository, digest) if digest else None
        if digest is None or media_type is None:
            raise _manifest_unknown(repository, reference)
        try:
            raw = self.content.read(digest, limit_bytes=MANIFEST_BYTES_MOST)
        except NotFound:
            raise _manifest_unknown(repository, reference) from None
        return ManifestRecord(digest=digest, media_type=media_type, raw=raw)

    def put_manifest(
        self,
        repository: str,
        raw: bytes,
        *,
        content_type: str,
        digest: str = "",
        tags: Sequence[str] = (),
        copied: bool = False,
    ) -> tuple[str, Facts]:
        """The repository has the manifest, and the tags mean it; returns its digest and what it says.

        Args:
            repository: its name.
            raw: the manifest's bytes; they are kept as they are.
            content_type: what the client says that they are.
            digest: what they have to be; "" is whatever they are.
            tags: names that will mean it.
            copied: it comes from an upstream; blobs may be missing, they are fetched when they are asked for.

        Raises:
            Fault: MANIFEST_INVALID, DIGEST_INVALID, TAG_INVALID, or MANIFEST_BLOB_UNKNOWN: push that first.
        """
        for tag in tags:
            check_tag(tag)
        facts = read_facts(raw, content_type)
        with self.content.ingest_new(algorithm_of(digest) or DEFAULT_ALGORITHM) as ingest:
            ingest.append(raw)
            found = ingest.current_digest()
            if digest and digest != found:
                raise Fault("DIGEST_INVALID", f"the manifest is not {digest} but {found}")
            ingest.flush()
            with self.index.change() as change:
                if not copied:
                    _check_blobs(change, repository, facts)
                ingest.commit()
                change.add_manifest(repository, found, len(raw), facts, copied=copied)
                for tag in tags:
                    change.set_tag(repository, tag, found)
        return found, facts

    def use_manifest(self, repository: str, digest: str) -> None:
        """The manifest counts as used, if it is there."""
        used_s = self.index.find_manifest_use(repository, digest)
        if used_s is not None and used_s < self.index.now_s() - USE_STEP_S:
            with self.index.change() as change:
                change.use_manifest(repository, digest)

    def set_tag(self, repository: str, tag: str, digest: str) -> None:
        """The tag means this manifest, which the repository has."""
        check_tag(tag)
        if self.index.find_tag(repository, tag) != digest:
            with self.index.change() as change:
                change.set_tag(repository, tag, digest)

    def remove_manifest(self, repository: str, reference: str) -> None:
        """A digest: the manifest is gone, and tags that mean it.  A tag: only the tag is gone.

        Raises:
            Fault: MANIFEST_UNKNOWN.
        """
        with self.index.change() as change:
            remove = change.remove_manifest if is_digest_reference(reference) else change.remove_tag
            if not remove(repository, reference):
                raise _manifest_unknown(repository, reference)

    def referrers(self, repository: str, subject: str, *, after: str = "") -> Iterator[Descriptor]:
        """What refers to the subject, whether or not that is here."""
        return self.index.referrers(repository, subject, after=after)

    # Lists

    def tags(self, repository: str, *, after: str = "", count: int = -1) -> list[str]:
        """The repository's tags in their order.

        Raises:
            Fault: NAME_UNKNOWN.
        """
        if not self.index.has_repository(repository):
            raise Fault("NAME_UNKNOWN", f"there is no repository {repository} here")
        return self.index.tags(repository, after=after, count=count)


def _check_blobs(change: Change, repository: str, facts: Facts) -> None:
    """What the manifest needs is in its repository.

    An index may name manifests that are not here: a part of the platforms is a mirror's usual case.
    """
    missing = [digest for digest in facts.blobs if not change.has_blob(repository, digest)]
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        message = f"{repository} does not have {missing[0]}{more}, which the manifest needs"
        raise Fault("MANIFEST_BLOB_UNKNOWN", message, hint="push its blobs first")


def _blob_unknown(repository: str, digest: str) -> Fault:
    return Fault("BLOB_UNKNOWN", f"{repository} has no blob {digest}")


def _manifest_unknown(repository: str, reference: str) -> Fault:
    return Fault("MANIFEST_UNKNOWN", f"{repository} has no manifest {reference[:160]}")
