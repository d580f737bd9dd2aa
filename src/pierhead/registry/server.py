"""The registry as a web server: which request goes where, and what becomes of errors."""

from __future__ import annotations

import logging

from pierhead.errors import PierheadError
from pierhead.registry import routes_blobs, routes_lists, routes_manifests, routes_uploads
from pierhead.registry.call import Call, UploadLocks
from pierhead.registry.faults import Fault
from pierhead.registry.names import check_name, parse_path
from pierhead.registry.replies import reply_fault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from pierhead.registry.settings import Settings
    from pierhead.registry.storage import Storage

_log = logging.getLogger(__name__)

ROUTES: dict[str, dict[str, Callable[[Call], Awaitable[web.StreamResponse]]]] = {
    "ping": {"GET": routes_lists.ping, "HEAD": routes_lists.ping},
    "catalog": {"GET": routes_lists.list_repositories},
    "tags": {"GET": routes_lists.list_tags},
    "referrers": {"GET": routes_manifests.get_referrers},
    "manifest": {
        "GET": routes_manifests.get_manifest,
        "HEAD": routes_manifests.get_manifest,
        "PUT": routes_manifests.put_manifest,
        "DELETE": routes_manifests.delete_manifest,
    },
    "blob": {
        "GET": routes_blobs.get_blob,
        "HEAD": routes_blobs.get_blob,
        "DELETE": routes_blobs.delete_blob,
    },
    "uploads": {"POST": routes_uploads.start_upload},
    "upload": {
        "GET": routes_uploads.get_upload,
        "PATCH": routes_uploads.append_chunk,
        "PUT": routes_uploads.finish_upload,
        "DELETE": routes_uploads.cancel_upload,
    },
}


class Server:
    """Answers requests; ``answer`` is what a listener calls."""

    def __init__(self, storage: Storage, settings: Settings) -> None:
        """The storage stays the caller's."""
        self._storage = storage
        self._settings = settings
        self._locks = UploadLocks()

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The request is answered, whatever happens."""
        try:
            response = await self._route(request)
        except PierheadError as error:
            response = reply_fault(error)
        except ConnectionError:
            raise
        except Exception:  # noqa: BLE001 - the edge of a request
            # What nobody foresaw becomes an answer without details, and the log has them.
            _log.exception("%s %s failed", request.method, request.path)
            response = reply_fault(Fault("UNKNOWN", "the registry failed; its log says how"))
        if "Expect" in request.headers and not request.content.is_eof():
            # It was not told to go on: what comes next may be its body or another request.
            response.force_close()
        return response

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        place = parse_path(request.path)
        if place is None:
            raise Fault("UNSUPPORTED", f"there is nothing at {request.path[:160]}", status=404)
        methods = ROUTES[place.kind]
        route = methods.get(request.method)
        if route is None:
            message = f"{request.method} does not go with {request.path[:160]}"
            raise Fault("UNSUPPORTED", message, headers={"Allow": ", ".join(methods)})
        if place.name:
            check_name(place.name)
        return await route(
            Call(request, place, self._storage, self._settings, self._locks, lambda action, name: True)  # noqa: ARG005
        )
