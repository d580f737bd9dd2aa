"""A root that is an overlay of directories.  Pure.

Three ways, by what there is to show and who may mount it:

    one directory alone                   no overlay: the directory itself, read-only if it is in lower
    the host's ids                        the init process mounts it, in its mount namespace
    a user namespace                      the joiner does, in a mount namespace of its own, and hands it on

In a user namespace the init process could mount an overlay as well, but could neither read nor write the
attributes by which layers say that a directory hides what is below (``trusted.overlay.opaque``).

Where the kernel is to see a layer under another name than its path (because its owners are mapped, because
the path is too long or strange, or because all of them have to fit into one value), layers are bound to
places with short names in a tmpfs first.
"""

from __future__ import annotations

import os

from pierhead.errors import Unsupported
from pierhead.oci.numbers import CAPABILITY_NUMBERS, NAMESPACES
from pierhead.runtime import wire_table as wire
from pierhead.runtime.plan import mountoptions
from pierhead.runtime.plan.launchplan import Slot
from pierhead.runtime.plan.mounts import MAPPING_SLOT, ROOT_SLOT, RootPlan
from pierhead.runtime.wire import INIT, JOINER, STAGE, Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.oci.runtime import IDMapping
    from pierhead.runtime.config import Config, RootOverlay

_ONE_BY_ONE = (6, 5)
"""The Linux whose overlayfs takes layers one by one (``lowerdir+``)."""
_MAPPED_LAYERS = (5, 19)
_VALUE_MAX = 255
"""Bytes of one value in fsconfig(2)."""

_FEATURES = (("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"))
"""What would put into the upper directory what is no file of the container's is off, whatever the
distribution's kernel does by itself: an upper directory can become a layer."""
_INSIDE_FEATURES = (("index", "off"),)
"""With ``userxattr`` the others are off, and may not be named."""

_PLACE_LETTERS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_CHANGES = "changes"
_MOUNTER = (
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_MKNOD",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SYS_ADMIN",
)
"""What overlayfs needs of whoever mounts it: it changes the upper directory with the mounter's rights."""


def plan_root_overlay(
    config: Config, overlay: RootOverlay, *, rootless: bool, kernel: tuple[int, int], inside: bool = False
) -> RootPlan:
    """How the overlay becomes the root.

    Args:
        config: checked; ``rootfs`` is absolute and has no symbolic link.
        overlay: the configuration's.
        rootless: the launcher has no rights over mounts on the host.
        kernel: Linux's version.
        inside: the launcher is root of a user namespace: layers say by ``user.overlay.opaque`` what they
            hide.

    Raises:
        Unsupported: this kernel cannot, or the caller may not.
    """
    users = [item for item in config.namespaces if item.type == "user"]
    maps = (config.uid_mappings, config.gid_mappings)
    mapping = ""
    if overlay.mapped and users and not rootless:
        mapping = "user namespace" if users[0].path else MAPPING_SLOT
    if len(overlay.lower) + bool(overlay.upper) == 1:
        return _plan_one_directory(overlay, mapping, opened=bool(users) and not rootless)
    if rootless:
        raise Unsupported(
            "$.root_overlay: an overlay of layers needs root",
            code="overlay-needs-root",
            hint="give the whole tree in one directory",
        )
    if mapping and overlay.upper and users[0].path:
        raise Unsupported(
            "$.root_overlay: owners cannot be mapped for writing in a user namespace that is joined",
            code="overlay-mapping",
            hint="make a new user namespace, or a root without upper",
        )
    if mapping and kernel < _MAPPED_LAYERS:
        raise Unsupported(
            "$.root_overlay: layers whose owners are mapped need Linux 5.19",
            code="overlay-mapping",
            hint="give directories whose owners are the host's ids, and mapped = false",
        )
    place = JOINER if users else INIT
    builder = _Builder(config.rootfs, overlay, mapping, kernel, place=place, inside=inside)
    if not users:
        return RootPlan(init=tuple(builder.operations()), slots=tuple(builder.slots), root=("", builder.root))
    operations = (*_own_mount_namespace(), *builder.operations(_first_owner(maps)), _keep(builder.root))
    slots = [*builder.slots, Slot(name=ROOT_SLOT, kind="made")]
    if mapping == MAPPING_SLOT:
        slots.append(Slot(name=MAPPING_SLOT, kind="given"))
    return RootPlan(joiner=operations, slots=tuple(slots), root=(ROOT_SLOT, builder.root))


