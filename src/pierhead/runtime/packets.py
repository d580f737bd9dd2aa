"""Packets over unix sockets, with the descriptors that travel with them (unix(7), SCM_RIGHTS)."""

from __future__ import annotations

import _socket

from pierhead.linux import process

_PACKET_MAX = 65536
_RIGHTS_MAX = 64
_INT = 4
_CREDENTIALS = 3 * _INT
_ROOM = _socket.CMSG_SPACE(_RIGHTS_MAX * _INT) + _socket.CMSG_SPACE(_CREDENTIALS)


def socket_pair() -> tuple[_socket.socket, _socket.socket]:
    """Two ends of a conversation that keeps packets apart; not inherited, numbered above the helper's own."""
    left, right = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC)
    return _above(left), _above(right)


def _above(socket: _socket.socket) -> _socket.socket:
    fd = socket.detach()
    return _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, process.above_standard(fd))


def receive(socket: _socket.socket, flags: int = 0) -> tuple[bytes, list[int]]:
    """One packet and its descriptors; empty at the end of the conversation."""
    packet, fds, _ = receive_from(socket, flags)
    return packet, fds


def receive_from(socket: _socket.socket, flags: int = 0) -> tuple[bytes, list[int], int]:
    """As ``receive``, and the sender's number, if ``know_senders`` has asked for that; else 0."""
    try:
        packet, ancillary, _, _ = socket.recvmsg(_PACKET_MAX, _ROOM, flags | _socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        return b"", [], 0
    fds: list[int] = []
    sender = 0
    for level, kind, data in ancillary:
        if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
            fds += _ints(data)
        elif level == _socket.SOL_SOCKET and kind == _socket.SCM_CREDENTIALS:
            sender = _ints(data)[0]
    return packet, fds, sender


def _ints(data: bytes) -> list[int]:
    return [int.from_bytes(data[at : at + _INT], "little") for at in range(0, len(data) - _INT + 1, _INT)]


def know_senders(socket: _socket.socket) -> None:
    """Packets that come from now on bring the number of their sender, in our pid namespace."""
    socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
