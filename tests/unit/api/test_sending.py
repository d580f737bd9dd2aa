"""What is sent to clients who are there no more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from pierhead.api.connection import ClientGone
from pierhead.api.head import parse_head
from pierhead.api.replies import Hijack
from pierhead.api.sending import Sender
from tests.support.fake_engine import FakeAttachment

if TYPE_CHECKING:
    from pierhead.api.connection import Connection
    from pierhead.api.duplex import Duplex


class _Gone:
    """A connection whose client has gone."""

    hijacked = False

    async def send(self, data: bytes) -> None:
        """It cannot."""
        raise ClientGone(f"nobody gets {len(data)} bytes")


def test_a_client_that_goes_before_the_talk() -> None:
    """What was attached for it is closed all the same: its process may wait for the end of its input."""
    attachment = FakeAttachment(terminal=False)

    async def talk(_: Duplex) -> None:
        pytest.fail("nobody is there to talk with")

    head = parse_head(b"POST /containers/web/attach HTTP/1.1\r\nHost: d\r\n\r\n")
    answer = Hijack(content_type="text/plain", talk=talk, attachment=attachment)
    with pytest.raises(ClientGone):
        asyncio.run(Sender({}).take_over(cast("Connection", _Gone()), head, answer))
    assert attachment.closed
