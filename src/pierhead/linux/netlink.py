"""A small rtnetlink client: links, addresses and routes of the namespace that its socket was opened in.

A netlink socket belongs for ever to the network namespace in which it was opened.  So a container's namespace
is configured from outside: the helper opens a socket within and hands it over, and nobody enters anything.

    with NetlinkSocket.open() as host, NetlinkSocket(fd) as guest:
        host.create_veth(LinkOptions(name="v0", up=True), LinkOptions(name="eth0", namespace_fd=namespace_fd))
        eth0 = guest.get_link("eth0")
        guest.add_address(eth0, "10.0.0.2/24")
        guest.change_link(eth0, LinkOptions(up=True))

Every verb returns when the kernel has done it, and raises OperationFailed with the errno and the kernel's
own sentence when it has not.  What arrives from a container's namespace need not come from the kernel: a
process with CAP_NET_ADMIN in there may send to our socket.  So only messages of port 0, the kernel, are read.

Not for use by two threads at once; opening one more costs microseconds.
"""

import os
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket
from errno import EEXIST, EINTR, EINVAL, ENODEV, EOPNOTSUPP, EPERM
from fcntl import ioctl

from pierhead.errors import NotFound, OperationFailed
from pierhead.linux.netlink_codec import (
    NLM_F_ACK,
    NLM_F_CREATE,
    NLM_F_DUMP,
    NLM_F_DUMP_INTR,
    NLM_F_EXCL,
    NLM_F_REQUEST,
    NLMSG_DONE,
    NLMSG_ERROR,
    RTM_DELLINK,
    RTM_DELROUTE,
    RTM_GETADDR,
    RTM_GETLINK,
    RTM_GETROUTE,
    RTM_NEWADDR,
    RTM_NEWLINK,
    RTM_NEWROUTE,
    RTM_SETLINK,
    Address,
    Link,
    LinkOptions,
    Message,
    RouteEntry,
    decode_address,
    decode_link,
    decode_messages,
    decode_route,
    decode_verdict,
    encode_address,
    encode_address_query,
    encode_hairpin,
    encode_link,
    encode_link_query,
    encode_message,
    encode_new_link,
    encode_new_veth,
    encode_route,
    encode_route_query,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

_NETLINK_ROUTE = 0
_SOL_NETLINK = 270
_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 10, 11, 12
_SIOCGSKNS = 0x894C
_DATAGRAM_BYTES = 65536  # the kernel fills at most 32 KiB of a dump's buffer
_LISTINGS_MAX = 10  # how often a list is read again because it changed under the reading

_HINTS = {
    EPERM: "this needs CAP_NET_ADMIN in the network namespace",
    EOPNOTSUPP: "this kernel lacks the kind of link or the option",
    EEXIST: "another link, address or route has this name or value",
    EINVAL: "the kernel takes no such number or address here",
}


class NetlinkSocket:
    """Talks to the network namespace in which the given socket was opened.

    Args:
        fd: an AF_NETLINK socket of the protocol NETLINK_ROUTE; this object owns it from now on.
    """

    def __init__(self, fd: int) -> None:
        self._socket = socket(fileno=fd)
        self._sequence = 0
        for option in (_NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK):
            self._socket.setsockopt(_SOL_NETLINK, option, 1)

    @classmethod
    def open(cls) -> "Self":
        """A socket in the network namespace of the calling thread."""
        return cls(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, _NETLINK_ROUTE).detach())

    def __enter__(self) -> "Self":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The descriptor is closed; closing again does nothing."""
        self._socket.close()

    def fileno(self) -> int:
        """The descriptor, which stays this object's; -1 after close."""
        return self._socket.fileno()

    def namespace_fd(self) -> int:
        """A new descriptor of the network namespace that this socket belongs to; the caller closes it.

        Source: ioctl SIOCGSKNS (Linux 4.10); needs CAP_NET_ADMIN over that namespace.
        """
        try:
            return ioctl(self._socket, _SIOCGSKNS)
        except OSError as error:
            raise _refused("open the network namespace of a netlink socket", error.errno or 0) from error

    # Links

    def links(self) -> tuple[Link, ...]:
        """Every link of the namespace, with its statistics."""
        return tuple(decode_link(body) for body in self._list("links", RTM_GETLINK, encode_link_query()))

    def find_link(self, link: str | int) -> Link | None:
        """The link with this name or index, or None."""
        query = encode_link_query(name=link) if isinstance(link, str) else encode_link_query(index=link)
        try:
            answer = self._ask(f"read link {link}", RTM_GETLINK, 0, query)[0]
        except OperationFailed as error:
            if error.errno == ENODEV:
                return None
            raise
        return decode_link(answer.body)

    def get_link(self, link: str | int) -> Link:
        """The link with this name or index; raises NotFound."""
        found = self.find_link(link)
        if found is None:
            raise NotFound(f"there is no network link {link}", code="link-not-found")
        return found

    def create_veth(self, options: LinkOptions, peer: LinkOptions) -> None:
        """A veth pair exists: one end here, its peer in the namespace that ``peer`` names, or neither does.

        The peer is down whatever its options say; set it up when it has its addresses.
        """
        what = f"create veth pair {options.name}/{peer.name}"
        self._ask(what, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, encode_new_veth(options, peer))

    def create_bridge(self, options: LinkOptions) -> None:
        """A bridge exists; links join it by their ``master_index``."""
        body = encode_new_link("bridge", options)
        self._ask(f"create bridge {options.name}", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL, body)

    def change_link(self, link: Link, options: LinkOptions) -> None:
        """The link has the given options; moved to another namespace it may have another index there.

        The kernel moves first, then sets the rest.  When it refuses something, what it had set before stays.
        """
        self._ask(f"set {options} of link {link.name}", RTM_SETLINK, 0, encode_link(link.index, options))

    def set_hairpin(self, link: Link, *, on: bool) -> None:
        """The bridge sends frames back through the port they came from: so a container reaches itself."""
        what = f"set hairpin mode of link {link.name}"
        self._ask(what, RTM_SETLINK, 0, encode_hairpin(link.index, on=on))

    def delete_link(self, link: Link) -> None:
        """The link is gone, and the other end of a veth pair with it."""
        self._ask(f"delete link {link.name}", RTM_DELLINK, 0, encode_link_query(index=link.index))

    # Addresses and routes

    def addresses(self, link: Link | None = None) -> tuple[Address, ...]:
        """The addresses of one link, or of all."""
        index = link.index if link else 0
        found = (
            decode_address(body) for body in self._list("addresses", RTM_GETADDR, encode_address_query(index))
        )
        return tuple(address for address in found if index in (0, address.link_index))

    def add_address(self, link: Link, address: str) -> None:
        """The link has the address (``10.0.0.2/24``, ``fd00::2/64``), usable at once when the link is up."""
        what = f"add address {address} to link {link.name}"
        self._ask(what, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL, encode_address(link.index, address))

    def routes(self) -> tuple[RouteEntry, ...]:
        """The unicast routes of the main table, IPv4 and IPv6."""
        found = (decode_route(body) for body in self._list("routes", RTM_GETROUTE, encode_route_query()))
        return tuple(route for route in found if route)

    def add_route(self, link: Link | None, destination: str, *, gateway: str = "", source: str = "") -> None:
        """Packets to ``destination`` (``0.0.0.0/0`` is the default) leave by this link or gateway."""
        body = encode_route(link.index if link else 0, destination, gateway, source)
        what = f"add {_route_in_words(link, destination, gateway)}"
        self._ask(what, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, body)

    def delete_route(self, link: Link | None, destination: str, *, gateway: str = "") -> None:
        """The route that was added with the same arguments is gone."""
        body = encode_route(link.index if link else 0, destination, gateway)
        self._ask(f"delete {_route_in_words(link, destination, gateway)}", RTM_DELROUTE, 0, body)

    # The dialogue

    def _list(self, what: str, kind: int, query: bytes) -> list[bytes]:
        """The bodies of a list that did not change while it was read (NLM_F_DUMP_INTR says when it did)."""
        for _ in range(_LISTINGS_MAX):
            *replies, done = self._ask(f"list {what}", kind, NLM_F_DUMP, query)
            if not any(message.flags & NLM_F_DUMP_INTR for message in (*replies, done)):
                return [message.body for message in replies]
        raise OperationFailed(f"cannot list {what}: they change faster than they can be read", errno=EINTR)

    def _ask(self, what: str, kind: int, flags: int, body: bytes) -> list[Message]:
        """The kernel's answers to one request, the last of which says that it is done."""
        self._sequence = sequence = (self._sequence + 1) & 0xFFFF_FFFF
        answers: list[Message] = []
        try:
            self._socket.send(encode_message(kind, NLM_F_REQUEST | NLM_F_ACK | flags, sequence, body))
            while True:
                for message in self._receive():
                    if message.sequence != sequence:
                        continue  # of an earlier request whose reading was interrupted
                    answers.append(message)
                    if message.kind in (NLMSG_ERROR, NLMSG_DONE):
                        self._check(what, message)
                        return answers
        except OSError as error:
            raise _refused(what, error.errno or 0) from error

    def _receive(self) -> "Iterator[Message]":
        """The messages of the next datagram that the kernel itself sent (its port is 0)."""
        while True:
            datagram, (port, _groups) = self._socket.recvfrom(_DATAGRAM_BYTES)
            if port == 0:
                return decode_messages(datagram)

    def _check(self, what: str, message: Message) -> None:
        verdict = decode_verdict(message)
        if verdict.errno:
            raise _refused(what, verdict.errno, verdict.reason)


def _route_in_words(link: Link | None, destination: str, gateway: str) -> str:
    via = f" via {gateway}" if gateway else ""
    return f"route to {destination}{via}" + (f" on link {link.name}" if link else "")


def _refused(what: str, number: int, reason: str = "") -> OperationFailed:
    """The error that says what could not be done, and why in the kernel's words."""
    detail = os.strerror(number).lower() + (f" ({reason.rstrip('.')})" if reason else "")
    return OperationFailed(f"cannot {what}: {detail}", errno=number, hint=_HINTS.get(number, ""))
