"""Images, all together: what a command or an engine does with them.

    with ImageService("/var/lib/pierhead") as service:
        await pull_image(service, "debian:trixie", progress=…)          # pulling
        with open_root(service, service.catalogue.get("debian:trixie")) as root:    # roots
            root.mounts

    ROOT/
      content/     contents by their digests
      images.db    names, leases, layers
      leases/      who is working with what
      snapshots/   layers unpacked, and roots of containers
      scratch/     files of containers that run

Here is what needs no network; ``pulling``, ``pushing`` and ``trust`` are asynchronous.
"""

from __future__ import annotations

import os

from pierhead.errors import Conflict, InvalidInput
from pierhead.images.catalogue import Catalogue
from pierhead.images.content import ContentStore
from pierhead.images.library import Library
from pierhead.images.library.leases import is_alive
from pierhead.images.overlay import OverlaySnapshotter
from pierhead.images.plaindir import PlainSnapshotter
from pierhead.images.policy import DEFAULT_PATH, load_policy
from pierhead.images.reference import parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self

    from pierhead.images.catalogue import PlatformImage
    from pierhead.images.library import Inventory
    from pierhead.images.policy import Policy
    from pierhead.images.sharing import Sharing
    from pierhead.images.snapshots import Snapshotter
    from pierhead.oci.image import Descriptor, Execution, Platform

SNAPSHOTTERS: dict[str, type[OverlaySnapshotter | PlainSnapshotter]] = {
    "overlay": OverlaySnapshotter,
    "plain": PlainSnapshotter,
}
_PARTS_KEPT_S = 24 * 3600.0


