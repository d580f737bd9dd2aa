"""Networks, volumes and namespaces of containers, through an engine."""

from __future__ import annotations

import socket
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from pierhead.engine.documents import (
    ContainerConfig,
    Empty,
    EndpointIPAMConfig,
    EndpointSettings,
    HostConfig,
    Mount,
    NetworkingConfig,
    PortBinding,
    VolumeCreate,
    VolumeOptions,
)
from pierhead.errors import Conflict, InvalidInput
from tests.support.engines import IMAGE, Engines, create, outcome, run, start
from tests.support.networks import Machine, machine
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from pierhead.engine.engine import Engine

pytestmark = requires("root", "busybox")
FOREVER = ("sleep", "1000")
_PATIENCE_S = 60.0


class Bridged:
    """Engines with a default network, on a machine of the test's own: a network namespace."""

    def __init__(self, engines: Engines, host: Machine) -> None:
        self._engines = engines
        self._host = host

    def run(self, work: Callable[[Engine], Awaitable[None]], *, keep: bool = False) -> None:
        """The work is done there, and by threads that are there too."""
        self._host.call(lambda: self._engines.run(work, keep=keep))

    def has_bridge(self) -> bool:
        """Whether the default network's link is there."""
        return bool(self._host.call(lambda: "pier0" in dict(socket.if_nameindex()).values()))


@pytest.fixture
def bridged(tmp_path: Path, engine_store: Path) -> Iterator[Bridged]:
    """One whose bridge and rules vanish with the namespace."""
    with machine() as host:
        yield Bridged(Engines(tmp_path, engine_store, bridge="pier0"), host)


def test_a_network_that_nobody_needs(bridged: Bridged) -> None:
    """It is there as long as an engine or a container is."""

    async def begin(engine: Engine) -> None:
        await start(engine, *FOREVER, network_mode="bridge", name="web")

    async def end(engine: Engine) -> None:
        await engine.remove_container("web", force=True, volumes=False)

    bridged.run(begin, keep=True)
    assert bridged.has_bridge()
    bridged.run(end)
    assert not bridged.has_bridge()


def test_an_address_and_a_hardware_address_of_choice(bridged: Bridged) -> None:
    """Also where the client calls the network ``default``, as docker's command line does."""

    async def work(engine: Engine) -> None:
        wanted = EndpointSettings(
            mac_address="02:42:ac:11:00:77", ipam_config=EndpointIPAMConfig(ipv4_address="172.17.0.77")
        )
        made = await engine.create_container(
            "",
            ContainerConfig(image=IMAGE, cmd=FOREVER),
            HostConfig(network_mode="default"),
            NetworkingConfig(endpoints_config={"default": wanted}),
            "",
        )
        await engine.start_container(made["Id"])
        network = (await engine.inspect_container(made["Id"], size=False))["NetworkSettings"]["Networks"][
            "bridge"
        ]
        assert (network["IPAddress"], network["MacAddress"]) == ("172.17.0.77", "02:42:ac:11:00:77")

    bridged.run(work)


def test_bridge_and_published_port(bridged: Bridged) -> None:
    """A server in the default network is reached at its published port, and gives all back at its end."""

    async def work(engine: Engine) -> None:
        server = "mkdir /w; echo served > /w/index.html; exec httpd -f -p 80 -h /w"
        bindings = {"80/tcp": (PortBinding(host_ip="127.0.0.1"),)}
        made = await start(engine, "sh", "-c", server, network_mode="bridge", port_bindings=bindings)
        settings = (await engine.inspect_container(made, size=False))["NetworkSettings"]
        [published] = settings["Ports"]["80/tcp"]
        url = f"http://127.0.0.1:{published['HostPort']}/index.html"
        assert await engine.jobs.thread(_fetch, url) == b"served\n"
        [summary] = await engine.list_containers(stopped=False, limit=0, size=False, filters={})
        assert summary["Ports"][0]["PublicPort"] == int(published["HostPort"])
        network = await engine.inspect_network("bridge")
        assert network["Containers"][made]["IPv4Address"] == f"{settings['IPAddress']}/16"
        assert settings["IPAddress"].startswith("172.17.0.")
        await engine.stop_container(made, timeout_s=0, signal="")
        await engine.remove_container(made, force=True, volumes=False)
        assert not (await engine.inspect_network("bridge"))["Containers"]

    bridged.run(work)


def _fetch(url: str) -> bytes:
    """What the server says; it may be about to begin."""
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return bytes(answer.read())
        except OSError:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.05)


def test_network_of_another_container(bridged: Bridged) -> None:
    """It is joined with its addresses and its /etc/hosts, as long as the other runs."""

    async def work(engine: Engine) -> None:
        made = await start(engine, *FOREVER, network_mode="bridge", name="first")
        address = (await engine.inspect_container(made, size=False))["NetworkSettings"]["IPAddress"]
        _, output = await run(engine, "sh", "-c", "ip addr; cat /etc/hosts", network_mode="container:first")
        assert output["stdout"].count(address) == 2
        await engine.kill_container(made, signal="")
        await outcome(engine, made)
        other = await create(engine, "true", network_mode="container:first")
        with pytest.raises(Conflict, match="does not run"):
            await engine.start_container(other)

    bridged.run(work)


