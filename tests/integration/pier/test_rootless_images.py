"""Images whose files have many owners, for an ordinary user: pulled by ``pierd`` and by ``pier``, and run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from pierhead.images.tarlayer.entry import Entry
from tests.support.ordinary import User, await_nobody, machine_address, ordinary_user, served
from tests.support.pier import Pier, busybox_layer, write_image
from tests.support.probe import build_probe, read_sight
from tests.support.registries import registry
from tests.support.requires import requires
from tests.support.tars import pack

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "newuidmap", "slirp4netns", "docker")

_NEIGHBOUR = "198.51.100.8"
_FIRST_BEYOND = 65537
_CAPABILITY = {b"security.capability": b"\1\0\0\2" + (1 << 13).to_bytes(4, "little") + bytes(12)}
"""Effective and permitted CAP_NET_RAW as images have it: capabilities(7), VFS_CAP_REVISION_2."""
_NET_RAW = 13
_LOOK = "cd /srv; stat -c '%u:%g %a %N' . * inner/*"
_SEEN = """\
1000:1001 2775 .
0:0 755 able
33:8 6711 both
1000:1000 1777 inner
65536:65536 640 last
1000:33 777 'link' -> 'last'
0:0 4755 setuid
7:7 600 inner/twin
7:7 600 inner/twin2
"""


def _layer(probe: bytes) -> bytes:
    """Files of many owners, the last that there is among them."""
    return pack(
        Entry(name=b"srv", kind="directory", mode=0o2775, uid=1000, gid=1001),
        (Entry(name=b"srv/setuid", mode=0o4755), probe),
        (Entry(name=b"srv/able", mode=0o755, xattrs=_CAPABILITY), probe),
        (Entry(name=b"srv/both", mode=0o6711, uid=33, gid=8), probe),
        (Entry(name=b"srv/last", mode=0o640, uid=65536, gid=65536), b"last"),
        Entry(name=b"srv/link", kind="symlink", linkname=b"last", mode=0o777, uid=1000, gid=33),
        Entry(name=b"srv/inner", kind="directory", mode=0o1777, uid=1000, gid=1000),
        (Entry(name=b"srv/inner/twin", mode=0o600, uid=7, gid=7), b"twin"),
        Entry(name=b"srv/inner/twin2", kind="hardlink", linkname=b"srv/inner/twin"),
    )


class Port(NamedTuple):
    """Where the registry is."""

    near: str
    """At the machine's loopback."""
    far: str
    """At an address that namespaces reach, too."""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Port]:
    """Our registry, which has three images.

    ``one`` and ``two`` have the same files of many owners upon different layers; a file in ``beyond`` belongs
    to somebody whom the user's namespace does not have.
    """
    directory = tmp_path_factory.mktemp("registry")
    base, owners = busybox_layer(directory), _layer(build_probe().read_bytes())
    beyond = pack((Entry(name=b"srv/beyond", uid=_FIRST_BEYOND), b""))
    images = {
        "one": (base, owners),
        "two": (base, pack((Entry(name=b"etc/two"), b"")), owners),
        "beyond": (base, beyond),
    }
    pier = Pier(directory / "data")
    with machine_address(_NEIGHBOUR), registry(directory / "root", host="0.0.0.0") as it:
        for name, layers in images.items():
            layout = write_image(directory / name, *layers, Cmd=["sh"], Env=["PATH=/bin"])
            pier("load", "--quiet", "--input", str(layout), "--name", f"{it.address}/{name}")
            pier("push", "--quiet", f"{it.address}/{name}")
        yield Port(it.address, f"{_NEIGHBOUR}:{it.port}")


@pytest.fixture
def user() -> Iterator[User]:
    """A user who has nothing yet."""
    with ordinary_user() as it:
        yield it


def says(user: User, *words: str) -> str:
    """What a call of the user's that went well has printed."""
    status, text = user.run(*words)
    assert status == 0, (words, text)
    return text


def refuses(user: User, *words: str) -> str:
    """What a call of the user's that failed has said."""
    status, text = user.run(*words)
    assert status, (words, text)
    return text


def look(user: User, *run: str) -> None:
    """A container of the image shows its files with their owners and modes; setuid and capabilities count."""
    assert says(user, *run[:-1], run[-1], "sh", "-c", _LOOK) == _SEEN
    user_1000 = (*run[:-1], "--user", "1000", run[-1])
    assert _probe(user, *user_1000, "/srv/setuid", "ids")["ids"]["uids"] == [1000, 0, 0]
    sight = _probe(user, *user_1000, "/srv/able", "ids", "caps")
    assert sight["ids"]["uids"] == [1000, 1000, 1000]
    assert sight["caps"]["effective"] == 1 << _NET_RAW


def _probe(user: User, *words: str) -> dict[str, Any]:
    return read_sight(says(user, *words))


def test_pulled_by_the_engine(user: User, port: Port) -> None:
    """What docker has the user's pierd pull has its owners, modes and capabilities; files of somebody
    whom the user's namespace does not have are refused by name.
    """
    with served(user, "--insecure-registry", port.far) as it:
        docker = ("docker", "--host", f"unix://{it.socket_path}")
        says(user, *docker, "pull", "--quiet", f"{port.far}/one")
        look(user, *docker, "run", "--rm", "--network", "none", f"{port.far}/one")
        said = refuses(user, *docker, "pull", "--quiet", f"{port.far}/beyond")
        assert f"cannot unpack 'srv/beyond': it belongs to {_FIRST_BEYOND}:0" in said
    assert await_nobody(user) == []


def test_pulled_by_pier(user: User, port: Port) -> None:
    """The same for pier, which pulls outside of the namespace and from the machine's loopback, before there
    is an engine and beside one, which unpacks at the first container.
    """
    pier = user.call("pierhead.cli.pier")
    run = (*pier, "run", "--rm", "--network", "none")
    assert says(user, *pier, "pull", "--quiet", f"{port.near}/one") == f"{port.near}/one:latest\n"
    with served(user) as it:
        look(user, *run, f"{port.near}/one")
        for name in ("two", "beyond"):
            says(user, *pier, "pull", "--quiet", f"{port.near}/{name}")
        look(user, *run, f"{port.near}/two")
        assert "it belongs to 65537:0" in refuses(user, *run, f"{port.near}/beyond", "true")
        docker = ("docker", "--host", f"unix://{it.socket_path}", "rmi", "--force")
        says(user, *docker, f"{port.near}/one", f"{port.near}/two")
    assert await_nobody(user) == []
