"""Users of containers that are other users outside: the setting ``userns_remap``, on this machine.

    container's root  0 ──▶ 100000    volumes, shared memory, files in /etc: on disk as the host's
                     33 ──▶ 100033
    a container's own files           on disk as the container's: its mounts map owners (mount_setattr(2))

So images are shared by all, ``commit`` and ``diff`` see what the container sees, and whoever reads files
through a process or in a volume translates owners back.
"""

# Annotations are read at run time: no postponed evaluation here.
import contextlib
import os
import pwd
from typing import TYPE_CHECKING

from pierhead.engine.specgen.usermaps import host_owner, plan_user_maps
from pierhead.errors import Unsupported
from pierhead.images.shifting import can_map_owners
from pierhead.linux.files import read_text_if_there
from pierhead.oci.runtime import IDMapping
from pierhead.runtime.idmaps import open_user_namespace
from pierhead.values import Value

if TYPE_CHECKING:
    from pierhead.engine.record import Record

_NOBODY = 65_534
_SUBUID, _SUBGID = "/etc/subuid", "/etc/subgid"


class UserMaps(Value):
    """Mappings of users and of groups."""

    users: tuple[IDMapping, ...]
    groups: tuple[IDMapping, ...]

    @property
    def root(self) -> tuple[int, int]:
        """The host's ids of containers' root."""
        return self.to_host(0, 0)

    def to_host(self, uid: int, gid: int) -> tuple[int, int]:
        """The host's ids of the container's; of those that it does not have, its nobody's."""
        found = host_owner(self.users, uid), host_owner(self.groups, gid)
        nobody = host_owner(self.users, _NOBODY), host_owner(self.groups, _NOBODY)
        user, group = (each if each >= 0 else other for each, other in zip(found, nobody, strict=True))
        return max(user, 0), max(group, 0)

    def to_container(self, uid: int, gid: int) -> tuple[int, int]:
        """The container's ids of the host's, as it sees them itself."""
        return _container_owner(self.users, uid), _container_owner(self.groups, gid)

    def open_namespace(self) -> int:
        """A descriptor of a user namespace with these maps."""
        return open_user_namespace(self.users, self.groups)


def _container_owner(mappings: tuple[IDMapping, ...], number: int) -> int:
    for each in mappings:
        if each.host_id <= number < each.host_id + each.size:
            return each.container_id + number - each.host_id
    return _NOBODY


def read_user_maps(setting: str, directory: str) -> UserMaps | None:
    """The maps that the setting asks for; None for none.

    Args:
        setting: ``userns_remap``.
        directory: where containers' files are.

    Raises:
        InvalidInput: nobody has given the user ids.
        Unsupported: this kernel, or the directory's file system, cannot map owners.
    """
    if not setting:
        return None
    user, colon, group = setting.partition(":")
    named = f"{_name_of(user)}{colon}{group}"
    users, groups = plan_user_maps(named, read_text_if_there(_SUBUID), read_text_if_there(_SUBGID))
    maps = UserMaps(users=users, groups=groups)
    namespace_fd = maps.open_namespace()
    try:
        if not can_map_owners(directory, namespace_fd):
            raise Unsupported(
                f"owners of files in {directory} cannot be mapped, which userns_remap needs",
                code="no-mapped-mounts",
                hint="it takes Linux 5.19, and a file system like ext4, xfs or btrfs",
            )
    finally:
        os.close(namespace_fd)
    return maps


def _name_of(user: str) -> str:
    """A user's name by its number: in /etc/subuid users stand by their names."""
    if user.isascii() and user.isdecimal():
        with contextlib.suppress(KeyError, OverflowError):
            return pwd.getpwuid(int(user)).pw_name
    return user


def maps_of(record: "Record", maps: UserMaps | None) -> UserMaps | None:
    """The maps of one container, of which some are the host's users by their own wish."""
    return None if record.host.userns_mode == "host" else maps
