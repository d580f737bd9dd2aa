"""Cgroup hierarchies and their files: the only code that reads or writes below a cgroup mount.

Knows where the hierarchies are mounted and how the kernel behaves there (cgroups(7), the kernel's
Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/).  Knows nothing of containers or of OCI documents:
what to write is decided in ``pierhead.runtime.plan.cgroups``.

    mode     what is mounted
    v1       one tree per controller or group of controllers
    hybrid   as v1, and a cgroup2 tree that owns the remaining controllers (often none)
    v2       one cgroup2 tree, and no tree with v1 controllers
    none     nothing

A *directory* is a host path like ``/sys/fs/cgroup/memory/web``; a *path* is relative to a hierarchy's mount,
and begins with a slash: ``/web``.
"""

from __future__ import annotations

import errno
import os
import time

from pierhead.errors import Forbidden, InvalidInput, OperationFailed, Unsupported
from pierhead.linux.cgroup_tree import walk
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Literal

    Mode = Literal["v1", "hybrid", "v2", "none"]

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS)
_ALWAYS_WANTED = frozenset(("cpu", "io", "memory", "pids"))
"""Controllers that are switched on where it is possible, limits or not, for the sake of their statistics."""


class Hierarchy(Value):
    """One mounted tree of cgroups.

    ``controllers`` are the kernel's names, or ``name=systemd`` for a named v1 tree without a controller.
    ``own_path`` is where this process is inside the mount, empty when the mount does not show that place.
    """

    version: int
    mountpoint: str
    controllers: tuple[str, ...]
    own_path: str = "/"

    def directory(self, path: str) -> str:
        """The host path of the cgroup ``path`` of this hierarchy."""
        return self.mountpoint + normalise_path(path).rstrip("/")


class Hierarchies(Value):
    """All the trees of this machine, as this process sees them."""

    mode: Mode
    trees: tuple[Hierarchy, ...]

    def find(self, controller: str) -> Hierarchy | None:
        """The tree that has the controller, or None."""
        return next((tree for tree in self.trees if controller in tree.controllers), None)

    def unified(self) -> Hierarchy | None:
        """The cgroup2 tree, or None."""
        return next((tree for tree in self.trees if tree.version == 2), None)


# Discovery


def discover(mountinfo_text: str | None = None, own_cgroup_text: str | None = None) -> Hierarchies:
    """The hierarchies that are mounted, from /proc/self/mountinfo and /proc/self/cgroup (or the given texts).

    A mount that another one hides is left out; of several mounts of one tree the most useful is taken: one
    that shows our own cgroup, is writable, shows the whole tree, stands below /sys/fs/cgroup.
    """
    mountinfo_text = _read_whole("/proc/self/mountinfo") if mountinfo_text is None else mountinfo_text
    own_cgroup_text = _read_whole("/proc/self/cgroup") if own_cgroup_text is None else own_cgroup_text
    if _Last.texts == (mountinfo_text, own_cgroup_text):
        return _Last.hierarchies
    own_paths = parse_own_cgroups(own_cgroup_text)
    best: dict[str, tuple[tuple[bool, ...], Hierarchy]] = {}
    for mount in _visible_cgroup_mounts(mountinfo_text):
        key, tree = _hierarchy_of(mount, own_paths)
        own_visible, whole = bool(tree.own_path), mount.root == "/"
        score = (own_visible, mount.writable, whole, tree.mountpoint.startswith("/sys/fs/cgroup"))
        if key not in best or score > best[key][0]:
            best[key] = (score, tree)
    hierarchies = _classify(tuple(tree for _, tree in best.values()))
    _Last.texts, _Last.hierarchies = (mountinfo_text, own_cgroup_text), hierarchies
    return hierarchies


class _Last:
    """What was read last and what it meant: mounts change rarely, reading them again costs as much as a
    mount.
    """

    texts = ("", "")
    hierarchies = Hierarchies(mode="none", trees=())


