"""What a registry is told at its start."""

from __future__ import annotations

from pierhead.values import Value


class Settings(Value):
    """A registry's settings.

    Fields:
        root: directory that holds everything; made if need be.
        host, port: where it listens; port 0 is any free one.
        chunk_least_bytes: clients are asked for chunks of at least this size; 0 asks for nothing.
        idle_s: a client that sends nothing of its body for so long is hung up on.
        grace_s: what nothing needs is kept for so long after it was last asked for.
    """

    root: str
    host: str = "127.0.0.1"
    port: int = 5000
    chunk_least_bytes: int = 0
    idle_s: float = 120.0
    grace_s: int = 3600
