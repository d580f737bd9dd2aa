"""Which of the engine's images a libpod client means."""

from __future__ import annotations

from pierhead.api.libpod.image_documents import spellings
from pierhead.errors import NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.api.call import Call

    Document = dict[str, Any]


async def inspect_image(call: Call, name: str) -> tuple[str, Document]:
    """The spelling under which the engine has the image, and what it tells of it.

    Raises:
        NotFound: there is none under any.
    """
    for spelling in spellings(name):
        try:
            return spelling, await call.backend.inspect_image(spelling, "")
        except NotFound as error:
            if error.code not in ("image-not-found", "not-found"):
                raise
    raise NotFound(f"failed to find image {name}", code="image-not-found")


async def find_image(call: Call, name: str) -> str:
    """The spelling alone; the name as it is, where the engine must say itself what is wrong with it."""
    try:
        return (await inspect_image(call, name))[0]
    except NotFound:
        return name
