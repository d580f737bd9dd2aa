"""Mounts as requests say them: ``-v`` texts, ``--mount`` documents, ``--volumes-from``, ``--tmpfs``.  Pure.

::

    /srv/site:/site:ro,rslave     a directory of the host
    data:/data:nocopy             a named volume
    /data                         a new volume without a name

Source: Docker's `docker run` reference, "VOLUME" and "--mount"; the sentences of errors are Docker's.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pierhead.engine.documents import BindOptions, Mount, VolumeOptions
from pierhead.errors import InvalidInput
from pierhead.oci.validate import normalize_guest_path
from pierhead.values import Value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.engine.documents import ContainerConfig, HostConfig

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared")
TYPES = ("bind", "volume", "tmpfs", "image")

# Each word is of one kind, and of a kind there may be one.
_MODE_WORDS = {
    "ro": "access",
    "rw": "access",
    "z": "label",
    "Z": "label",
    "nocopy": "copy",
    "consistent": "consistency",
    "cached": "consistency",
    "delegated": "consistency",
    **dict.fromkeys(PROPAGATIONS, "propagation"),
}
_FROM_KINDS = frozenset(("access", "label"))

_VOLUME_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", re.ASCII)


class WantedMount(Value):
    """A mount that was asked for.

    Fields:
        mount: as ``--mount`` says it, with a target without ``.``, ``..`` and doubled slashes.
        mode: words of a ``-v`` text, for ``inspect``.
        makes_source: whether a directory of the host is made where it is missing.
    """

    mount: Mount
    mode: str = ""
    makes_source: bool = False


def parse_bind(text: str) -> WantedMount:
    """What ``-v`` says.

    Raises:
        InvalidInput: it is none.
    """
    parts = text.split(":")
    source, mode = "", ""
    if len(parts) == 1:
        target = parts[0]
    elif len(parts) == 2:
        source, target = parts
    elif len(parts) == 3:
        source, target, mode = parts
    else:
        raise _bad_text(text)
    if not parts[0] or not target or (len(parts) == 2 and _is_mode(target)):
        raise _bad_text(text)
    if not _is_mode(mode):
        raise InvalidInput(f"invalid mode: {mode}", code="bad-mount")
    words = [word for word in mode.split(",") if word]
    kind = "bind" if source.startswith("/") else "volume"
    mount = Mount(
        type=kind,
        source=source,
        target=target,
        read_only="ro" in words,
        bind_options=_bind_options(words) if kind == "bind" else None,
        volume_options=VolumeOptions(no_copy="nocopy" in words) if kind == "volume" else None,
    )
    of_the_other = PROPAGATIONS if kind == "volume" else ("nocopy",)
    if any(word in of_the_other for word in words):
        raise _bad_text(text)
    try:
        checked = check_mount(mount)
    except InvalidInput as error:
        raise InvalidInput(f"{_bad_text(text).message}: {error.message}", code="bad-mount") from None
    return WantedMount(mount=checked, mode=mode, makes_source=kind == "bind")


def _bind_options(words: list[str]) -> BindOptions | None:
    propagation = next((word for word in words if word in PROPAGATIONS), "")
    return BindOptions(propagation=propagation) if propagation else None


def _bad_text(text: str) -> InvalidInput:
    return InvalidInput(
        f"invalid volume specification: '{text}'", code="bad-mount", hint="say [SOURCE:]TARGET[:OPTIONS]"
    )


def _is_mode(text: str, kinds: frozenset[str] = frozenset(_MODE_WORDS.values())) -> bool:
    """Whether the text is known words, of each kind one at most."""
    if not text:
        return True
    found = [_MODE_WORDS.get(word, "") for word in text.split(",")]
    return set(found) <= kinds and len(set(found)) == len(found)


def parse_volumes_from(text: str) -> tuple[str, str]:
    """Name or id of a container whose mounts are taken, and words of a mode.

    Raises:
        InvalidInput: it is none.
    """
    if not text:
        raise InvalidInput("volumes-from specification cannot be an empty string", code="bad-mount")
    name, _, mode = text.partition(":")
    if not name:
        raise InvalidInput(f"invalid volumes-from specification: '{text}'", code="bad-mount")
    if not _is_mode(mode, _FROM_KINDS):
        raise InvalidInput(f"invalid mode: {mode}", code="bad-mount")
    return name, mode


def check_mount(mount: Mount) -> Mount:
    """The mount, with its paths in their shortest form.

    Raises:
        InvalidInput: it cannot be one.
    """
    for fault in _faults(mount):
        raise InvalidInput(f'invalid mount config for type "{mount.type}": {fault}', code="bad-mount")
    source = normalize_guest_path(mount.source) if mount.type == "bind" else mount.source
    return mount.replace(target=normalize_guest_path(mount.target), source=source)


def _faults(mount: Mount) -> Iterator[str]:
    if mount.type not in TYPES:
        yield "mount type unknown"
    if not mount.target:
        yield "field Target must not be empty"
    yield from target_faults(mount.target)
    for name, kind in (("bind", "Bind"), ("volume", "Volume"), ("tmpfs", "Tmpfs"), ("image", "Image")):
        if name != mount.type and getattr(mount, f"{name}_options") is not None:
            yield f"field {kind}Options must not be specified"
    if mount.type == "bind":
        yield from _bind_faults(mount)
    elif mount.type == "volume":
        yield from _volume_faults(mount)
    elif mount.type == "tmpfs" and mount.source:
        yield "field Source must not be specified"
    elif mount.type == "image":
        if not mount.source:
            yield "field Source must not be empty"
        yield from _subpath_faults(mount.image_options.subpath if mount.image_options else "", "image")


def target_faults(target: str) -> Iterator[str]:
    """What is wrong with a place in the container; nothing, if all is well."""
    if not target.startswith("/"):
        yield f"invalid mount path: '{target}' mount path must be absolute"
    if normalize_guest_path(target) == "/":
        yield "invalid specification: destination can't be '/'"
    if "\0" in target:
        yield "field Target must not contain a NUL"


def _bind_faults(mount: Mount) -> Iterator[str]:
    if not mount.source:
        yield "field Source must not be empty"
    elif not mount.source.startswith("/"):
        yield f"invalid mount path: '{mount.source}' mount path must be absolute"
    if "\0" in mount.source:
        yield "field Source must not contain a NUL"
    options = mount.bind_options or BindOptions()
    if options.propagation and options.propagation not in PROPAGATIONS:
        yield f"invalid propagation mode: {options.propagation}"
    plain, forced = options.read_only_non_recursive, options.read_only_force_recursive
    if plain and forced:
        yield "mount options conflict: ReadOnlyNonRecursive && ReadOnlyForceRecursive"
    if plain and not mount.read_only:
        yield "mount options conflict: !ReadOnly && ReadOnlyNonRecursive"
    if forced and not mount.read_only:
        yield "mount options conflict: !ReadOnly && ReadOnlyForceRecursive"
    if forced and options.non_recursive:
        yield "mount options conflict: NonRecursive && ReadOnlyForceRecursive"


def _volume_faults(mount: Mount) -> Iterator[str]:
    options = mount.volume_options or VolumeOptions()
    if not mount.source and mount.read_only:
        yield "must not set ReadOnly mode when using anonymous volumes"
    if not mount.source and options.subpath:
        yield "must not set Subpath when using anonymous volumes"
    if mount.source:
        yield from volume_name_faults(mount.source)
    yield from _subpath_faults(options.subpath, "volume")


def _subpath_faults(subpath: str, what: str) -> Iterator[str]:
    if subpath.startswith("/") or ".." in subpath.split("/") or "\0" in subpath:
        yield f"subpath must be a relative path within the {what}"


def volume_name_faults(name: str) -> Iterator[str]:
    """What is wrong with a volume's name; nothing, if all is well."""
    if len(name) == 1:
        yield "volume name is too short, names should be at least two alphanumeric characters"
    elif not _VOLUME_NAME.fullmatch(name):
        yield (
            f'"{name}" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" '
            "are allowed. If you intended to pass a host directory, use absolute path"
        )
    elif len(name) > 255:
        yield "volume name is too long, names should be at most 255 characters"


def wanted_mounts(config: ContainerConfig, host: HostConfig) -> tuple[WantedMount, ...]:
    """All mounts that the request says, and new volumes where the image wants some; no place twice.

    What the request says of a place goes before what the image says.

    Raises:
        InvalidInput: one of them cannot be.
    """
    found: dict[str, WantedMount] = {}
    listed = (*map(parse_bind, host.binds), *(WantedMount(mount=check_mount(each)) for each in host.mounts))
    for wanted in listed:
        if wanted.mount.target in found:
            raise InvalidInput(f"Duplicate mount point: {wanted.mount.target}", code="bad-mount")
        found[wanted.mount.target] = wanted
    for target in (normalize_guest_path(path) for path in host.tmpfs):
        if target in found:
            raise InvalidInput(f"Duplicate mount point: {target}", code="bad-mount")
    tmpfs = {normalize_guest_path(path) for path in host.tmpfs}
    for path in config.volumes:
        wanted = parse_bind(path) if ":" in path else WantedMount(mount=check_mount(_anonymous(path)))
        if wanted.mount.target not in tmpfs:
            found.setdefault(wanted.mount.target, wanted)
    return tuple(found.values())


def _anonymous(path: str) -> Mount:
    return Mount(type="volume", target=path)
