"""Uploads: blobs on their way, in files that outlive the server.

    ROOT/uploads/ID.part    what has come of the upload; locked by the server that takes it

An upload is known to the index from its beginning.  Its file only grows; how long it is says how much came,
also to the next server, which hashes it anew.  At its end the file becomes a content of the store, in the
same change in which the repository gets the blob.  If the server is killed in between, the content is there
and nobody's, or nothing has happened: the client asks, learns that nothing is there, and sends again.
"""

from __future__ import annotations

import os
import threading
import uuid

from pierhead.digests import DEFAULT_ALGORITHM, algorithm_of
from pierhead.errors import InvalidInput
from pierhead.images.content import Ingest
from pierhead.linux.files import lock_at_once
from pierhead.registry.faults import Fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.images.content import ContentStore
    from pierhead.registry.index import Index

_OPEN_MOST = 256
"""Uploads whose hash is kept between requests; others are hashed anew when they go on."""
USE_STEP_S = 60
"""How old a note of something's use may be before it is written anew."""


class Uploads:
    """The uploads of one registry.  Each upload is used by one thread at a time."""

    def __init__(self, directory: str, content: ContentStore, index: Index) -> None:
        """Makes the directory if need be."""
        self._directory = directory
        self._content = content
        self._index = index
        self._open: dict[str, Ingest] = {}
        self._lock = threading.Lock()
        os.makedirs(directory, mode=0o700, exist_ok=True)

    def close(self) -> None:
        """All files are closed; what came stays."""
        with self._lock:
            for ingest in self._open.values():
                ingest.close()
            self._open.clear()

    def start(self, repository: str, algorithm: str = DEFAULT_ALGORITHM) -> str:
        """An upload has begun; returns its id."""
        upload_id = str(uuid.uuid4())
        with self._index.change() as change:
            change.add_upload(upload_id, repository, algorithm)
        return upload_id

    def get_size(self, repository: str, upload_id: str) -> int:
        """How many bytes have come.

        Raises:
            Fault: BLOB_UPLOAD_UNKNOWN.
        """
        self._get_algorithm(repository, upload_id)
        try:
            return os.stat(self._path(upload_id)).st_size
        except FileNotFoundError:
            return 0

    def _get_algorithm(self, repository: str, upload_id: str) -> str:
        record = self._index.find_upload(upload_id)
        if record is None or record.repository != repository:
            hint = "it was finished, cancelled, or left alone too long: begin a new one"
            raise Fault("BLOB_UPLOAD_UNKNOWN", f"there is no upload {upload_id[:80]!r} here", hint=hint)
        return record.algorithm

    def _path(self, upload_id: str) -> str:
        """Only ids from the index come here."""
        return f"{self._directory}/{upload_id}.part"

    def resume(self, repository: str, upload_id: str) -> Ingest:
        """The place to append to; give it back with ``leave`` or ``finish``.

        Raises:
            Fault: BLOB_UPLOAD_UNKNOWN, or another server has it.
        """
        algorithm = self._get_algorithm(repository, upload_id)
        with self._lock:
            kept = self._open.pop(upload_id, None)
        if kept is not None:
            return kept
        path = self._path(upload_id)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not lock_at_once(fd):
            os.close(fd)
            raise Fault("BLOB_UPLOAD_INVALID", f"another server takes the upload {upload_id}")
        return Ingest(self._content, path, fd, algorithm=algorithm, keep=True)

    def leave(self, upload_id: str, ingest: Ingest) -> None:
        """The upload waits for its next chunk."""
        record = self._index.find_upload(upload_id)
        if record is not None and record.used_s < self._index.now_s() - USE_STEP_S:
            with self._index.change() as change:
                change.use_upload(upload_id)
        with self._lock:
            self._open[upload_id] = ingest
            idle = self._open.pop(next(iter(self._open))) if len(self._open) > _OPEN_MOST else None
        if idle is not None:
            idle.close()

    def finish(self, repository: str, upload_id: str, ingest: Ingest, digest: str) -> int:
        """The repository has the blob, also after a power cut; returns its size in bytes.

        Raises:
            Fault: DIGEST_INVALID: something else came; the upload is gone.
        """
        try:
            ingest.rehash(algorithm_of(digest))
            # What takes long is done before the change: everybody else's waits for it.
            ingest.flush()
            size = ingest.size
            with self._index.change() as change:
                ingest.commit(digest=digest)
                change.add_blob(repository, digest, size)
                change.remove_upload(upload_id)
        except InvalidInput as error:
            ingest.close()
            self._remove(upload_id)
            raise Fault("DIGEST_INVALID", error.message, hint="send the blob again") from None
        except BaseException:
            ingest.close()
            raise
        return size

    def cancel(self, repository: str, upload_id: str) -> None:
        """The upload is gone.

        Raises:
            Fault: BLOB_UPLOAD_UNKNOWN.
        """
        self._get_algorithm(repository, upload_id)
        with self._lock:
            ingest = self._open.pop(upload_id, None)
        if ingest is not None:
            ingest.close()
        self._remove(upload_id)

    def _remove(self, upload_id: str) -> None:
        """The row goes first: a file without a row is rubbish, a row without a file an empty upload."""
        with self._index.change() as change:
            change.remove_upload(upload_id)
        try:
            os.unlink(self._path(upload_id))
        except FileNotFoundError:
            return

    def remove_forgotten(self, before_s: int) -> int:
        """Uploads that nothing came for since then are gone, and files that belong to none; returns how
        many.
        """
        count = 0
        for record in self._index.uploads():
            if record.used_s < before_s and not self._is_taken(record.id):
                self.cancel(record.repository, record.id)
                count += 1
        known = {record.id for record in self._index.uploads()}
        for name in os.listdir(self._directory):
            upload_id = name.removesuffix(".part")
            if upload_id not in known and self._index.find_upload(upload_id) is None:
                self._remove(upload_id)
                count += 1
        return count

    def _is_taken(self, upload_id: str) -> bool:
        """Whether a server is at it, this one or another.  What this one only keeps open is not."""
        with self._lock:
            if upload_id in self._open:
                return False
        try:
            fd = os.open(self._path(upload_id), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return not lock_at_once(fd)
        finally:
            os.close(fd)
