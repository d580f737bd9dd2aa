"""Private network namespaces for tests, with netlink sockets: no link of the machine is touched."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

from pierhead.linux.netlink import NetlinkSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

# Runs in the namespace: opens the netlink socket, hands it over, and holds the namespace till its input ends.
_HOLDER = """
import os, socket, sys
control = socket.socket(fileno=int(sys.argv[1]))
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
socket.send_fds(control, [b"netlink"], [netlink.fileno()])
netlink.close()
control.recv(1)
"""


class Namespace:
    """A network namespace that lives as long as the test's block; ``netlink`` is a socket within it."""

    def __init__(self, netlink: NetlinkSocket, holder_pid: int) -> None:
        self.netlink = netlink
        self.holder_pid = holder_pid

    @property
    def sysfs(self) -> str:
        """The namespace's own /sys/class/net, as the test sees it."""
        return f"/proc/{self.holder_pid}/root/sys/class/net"

    def run(self, *command: str) -> str:
        """What a command printed that ran in the namespace; it must end well."""
        entered = ["nsenter", f"--net=/proc/{self.holder_pid}/ns/net", "--", *command]
        return subprocess.run(entered, check=True, capture_output=True, text=True).stdout

    def python(self, script: str) -> str:
        """What a Python script printed that ran in the namespace."""
        return self.run(sys.executable, "-I", "-c", script).strip()


@contextlib.contextmanager
def private_namespace() -> Iterator[Namespace]:
    """A new network namespace (with its own /sys) and a netlink socket in it; both end with the block."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    script = f'mount -t sysfs sysfs /sys && exec "{sys.executable}" -I -c "$@"'
    command = ["unshare", "--net", "--mount", "sh", "-c", script, "sh", _HOLDER]
    with ours:
        with theirs:
            holder = subprocess.Popen([*command, str(theirs.fileno())], pass_fds=[theirs.fileno()])
        try:
            _, (fd,), _, _ = socket.recv_fds(ours, 16, 1)
            os.set_inheritable(fd, False)
            with NetlinkSocket(fd) as netlink:
                yield Namespace(netlink, holder.pid)
        finally:
            ours.close()
            holder.wait()
