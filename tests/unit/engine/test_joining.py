"""Containers whose namespaces a new one joins, and what that is called."""

from __future__ import annotations

import os

from pierhead.engine.documents import ContainerConfig, HostConfig
from pierhead.engine.joining import with_hostname, with_ids
from pierhead.engine.record import Record

ID, OWN = "ab" * 32, "0123456789ab" + "0" * 52
OWNER = Record(
    id=ID,
    name="web",
    created_ns=1,
    image="box",
    config=ContainerConfig(hostname="shop", domainname="example"),
    host=HostConfig(),
)


def find(reference: str) -> Record | None:
    """There is one container."""
    return OWNER if reference in ("web", ID[:5], ID) else None


def test_ids() -> None:
    """They take the place of names; a name that nobody has stays."""
    host = HostConfig(network_mode="container:web", pid_mode=f"container:{ID[:5]}", ipc_mode="container:gone")
    found = with_ids(host, find)
    assert (found.network_mode, found.pid_mode) == (f"container:{ID}", f"container:{ID}")
    assert found.ipc_mode == "container:gone"
    assert with_ids(HostConfig(network_mode="bridge"), find) == HostConfig(network_mode="bridge")


def test_hostnames() -> None:
    """The own one, the machine's, the owner's of the network, or the beginning of the id."""

    def name(mode: str, hostname: str = "") -> tuple[str, str]:
        found = with_hostname(ContainerConfig(hostname=hostname), HostConfig(network_mode=mode), OWN, find)
        return found.hostname, found.domainname

    assert name("host", "mine") == ("mine", "")
    assert name("host") == (os.uname().nodename, "")
    assert name("container:web") == ("shop", "example")
    assert name("container:gone") == name("bridge") == (OWN[:12], "")
