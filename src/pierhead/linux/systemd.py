"""systemd's manager over D-Bus: transient units and their properties (org.freedesktop.systemd1(5)).

Messages are built and parsed by ``jeepney``, imported when a connection is made.  The connection is ours:
it must also speak to systemd's private socket, where there is no bus and no Hello, and authenticate in a user
namespace, where our user id is not the one that the other side sees.

Not on the path of a container whose cgroup is made by file system.
"""

from __future__ import annotations

import errno
import os
import time

from pierhead.errors import (
    Conflict,
    Forbidden,
    NotFound,
    OperationFailed,
    PierheadError,
    TimedOut,
    Unavailable,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from socket import socket
    from typing import Any, Self

    Property = tuple[str, tuple[str, Any]]

_SERVICE = "org.freedesktop.systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_MANAGER_PATH = "/org/freedesktop/systemd1"
_JOB_TIMEOUT_S = 30.0
_CALL_TIMEOUT_S = 25.0


def bus_addresses(environ: Mapping[str, str], *, user: bool) -> list[tuple[str, bool]]:
    """Where systemd may answer, best first: a socket (abstract ones begin with NUL), and whether it is a bus.

    The private sockets are systemd's own: the system's admits root only, a user's is there without any bus.
    """
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if user:
        named = environ.get("DBUS_SESSION_BUS_ADDRESS", "") or (f"unix:path={runtime}/bus" if runtime else "")
        private = f"{runtime}/systemd/private" if runtime else ""
    else:
        named = environ.get("DBUS_SYSTEM_BUS_ADDRESS", "") or "unix:path=/run/dbus/system_bus_socket"
        private = "/run/systemd/private"
    found = [(path, True) for path in _socket_paths(named)]
    return [*found, (private, False)] if private else found


def _socket_paths(address: str) -> list[str]:
    """The sockets in a D-Bus address like ``unix:path=/run/bus,guid=…;unix:abstract=…``, %-escapes undone."""
    paths = []
    for entry in address.split(";"):
        transport, _, options = entry.partition(":")
        for option in options.split(",") if transport == "unix" else ():
            key, _, value = option.partition("=")
            if key in ("path", "abstract"):
                pieces = value.split("%")
                text = pieces[0] + "".join(chr(int(piece[:2], 16)) + piece[2:] for piece in pieces[1:])
                paths.append(("\0" if key == "abstract" else "") + text)
    return paths


class Systemd:
    """A connection to one manager: the system's or a user's.  Close it, or use it in ``with``.

    Not to be shared between threads.
    """

    def __init__(self, sock: socket, *, is_bus: bool) -> None:
        self._jeepney = _load_jeepney()
        self._socket = sock
        self._parser = self._jeepney.Parser()
        self._serial = 0
        self._results: dict[str, str] = {}
        if is_bus:
            self._call_bus("Hello")
            rule = f"type='signal',sender='{_SERVICE}',interface='{_MANAGER}',member='JobRemoved'"
            self._call_bus("AddMatch", "s", (rule,))
        self._call("Subscribe")

    @classmethod
    def connect(cls, *, user: bool = False, environ: Mapping[str, str] = os.environ) -> Self:
        """A connection to the system's manager, or to this user's.

        Raises:
            Unavailable: jeepney is not installed, or systemd does not answer on any of its sockets.
        """
        _load_jeepney()
        reasons = []
        for path, is_bus in bus_addresses(environ, user=user):
            place = path.replace("\0", "@")
            try:
                sock = _open_socket(path)
            except OSError as error:
                reasons.append(f"{place}: {(error.strerror or str(error)).lower()}")
                continue
            try:
                return cls(sock, is_bus=is_bus)
            except PierheadError as error:
                # A bus without systemd on it, say.
                sock.close()
                reasons.append(f"{place}: {error.message}")
        raise Unavailable(
            f"{'the user manager of systemd' if user else 'systemd'} does not answer ({'; '.join(reasons)})",
            code="systemd-unavailable",
            hint=(
                "log in with a systemd user session (loginctl enable-linger), or use cgroupfs"
                if user
                else "use --cgroup-manager cgroupfs where systemd does not run"
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The connection is closed."""
        self._socket.close()

    # Units

    def start_transient_unit(self, name: str, properties: Sequence[Property]) -> None:
        """The unit exists and is active; a failed one of that name, left over, is reset first.

        Raises:
            Conflict: there is an active unit of that name (code ``unit-exists``).
            OperationFailed, Forbidden, TimedOut: systemd refuses, fails or does not finish it.
        """
        try:
            self._start(name, properties)
        except Conflict:
            self.reset_failed_unit(name)
            self._start(name, properties)

    def _start(self, name: str, properties: Sequence[Property]) -> None:
        body: tuple[Any, ...] = (name, "replace", list(properties), [])
        (job,) = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", body)
        result = self._wait_for_job(job, name)
        if result != "done":
            self.reset_failed_unit(name)
            raise OperationFailed(
                f"systemd could not start {name}: the job ended as {result}", code="unit-failed"
            )

    def set_unit_properties(self, name: str, properties: Sequence[Property]) -> None:
        """The unit has these properties until it ends."""
        if properties:
            self._call("SetUnitProperties", "sba(sv)", (name, True, list(properties)))

    def stop_unit(self, name: str) -> None:
        """The unit, its processes and its record of failure are gone; one that does not exist is no error."""
        try:
            (job,) = self._call("StopUnit", "ss", (name, "replace"))
            self._wait_for_job(job, name)
        except NotFound:
            return
        self.reset_failed_unit(name)

    def reset_failed_unit(self, name: str) -> None:
        """The manager forgets that the unit failed, so that the name is free again."""
        try:
            self._call("ResetFailedUnit", "s", (name,))
        except (NotFound, OperationFailed):
            return

    def attach_processes(self, name: str, pids: Iterable[int], *, inner_path: str = "") -> None:
        """The processes are in the unit's cgroup, moved there by systemd, which may do what we may not."""
        self._call("AttachProcessesToUnit", "ssau", (name, inner_path, list(pids)))

    # Properties of the manager

    def version(self) -> int:
        """The number in systemd's version, 0 when it does not say it in a way we know."""
        text = str(self._manager_property("Version")).lstrip("v")
        digits = len(text) - len(text.lstrip("0123456789"))
        return int(text[:digits] or 0)

    def control_group(self) -> str:
        """The manager's own cgroup, like ``/user.slice/user-1000.slice/user@1000.service``; or empty."""
        return str(self._manager_property("ControlGroup")).rstrip("/")

    def _manager_property(self, name: str) -> object:
        reply = self._call("Get", "ss", (_MANAGER, name), interface="org.freedesktop.DBus.Properties")
        return reply[0][1]

    # Messages

    def _call_bus(self, member: str, signature: str = "", body: tuple[Any, ...] = ()) -> tuple[Any, ...]:
        name = "org.freedesktop.DBus"
        address = self._jeepney.DBusAddress("/org/freedesktop/DBus", bus_name=name, interface=name)
        return self._send(address, member, signature, body)

    def _call(
        self, member: str, signature: str = "", body: tuple[Any, ...] = (), *, interface: str = _MANAGER
    ) -> tuple[Any, ...]:
        address = self._jeepney.DBusAddress(_MANAGER_PATH, bus_name=_SERVICE, interface=interface)
        return self._send(address, member, signature, body)

    def _send(self, address: Any, member: str, signature: str, body: tuple[Any, ...]) -> tuple[Any, ...]:
        message = self._jeepney.new_method_call(address, member, signature or None, body)
        self._serial += 1
        serial = self._serial
        self._socket.sendall(message.serialise(serial=serial))
        deadline = time.monotonic() + _CALL_TIMEOUT_S
        while True:
            reply = self._receive(deadline, f"systemd did not answer {member}")
            if reply.header.fields.get(self._jeepney.HeaderFields.reply_serial) != serial:
                continue
            if reply.header.message_type is self._jeepney.MessageType.error:
                raise _error_of(
                    member, reply.header.fields.get(self._jeepney.HeaderFields.error_name, ""), reply.body
                )
            return tuple(reply.body)

    def _wait_for_job(self, job: str, unit: str) -> str:
        deadline = time.monotonic() + _JOB_TIMEOUT_S
        while job not in self._results:
            self._receive(deadline, f"systemd did not finish the job for {unit}")
        return self._results.pop(job)

    def _receive(self, deadline: float, complaint: str) -> Any:
        """The next message; ends of jobs are noted on the way."""
        while (message := self._parser.get_next_message()) is None:
            self._socket.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                data = self._socket.recv(65536)
            except TimeoutError:
                raise TimedOut(f"{complaint} in time", code="systemd-timed-out") from None
            if not data:
                raise Unavailable("systemd closed the connection", code="systemd-unavailable")
            self._parser.add_data(data)
        is_signal = message.header.message_type is self._jeepney.MessageType.signal
        if is_signal and message.header.fields.get(self._jeepney.HeaderFields.member) == "JobRemoved":
            _, job, _, result = message.body
            self._results[job] = result
        return message


def _error_of(
    member: str, name: str, body: Sequence[Any]
) -> Conflict | NotFound | Forbidden | OperationFailed:
    text = body[0] if body else name
    message = f"systemd refuses {member}: {text}"
    last = name.rpartition(".")[2]
    if last == "UnitExists":
        return Conflict(message, code="unit-exists")
    if last == "NoSuchUnit":
        return NotFound(message, code="no-such-unit")
    if last in ("AccessDenied", "InteractiveAuthorizationRequired", "AuthFailed"):
        return Forbidden(
            message, code="systemd-forbidden", hint="run as root, or as a user with a systemd session"
        )
    return OperationFailed(message, code="systemd-refused")


def _open_socket(path: str) -> socket:
    """A socket on which messages can be sent: connected and authenticated (the D-Bus specification).

    EXTERNAL without a user id lets the other side take the id that it sees, right in a user namespace too.
    """
    import socket

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(5)
        sock.connect(path)
        sock.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\n")
        answer = b""
        while answer.count(b"\r\n") < 2:
            answer += sock.recv(1024) or b"REJECTED"
            _check_answer(answer)
        sock.sendall(b"BEGIN\r\n")
    except BaseException:
        sock.close()
        raise
    return sock


def _check_answer(answer: bytes) -> None:
    if b"REJECTED" in answer:
        raise PermissionError(errno.EACCES, "authentication refused")


def _load_jeepney() -> Any:
    try:
        return __import__("jeepney")
    except ImportError:
        raise Unavailable(
            "cgroups by systemd need the Python package jeepney",
            code="jeepney-missing",
            hint="pip install 'pierhead[systemd]', or use --cgroup-manager cgroupfs",
        ) from None
