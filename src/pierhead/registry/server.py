"""The registry as a web server: which request goes where, and what becomes of errors."""

from __future__ import annotations

import asyncio
import logging
import time

from pierhead.errors import PierheadError
from pierhead.registry import routes_blobs, routes_lists, routes_manifests, routes_uploads
from pierhead.registry.accesslog import AccessEntry
from pierhead.registry.call import Call, UploadLocks, receive_whole
from pierhead.registry.faults import Fault
from pierhead.registry.gate import FORM_BYTES_MOST
from pierhead.registry.names import check_name, parse_path
from pierhead.registry.replies import reply, reply_fault
from pierhead.registry.watching import WATCHING, watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

    from pierhead.registry.accesslog import AccessLog
    from pierhead.registry.cache import Cache
    from pierhead.registry.gate import Gate
    from pierhead.registry.metrics import Metrics
    from pierhead.registry.names import Place
    from pierhead.registry.settings import Settings
    from pierhead.registry.storage import Storage

    Route = Callable[[Call], Awaitable[web.StreamResponse]]

_log = logging.getLogger(__name__)

ROUTES: dict[str, dict[str, Route]] = {
    "ping": {"GET": routes_lists.ping, "HEAD": routes_lists.ping},
    "catalog": {"GET": routes_lists.list_repositories, "HEAD": routes_lists.list_repositories},
    "tags": {"GET": routes_lists.list_tags, "HEAD": routes_lists.list_tags},
    "referrers": {"GET": routes_manifests.get_referrers, "HEAD": routes_manifests.get_referrers},
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


_ACTIONS = {"GET": "pull", "HEAD": "pull", "DELETE": "delete"}
_METHODS = frozenset(method for methods in ROUTES.values() for method in methods)
_WRITES = ("POST", "PUT", "PATCH", "DELETE")
_GONE = 499
"""The status of a client that went away: web servers' word for their logs, never sent."""


def action_of(kind: str, method: str) -> str:
    """What a request does to a repository; "" if it is about none."""
    if kind == "ping":
        return ""
    if kind == "catalog":
        return kind
    return "push" if kind.startswith("upload") else _ACTIONS.get(method, "push")


class Server:
    """Answers requests; ``answer`` is what a listener calls."""

    def __init__(
        self,
        storage: Storage,
        settings: Settings,
        *,
        metrics: Metrics,
        gate: Gate | None = None,
        access_log: AccessLog | None = None,
        cache: Cache | None = None,
    ) -> None:
        """What is given stays the caller's; without a gate everybody may do everything."""
        self._storage = storage
        self._settings = settings
        self._metrics = metrics
        self._gate = gate
        self._access_log = access_log
        self._cache = cache
        self._locks = UploadLocks()
        self._stopping = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def drain(self, patience_s: float) -> None:
        """No request is being answered, or the patience has ended; connections are closed after each."""
        self._stopping = True
        try:
            await asyncio.wait_for(self._idle.wait(), patience_s)
        except TimeoutError:
            _log.warning("%d requests did not end within %g s", self._metrics.in_flight, patience_s)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The request is answered, whatever happens, and noted."""
        begun_s, time_s = time.monotonic(), time.time()
        noted = _Noted()
        self._metrics.in_flight += 1
        self._idle.clear()
        try:
            response = await self._answer(request, noted)
            noted.status = response.status
            noted.sent_bytes = 0 if request.method == "HEAD" else response.content_length or 0
        finally:
            self._metrics.in_flight -= 1
            if not self._metrics.in_flight:
                self._idle.set()
            self._note(request, noted, time_s, time.monotonic() - begun_s)
        return response

    async def _answer(self, request: web.BaseRequest, noted: _Noted) -> web.StreamResponse:
        try:
            response = await self._route(request, noted)
        except PierheadError as error:
            response = reply_fault(_on_full_disk(error) if error.code == "disk-full" else error)
        except ConnectionError:
            # Whatever is half sent ends here; the answer is for the log.
            if request.transport is not None:
                request.transport.abort()
            response = reply(_GONE)
        except Exception:  # noqa: BLE001 - the edge of a request
            # What nobody foresaw becomes an answer without details, and the log has them.
            _log.exception("%s %s failed", request.method, request.path)
            response = reply_fault(Fault("UNKNOWN", "the registry failed; its log says how"))
        if self._stopping:
            response.force_close()
        if "Expect" in request.headers and not request.content.is_eof():
            # It was not told to go on: what comes next may be its body or another request.
            response.force_close()
        return response

    async def _route(self, request: web.BaseRequest, noted: _Noted) -> web.StreamResponse:
        if request.path == "/token" and self._gate is not None:
            noted.kind = "token"
            too_large = Fault("UNSUPPORTED", "the form is too large", status=413)
            form = await receive_whole(request, FORM_BYTES_MOST, self._settings.idle_s, too_large)
            return await self._gate.give_token(request, form)
        if self._settings.metrics_port < 0 and request.path in WATCHING:
            noted.kind = "watch"
            return await watch(request, self._storage, self._metrics)
        place = parse_path(request.path)
        if place is None:
            raise Fault("UNSUPPORTED", f"there is nothing at {request.path[:160]}", status=404)
        noted.kind = place.kind
        route = self._find_route(request, place.kind)
        if place.name:
            check_name(place.name)
        may = await self._admit(request, place, noted)
        cache = self._cache if self._cache is not None and self._cache.covers(place.name) else None
        if cache is not None and place.name and request.method in _WRITES and request.method != "DELETE":
            raise Fault("UNSUPPORTED", f"{place.name} is a copy of another registry's and takes nothing")
        return await route(Call(request, place, self._storage, self._settings, self._locks, may, cache))

    def _find_route(self, request: web.BaseRequest, kind: str) -> Route:
        methods = ROUTES[kind]
        route = methods.get(request.method)
        if route is None or (self._settings.read_only and request.method in _WRITES):
            allowed = [each for each in methods if not (self._settings.read_only and each in _WRITES)]
            message = f"{request.method} does not go with {request.path[:160]}"
            raise Fault("UNSUPPORTED", message, headers={"Allow": ", ".join(allowed)})
        return route

    async def _admit(
        self, request: web.BaseRequest, place: Place, noted: _Noted
    ) -> Callable[[str, str], bool]:
        """Who asks may; what else they may is told by the function."""
        gate = self._gate
        if gate is None:
            return lambda action, name: True  # noqa: ARG005 - everything
        identity = await gate.identify(request)
        noted.user = identity.user
        gate.require(request, identity, action_of(place.kind, request.method), place.name)
        return lambda action, name: gate.may(identity, action, name)

    def _note(self, request: web.BaseRequest, noted: _Noted, time_s: float, seconds: float) -> None:
        received = request.content.total_bytes
        self._metrics.count_request(
            request.method if request.method in _METHODS else "other",
            noted.kind,
            noted.status,
            seconds=seconds,
            received_bytes=received,
            sent_bytes=noted.sent_bytes,
        )
        if self._access_log is not None:
            entry = AccessEntry(
                time_s=time_s,
                client=request.remote or "",
                user=noted.user,
                method=request.method,
                path=request.path_qs,
                status=noted.status,
                received_bytes=received,
                sent_bytes=noted.sent_bytes,
                seconds=seconds,
                agent=request.headers.get("User-Agent", ""),
            )
            self._access_log.write(entry)


def _on_full_disk(error: PierheadError) -> Fault:
    """What is to be done is not what the store of images says of it (RFC 4918 section 11.5)."""
    _log.error("%s", error.message)
    hint = "the registry's owner frees some with pier registry gc"
    return Fault("UNKNOWN", error.message, status=507, hint=hint)


class _Noted:
    """What becomes known of a request while it is answered."""

    def __init__(self) -> None:
        self.kind = "none"
        self.user = ""
        self.status = _GONE
        self.sent_bytes = 0
