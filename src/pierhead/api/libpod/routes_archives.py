"""Files of a libpod client's containers as archives: ``podman cp`` and ``podman export``."""

from __future__ import annotations

import base64

from pierhead.api.replies import Reply, Stream, encode_json, reply_nothing
from pierhead.errors import InvalidInput, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.api.call import Call

_TAR = "application/x-tar"
_IS_DIRECTORY = 1 << 31
"""In Go's os.FileMode."""


def _path(call: Call) -> str:
    path = call.text("path")
    if not path:
        raise InvalidInput("the path of an archive is empty", code="empty-path")
    if call.text("rename"):
        message = "names in an archive are not changed by this engine"
        raise Unsupported(message, code="no-rename", hint="change them in the archive")
    return path


def stat_header(stat: dict[str, Any], path: str) -> dict[str, str]:
    """What clients learn of a file before its archive; a file that is no link leads to itself."""
    document = {
        **stat,
        "isDir": bool(stat["mode"] & _IS_DIRECTORY),
        "linkTarget": stat["linkTarget"] or path,
    }
    return {"X-Docker-Container-Path-Stat": base64.b64encode(encode_json(document).strip()).decode()}


async def stat(call: Call) -> Reply:
    """``HEAD /libpod/containers/{id}/archive``."""
    path = _path(call)
    return Reply(headers=stat_header(await call.backend.stat_archive(call.reference, path), path))


async def get(call: Call) -> Stream:
    """``GET /libpod/containers/{id}/archive``."""
    path = _path(call)
    found, pieces = await call.backend.get_archive(call.reference, path)
    return Stream(pieces=pieces, headers={"Content-Type": _TAR, **stat_header(found, path)})


async def put(call: Call) -> Reply:
    """``PUT /libpod/containers/{id}/archive``: files have the owners that the archive says."""
    no_overwrite = call.boolean("nooverwritedirnondir") or call.boolean("noOverwriteDirNonDir")
    await call.backend.put_archive(
        call.reference, _path(call), call.body.pieces(), no_overwrite=no_overwrite, copy_owners=True
    )
    return reply_nothing(200)


async def export(call: Call) -> Stream:
    """``GET /libpod/containers/{id}/export``."""
    pieces = await call.backend.export_container(call.reference)
    return Stream(pieces=pieces, headers={"Content-Type": _TAR})
