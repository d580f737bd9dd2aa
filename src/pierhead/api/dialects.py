"""In which words a client speaks: Docker's, or libpod's, whose paths begin with ``/libpod``.

    /v1.51/containers/json             Docker's
    /v5.4.2/libpod/containers/json     Podman's remote clients'

Both come over the same sockets, to the same engine.
"""

from __future__ import annotations

from pierhead.api.replies import reply_error
from pierhead.api.routing import split_version
from pierhead.api.versions import NEWEST, parse_version
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.api.replies import Reply
    from pierhead.api.routing import Table
    from pierhead.api.versions import Version
    from pierhead.errors import PierheadError

_LIBPOD = "/libpod/"


class Dialect(Value):
    """How requests of one kind are understood, and errors told.

    Fields:
        table: the routes.
        newest: the version of who names none.
        parse_version: what the path's ``v`` is followed by; raises InvalidInput for what is not spoken.
        reply_error: the error as these clients read it.
    """

    table: Table
    newest: Version = NEWEST
    parse_version: Callable[[str], Version] = parse_version
    reply_error: Callable[[PierheadError], Reply] = reply_error


def choose(path: str, docker: Dialect) -> Dialect:
    """The dialect in which the path is written."""
    if not split_version(path)[1].startswith(_LIBPOD):
        return docker
    from pierhead.api.libpod.dialect import LIBPOD  # only where somebody speaks it

    return LIBPOD
