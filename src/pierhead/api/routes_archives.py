"""Files of containers as archives: ``docker cp`` and ``docker export``."""

from __future__ import annotations

import base64

from pierhead.api.replies import Reply, Stream, encode_json, reply_nothing
from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.api.call import Call

_TAR = "application/x-tar"


def _path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise InvalidInput("bad parameter: path cannot be empty", code="empty-path")
    return path


def _stat_header(stat: dict[str, Any]) -> dict[str, str]:
    return {"X-Docker-Container-Path-Stat": base64.b64encode(encode_json(stat).strip()).decode()}


async def stat(call: Call) -> Reply:
    """``HEAD /containers/{id}/archive``."""
    found = await call.backend.stat_archive(call.reference, _path(call))
    return Reply(headers=_stat_header(found))


async def get(call: Call) -> Stream:
    """``GET /containers/{id}/archive``."""
    found, pieces = await call.backend.get_archive(call.reference, _path(call))
    return Stream(pieces=pieces, headers={"Content-Type": _TAR, **_stat_header(found)})


async def put(call: Call) -> Reply:
    """``PUT /containers/{id}/archive``."""
    await call.backend.put_archive(
        call.reference,
        _path(call),
        call.body.pieces(),
        no_overwrite=call.boolean("noOverwriteDirNonDir"),
        copy_owners=call.boolean("copyUIDGID"),
    )
    return reply_nothing(200)


async def export(call: Call) -> Stream:
    """``GET /containers/{id}/export``."""
    pieces = await call.backend.export_container(call.reference)
    return Stream(pieces=pieces, headers={"Content-Type": "application/octet-stream"})