def parse_own_cgroups(text: str) -> dict[str, str]:
    """Path by controller from a text like /proc/self/cgroup; the cgroup2 tree's key is the empty string."""
    paths: dict[str, str] = {}
    for line in filter(None, text.split("\n")):  # names may hold what Python takes for other ends of lines
        number_and_names, _, path = line.partition(":/")
        names = number_and_names.partition(":")[2]
        for name in names.split(","):
            paths[name] = "/" + path.removesuffix(" (deleted)")
    return paths


class _CgroupMount(Value):
    filesystem: str
    root: str
    mountpoint: str
    writable: bool
    super_options: str


def _visible_cgroup_mounts(mountinfo_text: str) -> Iterator[_CgroupMount]:
    """The cgroup mounts that a path lookup reaches; the format is proc_pid_mountinfo(5)'s."""
    parents: dict[str, str] = {}
    points: dict[str, str] = {}
    attached: dict[str, list[str]] = {}
    found: list[tuple[str, str]] = []
    for line in filter(None, mountinfo_text.split("\n")):
        number, parent, _, _, point, _ = line.split(" ", 5)
        parents[number], points[number] = parent, point
        attached.setdefault(parent, []).append(number)
        if " - cgroup" in line:
            found.append((number, line))

    def is_hidden(number: str) -> bool:
        """Another mount stands on this one, or nearer to the root on what carries it."""
        if any(points[other] == points[number] for other in attached.get(number, ())):
            return True
        while number in parents:
            point = points[number]
            above = (points[other] for other in attached[parents[number]])
            if any(point != other and point.startswith(other.rstrip("/") + "/") for other in above):
                return True
            if parents[number] == number:
                break
            number = parents[number]
        return False

    for number, line in found:
        front, _, back = line.partition(" - ")
        fields, (filesystem, _, super_options) = front.split(" "), back.split(" ", 2)
        if filesystem in ("cgroup", "cgroup2") and not is_hidden(number):
            yield _CgroupMount(
                filesystem=filesystem,
                root=_unescape(fields[3]),
                mountpoint=_unescape(fields[4]),
                writable="rw" in fields[5].split(","),
                super_options=super_options,
            )


def _hierarchy_of(mount: _CgroupMount, own_paths: dict[str, str]) -> tuple[str, Hierarchy]:
    """What identifies the tree, and the tree as this mount shows it."""
    if mount.filesystem == "cgroup2":
        controllers = (read_text(mount.mountpoint, "cgroup.controllers") or "").split()
        names, key = tuple(controllers), ""
    else:
        names = tuple(name for name in mount.super_options.split(",") if name and name in own_paths)
        key = ",".join(names)
    own = own_paths.get(key.partition(",")[0], "/")
    tree = Hierarchy(
        version=1 if key else 2,
        mountpoint=mount.mountpoint,
        controllers=names,
        own_path=_path_inside(mount.root, own),
    )
    return key, tree


def _path_inside(root: str, path: str) -> str:
    """``path`` seen from a mount whose root is the cgroup ``root``; empty when it lies elsewhere."""
    if path.startswith("/.."):
        return ""
    if root == "/":
        return path
    if path == root or path.startswith(root + "/"):
        return path[len(root) :] or "/"
    return ""


def _classify(trees: tuple[Hierarchy, ...]) -> Hierarchies:
    unified = [tree for tree in trees if tree.version == 2]
    legacy = [tree for tree in trees if tree.version == 1]
    if any(not name.startswith("name=") for tree in legacy for name in tree.controllers):
        return Hierarchies(mode="hybrid" if unified else "v1", trees=trees)
    if unified:
        return Hierarchies(mode="v2", trees=tuple(unified))
    return Hierarchies(mode="v1" if legacy else "none", trees=trees)


def _unescape(text: str) -> str:
    """Undo the octal escapes (space, tab, newline, backslash) of mountinfo."""
    if "\\" not in text:
        return text
    for code, char in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, char)
    return text


