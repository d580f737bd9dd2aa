"""One engine has a bridge: the next one that wants it is told, before they disturb each other.

The claim is a socket with an abstract name, which belongs to the network namespace as the bridge does, and
ends with its holder (unix(7)).  Anybody may bind such a name, so a claim of a user who could not have an
engine on this bridge counts for nothing.
"""

from __future__ import annotations

import os
from errno import EADDRINUSE
from socket import AF_UNIX, SO_PEERCRED, SOCK_STREAM, SOL_SOCKET, socket
from struct import Struct

from pierhead.errors import Conflict

_UCRED = Struct("=iII")


def claim_bridge(bridge: str) -> socket:
    """A socket that is the claim, for the caller to close.

    Raises:
        Conflict: another engine has the bridge.
    """
    name = f"\0pierhead/network/{bridge}"
    claim = socket(AF_UNIX, SOCK_STREAM)
    try:
        claim.bind(name)
        claim.listen(1)
    except OSError as error:
        claim.close()
        if error.errno != EADDRINUSE:
            raise
        uid, pid = _holder(name)
        if uid in (0, os.geteuid()):
            raise Conflict(
                f"another engine (process {pid}) has bridge {bridge}",
                code="bridge-in-use",
                hint="give each engine a bridge of its own in its settings",
            ) from None
        claim = socket(AF_UNIX, SOCK_STREAM)
    except BaseException:
        claim.close()
        raise
    return claim


def _holder(name: str) -> tuple[int, int]:
    """User and process that listen at the name; -1 where nobody does."""
    with socket(AF_UNIX, SOCK_STREAM) as asking:
        asking.setblocking(False)
        try:
            asking.connect(name)
        except OSError:
            return -1, -1
        pid, uid, _gid = _UCRED.unpack(asking.getsockopt(SOL_SOCKET, SO_PEERCRED, _UCRED.size))
        return uid, pid
