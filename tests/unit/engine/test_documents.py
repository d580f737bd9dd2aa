"""Docker's documents: read in any case, written whole."""

from __future__ import annotations

from pierhead.engine.documents import ContainerConfig, PortBinding
from pierhead.oci.document import decode, encode


def test_names_are_read_in_any_case() -> None:
    """Go's encoding/json reads members in any case, so clients of Docker write them in any."""
    expected = PortBinding(host_port="80")
    assert decode(PortBinding, {"HostPort": "80"}) == decode(PortBinding, {"hostport": "80"}) == expected


def test_every_field_is_written() -> None:
    """Fields at their defaults are there, and None is null."""
    assert encode(PortBinding()) == {"HostIp": "", "HostPort": ""}
    document = encode(ContainerConfig(cmd=("sh",)))
    assert (document["Cmd"], document["Entrypoint"], document["Env"]) == (["sh"], None, [])
    assert decode(ContainerConfig, document) == ContainerConfig(cmd=("sh",))
