"""One daemon at a time in a data root; one that comes while the last one ends waits for its end.

    DATA_ROOT/pierd.lock    locked as long as a daemon has the root; ``ends`` stands in it once it stops

One that was killed may have left the lock for a moment to a process that it had just begun to start.  Else
whoever calls the engine in that moment would be told that another one works there.
"""

from __future__ import annotations

import asyncio
import os

from pierhead.errors import Conflict
from pierhead.linux.files import lock_at_once

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

_ENDS = b"ends\n"
_LOOK_S = 0.05
_PATIENCE_S = 2.0


class DataLock:
    """The lock of a data root.  A context manager: afterwards it is free."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._fd = -1

    def __enter__(self) -> Self:
        """Its file is open."""
        os.makedirs(self._root, mode=0o711, exist_ok=True)
        self._fd = os.open(f"{self._root}/pierd.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    async def take(self) -> None:
        """No other daemon works in the root.

        Raises:
            Conflict: another one does, and goes on.
        """
        loop = asyncio.get_running_loop()
        deadline_s = loop.time() + _PATIENCE_S
        while not lock_at_once(self._fd):
            if loop.time() > deadline_s and os.pread(self._fd, len(_ENDS), 0) != _ENDS:
                hint = "stop it, or give this one a --data-root and an --exec-root of its own"
                raise Conflict(f"another pierd works in {self._root}", code="daemon-runs", hint=hint)
            await asyncio.sleep(_LOOK_S)
        os.ftruncate(self._fd, 0)

    def tell_end(self) -> None:
        """Whoever wants the root waits until it is free."""
        os.pwrite(self._fd, _ENDS, 0)
