"""A container's network without a kernel: statistics from files, the how-to page's configurations."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from pierhead.errors import OperationFailed
from pierhead.runtime.network import HostLink, InterfaceStatistics, interface_statistics

LINK = HostLink(name="v0", index=7, guest_name="eth0")


@pytest.fixture
def sysfs(tmp_path: Path) -> Path:
    """The link v0 of index 7, each counter with a number of its own."""
    statistics = tmp_path / "v0" / "statistics"
    statistics.mkdir(parents=True)
    (tmp_path / "v0" / "ifindex").write_text("7\n")
    for number, counter in enumerate(("bytes", "packets", "errors", "dropped"), start=1):
        (statistics / f"rx_{counter}").write_text(f"{number}\n")
        (statistics / f"tx_{counter}").write_text(f"{2**64 - number}\n")
    return tmp_path


def test_the_container_s_view(sysfs: Path) -> None:
    """What the host's end receives the container has sent, and the other way round."""
    assert interface_statistics([LINK], sysfs=str(sysfs)) == (
        InterfaceStatistics(
            name="eth0",
            host_interface_name="v0",
            tx_bytes=1,
            tx_packets=2,
            tx_errors=3,
            tx_dropped=4,
            rx_bytes=2**64 - 1,
            rx_packets=2**64 - 2,
            rx_errors=2**64 - 3,
            rx_dropped=2**64 - 4,
        ),
    )


def test_links_that_are_gone(sysfs: Path) -> None:
    """A link without files, or whose name is another link's now, is left out."""
    gone = LINK.replace(name="v1")
    replaced = LINK.replace(index=6)
    assert interface_statistics([gone, replaced], sysfs=str(sysfs)) == ()


def test_unreadable_statistics(sysfs: Path) -> None:
    """Any other trouble is an error that names the link."""
    counter = sysfs / "v0" / "statistics" / "rx_bytes"
    counter.unlink()
    counter.mkdir()
    with pytest.raises(OperationFailed, match="cannot read the statistics of link v0: is a directory"):
        interface_statistics([LINK], sysfs=str(sysfs))


def test_the_how_to() -> None:
    """The snippets of docs/how-to/networks.md make configurations."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "networks.md"
    names: dict[str, Any] = {}
    for snippet in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        exec(snippet, names)
    config = names["config"]
    assert [network.type for network in config.networks] == ["loopback", "veth"]
    assert len(config.routes) == 2
    assert config.net_devices["enp3s0f1"].name == "data0"
