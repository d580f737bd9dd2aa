"""``/containers``: what is made, changed, looked at and removed."""

from __future__ import annotations

from pierhead.api import queries
from pierhead.api.bodies import ContainerCreate
from pierhead.api.older_requests import adapt_config, adapt_host, adapt_networking
from pierhead.api.replies import Reply, Stream, encode_json, reply_json, reply_nothing
from pierhead.api.streams import closing
from pierhead.engine.documents import HostConfig, NetworkingConfig, UpdateConfig
from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from typing import Any

    from pierhead.api.call import Call

_CONDITIONS = ("not-running", "next-exit", "removed")
_EMPTY_BODIES = (b"", b"{}", b"null")


async def create(call: Call) -> Reply:
    """``POST /containers/create``."""
    document = await call.document()
    asked = _decode_create(document)
    version = call.version
    made = await call.backend.create_container(
        call.text("name").removeprefix("/"),
        adapt_config(asked.config(), version),
        adapt_host(asked.host_config or HostConfig(), version),
        adapt_networking(asked.networking_config or NetworkingConfig(), version),
        call.text("platform"),
    )
    return reply_json(made, 201)


def _decode_create(document: dict[str, Any]) -> ContainerCreate:
    from pierhead.api.bodies import decode_document

    if not document:
        message = "config cannot be empty in order to create a container"
        raise InvalidInput(message, code="empty-config")
    return decode_document(ContainerCreate, document)


async def list_containers(call: Call) -> Reply:
    """``GET /containers/json``."""
    limit = call.number("limit") or 0
    found = await call.backend.list_containers(
        stopped=call.boolean("all") or limit > 0,
        limit=max(limit, 0),
        size=call.boolean("size"),
        filters=call.filters(),
    )
    return call.reply("container-list", found)


async def inspect(call: Call) -> Reply:
    """``GET /containers/{id}/json``."""
    found = await call.backend.inspect_container(call.reference, size=call.boolean("size"))
    return call.reply("container-inspect", found)


async def start(call: Call) -> Reply:
    """``POST /containers/{id}/start``."""
    body = (await call.body.whole()).strip()
    if body not in _EMPTY_BODIES:
        message = (
            "starting container with non-empty request body was deprecated since API v1.22 "
            "and removed in v1.24"
        )
        raise InvalidInput(message, code="body-not-taken")
    await call.backend.start_container(call.reference)
    return reply_nothing()


async def stop(call: Call) -> Reply:
    """``POST /containers/{id}/stop``."""
    await call.backend.stop_container(call.reference, timeout_s=call.number("t"), signal=_signal(call))
    return reply_nothing()


async def restart(call: Call) -> Reply:
    """``POST /containers/{id}/restart``."""
    await call.backend.restart_container(call.reference, timeout_s=call.number("t"), signal=_signal(call))
    return reply_nothing()


def _signal(call: Call) -> str:
    """The stop's signal, which clients could not choose before 1.42."""
    return call.text("signal") if call.version >= (1, 42) else ""


async def kill(call: Call) -> Reply:
    """``POST /containers/{id}/kill``."""
    await call.backend.kill_container(call.reference, signal=call.text("signal"))
    return reply_nothing()


async def pause(call: Call) -> Reply:
    """``POST /containers/{id}/pause``."""
    await call.backend.pause_container(call.reference)
    return reply_nothing()


async def unpause(call: Call) -> Reply:
    """``POST /containers/{id}/unpause``."""
    await call.backend.unpause_container(call.reference)
    return reply_nothing()


async def rename(call: Call) -> Reply:
    """``POST /containers/{id}/rename``."""
    name = call.text("name").removeprefix("/")
    if not name:
        raise InvalidInput("Neither old nor new names may be empty", code="empty-name")
    await call.backend.rename_container(call.reference, name)
    return reply_nothing()


async def update(call: Call) -> Reply:
    """``POST /containers/{id}/update``."""
    return reply_json(await call.backend.update_container(call.reference, await call.decoded(UpdateConfig)))


async def remove(call: Call) -> Reply:
    """``DELETE /containers/{id}``."""
    if call.boolean("link"):
        raise InvalidInput("links between containers cannot be removed", code="no-links")
    await call.backend.remove_container(
        call.reference, force=call.boolean("force"), volumes=call.boolean("v")
    )
    return reply_nothing()


async def prune(call: Call) -> Reply:
    """``POST /containers/prune``."""
    return reply_json(await call.backend.prune_containers(call.filters()))


async def resize(call: Call) -> Reply:
    """``POST /containers/{id}/resize``."""
    rows, columns = queries.size(call.head.query)
    await call.backend.resize_container(call.reference, rows=rows, columns=columns)
    return reply_nothing(200)


async def top(call: Call) -> Reply:
    """``GET /containers/{id}/top``."""
    return reply_json(await call.backend.container_top(call.reference, call.text("ps_args") or "-ef"))


async def changes(call: Call) -> Reply:
    """``GET /containers/{id}/changes``."""
    return reply_json(await call.backend.container_changes(call.reference) or None)


async def wait(call: Call) -> Stream:
    """``POST /containers/{id}/wait``: the headers say that the wait has begun.

    Before 1.30 clients took them for its end; nobody has missed that they come early since.
    """
    condition = call.text("condition") or "not-running"
    if condition not in _CONDITIONS:
        raise InvalidInput(f'invalid condition: "{condition}"', code="bad-condition")
    waiting = await call.backend.wait_container(call.reference, condition)
    await anext(waiting, None)
    return Stream(pieces=_end_of(waiting), headers={"Content-Type": "application/json"}, lasting=True)


async def _end_of(waiting: AsyncIterator[dict[str, Any] | None]) -> AsyncGenerator[bytes, None]:
    async with closing(waiting):
        async for document in waiting:
            if document is not None:
                yield encode_json({name: item for name, item in document.items() if item is not None})


async def stats(call: Call) -> Stream:
    """``GET /containers/{id}/stats``."""
    stream, one_shot = call.boolean("stream", default=True), call.boolean("one-shot")
    if stream and one_shot:
        raise InvalidInput("cannot have stream=true and one-shot=true", code="bad-parameter")
    documents = await call.backend.container_stats(call.reference, stream=stream, one_shot=one_shot)
    return Stream(pieces=_as_lines(documents), headers={"Content-Type": "application/json"}, lasting=stream)


async def _as_lines(documents: AsyncIterator[dict[str, Any]]) -> AsyncGenerator[bytes, None]:
    async with closing(documents):
        async for document in documents:
            yield encode_json(document)
