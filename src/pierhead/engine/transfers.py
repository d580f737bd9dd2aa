"""How transfers of images are told to clients of the Docker API: a document for each thing that happens.

    {"status": "Pulling fs layer", "progressDetail": {}, "id": "3f57d9401f8d"}
    {"status": "Downloading", "progressDetail": {"current": 1, "total": 9}, "progress": "[=>  ] …", "id": …}

Source: the answers of ``POST /images/create`` and ``POST /images/{name}/push``, as docker's CLI shows them.
"""

from __future__ import annotations

import asyncio
import time

from pierhead.digests import short_digest
from pierhead.errors import PierheadError
from pierhead.figures import format_size
from pierhead.images.reference import parse_reference
from pierhead.images.remote.tasks import parallel
from pierhead.images.unpackprogress import WordedProgress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import Any

    from pierhead.oci.image import Descriptor

    Document = dict[str, Any]
    Tell = Callable[[Document], None]

_EVERY_S = 0.1
_BAR = 50


class Telling(WordedProgress):
    """Tells a client of a pull or a push."""

    def __init__(self, tell: Tell, *, pushing: bool = False) -> None:
        """``tell`` takes each document, in the loop's thread."""
        super().__init__(pushing=pushing)
        self._tell = tell
        self._told_s: dict[str, float] = {}

    def resolved(self, name: str, descriptor: Descriptor, answered_by: str) -> None:  # noqa: ARG002 - Progress's
        """See ``Progress``."""
        reference = parse_reference(name)
        if self.pushing:
            self._tell({"status": f"The push refers to repository [{reference.name}]"})
        else:
            self._tell({"status": f"Pulling from {reference.path}", "id": reference.identifier})

    def remarked(self, text: str) -> None:
        """See ``WordedProgress``."""
        self._tell({"status": text})

    def planned(self, contents: tuple[Descriptor, ...]) -> None:
        """See ``Progress``."""
        for content in contents:
            self.changed(content, "Preparing" if self.pushing else "Pulling fs layer")

    def retrying(self, content: Descriptor, reason: str) -> None:
        """See ``Progress``."""
        self.changed(content, f"Retrying: {reason}")

    def changed(self, content: Descriptor, state: str, done_bytes: int | None = None) -> None:
        """See ``WordedProgress``."""
        if done_bytes is None:
            self._tell({"status": state, "progressDetail": {}, "id": short_digest(content.digest)})
        else:
            self._measure(content, state, done_bytes)

    def _measure(self, content: Descriptor, status: str, done_bytes: int) -> None:
        """At most some times a second: a client draws a line anew for each."""
        now_s = time.monotonic()
        if done_bytes < content.size and now_s - self._told_s.get(content.digest, 0.0) < _EVERY_S:
            return
        self._told_s[content.digest] = now_s
        self._tell(
            {
                "status": status,
                "progressDetail": {"current": done_bytes, "total": content.size},
                "progress": draw_bar(done_bytes, content.size),
                "id": short_digest(content.digest),
            }
        )


def draw_bar(done_bytes: int, total_bytes: int) -> str:
    """``[=====>     ]  1.5MB/12MB``."""
    share = min(_BAR, done_bytes * _BAR // total_bytes) if total_bytes > 0 else 0
    bar = "=" * max(share - 1, 0) + ">" if share < _BAR else "=" * (_BAR - 1) + ">"
    return f"[{bar:<{_BAR}}] {format_size(done_bytes):>7}/{format_size(total_bytes)}"


def error_document(error: PierheadError) -> Document:
    """How a failure is told when the answer has begun."""
    message = f"{error.message} ({error.hint})" if error.hint else error.message
    return {"errorDetail": {"message": message}, "error": message}


async def told(work: Callable[[Tell], Awaitable[object]]) -> AsyncIterator[Document]:
    """The documents that the work tells, while it runs.

    Its error is raised where nothing was told before, and is the last document otherwise.
    """
    queue: asyncio.Queue[Document | None] = asyncio.Queue()

    async def run() -> PierheadError | None:
        try:
            await work(queue.put_nowait)
        except PierheadError as error:
            return error
        finally:
            queue.put_nowait(None)
        return None

    began = False
    async with parallel() as group:
        task = group.create_task(run())
        while (document := await queue.get()) is not None:
            began = True
            yield document
        error = await task
    if error is not None:
        if not began:
            raise error
        yield error_document(error)
