"""Connections with monitors, whose clients read as they like."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, cast

from pierhead.engine.queries import AttachQuery
from pierhead.engine.streams import MonitorAttachment

if TYPE_CHECKING:
    from pierhead.runtime.attach import AttachClient


class Client:
    """One that has pieces to read, of a monitor that notes when each was taken."""

    def __init__(self, count: int) -> None:
        self.left = count
        self.fd, other = os.pipe()
        os.close(other)

    def set_blocking(self, blocking: bool) -> None:  # noqa: FBT001 - as the real one's
        """It must not wait."""
        assert not blocking

    def fileno(self) -> int:
        """Of something to poll."""
        return self.fd

    def read(self) -> tuple[str, bytes] | None:
        """The next piece."""
        if not self.left:
            return None
        self.left -= 1
        return "stdout", b"%d" % self.left

    def close(self) -> None:
        """It is given back."""
        os.close(self.fd)


def test_a_client_that_reads_nothing_for_long() -> None:
    """Pieces are taken for it one by one, so that its monitor does not give it up; it gets them all."""

    async def work() -> None:
        client = Client(5)
        query = AttachQuery(stdout=True)
        attachment = MonitorAttachment(query, terminal=False, closes_input=False, patience_s=0.001)
        attachment.connect(cast("AttachClient", client))
        output = attachment.output()
        found = [await anext(output)]
        while client.left:
            await asyncio.sleep(0.001)
        found += [piece async for piece in output]
        assert found == [("stdout", b"%d" % number) for number in (4, 3, 2, 1, 0)]
        await attachment.close()

    asyncio.run(work())
