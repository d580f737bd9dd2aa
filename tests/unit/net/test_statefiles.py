"""What the network service remembers in files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pierhead.net.model import Endpoint, Network, PublishedPort
from pierhead.net.statefiles import StateFiles

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NETWORK = Network(id="n", bridge="pier0", subnet="172.17.0.0/16", gateway="172.17.0.1", edges4=("eth0",))
ENDPOINT = Endpoint(
    container_id="web",
    endpoint_id="e",
    network="bridge",
    network_id="n",
    bridge="pier0",
    host_interface_name="veth1",
    address="172.17.0.2/16",
    gateway="172.17.0.1",
    mac_address="02:42:ac:11:00:02",
    mtu=1500,
    ports=(PublishedPort(container_port=80, protocol="tcp", host_ip="::", host_port=8080),),
)


@pytest.fixture
def files(tmp_path: Path) -> Iterator[StateFiles]:
    """In a directory that is made."""
    made = StateFiles(str(tmp_path / "run/network"))
    yield made
    made.close()


def test_remembered(files: StateFiles) -> None:
    """Networks and endpoints come back as they were, until they are forgotten; forgetting twice is well."""
    assert (files.find_network(), files.endpoints()) == (None, ((), ()))
    files.save_network(NETWORK)
    files.save_endpoint(ENDPOINT)
    assert files.find_network() == NETWORK
    assert files.endpoints() == ((ENDPOINT,), ())
    for _ in range(2):
        files.forget_network()
        files.forget_endpoint("web")
    assert (files.find_network(), files.endpoints()) == (None, ((), ()))


def test_broken_file(files: StateFiles, tmp_path: Path) -> None:
    """One file that cannot be read hides no other, and is told of; what a killed writer left goes."""
    files.save_endpoint(ENDPOINT)
    directory = tmp_path / "run/network/endpoints"
    (directory / "bad.json").write_text('{"container_id": 7}')
    (directory / ".web.json.4711").write_text("{")
    endpoints, (complaint,) = files.endpoints()
    assert endpoints == (ENDPOINT,)
    assert complaint.startswith("the endpoint of container bad is lost: $.container_id: expected a string")
    assert sorted(path.name for path in directory.iterdir()) == ["bad.json", "web.json"]


def test_private(files: StateFiles, tmp_path: Path) -> None:
    """Nobody else reads the directory; closing twice is well."""
    files.save_network(NETWORK)
    assert (tmp_path / "run/network").stat().st_mode & 0o777 == 0o700
    files.close()
