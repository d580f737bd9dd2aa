"""A container's state directory: what is written there and how it is found again.

    ROOT/ID/
      state.json everything another process needs to manage the container; appears when the launch is
      committed gate socket on which the init process waits for start; removed by start attach socket of the
      monitor exit.json exit record of the init process, written by the monitor exec-*.json exit records of
      further processes that have a monitor

A directory without state.json whose lock is free is what a killed launcher left: it counts as nothing and
goes. Nothing here outlives the boot, so nothing is flushed to disk.
"""

import errno
import fcntl
import os

from pierhead import jsontext
from pierhead.errors import Conflict, Forbidden, InvalidInput, NotFound, OperationFailed, PierheadError
from pierhead.ids import check_container_id
from pierhead.linux import files
from pierhead.linux.refusals import Refusals, hint_for
from pierhead.oci.document import decode, empty, encode
from pierhead.runtime.cgroups import CgroupState
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

    from pierhead.runtime.network import HostLink

STATE_FILE = "state.json"
GATE = "gate"
ATTACH = "attach"
_REMOVE_TRIES = 8
EXIT_RECORD = "exit.json"
NAMES = (STATE_FILE, GATE, ATTACH, EXIT_RECORD)
_DEBRIS_OF = (f".{STATE_FILE}.", f".{EXIT_RECORD}", "exec-", ".exec-")
_MODE = 0o711
_NAME_MAX = 200
_CUT = "~"
_TRIES = 100


class ContainerState(Value):
    """What is known of a container beyond what the kernel tells.

    ``init_start_time`` (clock ticks since boot) tells the init process from a later one of the same number;
    ``created`` is RFC 3339 in UTC; ``namespace_paths`` are below /proc by the specification's type names;
    ``uid`` is of the user who made it; ``program`` is the OCI runtime program that did, with the options that
    stand before its verbs, and empty for this library.
    """

    id: str
    init_pid: int
    init_start_time: int
    monitor_pid: int = 0
    created: str
    uid: int = 0
    cgroup: CgroupState
    namespace_paths: dict[str, str] = empty()
    host_links: "tuple[HostLink, ...]" = ()
    program: tuple[str, ...] = ()
    config: dict[str, object]


def directory_name(container_id: str) -> str:
    """The id, or for one that is too long for a file's name its beginning and a digest; no id has a ``~``."""
    if len(container_id) <= _NAME_MAX:
        return container_id
    import hashlib

    return f"{container_id[:_NAME_MAX]}{_CUT}{hashlib.sha256(container_id.encode()).hexdigest()[:32]}"


_KINDS = {
    "id": str,
    "init_pid": int,
    "init_start_time": int,
    "monitor_pid": int,
    "created": str,
    "uid": int,
    "namespace_paths": dict,
    "host_links": list,
    "config": dict,
}
"""What the members of a state file have to be; ``cgroup`` is decoded."""


