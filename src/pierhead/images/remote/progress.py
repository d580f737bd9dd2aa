"""What a transfer tells while it runs: for a line on a terminal, a log, or nobody.

    resolved ─▶ planned ─▶ for each content:  exists
                                              waiting ─▶ downloading … ─▶ verifying ─▶ complete
                                              waiting ─▶ mounted | uploading … ─▶ complete

Called in the event loop's thread: whoever is told must not take long.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.oci.image import Descriptor, Manifest


class Progress:
    """Whoever is told; here nobody, so that a listener has only the methods that it cares for."""

    def resolved(self, name: str, descriptor: Descriptor, answered_by: str) -> None:
        """The name means this manifest, says the server of that address."""

    def foreign(self, platform: str, machine: str) -> None:
        """The image is for this platform and not for this machine's, and nobody has said which."""

    def planned(self, contents: tuple[Descriptor, ...]) -> None:
        """These contents are to be transferred, in the order of the image's layers."""

    def exists(self, content: Descriptor) -> None:
        """It is there already."""

    def waiting(self, content: Descriptor) -> None:
        """Others come first, or somebody else is fetching it."""

    def downloading(self, content: Descriptor, done_bytes: int) -> None:
        """So many of its bytes are here; what was here from before counts."""

    def retrying(self, content: Descriptor, reason: str) -> None:
        """It goes on after a failure."""

    def verifying(self, content: Descriptor) -> None:
        """All bytes are here."""

    def uploading(self, content: Descriptor, done_bytes: int) -> None:
        """So many of its bytes are there."""

    def mounted(self, content: Descriptor, source: str) -> None:
        """The registry had it, in another repository."""

    def complete(self, content: Descriptor) -> None:
        """It is there, whole and verified."""


class Arrivals:
    """Whoever goes on with what has come, unpacking layers say; here nobody.  Called as ``Progress`` is.

    image ─▶ for each layer that is not in the store:  begun ─▶ grown … ─▶ layer
    """

    def image(self, descriptor: Descriptor, manifest: Manifest) -> None:
        """This manifest and its configuration are in the store; its layers follow, in any order."""

    def begun(self, content: Descriptor, open_reader: Callable[[], int]) -> None:
        """The content comes; what is there of it can be read from a descriptor that this function gives."""

    def grown(self, content: Descriptor, done_bytes: int) -> None:
        """So many bytes are there, not verified yet; fewer than before if those were wrong."""

    def layer(self, descriptor: Descriptor, position: int) -> None:
        """The layer at this position of the manifest's is in the store."""
