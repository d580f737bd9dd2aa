"""``/libpod/containers``: what is made, changed, looked at and removed."""

from __future__ import annotations

from pierhead.api import queries, routes_containers
from pierhead.api.libpod.container_documents import inspection, list_entry
from pierhead.api.libpod.container_filters import adapt_filters
from pierhead.api.libpod.creation import read_spec, translate
from pierhead.api.libpod.creation_limits import resources
from pierhead.api.libpod.images import find_image
from pierhead.api.libpod.spec import Limits
from pierhead.api.replies import Reply, reply_json, reply_nothing
from pierhead.api.streams import closing
from pierhead.engine.documents import RestartPolicy, UpdateConfig
from pierhead.errors import Conflict, InvalidInput, NotFound, PierheadError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.api.call import Call

    Document = dict[str, Any]

_COLUMNS = "user,pid,ppid,pcpu,etime,tty,time,args"
"""What ``podman top`` shows to who names none."""


async def create(call: Call) -> Reply:
    """``POST /libpod/containers/create``."""
    wanted = translate(read_spec(await call.document()))
    image = await find_image(call, wanted.config.image)
    for mode in (wanted.host.network_mode, wanted.host.pid_mode, wanted.host.ipc_mode):
        if mode.startswith("container:"):  # who is missing is missed now, and not at the start
            await call.backend.inspect_container(mode.removeprefix("container:"), size=False)
    made = await call.backend.create_container(
        wanted.name, wanted.config.replace(image=image), wanted.host, wanted.networking, ""
    )
    return reply_json({"Id": made["Id"], "Warnings": made["Warnings"] or []}, 201)


async def list_containers(call: Call) -> Reply:
    """``GET /libpod/containers/json``."""
    last = call.number("last") or call.number("limit") or 0
    size = call.boolean("size")
    found = await call.backend.list_containers(
        stopped=call.boolean("all"), limit=max(last, 0), size=size, filters=adapt_filters(call.filters())
    )
    entries = []
    for summary in found:
        try:
            inspected = await call.backend.inspect_container(summary["Id"], size=False)
        except NotFound:
            continue  # it went meanwhile
        entries.append(list_entry(summary, inspected, with_size=size))
    return reply_json(entries)


async def inspect(call: Call) -> Reply:
    """``GET /libpod/containers/{id}/json``."""
    document = await call.backend.inspect_container(call.reference, size=call.boolean("size"))
    try:
        image = await call.backend.inspect_image(document["Image"], "") if document["Image"] else None
    except PierheadError:
        image = None  # it was removed, or is this machine itself
    return reply_json(inspection(document, image, call.version))


async def exists(call: Call) -> Reply:
    """``GET /libpod/containers/{id}/exists``."""
    await call.backend.inspect_container(call.reference, size=False)
    return reply_nothing()


async def start(call: Call) -> Reply:
    """``POST /libpod/containers/{id}/start``."""
    await call.backend.start_container(call.reference)
    return reply_nothing()


async def stop(call: Call) -> Reply:
    """``POST /libpod/containers/{id}/stop``."""
    await call.backend.stop_container(call.reference, timeout_s=_patience_s(call), signal="")
    return reply_nothing()


async def restart(call: Call) -> Reply:
    """``POST /libpod/containers/{id}/restart``."""
    await call.backend.restart_container(call.reference, timeout_s=_patience_s(call), signal="")
    return reply_nothing()


def _patience_s(call: Call) -> int | None:
    """The time before SIGKILL: ``timeout``, or ``t`` as older clients say; None for the container's own."""
    given = call.number("timeout")
    return given if given is not None else call.number("t")


async def kill(call: Call) -> Reply:
    """``POST /libpod/containers/{id}/kill``."""
    await call.backend.kill_container(call.reference, signal=call.text("signal"))
    return reply_nothing()


async def should_restart(call: Call) -> Reply:
    """``POST /libpod/containers/{id}/shouldrestart``: who was attached asks whether to be so again.

    The engine restarts by itself, and whoever is attached stays so.
    """
    raise NotFound(f"the container {call.reference} is not to be started again", code="not-restarted")


async def remove(call: Call) -> Reply:
    """``DELETE /libpod/containers/{id}``; who names a time wants it stopped in that time first."""
    reference = call.reference
    if call.boolean("depend"):
        message = "containers that depend on another are not removed with it by this engine"
        raise Unsupported(message, code="no-dependents", hint="remove each by its name")
    try:
        identity = (await call.backend.inspect_container(reference, size=False))["Id"]
        timeout_s, force = call.number("timeout"), call.boolean("force")
        if force and timeout_s:
            await _stop_first(call, identity, timeout_s)
        await _remove(call, identity, force=force)
    except NotFound:
        if not call.boolean("ignore"):
            raise
        return reply_json([])
    return reply_json([{"Id": identity, "RawInput": reference}])


