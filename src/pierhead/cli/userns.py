"""``pier run --userns``: a container's users are others on the machine."""

from __future__ import annotations

import os

from pierhead.cli.flags import BadUsage, Flag
from pierhead.oci.runtime import IDMapping, Namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call
    from pierhead.images.service import ImageService
    from pierhead.images.shifting import IdRange
    from pierhead.runtime import Config

_HOST = "host"
_SIZE = 65_536
_ID_MAX = (1 << 32) - 2

USERNS = Flag(
    name="userns",
    value="ID[:COUNT]",
    about="make users 0 to COUNT-1 of the container the machine's from ID on",
    default=f"{_HOST}; COUNT {_SIZE}",
)


def wanted_ids(call: Call) -> IdRange | None:
    """The ids that the container's are on the machine; None for the machine's own.

    Raises:
        BadUsage: it says no range.
    """
    text = call.options.text("userns", _HOST)
    if text == _HOST:
        return None
    from pierhead.images.shifting import IdRange

    first, colon, count = text.partition(":")
    numbers = [int(each) if each.isascii() and each.isdecimal() else 0 for each in (first, count)]
    start, size = numbers[0], numbers[1] if colon else _SIZE
    if start and size and start + size - 1 <= _ID_MAX:
        return IdRange(start=start, size=size)
    raise BadUsage(f"--userns cannot be {text[:80]!r}", hint="write it as host, 100000 or 100000:65536")


def find_shift(service: ImageService, ids: IdRange | None) -> IdRange | None:
    """The ids to which an image's files have to be shifted by copying; None where the kernel maps them."""
    if ids is None:
        return None
    from pierhead.images.shifting import can_map_owners
    from pierhead.runtime.idmaps import open_user_namespace

    userns_fd = open_user_namespace(_mappings(ids), _mappings(ids))
    try:
        return None if can_map_owners(service.snapshotter.root, userns_fd) else ids
    finally:
        os.close(userns_fd)


def with_user_namespace(config: Config, ids: IdRange | None, scratch: str) -> Config:
    """The configuration with a user namespace of these ids, if there are any.

    Args:
        config: of a container.
        ids: what its ids are on the machine.
        scratch: directory of files that were made for it, which belong to its root from now on.
    """
    if ids is None:
        return config
    with os.scandir(scratch) as entries:
        for entry in entries:
            if entry.is_file(follow_symlinks=False):
                os.chown(entry.path, ids.start, ids.start)
    return config.replace(
        namespaces=(*config.namespaces, Namespace(type="user")),
        uid_mappings=_mappings(ids),
        gid_mappings=_mappings(ids),
    )


def _mappings(ids: IdRange) -> tuple[IDMapping, ...]:
    return (IDMapping(container_id=0, host_id=ids.start, size=ids.size),)
