"""Machines for tests of networks: namespaces with cables, and programs that connect from one to the other.

A thread of this process enters a namespace and stays there for what it is asked to do: a socket that it
opens belongs to the namespace for ever, whoever uses it then.  So servers and clients are sockets of the
test's own, and the code under test is called as it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from pierhead.linux.netlink_codec import LinkOptions
from pierhead.net import NetworkService, NetworkSettings
from pierhead.runtime.config import Network as Interface
from pierhead.runtime.network import attach_networks
from tests.support.netns import Namespace, private_namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pierhead.net import Endpoint, EndpointRequest, Explanation

_T = TypeVar("_T")
_CLONE_NEWNET = 0x40000000
_PATIENCE_S = 60.0  # for what must arrive
_SILENCE_S = 1.3  # for what must not: a first packet that was lost is sent again after a second


class Machine:
    """A network namespace, with its loopback up."""

    def __init__(self, namespace: Namespace, executor: ThreadPoolExecutor) -> None:
        self.namespace = namespace
        self.netlink = namespace.netlink
        self._executor = executor

    def call(self, function: Callable[..., _T], *arguments: object) -> _T:
        """What the function returns (or raises) in the namespace."""
        return self._executor.submit(function, *arguments).result()

    def run(self, *command: str) -> str:
        """What a command printed in the namespace."""
        return self.namespace.run(*command)

    def write(self, sysctl: str, value: str) -> None:
        """A setting below /proc/sys/net has the value."""
        self.call(_write, f"/proc/sys/net/{sysctl}", value)

    def read(self, sysctl: str) -> str:
        """The value of a setting below /proc/sys/net."""
        return self.call(_read, f"/proc/sys/net/{sysctl}")

    def open_socket(self, *, udp: bool = False, ipv6: bool = False) -> socket.socket:
        """A socket of this machine's."""
        family = socket.AF_INET6 if ipv6 else socket.AF_INET
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        made = self.call(socket.socket, family, kind)
        made.settimeout(_PATIENCE_S)
        return made

    @contextlib.contextmanager
    def listening(self, port: int, *, udp: bool = False, ipv6: bool = False) -> Iterator[socket.socket]:
        """A socket that listens at a port of all addresses."""
        with self.open_socket(udp=udp, ipv6=ipv6) as listener:
            listener.bind(("::" if ipv6 else "0.0.0.0", port))
            if not udp:
                listener.listen()
            yield listener

    def reaches(self, host: str, port: int, listener: socket.socket) -> str:
        """The source address that the listener sees of a connection (or datagram) from here.

        An answer is sent back, and must arrive.
        """
        udp = listener.type == socket.SOCK_DGRAM
        with self.open_socket(udp=udp, ipv6=":" in host) as client:
            client.connect((host, port))
            client.send(b"question")
            listener.settimeout(_PATIENCE_S)
            return _answered_udp(client, listener) if udp else _answered_tcp(client, listener)

    def misses(self, host: str, port: int, listener: socket.socket) -> bool:
        """Whether nothing of a connection (or datagram) from here comes to the listener."""
        udp = listener.type == socket.SOCK_DGRAM
        with self.open_socket(udp=udp, ipv6=":" in host) as client:
            client.settimeout(_SILENCE_S)
            try:
                client.connect((host, port))
                client.send(b"question")
            except OSError:
                return True
            return not select.select([listener], [], [], _SILENCE_S)[0]


def _answered_tcp(client: socket.socket, listener: socket.socket) -> str:
    served, source = listener.accept()
    with served:
        served.sendall(b"answer")
        assert client.recv(100) == b"answer"
    return str(source[0])


def _answered_udp(client: socket.socket, listener: socket.socket) -> str:
    _, source = listener.recvfrom(100)
    listener.sendto(b"answer", source)
    assert client.recv(100) == b"answer"
    return str(source[0])


@contextlib.contextmanager
def machine() -> Iterator[Machine]:
    """A new machine without cables."""
    with private_namespace() as namespace:
        netlink = namespace.netlink
        netlink.change_link(netlink.get_link("lo"), LinkOptions(up=True))
        fd = netlink.namespace_fd()
        try:
            with ThreadPoolExecutor(max_workers=1, initializer=_enter, initargs=(fd,)) as executor:
                yield Machine(namespace, executor)
        finally:
            os.close(fd)


@contextlib.contextmanager
def neighbour(host: Machine, number: int = 2, link: str = "eth0") -> Iterator[Machine]:
    """A machine that is on a cable with ``host``: 192.0.2.1 and 2001:db8::1 there, ``number`` here."""
    with machine() as other:
        fd = other.netlink.namespace_fd()
        host.netlink.create_veth(LinkOptions(name=link), LinkOptions(name="eth0", namespace_fd=fd))
        os.close(fd)
        ends = ((host, link, 1), (other, "eth0", number))
        for each, name, _ in ends:
            each.netlink.change_link(each.netlink.get_link(name), LinkOptions(up=True))
        for each, name, last in ends:
            end = each.netlink.get_link(name)
            each.netlink.add_address(end, f"192.0.2.{last}/24")
            each.netlink.add_address(end, f"2001:db8::{last}/64")
            while each.run("ip", "-6", "address", "show", "tentative", "scope", "global"):
                time.sleep(0.01)  # a work queue of the kernel makes it usable
        yield other


@contextlib.contextmanager
def container(host: Machine, endpoint: Endpoint) -> Iterator[Machine]:
    """A machine that has the endpoint's place, as the runtime makes it."""
    interface = Interface(
        type="veth",
        name="eth0",
        bridge=endpoint.bridge,
        mac_address=endpoint.mac_address,
        address=endpoint.address,
        gateway=endpoint.gateway,
        ipv6_address=endpoint.ipv6_address,
        ipv6_gateway=endpoint.ipv6_gateway,
        mtu=endpoint.mtu,
        hairpin_mode=endpoint.hairpin_mode,
        host_interface_name=endpoint.host_interface_name,
    )
    with machine() as guest:
        attach_networks((interface,), host=host.netlink, guest=guest.netlink).close()
        yield guest


class ServiceOn(NetworkService):
    """The network service of a machine: each verb is called there."""

    def __init__(self, host: Machine, state_dir: str, settings: NetworkSettings | None = None) -> None:
        super().__init__(state_dir, settings or NetworkSettings())
        self._host = host

    def ensure(self) -> tuple[str, ...]:
        """See there."""
        return self._host.call(super().ensure)

    def restore(self, alive_ids: Iterable[str]) -> tuple[str, ...]:
        """See there."""
        return self._host.call(super().restore, alive_ids)

    def attach(self, container_id: str, request: EndpointRequest) -> Endpoint:
        """See there."""
        return self._host.call(super().attach, container_id, request)

    def detach(self, container_id: str) -> None:
        """See there."""
        self._host.call(super().detach, container_id)

    def explain(self, container_id: str) -> tuple[Explanation, ...]:
        """See there."""
        return self._host.call(super().explain, container_id)

    def remove(self) -> None:
        """See there."""
        self._host.call(super().remove)


def process_in(host: Machine, script: str, *arguments: str) -> list[str]:
    """The command that runs a Python script in the machine's network namespace."""
    import sys

    holder = f"--net=/proc/{host.namespace.holder_pid}/ns/net"
    return ["nsenter", holder, "--", sys.executable, "-c", script, *arguments]


def _enter(fd: int) -> None:
    assert threading.current_thread() is not threading.main_thread()
    if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")


def _write(path: str, value: str) -> None:
    with open(path, "w") as file:
        file.write(value)


def _read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()