def test_volumes(engines: Engines) -> None:
    """A named volume is filled by the image, kept, and shared; a nameless one goes with its container."""

    async def work(engine: Engine) -> None:
        named = Mount(type="volume", source="kept", target="/etc")
        script = "cat /etc/motd; echo more > /etc/more; echo x > /data/x"
        volumes = {"/data": Empty()}
        first = await start(engine, "sh", "-c", script, mounts=(named,), volumes=volumes, name="first")
        await outcome(engine, first)
        names = [each["Name"] for each in (await engine.list_volumes({}))["Volumes"]]
        assert len(names) == 2
        code, output = await run(
            engine, "cat", "/etc/motd", "/etc/more", "/data/x", volumes_from=("first:ro",)
        )
        assert (code, output["stdout"]) == (0, "hello\nmore\nx\n")
        with pytest.raises(Conflict):
            await engine.remove_volume("kept", force=False)
        with pytest.raises(InvalidInput, match="No such container: second"):  # not NotFound: see there
            await run(engine, "true", volumes_from=("second",))
        await engine.remove_container(first, force=False, volumes=True)
        assert [each["Name"] for each in (await engine.list_volumes({}))["Volumes"]] == ["kept"]
        await engine.remove_volume("kept", force=False)

    engines.run(work)


def test_events_of_volumes(engines: Engines) -> None:
    """They are told of also where nobody asks for a volume but a container: from its creation to its removal,
    or to the pruning of what it has left.
    """

    async def work(engine: Engine) -> None:
        named = Mount(type="volume", source="kept", target="/kept", read_only=True)
        made = await start(engine, "true", mounts=(named,), volumes={"/v": Empty()})
        await outcome(engine, made)
        await engine.remove_container(made, force=False, volumes=True)
        await engine.prune_volumes({"all": ["true"]})
        now_ns = time.time_ns()
        filters = {"type": ["volume"]}
        told = [each async for each in engine.events(since_ns=1, until_ns=now_ns, filters=filters)]
        both = [[each.action for each in told if (each.actor == "kept") is kept] for kept in (True, False)]
        life = ["create", "mount", "unmount", "destroy"]
        assert both == [life, [*life, "prune"]]
        mounted = next(each for each in told if each.actor == "kept" and each.action == "mount")
        assert mounted.attributes == {
            "driver": "local",
            "container": made,
            "destination": "/kept",
            "propagation": "",
            "read/write": "false",
        }

    engines.run(work)


def test_bind_that_is_not_there(engines: Engines) -> None:
    """Nothing is made of a container whose mount has no source."""

    async def work(engine: Engine) -> None:
        volumes = await engine.create_volume(VolumeCreate(name="vol"))
        assert volumes["Name"] == "vol"
        mount = Mount(type="bind", source="/no/such/place", target="/x")
        with pytest.raises(InvalidInput, match="bind source path does not exist"):
            await create(engine, "true", mounts=(mount,))
        assert not engine.roster.all()
        assert not [each for each in engine.images.snapshotter.walk() if each.kind != "committed"]
        await engine.remove_volume("vol", force=False)

    engines.run(work)


def test_shared_memory(engines: Engines) -> None:
    """Of a container that shares it, others see what it has there; of one that does not, nobody."""

    async def work(engine: Engine) -> None:
        script = "echo shared > /dev/shm/x; exec sleep 1000"
        await start(engine, "sh", "-c", script, ipc_mode="shareable", name="first")
        reading = "until cat /dev/shm/x 2>/dev/null; do :; done"
        _, output = await run(engine, "sh", "-c", reading, ipc_mode="container:first")
        assert output["stdout"] == "shared\n"
        await start(engine, *FOREVER, name="private")
        other = await create(engine, "true", ipc_mode="container:private")
        with pytest.raises(InvalidInput, match="not shareable"):
            await engine.start_container(other)

    engines.run(work)


def test_what_is_mounted_at_the_start_only(engines: Engines) -> None:
    """Of a container that does not run, nobody copies past a part of a volume, nor below what its driver will
    mount over the volume's directory.
    """
    part = Mount(type="volume", source="data", target="/part", volume_options=VolumeOptions(subpath="inner"))
    memory = Mount(type="volume", source="memory", target="/memory")
    whole = Mount(type="volume", source="data", target="/whole")

    async def work(engine: Engine) -> None:
        options = {"type": "tmpfs", "device": "tmpfs"}
        await engine.create_volume(VolumeCreate(name="memory", driver_opts=options))
        made = await create(engine, *FOREVER, mounts=(part, memory, whole))
        assert (await engine.stat_archive(made, "/whole"))["name"] == "whole"
        for place in ("/part", "/memory"):
            with pytest.raises(Conflict, match=f"the volume on {place} of container .* while that runs"):
                await engine.stat_archive(made, f"{place}/x")
        code, _ = await run(engine, "mkdir", "/whole/inner", mounts=(whole,))
        assert code == 0
        await engine.start_container(made)
        for place in ("/part", "/memory"):
            assert (await engine.stat_archive(made, f"{place}"))["name"] == place[1:]

    engines.run(work)
