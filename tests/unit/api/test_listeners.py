"""Where clients come in."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from typing import TYPE_CHECKING

import pytest

from pierhead.api.listeners import Address, inherited_sockets, listening, parse_address
from pierhead.errors import Conflict, InvalidInput, OperationFailed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "tls", "wanted"),
    [
        ("unix://", False, "unix:///default"),
        ("unix:///a/b", False, "unix:///a/b"),
        ("/a/b", False, "unix:///a/b"),
        ("tcp://", False, "tcp://127.0.0.1:2375"),
        ("tcp://0.0.0.0", True, "tcp://0.0.0.0:2376"),
        ("tcp://:99", True, "tcp://127.0.0.1:99"),
        ("tcp://[::1]:7/", False, "tcp://[::1]:7"),
        ("fd://", False, "fd://"),
        ("fd://*", False, "fd://"),
        ("fd://docker.socket", False, "fd://docker.socket"),
    ],
)
def test_addresses(text: str, tls: bool, wanted: str) -> None:  # noqa: FBT001 - a row of the table
    """As docker writes them, with its ports."""
    assert parse_address(text, tls=tls, default_path="/default").text == wanted


@pytest.mark.parametrize("text", ["", "http://a", "tcp://a:b", "tcp://a:70000", "unix://relative", "a:1"])
def test_what_is_no_address(text: str) -> None:
    """The hint shows the forms."""
    with pytest.raises(InvalidInput, match="invalid address") as caught:
        parse_address(text, tls=False, default_path="/default")
    assert "tcp://" in caught.value.hint


def test_inherited_sockets() -> None:
    """Only those that were meant for this process (sd_listen_fds(3))."""
    environment = {"LISTEN_PID": "7", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "api:other"}
    assert inherited_sockets(environment, 7) == {3: "api", 4: "other"}
    assert inherited_sockets({**environment, "LISTEN_FDNAMES": ""}, 7) == {3: "", 4: ""}
    assert inherited_sockets(environment, 8) == {}
    assert inherited_sockets({}, 8) == {}


async def _enter(address: Address, *, group_id: int = -1, **how: object) -> tuple[Address, ...]:
    async with listening(address, lambda _: None, group_id=group_id, **how) as found:  # type: ignore[arg-type]
        if address.kind == "unix":
            about = os.stat(address.path)
            assert stat.S_IMODE(about.st_mode) == 0o660
            assert about.st_gid == (os.getegid() if group_id < 0 else group_id)
        return found


def test_a_socket_of_ones_own(tmp_path: Path) -> None:
    """Owner and group may use it; it takes the place of a killed daemon's, and goes."""
    address = Address(kind="unix", path=str(tmp_path / "below/api.sock"))
    (tmp_path / "below").mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(address.path)
    others = (
        4711 if os.geteuid() == 0 else max((os.getgid(), *os.getgroups()))
    )  # nobody gives what is not theirs
    assert asyncio.run(_enter(address, group_id=others)) == (address,)
    assert not os.path.lexists(address.path)


def test_a_socket_of_another(tmp_path: Path) -> None:
    """Nobody's socket is taken, and no file that is none."""
    address = Address(kind="unix", path=str(tmp_path / "api.sock"))
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(address.path)
        other.listen()
        with pytest.raises(Conflict, match="somebody listens"):
            asyncio.run(_enter(address))
    os.unlink(address.path)
    (tmp_path / "api.sock").write_text("precious")
    with pytest.raises(Conflict, match="is no socket"):
        asyncio.run(_enter(address))
    assert (tmp_path / "api.sock").read_text() == "precious"


def test_a_port(tmp_path: Path) -> None:
    """Port 0 is any free one, which is told; one that is taken is refused."""
    (found,) = asyncio.run(_enter(Address(kind="tcp", host="127.0.0.1")))
    assert found.port > 0
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = Address(kind="tcp", host="127.0.0.1", port=other.getsockname()[1])
        with pytest.raises(OperationFailed, match="cannot listen at tcp"):
            asyncio.run(_enter(taken))


def test_a_socket_that_was_open_before_us(tmp_path: Path) -> None:
    """By number or by name; its file is not ours to remove."""
    path = str(tmp_path / "given.sock")
    for name in ("", "api"):
        given = socket.socket(socket.AF_UNIX)
        given.bind(path)
        given.listen()
        fd = given.detach()
        (found,) = asyncio.run(_enter(Address(kind="fd", name=name), inherited={fd: "api"}))
        assert found == Address(kind="unix", path=path)
        assert os.path.exists(path)
        os.unlink(path)
    with pytest.raises(InvalidInput, match="nobody gave us a socket"):
        asyncio.run(_enter(Address(kind="fd", name="else"), inherited={99: "api"}))