async def _remove(call: Call, identity: str, *, force: bool) -> None:
    """It is gone, whoever has begun to remove it: clients do so after the end of one that removes itself."""
    volumes = call.boolean("volumes") or call.boolean("v")
    try:
        await call.backend.remove_container(identity, force=force, volumes=volumes)
    except Conflict as error:
        if error.code != "removal-in-progress":
            raise
        waiting = await call.backend.wait_container(identity, "removed")
        async with closing(waiting):
            async for _ in waiting:
                pass


async def _stop_first(call: Call, identity: str, timeout_s: int) -> None:
    try:
        await call.backend.stop_container(identity, timeout_s=timeout_s, signal="")
    except PierheadError:
        return  # it does not run; or whatever hinders it hinders its removal, which says so


async def prune(call: Call) -> Reply:
    """``POST /libpod/containers/prune``."""
    return reply_json(await prune_reports(call, adapt_filters(call.filters())))


async def prune_reports(call: Call, filters: dict[str, list[str]]) -> list[Document]:
    """The containers that were removed; the space that they took stands with the first."""
    done = await call.backend.prune_containers(filters)
    return size_once(done["ContainersDeleted"] or [], done["SpaceReclaimed"])


def size_once(names: list[str], size_bytes: int) -> list[Document]:
    """A report for each name; clients add the sizes up, and the engine knows the sum only."""
    return [{"Id": name, "Size": 0 if index else size_bytes} for index, name in enumerate(names)]


async def rename(call: Call) -> Reply:
    """``POST /libpod/containers/{id}/rename``."""
    return await routes_containers.rename(call)


async def update(call: Call) -> Reply:
    """``POST /libpod/containers/{id}/update``; answers with the id."""
    document = await call.document(optional=True)
    unknown = sorted(name for name, value in document.items() if value and name not in _UPDATED)
    if unknown:
        message = f'"{unknown[0]}" of a container cannot be changed by this engine'
        raise Unsupported(message, code="no-such-field", hint="make it anew")
    from pierhead.api.bodies import decode_document

    wanted = UpdateConfig(**resources(decode_document(Limits, document)))
    policy = call.text("restartPolicy")
    if policy:
        tries = call.number("restartRetries") or 0
        wanted = wanted.replace(restart_policy=RestartPolicy(name=policy, maximum_retry_count=tries))
    await call.backend.update_container(call.reference, wanted)
    identity = (await call.backend.inspect_container(call.reference, size=False))["Id"]
    return reply_json(identity, 201)


_UPDATED = ("memory", "cpu", "pids", "blockIO")


async def init(call: Call) -> Reply:
    """``POST /libpod/containers/{id}/init``."""
    await call.backend.inspect_container(call.reference, size=False)
    message = "a container cannot be prepared without being started by this engine"
    raise Unsupported(message, code="no-init", hint="start it")


async def top(call: Call) -> Reply:
    """``GET /libpod/containers/{id}/top``: columns by their names in ps(1), or its options."""
    if call.boolean("stream"):
        raise Unsupported("top is not followed by this engine", code="no-stream", hint="ask again and again")
    words = [word for each in call.all("ps_args") for word in each.split(",") if word]
    if words and words[0].startswith("-"):
        return reply_json(await call.backend.container_top(call.reference, _options(words)))
    for word in words:
        if not word.isalpha():
            raise InvalidInput(f'top has no column "{word}"', code="no-such-column")
    columns = ",".join(words) or _COLUMNS
    # ps must show process ids, by which the container's are known among all.
    if "pid" in columns.split(","):
        return reply_json(await call.backend.container_top(call.reference, f"-eo {columns}"))
    found = await call.backend.container_top(call.reference, f"-eo pid,{columns}")
    rows = [row[1:] for row in found["Processes"]]
    return reply_json({"Titles": found["Titles"][1:], "Processes": rows})


def _options(words: list[str]) -> str:
    """The options of ps(1) and their values, which clients have joined: ``-eo,pid,args``."""
    text, last = words[0], words[0]
    for word in words[1:]:
        text += f"{' ' if '-' in (word[0], last[0]) else ','}{word}"
        last = word
    return text


async def resize(call: Call) -> Reply:
    """``POST /libpod/containers/{id}/resize``."""
    rows, columns = queries.size(call.head.query)
    await call.backend.resize_container(call.reference, rows=rows, columns=columns)
    return reply_nothing(200)


async def changes(call: Call) -> Reply:
    """``GET /libpod/containers/{id}/changes``: since its image, never since anything else."""
    if call.text("parent") or call.text("difftype") not in ("", "all", "container"):
        message = "a container's files are compared with its image's only by this engine"
        raise Unsupported(message, code="no-other-parent")
    return reply_json(await call.backend.container_changes(call.reference))


async def pause(call: Call) -> Reply:
    """``POST /libpod/containers/{id}/pause``."""
    return await routes_containers.pause(call)


async def unpause(call: Call) -> Reply:
    """``POST /libpod/containers/{id}/unpause``."""
    return await routes_containers.unpause(call)
