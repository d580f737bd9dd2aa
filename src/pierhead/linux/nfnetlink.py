"""A socket to the kernel's netfilter, whose parts (nftables, connection tracking) share one protocol.

As with rtnetlink, a socket belongs for ever to the network namespace in which it was opened.  The kernel
works while a request is being sent, so its answers are there when ``send`` returns.  Only messages of port 0,
the kernel, are read.

Source: linux/netfilter/nfnetlink.h; nfnetlink.c for batches.
"""

from __future__ import annotations

import os
from _socket import AF_NETLINK, MSG_DONTWAIT, SO_SNDBUF, SOCK_CLOEXEC, SOCK_RAW, SOL_SOCKET, socket
from errno import EBUSY, EINTR, ENOENT, EOPNOTSUPP, EPERM

from pierhead.errors import OperationFailed
from pierhead.linux.netlink_codec import (
    NLM_F_ACK,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    Message,
    decode_messages,
    decode_verdict,
    encode_message,
)
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Self

_NETLINK_NETFILTER = 12
_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK = 10, 11
_SO_SNDBUFFORCE = 32
_DATAGRAM_BYTES = 65536
_SEND_BYTES_SPARE = 4096  # beside the message itself: the kernel counts its own head with it
_LISTINGS_MAX = 10
_SEQUENCE_MAX = 0x3FFF_FFFF  # leaves room to count through a batch

_HINTS = {
    EPERM: "this needs CAP_NET_ADMIN in the network namespace",
    EOPNOTSUPP: "this kernel lacks netfilter or a part of it (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, "
    "CONFIG_NFT_FIB_INET, CONFIG_NFT_MASQ, CONFIG_NF_CT_NETLINK)",
    ENOENT: "the kernel lacks a part of netfilter, or somebody else removes what is ours",
    EBUSY: "something still refers to it",
}


class Request(Value):
    """A message that changes something: ``what`` says in words what it does, for its failure."""

    kind: int
    flags: int
    body: bytes
    what: str


class NetfilterSocket:
    """Talks to the netfilter of the network namespace in which the given socket was opened.

    Not for use by two threads at once.

    Args:
        fd: an AF_NETLINK socket of the protocol NETLINK_NETFILTER; this object owns it from now on.
    """

    def __init__(self, fd: int) -> None:
        self._socket = socket(fileno=fd)
        self._sequence = 0
        self._send_bytes = 0
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    @classmethod
    def open(cls) -> Self:
        """A socket in the network namespace of the calling thread."""
        return cls(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_NETFILTER).detach())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The descriptor is closed; closing again does nothing."""
        self._socket.close()

    def perform(self, request: Request) -> None:
        """The one request is done; raises OperationFailed."""
        sequence = self._next_sequence()
        flags = NLM_F_REQUEST | NLM_F_ACK | request.flags
        answers = self._exchange(
            request.what, encode_message(request.kind, flags, sequence, request.body), sequence, sequence
        )
        _check(request.what, answers[0])

    def perform_batch(self, begin: Request, requests: Sequence[Request], end: Request) -> None:
        """All requests are done, or none is.

        Raises:
            OperationFailed: the first that the kernel refused, with its errno and reason.
        """
        first = self._next_sequence()
        last = first + len(requests) + 1
        self._sequence = last & _SEQUENCE_MAX
        messages = [encode_message(begin.kind, NLM_F_REQUEST | begin.flags, first, begin.body)]
        for sequence, request in enumerate(requests, first + 1):
            # The last answers for all: the kernel answers when it has taken the batch, or has not.
            flags = NLM_F_REQUEST | request.flags | (NLM_F_ACK if sequence == last - 1 else 0)
            messages.append(encode_message(request.kind, flags, sequence, request.body))
        messages.append(encode_message(end.kind, NLM_F_REQUEST | end.flags, last, end.body))
        for answer in self._exchange(begin.what, b"".join(messages), first, last):
            number = answer.sequence - first - 1
            _check(requests[number].what if 0 <= number < len(requests) else begin.what, answer)

    def ask(self, what: str, kind: int, query: bytes) -> bytes:
        """The body of the one message that answers."""
        sequence = self._next_sequence()
        message = encode_message(kind, NLM_F_REQUEST, sequence, query)
        answer = self._exchange(what, message, sequence, sequence)[0]
        if answer.kind == NLMSG_ERROR:
            _check(what, answer)
        return answer.body

    def list_bodies(self, what: str, kind: int, query: bytes) -> list[bytes]:
        """The bodies of a list that did not change while it was read."""
        for _ in range(_LISTINGS_MAX):
            sequence = self._next_sequence()
            try:
                self._send(encode_message(kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, query))
                answers = list(self._answers_to(sequence))
            except OSError as error:
                raise _refused(what, error.errno or 0) from error
            if decode_verdict(answers[-1]).errno != EINTR:
                _check(what, answers[-1])
                if not any(answer.flags & NLM_F_DUMP_INTR for answer in answers):
                    return [answer.body for answer in answers[:-1]]
        raise OperationFailed(f"cannot {what}: it changes faster than it can be read", errno=EINTR)

    def _next_sequence(self) -> int:
        self._sequence = (self._sequence + 1) & _SEQUENCE_MAX
        return self._sequence

    def _exchange(self, what: str, datagram: bytes, first: int, last: int) -> list[Message]:
        """The answers to messages with these sequence numbers, in their order; at least one."""
        try:
            self._send(datagram)
            answers = [each for each in self._arrived() if first <= each.sequence <= last]
        except OSError as error:
            raise _refused(what, error.errno or 0) from error
        if not answers:
            raise OperationFailed(f"cannot {what}: the kernel does not answer")
        return sorted(answers, key=lambda each: each.sequence)

    def _answers_to(self, sequence: int) -> Iterator[Message]:
        while True:
            for message in self._receive(0):
                if message.sequence == sequence:
                    yield message
                    if message.kind in (NLMSG_ERROR, NLMSG_DONE):
                        return

    def _send(self, datagram: bytes) -> None:
        needed = len(datagram) + _SEND_BYTES_SPARE
        if needed > self._send_bytes:
            limit = self._socket.getsockopt(SOL_SOCKET, SO_SNDBUF)
            if needed > limit:  # more than net.core.wmem_max takes CAP_NET_ADMIN, which we need anyway
                self._socket.setsockopt(SOL_SOCKET, _SO_SNDBUFFORCE, needed)
            self._send_bytes = max(needed, limit)
        self._socket.send(datagram)

    def _arrived(self) -> Iterator[Message]:
        """What has arrived by now."""
        while True:
            try:
                yield from self._receive(MSG_DONTWAIT)
            except BlockingIOError:
                return

    def _receive(self, flags: int) -> Iterator[Message]:
        """The messages of the next datagram that the kernel itself sent (its port is 0)."""
        while True:
            datagram, (port, _groups) = self._socket.recvfrom(_DATAGRAM_BYTES, flags)
            if port == 0:
                return decode_messages(datagram)


def _check(what: str, answer: Message) -> None:
    said = decode_verdict(answer)
    if said.errno:
        raise _refused(what, said.errno, said.reason)


def _refused(what: str, number: int, reason: str = "") -> OperationFailed:
    """The error that says what could not be done, and why in the kernel's words."""
    detail = os.strerror(number).lower() + (f" ({reason.rstrip('.')})" if reason else "")
    return OperationFailed(f"cannot {what}: {detail}", errno=number, hint=_HINTS.get(number, ""))