class ImageService:
    """Everything about images under one directory; a context manager."""

    def __init__(
        self,
        root: str | os.PathLike[str],
        *,
        snapshotter: str = "overlay",
        share_files: Sharing = "none",
        policy_path: str = DEFAULT_PATH,
    ) -> None:
        """Makes what is missing of the directory.

        Args:
            root: the directory.
            snapshotter: who keeps unpacked layers: ``overlay`` or ``plain``.
            share_files: how layers that are unpacked from now on share equal files: ``none``, ``reflink`` or
                ``hardlink``.
            policy_path: rules of which images may be used.

        Raises:
            Unsupported: the file system cannot share files so.
        """
        self.root = os.path.abspath(os.fspath(root))
        os.makedirs(self.root, mode=0o711, exist_ok=True)
        self._policy_path = policy_path
        self.content = ContentStore(f"{self.root}/content")
        self.snapshotter = _open_snapshotter(snapshotter, f"{self.root}/snapshots/{snapshotter}", share_files)
        self.library = Library(f"{self.root}/images.db", self.content, snapshotters=(self.snapshotter,))
        self.catalogue = Catalogue(self.library, self.content)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Nothing of it is open any more."""
        self.library.close()
        self.snapshotter.close()

    def policy(self) -> Policy:
        """Which images may be used, as the file says now."""
        return load_policy(self._policy_path)

    # Names

    def tag(self, source: str, target: str) -> None:
        """The target is a further name of the source.

        Raises:
            NotFound: there is no such source.
            InvalidInput: the target is no name, or has a digest.
            Forbidden: the policy wants images of that name to be signed.
        """
        reference = parse_reference(target)
        if reference.digest:
            raise InvalidInput(f"{target} names a digest, which nobody can choose", code="invalid-reference")
        image = self.catalogue.get(source)
        self.check_unsigned(str(reference.canonical()), image.name)
        self.library.set_image(str(reference.canonical()), image.descriptor)

    def check_unsigned(self, name: str, origin: str = "") -> None:
        """The policy lets an image have this name though it does not come from there.

        Raises:
            Forbidden: it wants a signature, which only a pull can verify, or rejects everything.
        """
        repository = parse_reference(name).name
        policy = self.policy()
        rule = policy.rule_for(repository)
        if rule.require == "accept" or (origin and parse_reference(origin).name == repository):
            return
        why = "it rejects all" if rule.require == "reject" else "only a pull can verify a signature"
        raise policy.refuse(rule, name, why)

    def remove(self, text: str, *, force: bool = False) -> Iterator[str]:
        """The name is gone; an id takes all its names, in every form.  Yields what was done, as docker does.

        Raises:
            NotFound: there is no such image.
            Conflict: it is meant by its id, has several names, and ``force`` is not given.
        """
        doomed = self.catalogue.list_meant(text)
        if len(doomed) > 1 and not force:
            names = ", ".join(image.name for image in doomed)
            message = f"the image {text} has {len(doomed)} names: {names}"
            raise Conflict(message, code="several-names", hint="remove them one by one, or add --force")
        ids = dict.fromkeys(self.catalogue.summarise(image).id for image in doomed)
        for image in doomed:
            self.library.remove_image(image.name)
            yield f"Untagged: {self.catalogue.familiar(image.name)}"
        for identity in ids:
            if not self.catalogue.has_id(identity):
                yield f"Deleted: {identity}"

    # Description

    def inspect(self, text: str, platform: Platform | None = None) -> dict[str, Any]:
        """All that is known of an image, in the form in which docker prints it.

        Raises:
            NotFound: there is no such image, or nothing of it for the platform.
        """
        image = self.catalogue.get(text)
        shown = self.catalogue.open(image, platform)
        names = self.catalogue.names_of(image.descriptor.digest)
        presences = self.library.presences(image.descriptor)
        size = sum(each.size_bytes for each in presences if each.descriptor.digest == shown.descriptor.digest)
        config = shown.config
        return {
            "Id": shown.id,
            "RepoTags": [self.catalogue.familiar(name) for name in names if "@" not in name],
            "RepoDigests": sorted(
                {f"{parse_reference(name).familiar_name()}@{image.descriptor.digest}" for name in names}
            ),
            "Descriptor": _descriptor_document(image.descriptor),
            "Manifest": _descriptor_document(shown.descriptor),
            "Created": config.created if config else "",
            "Author": config.author if config else "",
            "Architecture": config.architecture if config else "",
            "Variant": config.variant if config else "",
            "Os": config.os if config else "",
            "Size": size,
            "Config": _execution_document(config.config) if config and config.config else {},
            "RootFS": {"Type": "layers", "Layers": list(config.rootfs.diff_ids) if config else []},
            "GraphDriver": {"Name": self.snapshotter.name, "Data": self._layers_of(shown)},
            "Platforms": [_presence_document(each) for each in presences],
        }

    def _layers_of(self, shown: PlatformImage) -> dict[str, str]:
        """Which of the image's layers are unpacked: chain ids by their diff ids."""
        from pierhead.images.walk import chain_ids

        diff_ids = shown.config.rootfs.diff_ids if shown.config else ()
        return {
            diff_id: chain_id
            for diff_id, chain_id in zip(diff_ids, chain_ids(diff_ids), strict=True)
            if self.library.find_layer(self.snapshotter.name, chain_id) is not None
        }

    # Space

    def collect(self, *, parts_kept_s: float = _PARTS_KEPT_S) -> Inventory:
        """What no image and nobody at work needs is gone; returns what was there."""
        self._remove_orphans()
        return self.library.collect(parts_kept_s=parts_kept_s)

    def scratch(self, lease_id: str) -> str:
        """A directory's path, for files that are of use only while the lease lives."""
        return f"{self.root}/scratch/{lease_id}"

    def _remove_orphans(self) -> None:
        """Scratch directories of which the maker was killed are gone."""
        for lease_id in _names_in(f"{self.root}/scratch"):
            if not is_alive(f"{self.root}/leases", lease_id):
                import shutil

                shutil.rmtree(self.scratch(lease_id), ignore_errors=True)


def _open_snapshotter(name: str, directory: str, share_files: Sharing) -> Snapshotter:
    os.makedirs(os.path.dirname(directory), mode=0o711, exist_ok=True)
    return SNAPSHOTTERS[name](directory, share_files=share_files)


def _names_in(directory: str) -> list[str]:
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []


def _descriptor_document(descriptor: Descriptor) -> dict[str, object]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


def _presence_document(presence: Any) -> dict[str, object]:
    from pierhead.images.platforms import format_platform

    return {
        "Platform": format_platform(presence.platform) if presence.platform else "",
        "Digest": presence.descriptor.digest,
        "State": presence.state,
        "SizeBytes": presence.size_bytes,
    }


def _execution_document(execution: Execution) -> dict[str, object]:
    from pierhead.oci.document import encode

    return encode(execution)
