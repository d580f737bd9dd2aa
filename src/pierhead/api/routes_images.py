"""``/images``, ``/commit``, ``/distribution``."""

from __future__ import annotations

from pierhead.api.bodies import decode_document
from pierhead.api.replies import Reply, Stream, encode_json, reply_json, reply_nothing
from pierhead.api.streams import closing
from pierhead.engine.documents import ContainerConfig
from pierhead.errors import InvalidInput, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator
    from typing import Any

    from pierhead.api.call import Call

_TAR = "application/x-tar"


async def list_images(call: Call) -> Reply:
    """``GET /images/json``."""
    found = await call.backend.list_images(
        intermediate=call.boolean("all"), filters=call.filters(), manifests=call.boolean("manifests")
    )
    return call.reply("image-list", found)


async def inspect(call: Call) -> Reply:
    """``GET /images/{name}/json``."""
    found = await call.backend.inspect_image(call.reference, call.platform())
    return call.reply("image-inspect", found)


async def history(call: Call) -> Reply:
    """``GET /images/{name}/history``."""
    return reply_json(await call.backend.image_history(call.reference, call.platform()))


async def create(call: Call) -> Stream:
    """``POST /images/create``: from a registry, or from an archive of a root file system."""
    image, source = call.text("fromImage"), call.text("fromSrc")
    wanted = _joined(image, call.text("tag"))
    if image:
        return _progress(
            await call.backend.pull_image(
                wanted, call.platform(), call.credentials(), all_tags=_is_repository(wanted)
            )
        )
    if not source:
        raise InvalidInput("fromImage or fromSrc is needed", code="bad-parameter")
    if source != "-":
        message = f"cannot import {source}: this engine fetches no archives"
        hint = "send the archive with the request (fromSrc=-)"
        raise Unsupported(message, code="no-remote-import", hint=hint)
    documents = await call.backend.import_image(
        call.body.pieces(),
        repository=call.text("repo"),
        tag=call.text("tag"),
        message=call.text("message"),
        changes=call.all("changes"),
        platform=call.platform(),
    )
    return _progress(documents)


def _joined(name: str, tag: str) -> str:
    """The name with the tag or digest that was given beside it."""
    if not tag:
        return name
    return f"{name}@{tag}" if ":" in tag else f"{name}:{tag}"


def _is_repository(reference: str) -> bool:
    """Whether it names no single image: all tags are meant (ImageCreate, ImagePush)."""
    last = reference.rpartition("/")[2]  # what stands before it may be a registry with its port
    return ":" not in last and "@" not in last


def _progress(documents: AsyncIterator[dict[str, Any]]) -> Stream:
    return Stream(pieces=_lines(documents), headers={"Content-Type": "application/json"})


async def _lines(documents: AsyncIterator[dict[str, Any]]) -> AsyncGenerator[bytes, None]:
    """A line for each document, ended as Docker ends them."""
    async with closing(documents):
        async for document in documents:
            yield encode_json(document).replace(b"\n", b"\r\n")


async def push(call: Call) -> Stream:
    """``POST /images/{name}/push``."""
    reference = _joined(call.reference, call.text("tag"))
    await call.body.whole()  # before 1.3x credentials were there
    everything = _is_repository(reference)
    return _progress(
        await call.backend.push_image(reference, call.platform(), call.credentials(), all_tags=everything)
    )


async def tag(call: Call) -> Reply:
    """``POST /images/{name}/tag``."""
    await call.backend.tag_image(call.reference, call.text("repo"), call.text("tag"))
    return reply_nothing(201)


async def remove(call: Call) -> Reply:
    """``DELETE /images/{name}``."""
    removed = await call.backend.remove_image(
        call.reference, force=call.boolean("force"), no_prune=call.boolean("noprune")
    )
    return reply_json(removed)


async def prune(call: Call) -> Reply:
    """``POST /images/prune``."""
    return reply_json(await call.backend.prune_images(call.filters()))


async def save_one(call: Call) -> Stream:
    """``GET /images/{name}/get``."""
    return await _save(call, [call.reference])


async def save(call: Call) -> Stream:
    """``GET /images/get``."""
    return await _save(call, [name for names in call.all("names") for name in names.split(",") if name])


async def _save(call: Call, references: list[str]) -> Stream:
    if not references:
        raise InvalidInput("no image was named", code="bad-parameter", hint="name images with names=")
    pieces = await call.backend.save_images(references, call.platform())
    return Stream(pieces=pieces, headers={"Content-Type": _TAR})


async def load(call: Call) -> Stream:
    """``POST /images/load``."""
    documents = await call.backend.load_images(
        call.body.pieces(), quiet=call.boolean("quiet", default=True), platform=call.platform()
    )
    return _progress(documents)


async def commit(call: Call) -> Reply:
    """``POST /commit``."""
    reference = call.text("container")
    if not reference:
        raise InvalidInput("no container was named", code="bad-parameter", hint="name it with container=")
    document = await call.document(optional=True)
    made = await call.backend.commit_container(
        reference,
        repository=call.text("repo"),
        tag=call.text("tag"),
        comment=call.text("comment"),
        author=call.text("author"),
        pause=call.boolean("pause", default=True),
        changes=call.all("changes"),
        config=decode_document(ContainerConfig, document) if document else None,
    )
    return reply_json(made, 201)


async def distribution(call: Call) -> Reply:
    """``GET /distribution/{name}/json``."""
    return reply_json(await call.backend.distribution(call.reference, call.credentials()))


async def search(_: Call) -> Reply:
    """``GET /images/search``: only Docker Hub has ever had an index to search."""
    message = "searching registries is not supported by this engine"
    raise Unsupported(message, code="no-search", hint="registries list their tags: GET /v2/NAME/tags/list")
