"""Docker's documents: read in any case, written whole."""

from __future__ import annotations

import pytest

from pierhead.engine.documents import ContainerConfig, HostConfig, PortBinding
from pierhead.errors import InvalidInput
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


@pytest.mark.parametrize("number", [2**63, -(2**63) - 1])
def test_numbers_of_64_bits(number: int) -> None:
    """A number that Go's clients could not have sent is refused, and not met later by the kernel."""
    with pytest.raises(InvalidInput, match="Memory: expected -9223372036854775808 to 9223372036854775807"):
        decode(HostConfig, {"Memory": number})
    assert decode(HostConfig, {"Memory": 2**63 - 1}).memory == 2**63 - 1