class StateDirectory:
    """An open, locked or unlocked, state directory.  Close it, or use it as a context manager.

    Attributes:
        name: of the directory, and of the container's cgroup.
    """

    def __init__(self, root: str, container_id: str, fd: int, name: str = "") -> None:
        self.root = root
        self.id = container_id
        self.name = name or directory_name(container_id)
        self.path = f"{root}/{self.name}"
        self.fd = fd

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """The descriptor, and with it the lock, is given back."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def lock(self, *, wait: bool = True) -> bool:
        """Whether we are the only one who changes the container; held until ``close``."""
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Others may change the container.

        A copy of our descriptor, which a helper was given, holds the lock no longer either.
        """
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def is_attached(self) -> bool:
        """Whether the directory still has its name: another process may have deleted the container, or
        another thread have closed this.
        """
        try:
            return self.fd >= 0 and os.path.samestat(os.stat(self.path), os.fstat(self.fd))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EBADF):
                raise
            return False

    def has(self, name: str) -> bool:
        """Whether a file of this name is there."""
        try:
            os.stat(name, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        return True

    def is_debris(self) -> bool:
        """Whether it is no container's, and holds nothing but what a killed launcher leaves.

        Whoever gives us a directory of something else for a root must not lose what is in there.
        """
        if os.fstat(self.fd).st_mode & 0o7777 & ~_MODE:  # a launcher's umask may have taken some of it
            return False
        return not self.has(STATE_FILE) and not self.strangers()

    def strangers(self) -> list[str]:
        """What is in there and can be no container's."""
        return [name for name in os.listdir(self.fd) if name not in NAMES and not name.startswith(_DEBRIS_OF)]

    def save(self, state: ContainerState, config_text: str = "") -> None:
        """The state is in its file.

        Args:
            state: what to save.
            config_text: the configuration as JSON text, where there is one; else ``state.config`` is used.

        Raises:
            OperationFailed: it cannot be written.
        """
        self.prepare(state, config_text)
        self.settle()

    def prepare(self, state: ContainerState, config_text: str = "") -> None:
        """The state is written and not yet in its file: ``settle`` or ``discard`` follows.

        So a change that could not be noted down is not begun.
        """
        document = {name: _plain(value) for name, value in state.__dict__.items() if name != "config"}
        config_text = config_text or jsontext.format_compact(state.config)
        text = f'{jsontext.format_compact(document)[:-1]},"config":{config_text}}}'
        with Refusals(f"write {self.path}/{STATE_FILE}"):
            files.replace_file(self.fd, STATE_FILE, text.encode(), at_once=False)

    def settle(self) -> None:
        """What was prepared is the state."""
        with Refusals(f"write {self.path}/{STATE_FILE}"):
            files.put_in_place(self.fd, STATE_FILE)

    def discard(self) -> None:
        """What was prepared is forgotten."""
        files.remove_if_there(files.temporary_name(STATE_FILE), self.fd)

    def load(self) -> ContainerState:
        """The state from its file.

        Raises:
            NotFound: the container does not exist (any more).
        """
        try:
            text = files.read_file(STATE_FILE, directory_fd=self.fd)
        except FileNotFoundError:
            raise missing(self.id) from None
        name = f"{self.path}/{STATE_FILE}"
        document = jsontext.parse(text, name=name)
        try:
            _check_kinds(document)
            return ContainerState(
                **{
                    **document,
                    "cgroup": decode(CgroupState, document["cgroup"], path="$.cgroup"),
                    "host_links": tuple(_host_link(link) for link in document["host_links"]),
                    "program": tuple(str(word) for word in document.get("program", ())),
                }
            )
        except (KeyError, TypeError, InvalidInput) as error:
            raise InvalidInput(f"{name} is not the state of a container: {error}", code="bad-state") from None

    def remove(self) -> None:
        """The directory and everything in it are gone; what else is in there goes too."""
        for attempt in range(_REMOVE_TRIES):
            for name in os.listdir(self.fd):
                files.remove_if_there(name, self.fd)
            if not self.is_attached():  # its name may be that of somebody's new directory
                return
            try:
                os.rmdir(self.path)
            except FileNotFoundError:
                return
            except OSError as error:
                # a monitor has just written its record
                if error.errno != errno.ENOTEMPTY or attempt == _REMOVE_TRIES - 1:
                    raise


def _check_kinds(document: "dict[str, Any]") -> None:
    if not isinstance(document, dict):
        raise TypeError("it is no object")
    for key, kind in _KINDS.items():
        if not isinstance(document.get(key), kind):
            raise TypeError(f"its {key} is missing or of another type")


def _host_link(document: object) -> "HostLink":
    from pierhead.runtime.network import HostLink

    return decode(HostLink, document)


def _plain(value: "Any") -> "Any":
    if isinstance(value, Value):
        return encode(value)
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value


def missing(container_id: str) -> NotFound:
    """The error for a container that is not there; callers of runtimes know these words."""
    return NotFound(f"container does not exist: {container_id}", code="container-not-found")


def _open(root: str, container_id: str, name: str = "") -> StateDirectory:
    """Args: name is the directory's, where it is known already."""
    try:
        path = f"{root}/{name or directory_name(container_id)}"
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise missing(container_id) from None
    except OSError as error:
        raise _unusable(root, error) from None
    return StateDirectory(root, container_id, fd, name)


def open_state(root: str, container_id: str) -> StateDirectory:
    """The state directory of a container that exists.

    Raises:
        NotFound: there is none of this id.
        InvalidInput: no container can have this id.
    """
    check_container_id(container_id)
    return _open(root, container_id)


def claim(root: str, container_id: str) -> StateDirectory:
    """A new, empty, locked state directory: the id is ours.

    Raises:
        Conflict: the id is taken, or somebody is creating it at this moment.
        InvalidInput: no container can have this id.
    """
    check_container_id(container_id)
    try:
        os.makedirs(root, mode=0o711, exist_ok=True)
    except OSError as error:
        raise _unusable(root, error) from None
    name = directory_name(container_id)
    for _ in range(_TRIES):
        try:
            os.mkdir(f"{root}/{name}", _MODE)
        except FileExistsError:
            if not _sweep(root, name):
                raise Conflict(
                    f"container with given ID already exists: {container_id}", code="container-exists"
                ) from None
            continue
        except OSError as error:
            raise _unusable(root, error) from None
        try:
            directory = _open(root, container_id, name)
        except NotFound:  # somebody who lists took it for debris
            continue
        os.fchmod(directory.fd, _MODE)  # whatever the umask
        directory.lock()
        if directory.is_attached() and not directory.has(STATE_FILE):
            return directory
        directory.close()
    raise Conflict(f"container {container_id} is being created by somebody else", code="container-exists")


def _unusable(root: str, error: OSError) -> PierheadError:
    """Why containers' states cannot be kept there."""
    message = f"cannot keep states of containers in {root}: {os.strerror(error.errno or 0).lower()}"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return Forbidden(message, code="state-permission", hint="run as root, or choose another root")
    if error.errno in (errno.EEXIST, errno.ENOTDIR):
        return InvalidInput(message, code="bad-root")
    return OperationFailed(message, errno=error.errno or 0, hint=hint_for(error.errno or 0))


def _sweep(root: str, name: str) -> bool:
    """Removes what a killed launcher left in this directory; False when there is a container, or one being
    made.
    """
    try:
        directory = _open(root, name, name)
    except NotFound:
        return True
    with directory:
        if not directory.is_debris() or not directory.lock(wait=False) or not directory.is_debris():
            return False
        if directory.is_attached():
            directory.remove()
        return True


def list_ids(root: str) -> list[str]:
    """Ids of all containers under the root, sorted; what killed launchers left is removed."""
    try:
        names = os.listdir(root)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _unusable(root, error) from None
    found = []
    for name in names:
        if os.path.exists(f"{root}/{name}/{STATE_FILE}"):
            found.append(_whole_id(root, name) if _CUT in name else name)
        elif os.path.isdir(f"{root}/{name}"):
            _sweep(root, name)
    return sorted(container_id for container_id in found if container_id)


def _whole_id(root: str, name: str) -> str:
    """The id that was too long for the directory's name; empty when the container has just gone, or when its
    state cannot be read.
    """
    try:
        return str(jsontext.parse(files.read_file(f"{root}/{name}/{STATE_FILE}"))["id"])
    except (FileNotFoundError, NotADirectoryError, InvalidInput, KeyError, TypeError):
        return ""


def timestamp(ns: int | None = None) -> str:
    """A moment (nanoseconds since 1970; now by default) as RFC 3339 text in UTC with nanoseconds."""
    import time

    ns = time.time_ns() if ns is None else ns
    seconds, rest = divmod(ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest:09d}Z"
