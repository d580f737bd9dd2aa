"""What the network service remembers on disk, so that a killed daemon's successor goes on where it stopped.

    STATE_DIR/
      network.json        the network as it was decided
      endpoints/ID.json   a container's endpoint: there before its ports lead anywhere, gone after them

A file for each endpoint: starting a container costs the same with one as with a thousand.  Files appear
whole.  Nothing outlives the boot, so nothing is flushed to disk.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from pierhead import jsontext
from pierhead.errors import InvalidInput
from pierhead.ids import check_container_id
from pierhead.linux.files import read_file, remove_if_there, replace_file
from pierhead.linux.refusals import Refusals
from pierhead.net.model import Endpoint, Network
from pierhead.oci.document import decode, encode

if TYPE_CHECKING:
    from pierhead.values import Value

_NETWORK = "network.json"
_ENDPOINTS = "endpoints"
_SUFFIX = ".json"


class StateFiles:
    """The files below one directory, which is made; close it in the end."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        with Refusals(f"make the network's state directory {directory}"):
            for path in (directory, f"{directory}/{_ENDPOINTS}"):
                os.makedirs(path, mode=0o700, exist_ok=True)
            self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._endpoints_fd = -1
            try:
                flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
                self._endpoints_fd = os.open(_ENDPOINTS, flags, dir_fd=self._fd)
            except BaseException:
                self.close()
                raise

    def close(self) -> None:
        """The descriptors are closed; closing again does nothing."""
        for fd in (self._fd, self._endpoints_fd):
            if fd >= 0:
                os.close(fd)
        self._fd = self._endpoints_fd = -1

    def find_network(self) -> Network | None:
        """The network that was decided; None where none was."""
        try:
            raw = read_file(_NETWORK, directory_fd=self._fd)
        except FileNotFoundError:
            return None
        return decode(Network, jsontext.parse(raw, name=f"{self._directory}/{_NETWORK}"), unknown=[])

    def save_network(self, network: Network) -> None:
        """The network is remembered."""
        with Refusals(f"write the state of network {network.name}"):
            replace_file(self._fd, _NETWORK, _bytes(network))

    def forget_network(self) -> None:
        """No network is remembered."""
        remove_if_there(_NETWORK, self._fd)

    def endpoints(self) -> tuple[tuple[Endpoint, ...], tuple[str, ...]]:
        """The endpoints that are remembered, and a sentence for each file that cannot be read."""
        found, complaints = [], []
        for name in sorted(os.listdir(self._endpoints_fd)):
            if name.startswith(".") or not name.endswith(_SUFFIX):
                remove_if_there(name, self._endpoints_fd)  # a killed writer's
                continue
            try:
                raw = read_file(name, directory_fd=self._endpoints_fd)
                path = f"{self._directory}/{_ENDPOINTS}/{name}"
                found.append(decode(Endpoint, jsontext.parse(raw, name=path), unknown=[]))
            except InvalidInput as error:
                complaints.append(f"the endpoint of container {name.removesuffix(_SUFFIX)} is lost: {error}")
        return tuple(found), tuple(complaints)

    def save_endpoint(self, endpoint: Endpoint) -> None:
        """The endpoint is remembered."""
        check_container_id(endpoint.container_id)
        with Refusals(f"write the endpoint of container {endpoint.container_id}"):
            replace_file(self._endpoints_fd, endpoint.container_id + _SUFFIX, _bytes(endpoint))

    def forget_endpoint(self, container_id: str) -> None:
        """The container's endpoint is not remembered."""
        remove_if_there(container_id + _SUFFIX, self._endpoints_fd)


def _bytes(value: Value) -> bytes:
    return jsontext.format_compact(encode(value)).encode()