def _plan_one_directory(overlay: RootOverlay, mapping: str, *, opened: bool) -> RootPlan:
    """Args: opened: by the stage, with the host's rights."""
    layer, readonly = overlay.upper or overlay.lower[0], not overlay.upper
    if not opened:
        return RootPlan(root=("", layer), readonly=readonly)
    why = "opened with the host's rights" + (", its owners mapped" if mapping else "")
    arguments = (ROOT_SLOT, layer, 0, mapping, 0)
    slots = [Slot(name=ROOT_SLOT, kind="made")]
    if mapping == MAPPING_SLOT:
        slots.append(Slot(name=MAPPING_SLOT, kind="given"))
    tree = Operation(name="open_tree", arguments=arguments, place=STAGE, why=why)
    return RootPlan(stage=(tree,), slots=tuple(slots), root=(ROOT_SLOT, layer), readonly=readonly)


def _own_mount_namespace() -> Iterator[Operation]:
    why = "the overlay is mounted with the host's rights, and where the host does not see it"
    yield Operation(name="unshare", arguments=(NAMESPACES["mount"],), place=JOINER, why=why)
    arguments = ("/", mountoptions.MS_SLAVE | mountoptions.MS_REC)
    yield Operation(name="propagation", arguments=arguments, place=JOINER, why="nothing of it goes out")


def _keep(root: str) -> Operation:
    why = "the init process gets the overlay by a descriptor, and needs no right to go to its place"
    return Operation(name="open_tree", arguments=(ROOT_SLOT, root, 0, "", 0), place=JOINER, why=why)


def _first_owner(maps: tuple[tuple[IDMapping, ...], tuple[IDMapping, ...]]) -> tuple[int, int]:
    """The host's user and group for the container's root, or else for the first ids that it has."""

    def host_id(mappings: tuple[IDMapping, ...]) -> int:
        for item in mappings:
            if item.container_id == 0:
                return item.host_id
        return mappings[0].host_id if mappings else 0

    return host_id(maps[0]), host_id(maps[1])


