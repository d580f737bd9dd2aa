"""Which contents and layers are needed, and by whom.

Roots are the library's images and what live leases hold.  From each root the graph of documents is walked as
far as it is here; whatever is met belongs to that root's owner.  Of every configuration that is met, the
layers' chain ids belong to the owner too.

Pure over the two functions that ``walk`` needs.
"""

from __future__ import annotations

from pierhead.errors import Conflict, InvalidInput
from pierhead.images.walk import chain_ids, walk
from pierhead.oci.image import CONFIG_TYPES, Descriptor, decode_config
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.images.walk import Exists, Kind, Read


class Owner(Value):
    """Why something is kept: an image's name, or a lease's id with what it was taken for."""

    image: str = ""
    lease: str = ""
    purpose: str = ""

    @property
    def words(self) -> str:
        """For people: ``the image NAME``, ``a running pull of NAME``."""
        return f"the image {self.image}" if self.image else f"a running {self.purpose or 'operation'}"


class Root(Value):
    """Where walking begins."""

    owner: Owner
    descriptor: Descriptor


class Marks:
    """Who needs what: digests of contents, and chain ids of layers, with their owners."""

    def __init__(self) -> None:
        """Nothing is needed yet."""
        self.contents: dict[str, set[Owner]] = {}
        self.chains: dict[str, set[Owner]] = {}
        self.diff_ids: set[str] = set()
        self.kinds: dict[str, Kind] = {}
        """What each content is, as the first document that points at it says."""

    def add_name(self, name: str, owner: Owner) -> None:
        """Neither a content nor a layer of this name may go."""
        self.contents.setdefault(name, set()).add(owner)
        self.chains.setdefault(name, set()).add(owner)

    def add_graph(self, root: Root, read: Read, exists: Exists) -> None:
        """What the root leads to is needed.

        Raises:
            Conflict: a document on the way is damaged, so that nobody knows what it pointed at.
        """
        try:
            for step in walk(root.descriptor, read, exists, lenient=True):
                descriptor = step.child.descriptor
                self.contents.setdefault(descriptor.digest, set()).add(root.owner)
                self.kinds.setdefault(descriptor.digest, step.child.kind)
                if step.child.kind == "config" and step.present:
                    self._add_chains(descriptor, root.owner, read)
        except InvalidInput as error:
            raise Conflict(
                f"what {root.owner.words} needs cannot be told: {error.message}",
                code="damaged-image",
                hint="remove that image (pier rmi), then pull it anew",
            ) from error

    def _add_chains(self, config: Descriptor, owner: Owner, read: Read) -> None:
        raw = read(config.digest) if config.media_type in CONFIG_TYPES else None
        if raw is None:
            return
        try:
            diff_ids = decode_config(raw).rootfs.diff_ids
        except InvalidInput:  # nothing runs it, so nothing unpacked it
            return
        self.diff_ids.update(diff_ids)
        for chain_id in chain_ids(diff_ids):
            self.chains.setdefault(chain_id, set()).add(owner)


def mark(roots: Iterable[Root], names: Iterable[tuple[str, Owner]], read: Read, exists: Exists) -> Marks:
    """Everything that the roots lead to, and the names as they are.

    Raises:
        Conflict: as ``Marks.add_graph``.
    """
    marks = Marks()
    for root in roots:
        marks.add_graph(root, read, exists)
    for name, owner in names:
        marks.add_name(name, owner)
    return marks
