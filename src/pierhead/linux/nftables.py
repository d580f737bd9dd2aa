"""A small nftables client: changes rules in batches, each taken whole or not at all, and reads what is there.

    with NftablesSocket.open() as nftables:
        nftables.apply((add_table(NFPROTO_INET, "web"), *add_elements(NFPROTO_INET, "web", elements)))

As with rtnetlink, a socket belongs for ever to the network namespace in which it was opened.  The kernel
works while the request is being sent, so its answers are there when ``send`` returns.  Only messages of
port 0, the kernel, are read.

Not for use by two threads at once.
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
from pierhead.linux.nftables_codec import (
    NFT_MSG_GETCHAIN,
    NFT_MSG_GETGEN,
    NFT_MSG_GETRULE,
    NFT_MSG_GETSETELEM,
    ChainFound,
    Element,
    Request,
    batch_mark,
    decode_chain,
    decode_elements,
    decode_generation,
    decode_rule,
    encode_query,
)

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
    EOPNOTSUPP: "this kernel lacks nftables or a part of it (CONFIG_NF_TABLES_INET, CONFIG_NFT_NAT, "
    "CONFIG_NFT_FIB_INET, CONFIG_NFT_MASQ)",
    ENOENT: "the kernel lacks a part of nftables, or somebody else removes our table",
    EBUSY: "something still refers to it",
}


class NftablesSocket:
    """Talks to the nftables of the network namespace in which the given socket was opened.

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

    def apply(self, requests: Sequence[Request]) -> None:
        """All requests are done, or none is.

        Raises:
            OperationFailed: the first that the kernel refused, with its errno and reason.
        """
        if not requests:
            return
        sequence = self._sequence
        kind, body = batch_mark(begin=True)
        messages = [encode_message(kind, NLM_F_REQUEST, sequence, body)]
        for number, request in enumerate(requests, 1):
            flags = NLM_F_REQUEST | request.flags | (NLM_F_ACK if number == len(requests) else 0)
            messages.append(encode_message(request.kind, flags, sequence + number, request.body))
        kind, body = batch_mark(begin=False)
        messages.append(encode_message(kind, NLM_F_REQUEST, sequence + len(requests) + 1, body))
        self._sequence = (sequence + len(messages)) & _SEQUENCE_MAX
        what = requests[-1].what
        try:
            self._send(b"".join(messages))
            answers = [
                each for each in self._receive_all() if sequence <= each.sequence < sequence + len(messages)
            ]
        except OSError as error:
            raise _refused(what, error.errno or 0) from error
        for answer in sorted(answers, key=lambda each: each.sequence):
            said = decode_verdict(answer)
            if said.errno:
                number = answer.sequence - sequence
                what = (
                    requests[number - 1].what
                    if 1 <= number <= len(requests)
                    else "change the firewall's rules"
                )
                raise _refused(what, said.errno, said.reason)
        if not answers:
            raise OperationFailed(f"cannot {what}: the kernel does not answer")

    def generation(self) -> int:
        """How often anybody has changed rules in this namespace; counts on with every batch."""
        self._sequence = sequence = (self._sequence + 1) & _SEQUENCE_MAX
        try:
            self._send(encode_message(NFT_MSG_GETGEN, NLM_F_REQUEST, sequence, encode_query(0)))
            answers = [each for each in self._receive_all() if each.sequence == sequence]
        except OSError as error:
            raise _refused("read the generation of the firewall's rules", error.errno or 0) from error
        if not answers or answers[0].kind == NLMSG_ERROR:
            number = decode_verdict(answers[0]).errno if answers else 0
            raise _refused("read the generation of the firewall's rules", number)
        return decode_generation(answers[0].body)

    def chains(self) -> tuple[ChainFound, ...]:
        """Every chain of every table."""
        return tuple(decode_chain(body) for body in self._list("chains", NFT_MSG_GETCHAIN, encode_query(0)))

    def rules(self, family: int, table: str, chain: str) -> tuple[tuple[int, bytes], ...]:
        """Number and userdata of each rule of a chain; none where there is no such chain."""
        query = encode_query(family, table, chain=chain)
        return tuple(decode_rule(body) for body in self._list("rules", NFT_MSG_GETRULE, query))

    def elements(self, family: int, table: str, set_name: str) -> tuple[Element, ...]:
        """What is in a set; raises OperationFailed (ENOENT) where there is none."""
        query = encode_query(family, table, set_name)
        bodies = self._list(f"elements of set {set_name}", NFT_MSG_GETSETELEM, query)
        return tuple(element for body in bodies for element in decode_elements(set_name, body))

    def _list(self, what: str, kind: int, query: bytes) -> list[bytes]:
        """The bodies of a list that did not change while it was read."""
        for _ in range(_LISTINGS_MAX):
            self._sequence = sequence = (self._sequence + 1) & _SEQUENCE_MAX
            try:
                self._send(encode_message(kind, NLM_F_REQUEST | NLM_F_DUMP, sequence, query))
                answers = list(self._answers_to(sequence))
            except OSError as error:
                raise _refused(f"list {what}", error.errno or 0) from error
            said = decode_verdict(answers[-1])
            if said.errno not in (0, EINTR):
                raise _refused(f"list {what}", said.errno, said.reason)
            if said.errno == 0 and not any(answer.flags & NLM_F_DUMP_INTR for answer in answers):
                return [answer.body for answer in answers[:-1]]
        raise OperationFailed(f"cannot list {what}: they change faster than they can be read", errno=EINTR)

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

    def _receive_all(self) -> list[Message]:
        """What has arrived by now."""
        messages: list[Message] = []
        while True:
            try:
                messages.extend(self._receive(MSG_DONTWAIT))
            except BlockingIOError:
                return messages

    def _receive(self, flags: int) -> Iterator[Message]:
        """The messages of the next datagram that the kernel itself sent (its port is 0)."""
        while True:
            datagram, (port, _groups) = self._socket.recvfrom(_DATAGRAM_BYTES, flags)
            if port == 0:
                return decode_messages(datagram)


def _refused(what: str, number: int, reason: str = "") -> OperationFailed:
    """The error that says what could not be done, and why in the kernel's words."""
    detail = os.strerror(number).lower() + (f" ({reason.rstrip('.')})" if reason else "")
    return OperationFailed(f"cannot {what}: {detail}", errno=number, hint=_HINTS.get(number, ""))