class _Builder:
    """The operations that mount one overlay, in whatever process."""

    def __init__(
        self,
        rootfs: str,
        overlay: RootOverlay,
        mapping: str,
        kernel: tuple[int, int],
        *,
        place: int,
        inside: bool,
    ) -> None:
        self._rootfs = rootfs
        self._overlay = overlay
        self._mapping = mapping
        self._place = place
        self._inside = inside
        self._one_by_one = kernel >= _ONE_BY_ONE
        paths = (*overlay.lower, overlay.upper, overlay.work)
        self._moved = bool(mapping) or not self._one_by_one or any(_is_odd(path) for path in paths)
        self.root = f"{rootfs}/root" if self._moved else rootfs
        self.slots: list[Slot] = []

    def operations(self, owner: tuple[int, int] = (0, 0)) -> Iterator[Operation]:
        """Args: owner is the host's user and group for the container's root."""
        yield self._operation("root_here", why="the overlay is built on the host's root")
        lower, upper, work = self._overlay.lower, self._overlay.upper, self._overlay.work
        if self._moved:
            yield from self._places()
            lower = tuple(_place_name(number) for number in range(len(lower)))
            if upper:
                parent = os.path.commonpath((upper, work))
                upper, work = (f"{_CHANGES}/{os.path.relpath(path, parent)}" for path in (upper, work))
        changes_owner = bool(self._mapping and upper)
        if changes_owner:
            yield from self._as_owner(owner)
        yield self._mount(self._options(lower, upper, work))
        if changes_owner:
            arguments = (0, 0, b"", wire.IDENTITY_KEEP_CAPS | wire.IDENTITY_KEEP_GROUPS)
            yield self._operation("identity", arguments, why="the host's root again")

    def _operation(self, name: str, arguments: tuple[int | str | bytes, ...] = (), *, why: str) -> Operation:
        return Operation(name=name, arguments=arguments, place=self._place, why=why)

    def _places(self) -> Iterator[Operation]:
        sources = [(_place_name(number), path) for number, path in enumerate(self._overlay.lower)]
        if self._overlay.upper:
            sources.append((_CHANGES, os.path.commonpath((self._overlay.upper, self._overlay.work))))
        mapped = ", its owners mapped" if self._mapping else ""
        for name, path in sources:
            self.slots.append(Slot(name=f"layer {name}", kind="made"))
            arguments = (f"layer {name}", path, 0, self._mapping, 0)
            yield self._operation("open_tree", arguments, why=f"a part of the overlay{mapped}")
        private, data = mountoptions.MS_PRIVATE, b"smode\0" + b"0755\0"
        place = ("tmpfs", "tmpfs", data, mountoptions.NODEV, self._rootfs, 0, private)
        yield self._operation("mount", place, why="a place where the overlay's parts have short names")
        for name, _ in sources:
            bind = (f"layer {name}", "", f"{self._rootfs}/{name}", 0, 0, 0, 0, private, "")
            yield self._operation("bind", bind, why="under a short name")
        yield self._operation("working_directory", (self._rootfs, 0), why="names are relative to it")

    def _as_owner(self, owner: tuple[int, int]) -> Iterator[Operation]:
        arguments = (*owner, b"", wire.IDENTITY_KEEP_CAPS | wire.IDENTITY_KEEP_GROUPS)
        why = "what overlayfs makes in the upper directory by itself has to have an owner that is mapped"
        yield self._operation("identity", arguments, why=why)
        rights = sum(1 << CAPABILITY_NUMBERS[name] for name in _MOUNTER)
        yield self._operation("capabilities", (rights, rights, 0), why="with the rights to mount")

    def _options(self, lower: tuple[str, ...], upper: str, work: str) -> list[tuple[str, str]]:
        options = list(_INSIDE_FEATURES if self._inside else _FEATURES)
        if self._one_by_one:
            options += [("lowerdir+", path) for path in lower]
        else:
            value = ":".join(lower)
            if len(value) > _VALUE_MAX:
                message = f"$.root_overlay: an overlay of {len(lower)} layers needs Linux 6.5"
                raise Unsupported(message, code="too-many-layers")
            options.append(("lowerdir", value))
        if upper:
            options += [("upperdir", upper), ("workdir", work)]
        return options

    def _mount(self, options: list[tuple[str, str]]) -> Operation:
        data = "".join(f"s{key}\0{value}\0" for key, value in options)
        if self._inside:
            data = f"fuserxattr\0{data}"
        if self._overlay.volatile:
            data += "fvolatile\0"
        attributes = 0 if self._overlay.upper else mountoptions.RDONLY
        arguments = (
            "overlay",
            "overlay",
            data.encode(errors="surrogateescape"),
            attributes,
            self.root,
            0,
            mountoptions.MS_PRIVATE,
        )
        changes = f"changes go to {self._overlay.upper}" if self._overlay.upper else "nobody can change them"
        return self._operation("mount", arguments, why=f"the layers in one; {changes}")


def _is_odd(path: str) -> bool:
    """Whether fsconfig(2) does not take the path, or overlayfs not as it is (a backslash escapes)."""
    return "\\" in path or len(os.fsencode(path)) > _VALUE_MAX


def _place_name(number: int) -> str:
    """One letter or digit for the first 62, two for the others: they share 255 bytes before Linux 6.5."""
    count = len(_PLACE_LETTERS)
    if number < count:
        return _PLACE_LETTERS[number]
    return _place_name(number // count - 1) + _PLACE_LETTERS[number % count]
