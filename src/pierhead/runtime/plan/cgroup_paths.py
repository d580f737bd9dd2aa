"""Where a container's cgroup lies: ``linux.cgroupsPath`` as directories, or as a systemd unit; pure.

    cgroupsPath       by file system                             by systemd
    (none)            /ID (rootless: as if ID were given)         system.slice:pierhead:ID (rootless: user.…)
    /a/b              /a/b from each tree's top                   -
    a/b               below our own cgroup (cgroup2: beside it)   -
    slice:prefix:id   -                                           in the slice, unit prefix-id.scope

Sources: runtime-spec config-linux.md ("Cgroups Path"); systemd.slice(5) for the place a slice's name says.
"""

from pierhead.errors import InvalidInput, Unsupported
from pierhead.linux.cgroupfs import normalise_path
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.linux.cgroupfs import Hierarchies, Hierarchy

_FIELD = "$.linux.cgroupsPath"
_UNIT_PREFIX = "pierhead"
_UNIT_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")


class SystemdUnit(Value):
    """A unit and its cgroup below the manager's own, like ``/a.slice/a-b.slice/x.scope``."""

    name: str
    slice_name: str
    path: str

    def is_slice(self) -> bool:
        """A unit that is a slice itself: it gets no processes of its own."""
        return self.name.endswith(".slice")


def resolve_cgroup_path(
    cgroups_path: str, container_id: str, tree: "Hierarchy", *, mode: str, rootless: bool = False
) -> str:
    """The container's cgroup in one tree, as a path from the tree's mount.

    On a pure cgroup2 machine a relative path begins beside our own cgroup and not below it: the kernel allows
    no controllers below a group that holds processes, and ours holds us.

    Raises:
        InvalidInput: ``..``, characters that no cgroup can have, or the top of the tree itself.
        Unsupported: a relative path, and the mount does not show our own cgroup.
    """
    if not cgroups_path:
        cgroups_path = container_id if rootless else "/" + container_id
    path = _checked(cgroups_path)
    if cgroups_path.startswith("/"):
        return path
    own = tree.own_path
    if not own:
        raise Unsupported(
            f"{_FIELD}: {cgroups_path} is relative, and {tree.mountpoint} does not show our own cgroup",
            code="own-cgroup-hidden",
            hint="give a path that begins with a slash",
        )
    if mode == "v2":
        own = own.rpartition("/")[0]
    return own.rstrip("/") + path


def _checked(cgroups_path: str) -> str:
    try:
        path = normalise_path(cgroups_path)
    except InvalidInput as error:
        raise InvalidInput(error.message, path=_FIELD, code=error.code) from None
    if path == "/":
        raise InvalidInput("a container cannot have the top cgroup", path=_FIELD, code="bad-cgroup-path")
    return path


def resolve_cgroup_paths(
    cgroups_path: str, container_id: str, hierarchies: "Hierarchies", *, rootless: bool = False
) -> dict[str, str]:
    """The container's path in each tree, by the tree's mountpoint."""
    mode = hierarchies.mode
    return {
        tree.mountpoint: resolve_cgroup_path(cgroups_path, container_id, tree, mode=mode, rootless=rootless)
        for tree in hierarchies.trees
    }


def resolve_systemd_unit(cgroups_path: str, container_id: str, *, rootless: bool = False) -> SystemdUnit:
    """The unit that ``slice:prefix:name`` asks for, or the default one.

    Raises:
        InvalidInput: not of that form, or a name that systemd would refuse.
    """
    slice_name, prefix, name = "", _UNIT_PREFIX, container_id
    if cgroups_path:
        parts = cgroups_path.split(":")
        if len(parts) != 3:
            raise InvalidInput(
                f"{cgroups_path!r} is not of the form slice:prefix:name, which systemd's cgroups need",
                path=_FIELD,
                code="bad-cgroup-path",
            )
        slice_name, prefix, name = parts
    slice_name = slice_name or ("user.slice" if rootless else "system.slice")
    if not name.endswith(".slice"):
        name = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    if not _UNIT_CHARACTERS.issuperset(name) or len(name) > 255:
        raise InvalidInput(f"{name!r} is not a systemd unit's name", path=_FIELD, code="bad-unit-name")
    return SystemdUnit(
        name=name, slice_name=slice_name, path=expand_slice(slice_name).rstrip("/") + "/" + name
    )


def expand_slice(slice_name: str) -> str:
    """The path of a slice: ``a-b.slice`` lies in ``/a.slice/a-b.slice`` (systemd.slice(5))."""
    stem = slice_name.removesuffix(".slice")
    if stem == "-" and slice_name == "-.slice":
        return "/"
    parts = stem.split("-")
    if stem == slice_name or not all(parts) or not _UNIT_CHARACTERS.issuperset(stem):
        raise InvalidInput(f"{slice_name!r} is not a slice's name", path=_FIELD, code="bad-unit-name")
    return "".join("/" + "-".join(parts[: count + 1]) + ".slice" for count in range(len(parts)))
