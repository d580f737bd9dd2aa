"""What a pull tells that unpacks as well, and docker's words for what any transfer tells."""

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


class WordedProgress(UnpackProgress):
    """A transfer in docker's words: whoever shows them has only two methods of its own."""

    def __init__(self, *, pushing: bool = False) -> None:
        self.pushing = pushing

    def remarked(self, text: str) -> None:
        """A sentence about the whole."""

    def changed(self, content: Descriptor, state: str, done_bytes: int | None = None) -> None:
        """What happens to the content; with how many bytes are there, where that is what happens."""

    def foreign(self, platform: str, machine: str) -> None:
        """See ``Progress``."""
        self.remarked(f"WARNING: the image is for {platform}, and this machine is {machine}")

    def exists(self, content: Descriptor) -> None:
        """See ``Progress``."""
        self.changed(content, "Layer already exists" if self.pushing else "Already exists")

    def waiting(self, content: Descriptor) -> None:
        """See ``Progress``."""
        self.changed(content, "Waiting")

    def downloading(self, content: Descriptor, done_bytes: int) -> None:
        """See ``Progress``."""
        self.changed(content, "Downloading", done_bytes)

    def verifying(self, content: Descriptor) -> None:
        """See ``Progress``."""
        self.changed(content, "Verifying Checksum")

    def uploading(self, content: Descriptor, done_bytes: int) -> None:
        """See ``Progress``."""
        self.changed(content, "Pushing", done_bytes)

    def mounted(self, content: Descriptor, source: str) -> None:
        """See ``Progress``."""
        self.changed(content, f"Mounted from {source}")

    def complete(self, content: Descriptor) -> None:
        """See ``Progress``."""
        self.changed(content, "Pushed" if self.pushing else "Download complete")

    def unpacking(self, content: Descriptor) -> None:
        """See ``UnpackProgress``."""
        self.changed(content, "Extracting")

    def unpacked(self, content: Descriptor) -> None:
        """See ``UnpackProgress``."""
        self.changed(content, "Pull complete")