# Paths


def normalise_path(path: str) -> str:
    """The path with one leading slash, without empty and ``.`` components.

    Raises:
        InvalidInput: it has a ``..`` component (crun 1.29 let one out of a container's cgroup that way), or a
            newline or NUL, which no cgroup's name can have.
    """
    if "\n" in path or "\0" in path:
        raise InvalidInput(f"cgroup path {path!r} has a newline or NUL in it", code="bad-cgroup-path")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise InvalidInput(f"cgroup path {path} has a .. component", code="bad-cgroup-path")
    return "/" + "/".join(parts)


# Files


def read_text(directory: str, file: str, parent_fd: int | None = None) -> str | None:
    """The whole file, or None where there is no such file (or no such cgroup any more).

    Raises:
        OperationFailed: the kernel refuses to read it.
    """
    try:
        return _read_whole(f"{directory}/{file}", parent_fd)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return None
        raise _failure(f"cannot read {file} of cgroup {directory}", error) from None


def write_lines(directory: str, file: str, lines: Iterable[str]) -> None:
    """Each line is written to the file by a write(2) of its own, as devices.allow and its like want it.

    Raises:
        OperationFailed: names file, cgroup, value and the kernel's reason; carries its errno.
        Forbidden: as above, where the reason is a missing right.
    """
    line = ""
    try:
        fd = os.open(f"{directory}/{file}", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            for line in lines:
                os.write(fd, line.encode())
        finally:
            os.close(fd)
    except OSError as error:
        value = f" to {line}" if line else ""
        raise _failure(f"cannot set {file} of cgroup {directory}{value}", error) from None


def _read_whole(file: str, parent_fd: int | None = None) -> str:
    fd = os.open(file, os.O_RDONLY | os.O_CLOEXEC, dir_fd=parent_fd)
    try:
        chunks = []
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
    finally:
        os.close(fd)
    return b"".join(chunks).decode(errors="surrogateescape")


def _failure(what: str, error: OSError) -> OperationFailed | Forbidden:
    number = error.errno or 0
    message = f"{what}: {os.strerror(number).lower()}"
    if number in _REFUSED:
        return Forbidden(
            message, code="cgroup-permission", hint="run as root, or delegate a cgroup to this user"
        )
    return OperationFailed(message, errno=number, code="cgroup-failed")


# Directories


def make_directories(tree: Hierarchy, path: str, *, needed: Iterable[str] = ()) -> list[str]:
    """The cgroup ``path`` exists in this tree; returns the directories that were made, outermost first.

    In a v1 cpuset tree new groups get their parent's processors and memory nodes (without, nothing can join).
    In a cgroup2 tree controllers are switched on from the top down to it: the ``needed`` ones, and those
    whose statistics are always of use.

    Raises:
        OperationFailed, Forbidden: mkdir is refused; what was made is removed again.
        Unsupported: a needed controller cannot be switched on; the message says why.
    """
    path = normalise_path(path)
    made: list[str] = []
    try:
        if tree.version == 2:
            _make_unified(tree, path, frozenset(needed), made)
        else:
            _make_below(tree.mountpoint, path, made)
            if "cpuset" in tree.controllers:
                for directory in made:
                    inherit_cpuset(directory)
    except BaseException:
        remove_made(made)
        raise
    return made


def _make_below(mountpoint: str, path: str, made: list[str]) -> None:
    """Mkdir -p, which tries the whole path first: its parents are there nearly always."""
    directory = mountpoint + path.rstrip("/")
    for _ in range(8):
        try:
            os.mkdir(directory, 0o755)
        except FileExistsError:
            return
        except FileNotFoundError:
            # Parents are missing, or another process has just removed one: make them and try again.
            parent = path.rpartition("/")[0]
            if not parent:
                break
            _make_below(mountpoint, parent, made)
        except OSError as error:
            raise _failure(f"cannot make cgroup {directory}", error) from None
        else:
            made.append(directory)
            return
    raise OperationFailed(f"cannot make cgroup {directory}: its parents vanish", errno=errno.ENOENT)


def _make_unified(tree: Hierarchy, path: str, needed: frozenset[str], made: list[str]) -> None:
    enable_controllers(tree, path, needed, made)
    _make_below(tree.mountpoint, path, made)
    directory = tree.directory(path)
    kind = (read_text(directory, "cgroup.type") or "").strip()
    if kind == "domain invalid":
        # A parent is threaded.  Threaded controllers (cpu, cpuset, pids, perf_event) can still be used here.
        if needed & {"memory", "io", "hugetlb", "rdma"}:
            raise Unsupported(
                f"cgroup {directory} is below a threaded cgroup, where {_listed(needed)} cannot be limited",
                code="cgroup-threaded",
                hint="choose a cgroups path outside the threaded subtree",
            )
        write_lines(directory, "cgroup.type", ("threaded",))


def enable_controllers(
    tree: Hierarchy, path: str, needed: frozenset[str], made: list[str] | None = None
) -> None:
    """The needed controllers are available in the cgroup2 group ``path`` (which need not exist yet).

    Parents that are missing are made, and added to ``made``.

    Raises:
        Unsupported: a needed controller cannot be switched on in one of the parents.
    """
    wanted = (needed | _ALWAYS_WANTED) & frozenset(tree.controllers)
    _require(
        needed <= wanted, f"{_listed(needed - wanted)} is not among the cgroup2 controllers of this machine"
    )
    directory, done = tree.mountpoint, ""
    for name in path.split("/")[1:]:
        if done:
            _make_below(tree.mountpoint, done, made if made is not None else [])
        _enable_in(directory, wanted, needed)
        done += "/" + name
        directory = tree.mountpoint + done


def _enable_in(directory: str, wanted: frozenset[str], needed: frozenset[str]) -> None:
    enabled = (read_text(directory, "cgroup.subtree_control") or "").split()
    missing = wanted.difference(enabled)
    if not missing:
        return
    try:
        write_lines(directory, "cgroup.subtree_control", (" ".join("+" + name for name in sorted(missing)),))
    except (OperationFailed, Forbidden):
        for name in sorted(missing):
            _enable_one(directory, name, needed=name in needed)


def _enable_one(directory: str, name: str, *, needed: bool) -> None:
    try:
        write_lines(directory, "cgroup.subtree_control", ("+" + name,))
    except (OperationFailed, Forbidden) as error:
        if not needed:
            return
        number = error.errno if isinstance(error, OperationFailed) else errno.EACCES
        reason, hint = {
            errno.EBUSY: (
                "it holds processes itself",
                "choose a cgroups path none of whose parents holds processes (cgroup2 wants them in leaves)",
            ),
            errno.ENOENT: ("its parent does not give it that controller", "delegate the controller to it"),
            errno.EOPNOTSUPP: ("it is threaded", "choose a cgroups path outside the threaded subtree"),
            errno.EACCES: (
                "the right to do so is missing",
                "run as root, or delegate the controller to this user",
            ),
        }.get(number, (os.strerror(number).lower(), ""))
        raise Unsupported(
            f"cannot use the {name} controller below cgroup {directory}: {reason}",
            code="cgroup-controller-unavailable",
            hint=hint,
        ) from None


def _require(condition: bool, message: str) -> None:  # noqa: FBT001 - an assertion's shape
    if not condition:
        raise Unsupported(message, code="cgroup-controller-unavailable")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def inherit_cpuset(directory: str) -> None:
    """An empty v1 cpuset gets its parent's processors and memory nodes."""
    parent = directory.rpartition("/")[0]
    for file in ("cpuset.cpus", "cpuset.mems"):
        if not (read_text(directory, file) or "").strip():
            value = (read_text(parent, file) or "").strip()
            if value:
                write_lines(directory, file, (value,))


def remove_made(made: Iterable[str]) -> None:
    """Directories from `make_directories` are gone, but for those that others use by now."""
    for directory in reversed(tuple(made)):
        try:
            os.rmdir(directory)
        except OSError:
            continue


def remove(directory: str, *, timeout_s: float = 2.0) -> None:
    """The cgroup and all below it are gone; a group that is not there is no error.

    Raises:
        OperationFailed: processes stay in it for longer than the timeout (errno EBUSY).
    """
    try:
        os.rmdir(directory)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno not in (errno.EBUSY, errno.ENOTEMPTY):
            raise _failure(f"cannot remove cgroup {directory}", error) from None
    else:
        return
    try:
        for parent_fd, name in walk(directory):
            _remove_one(name, timeout_s, parent_fd)
    except OSError as error:
        raise _failure(f"cannot list cgroup {directory}", error) from None
    _remove_one(directory, timeout_s)


def _remove_one(directory: str, timeout_s: float, parent_fd: int | None = None) -> None:
    """Rmdir; EBUSY is tried again, for a killed process leaves its cgroup a moment after its death."""
    deadline, pause = time.monotonic() + timeout_s, 0.0005
    while True:
        try:
            os.rmdir(directory, dir_fd=parent_fd)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                pids = procs_of(directory, parent_fd)
                holders = f" ({len(pids)} processes are in it, first {pids[0]})" if pids else ""
                raise _failure(f"cannot remove cgroup {directory}{holders}", error) from None
        else:
            return
        time.sleep(pause)
        pause = min(pause * 2, 0.05)


# Processes


def join(directory: str, pid: int) -> None:
    """The process (all its threads) is in the cgroup.

    Raises:
        OperationFailed: with the kernel's reason in words where it is known.
        Forbidden: no right to move the process there.
    """
    for _ in range(5):
        try:
            write_lines(directory, "cgroup.procs", (str(pid),))
        except OperationFailed as error:
            if error.errno != errno.EINVAL:
                raise _join_failure(directory, pid, error) from None
            # It may be too new to be moved (TASK_NEW); or it is a realtime process that gets no time there.
            time.sleep(0.005)
            last = error
        else:
            return
    raise _join_failure(directory, pid, last)


def _join_failure(directory: str, pid: int, error: OperationFailed) -> OperationFailed:
    reason = {
        errno.ENOSPC: "its cpuset has no processors or no memory nodes",
        errno.EBUSY: "controllers are switched on for groups below it, so it cannot hold processes",
        errno.EOPNOTSUPP: "it is in an invalid or threaded state",
        errno.ESRCH: "there is no such process",
        errno.EINVAL: "it is a realtime process and the cgroup has no realtime runtime",
        errno.ENOENT: "there is no such cgroup",
    }.get(error.errno, os.strerror(error.errno).lower())
    return OperationFailed(
        f"cannot move process {pid} into cgroup {directory}: {reason}",
        errno=error.errno,
        code="cgroup-join-failed",
    )


def procs_of(directory: str, parent_fd: int | None = None) -> list[int]:
    """The processes in this very cgroup (of a threaded one: its threads); empty when it does not exist.

    Args:
        directory: of the cgroup, from the parent's if there is one.
        parent_fd: a descriptor of the parent's directory.
    """
    try:
        text = read_text(directory, "cgroup.procs", parent_fd)
    except OperationFailed as error:
        if error.errno != errno.EOPNOTSUPP:
            raise
        text = read_text(directory, "cgroup.threads", parent_fd)
    # A process of another pid namespace shows as 0.
    return [int(pid) for pid in (text or "").split() if pid != "0"]


def procs(directory: str) -> list[int]:
    """The processes in the cgroup and in all below it, ascending."""
    found = set(procs_of(directory))
    try:
        for parent_fd, name in walk(directory):
            found.update(procs_of(name, parent_fd))
    except OSError as error:
        raise _failure(f"cannot list cgroup {directory}", error) from None
    return sorted(found)
