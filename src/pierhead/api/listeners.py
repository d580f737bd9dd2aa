"""Where clients come in.

unix:///run/pierhead/pierd.sock   a socket with a mode and a group
tcp://127.0.0.1:2376              with TLS, unless somebody wants it plain
fd://   fd://3   fd://NAME        sockets that were open before us (sd_listen_fds(3))
"""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import stat
from contextlib import asynccontextmanager

from pierhead.api.connection import Connection
from pierhead.api.tls import role_of
from pierhead.api.tlslayer import TlsLayer
from pierhead.errors import Conflict, InvalidInput, OperationFailed
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Mapping

    Accept = Callable[[Connection], None]

_BACKLOG = 1024
_MODE = 0o660
_PORT, _TLS_PORT = 2375, 2376
"""Docker's, as IANA has them."""
_HINTS = {
    errno.EADDRINUSE: "another program listens there: ss -ltnp tells which",
    errno.EADDRNOTAVAIL: "it has to be an address of this machine: ip address lists them",
}


class Address(Value):
    """Where to listen.

    Fields:
        kind: ``unix``, ``tcp`` or ``fd``.
        path: of a unix socket.
        host, port: of TCP; port 0 is any free one.
        name: of inherited sockets: a number, a name, or "" for all.
    """

    kind: str
    path: str = ""
    host: str = ""
    port: int = 0
    name: str = ""

    @property
    def text(self) -> str:
        """As one writes it."""
        if self.kind == "unix":
            return f"unix://{self.path}"
        if self.kind == "fd":
            return f"fd://{self.name}"
        return f"tcp://[{self.host}]:{self.port}" if ":" in self.host else f"tcp://{self.host}:{self.port}"


def parse_address(text: str, *, tls: bool, default_path: str) -> Address:
    """The address that somebody wrote.

    Args:
        text: ``unix://PATH``, ``tcp://[HOST][:PORT]``, ``fd://[NAME]``; a bare path is a unix socket.
        tls: whether TCP is protected, for the usual port.
        default_path: of ``unix://``.

    Raises:
        InvalidInput: it is none.
    """
    kind, colon, rest = text.partition("://")
    if not colon and text.startswith("/"):
        kind, rest = "unix", text
    if kind == "unix":
        path = rest or default_path
        if not path.startswith("/"):
            raise _bad(text)
        return Address(kind="unix", path=path)
    if kind == "fd":
        return Address(kind="fd", name="" if rest == "*" else rest)
    if kind != "tcp":
        raise _bad(text)
    host, port = _split_port(rest.rstrip("/"))
    if port and not (port.isascii() and port.isdecimal() and int(port) < 1 << 16):
        raise _bad(text)
    usual = _TLS_PORT if tls else _PORT
    return Address(kind="tcp", host=host or "127.0.0.1", port=int(port) if port else usual)


def _split_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = text.partition(":")
    return host, port


def _bad(text: str) -> InvalidInput:
    hint = "write it as unix:///PATH, tcp://HOST:PORT or fd://"
    return InvalidInput(f"invalid address to listen at: {text!r}", code="bad-address", hint=hint)


def inherited_sockets(environment: Mapping[str, str], pid: int) -> dict[int, str]:
    """Descriptors that whoever started us has opened for us, with their names (sd_listen_fds(3))."""
    if environment.get("LISTEN_PID") != str(pid):
        return {}
    count = environment.get("LISTEN_FDS", "")
    if not count.isdecimal():
        return {}
    names = environment.get("LISTEN_FDNAMES", "").split(":")
    fds = range(3, 3 + int(count))
    return {fd: names[index] if index < len(names) else "" for index, fd in enumerate(fds)}


