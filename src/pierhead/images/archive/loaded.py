"""What reading an archive gives."""

from __future__ import annotations

from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.oci.image import Descriptor


class LoadedImage(Value):
    """An image that is in the store, and has no name in the library yet.

    Fields:
        descriptor: of its manifest or index.
        names: whole names that the archive gives it, as they stand there.
        tag: where the archive gives it no more than a tag.
    """

    descriptor: Descriptor
    names: tuple[str, ...] = ()
    tag: str = ""
