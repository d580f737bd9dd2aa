"""An engine's client, against the API with an engine that runs nothing."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from pierhead.api.tls import TlsSettings, make_context
from pierhead.client.address import Address
from pierhead.client.engine import Engine
from tests.support.api_server import served
from tests.support.certificates import Authority
from tests.support.fake_engine import FakeAttachment, FakeEngine

if TYPE_CHECKING:
    from pathlib import Path

    from pierhead.client.streams import Streams


def _read_until(streams: Streams, size: int) -> bytes:
    """What the process writes, at least so much of it or up to its end."""
    found = b""
    while len(found) < size:
        pieces = streams.read()
        if pieces is None:
            break
        found += b"".join(data for _, data in pieces)
    return found


def test_the_end_of_input_over_tls(tmp_path: Path) -> None:
    """The process reads it, and what it says before and afterwards comes whole, also what is under way."""
    authority = Authority(tmp_path)
    certificate, key = authority.make("server")
    theirs = make_context(TlsSettings(certificate=certificate, key=key, authority=str(authority.path)))
    ours = ssl.create_default_context(cafile=str(authority.path))
    ours.load_cert_chain(*authority.make("client"))
    fake = FakeEngine()
    fake.attachment = FakeAttachment(terminal=True, says=[("stdout", b"hello\n")])
    with served(fake, tmp_path, tls=theirs) as api:
        engine = Engine(Address(host="127.0.0.1", port=api.port), tls=ours)
        query = {"stream": True, "stdin": True, "stdout": True}
        with engine.hijack("POST", "/containers/web/attach", terminal=True, **query) as streams:
            assert _read_until(streams, 6) == b"hello\n"
            streams.write(b"a" * 1000)
            while not fake.attachment.read:
                api.get("/_ping")  # what it answers waits for us, unread
            streams.close_input()
            assert _read_until(streams, 2000) == b"A" * 1000