@asynccontextmanager
async def listening(
    address: Address,
    accept: Accept,
    *,
    tls: ssl.SSLContext | None = None,
    group_id: int = -1,
    inherited: Mapping[int, str] | None = None,
) -> AsyncIterator[tuple[Address, ...]]:
    """Clients come in at the address; gives where it has become, with the port.

    Args:
        address: where.
        accept: is told of each client.
        tls: protects TCP.
        group_id: of a unix socket; -1 leaves the process's.
        inherited: sockets that are open already; taken over.

    Raises:
        Conflict: somebody else listens there.
        OperationFailed: it cannot be.
        InvalidInput: there is no such inherited socket.
    """
    loop = asyncio.get_running_loop()
    sockets = _open(address, group_id, inherited or {})
    made = _identity(address)
    servers: list[asyncio.Server] = []
    try:
        for each in sockets:
            protect = tls if each.family != socket.AF_UNIX else None
            servers.append(await _serve(loop, each, accept, protect))
        yield tuple(_address_of(each) for each in sockets)
    finally:
        for server in servers:
            server.close()
        for each in sockets[len(servers) :]:
            each.close()
        _remove(address, made)


async def _serve(
    loop: asyncio.AbstractEventLoop, listener: socket.socket, accept: Accept, tls: ssl.SSLContext | None
) -> asyncio.Server:
    def accept_secured(connection: Connection) -> None:
        connection.role = role_of(connection.certificate())
        accept(connection)

    def make() -> asyncio.Protocol:
        if tls is None:
            return Connection(accept, loop=loop)
        return TlsLayer(tls, Connection(accept_secured, loop=loop))

    # Not create_unix_server: from Python 3.13 on its end removes the path, which may be systemd's to keep.
    return await loop.create_server(make, sock=listener, backlog=_BACKLOG)


def _open(address: Address, group_id: int, inherited: Mapping[int, str]) -> list[socket.socket]:
    if address.kind == "fd":
        return _take_over(address.name, inherited)
    try:
        if address.kind == "unix":
            return [_bind_path(address.path, group_id)]
        return _bind_port(address)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        message = f"cannot listen at {address.text}: {reason}"
        number = error.errno or 0
        raise OperationFailed(
            message, errno=number, code="cannot-listen", hint=_HINTS.get(number, "")
        ) from error


def _take_over(name: str, inherited: Mapping[int, str]) -> list[socket.socket]:
    wanted = [fd for fd, its in inherited.items() if name in ("", str(fd), its)]
    if not wanted:
        hint = "fd:// is for a daemon that systemd starts by a .socket unit"
        raise InvalidInput(f"nobody gave us a socket for fd://{name}", code="no-socket", hint=hint)
    for fd in wanted:
        os.set_inheritable(fd, False)
    return [socket.socket(fileno=fd) for fd in wanted]


def _bind_path(path: str, group_id: int) -> socket.socket:
    os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
    _clear(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # The file has the socket's own mode when it appears (net/unix/af_unix.c): it is never open to all.
        os.fchmod(listener.fileno(), _MODE)
        listener.bind(path)
        if group_id >= 0:
            os.chown(path, -1, group_id)
        os.chmod(path, _MODE)
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _clear(path: str) -> None:
    """What a daemon that was killed left is gone; whoever listens there is left alone."""
    try:
        if not stat.S_ISSOCK(os.lstat(path).st_mode):
            hint = "name a path that is free"
            raise Conflict(f"{path} is there and is no socket", code="address-in-use", hint=hint)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
            return
        except OSError:
            pass  # somebody is there, and has no time
    hint = "stop the other daemon, or give this one its own --host"
    raise Conflict(f"somebody listens at {path} already", code="address-in-use", hint=hint)


def _bind_port(address: Address) -> list[socket.socket]:
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_ADDRCONFIG
    )
    listeners: list[socket.socket] = []
    try:
        for family, kind, protocol, _, where in dict.fromkeys(found):
            listener = socket.socket(family, kind, protocol)
            listeners.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(where)
            listener.listen(_BACKLOG)
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    return listeners


def _address_of(listener: socket.socket) -> Address:
    name = listener.getsockname()
    if listener.family == socket.AF_UNIX:
        return Address(kind="unix", path=os.fsdecode(name))
    return Address(kind="tcp", host=name[0], port=name[1])


def _identity(address: Address) -> tuple[int, int] | None:
    if address.kind != "unix":
        return None
    found = os.lstat(address.path)
    return found.st_dev, found.st_ino


def _remove(address: Address, made: tuple[int, int] | None) -> None:
    """The socket's file is gone, unless it is another daemon's by now."""
    try:
        if made is not None and _identity(address) == made:
            os.unlink(address.path)
    except FileNotFoundError:
        pass
