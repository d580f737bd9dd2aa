"""TLS: who may connect, what they may, and that each side closes its own half."""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pierhead.api.tls import TlsSettings, make_context, role_of
from pierhead.errors import InvalidInput
from tests.support.api_server import Client, receive_all, receive_until, served
from tests.support.certificates import Authority
from tests.support.fake_engine import FakeAttachment, FakeEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs for server and clients."""
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def api(authority: Authority, tmp_path: Path) -> Iterator[Client]:
    """A server that wants certificates; its engine's process says hello and echoes."""
    certificate, key = authority.make("server")
    context = make_context(TlsSettings(certificate=certificate, key=key, authority=str(authority.path)))
    engine = FakeEngine()
    engine.attachment = FakeAttachment(terminal=True, says=[("stdout", b"hello\n")])
    with served(engine, tmp_path, tls=context) as client:
        yield client


@contextmanager
def speaking(
    api: Client, authority: Authority, name: str = "", unit: str = "", certificate: tuple[str, ...] = ()
) -> Iterator[Speaker]:
    """A client with a certificate, of the authority or the given one, or without."""
    context = ssl.create_default_context(cafile=str(authority.path))
    shown = authority.make(name, unit) if name else certificate
    if shown:
        context.load_cert_chain(*shown)
    with socket.create_connection(("127.0.0.1", api.port)) as raw:
        raw.settimeout(30)
        yield Speaker(raw, context)


class Speaker:
    """TLS by hand: Python's own sockets cannot close a half either."""

    def __init__(self, raw: socket.socket, context: ssl.SSLContext) -> None:
        self._raw = raw
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname="127.0.0.1")
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._pump()
            else:
                break
        self._flush()

    def _flush(self) -> None:
        if self._out.pending:
            self._raw.sendall(self._out.read())

    def _pump(self) -> None:
        self._flush()
        data = self._raw.recv(65536)
        self._in.write(data) if data else self._in.write_eof()

    def send(self, data: bytes) -> None:
        """All of it."""
        self._tls.write(data)
        self._flush()

    def end(self) -> None:
        """No more is sent: close_notify, and the connection stays."""
        with pytest.raises(ssl.SSLWantReadError):
            self._tls.unwrap()
        self._flush()

    def recv(self, size: int) -> bytes:
        """What comes; b"" at the server's end."""
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._pump()
            except ssl.SSLZeroReturnError:
                return b""


def ask(speaker: Speaker, text: str) -> bytes:
    """The answer's first line."""
    speaker.send(text.replace("\n", "\r\n").encode())
    return receive_until(speaker, b"\r\n").partition(b"\r\n")[0]


def test_nobody_without_a_certificate(api: Client, authority: Authority, tmp_path: Path) -> None:
    """Whom the authority does not know gets no answer, also with what somebody else has signed."""
    (tmp_path / "strangers").mkdir()
    stranger = Authority(tmp_path / "strangers").make("ci")
    for shown in ((), stranger):
        with (
            pytest.raises((ssl.SSLError, ConnectionError)),
            speaking(api, authority, certificate=shown) as speaker,
        ):
            ask(speaker, "GET /_ping HTTP/1.1\n\n")
    with speaking(api, authority, "ci") as speaker:
        assert ask(speaker, "GET /_ping HTTP/1.1\n\n") == b"HTTP/1.1 200 OK"


def test_roles(api: Client, authority: Authority) -> None:
    """A certificate of the unit read-only may look, and change nothing."""
    with speaking(api, authority, "dashboard", "read-only") as speaker:
        assert ask(speaker, "GET /containers/json HTTP/1.1\n\n") == b"HTTP/1.1 200 OK"
    for text in ("POST /containers/web/start", "GET /containers/web/attach/ws", "DELETE /containers/web"):
        with speaking(api, authority, "dashboard", "read-only") as speaker:
            assert ask(speaker, f"{text} HTTP/1.1\n\n") == b"HTTP/1.1 403 Forbidden"
    with speaking(api, authority, "ci", "builders") as speaker:
        assert ask(speaker, "POST /containers/web/start HTTP/1.1\n\n") == b"HTTP/1.1 204 No Content"


def test_each_side_closes_its_own_half(api: Client, authority: Authority) -> None:
    """The process reads its end of input, and what it says afterwards still comes."""
    with speaking(api, authority, "ci") as speaker:
        request = "POST /containers/web/attach?stdin=1&stdout=1&stream=1 HTTP/1.1\r\n"
        speaker.send(f"{request}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode())
        receive_until(speaker, b"hello\n")
        speaker.send(b"a" * 100_000)
        speaker.end()
        found = b""
        while piece := speaker.recv(65536):
            found += piece
    assert found == b"A" * 100_000


def test_what_is_no_tls(api: Client) -> None:
    """Somebody who speaks plain HTTP is hung up on; the next is served."""
    with socket.create_connection(("127.0.0.1", api.port)) as raw:
        raw.settimeout(30)
        raw.sendall(b"GET /_ping HTTP/1.1\r\n\r\n")
        assert b"HTTP" not in receive_all(raw)
    assert api.get("/_ping").status == 200


def test_files_that_are_none(authority: Authority, tmp_path: Path) -> None:
    """The sentence names them."""
    certificate, _ = authority.make("other")
    with pytest.raises(InvalidInput, match="missing"):
        make_context(TlsSettings(certificate=certificate, key=str(tmp_path / "missing")))


def test_whose_role() -> None:
    """Of the parts of a name only the unit counts."""
    unit, common = ("organizationalUnitName", "read-only"), ("commonName", "read-only")
    assert role_of({"subject": ((common,),)}) == "full"
    assert role_of({"subject": ((common,), (unit,))}) == "read-only"
    assert role_of({}) == "full"
