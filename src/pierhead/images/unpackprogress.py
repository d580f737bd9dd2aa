"""What a pull tells that unpacks as well."""

from __future__ import annotations

from pierhead.images.remote.progress import Progress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.oci.image import Descriptor


class UnpackProgress(Progress):
    """Whoever is told of a pull that unpacks as well."""

    def unpacking(self, content: Descriptor) -> None:
        """The layer is on its way to a directory."""

    def unpacked(self, content: Descriptor) -> None:
        """It is there."""

    def close(self) -> None:
        """Nothing more will be told."""
