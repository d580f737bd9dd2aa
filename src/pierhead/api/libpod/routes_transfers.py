r"""``/libpod/images/pull`` and ``…/push``: what libpod's clients are told while images come and go.

{"stream": "Trying to pull localhost:5000/box:latest...\n"}
{"images": ["9d3c…"], "id": "9d3c…"}                          the end of a pull
{"manifestdigest": "sha256:…"}                                  the end of a push, from 5.0 on
{"error": "…"}                                                  the end of either, where it failed
"""

from __future__ import annotations

from pierhead.api.libpod.errors import sentence
from pierhead.api.libpod.image_documents import bare_id, full_name, progress_line, pushed_digest
from pierhead.api.libpod.images import inspect_image
from pierhead.api.libpod.routes_images import raise_failure, split_tag
from pierhead.api.libpod.versions import TELLS_DIGEST
from pierhead.api.replies import Stream, encode_json
from pierhead.api.streams import closing
from pierhead.errors import InvalidInput, NotFound, PierheadError
from pierhead.images.reference import parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Any

    from pierhead.api.call import Call

    Document = dict[str, Any]

_JSON = {"Content-Type": "application/json"}
_POLICIES = ("", "always", "missing", "never", "newer")


def credentials_for(call: Call, name: str) -> Document:
    """Those for the name's registry: of the header, which has one set or one for each registry.

    Older clients say them in the query.

    Raises:
        InvalidInput: they are none.
    """
    if call.text("username"):
        return {"username": call.text("username"), "password": call.text("password")}
    found = call.credentials()
    domain = parse_reference(name).domain
    of_registry = {
        key.removeprefix("https://").partition("/")[0]: value
        for key, value in found.items()
        if isinstance(value, dict)
    }
    if not of_registry:
        return found
    chosen = of_registry.get(domain) or (
        of_registry.get("index.docker.io") if domain == "docker.io" else None
    )
    return chosen or {}


async def pull(call: Call) -> Stream:
    """``POST /libpod/images/pull``."""
    name, policy = call.text("reference").removeprefix("docker://"), call.text("policy")
    if not name:
        raise InvalidInput("no image was named", code="bad-parameter")
    if policy not in _POLICIES:
        raise InvalidInput(f'there is no policy "{policy}" of pulls', code="bad-parameter")
    return Stream(pieces=_pull(call, name, policy), headers=_JSON)


def _platform(call: Call) -> str:
    architecture = call.text("arch")
    if not architecture:
        return ""
    parts = (call.text("os") or "linux", architecture, call.text("variant"))
    return "/".join(part for part in parts if part)


async def _pull(call: Call, name: str, policy: str) -> AsyncGenerator[bytes, None]:
    try:
        if policy in ("missing", "never"):
            document = await _find(call, name, needed=policy == "never")
            if document is not None:
                yield _pulled([document])
                return
        if not call.boolean("quiet"):
            yield encode_json({"stream": f"Trying to pull {full_name(name)}...\n"})
        credentials, every = credentials_for(call, name), call.boolean("alltags")
        documents = await call.backend.pull_image(name, _platform(call), credentials, all_tags=every)
        async with closing(documents):
            async for document in documents:
                raise_failure(document)
                line = progress_line(document)
                if line and not call.boolean("quiet"):
                    yield encode_json({"stream": line})
        yield _pulled(await _come(call, name, every=every))
    except PierheadError as error:
        yield encode_json({"error": sentence(error)})


async def _find(call: Call, name: str, *, needed: bool) -> Document | None:
    try:
        return (await inspect_image(call, name))[1]
    except NotFound:
        if needed:
            raise
    return None


async def _come(call: Call, name: str, *, every: bool) -> list[Document]:
    """The image, or all that its repository has here."""
    if not every:
        return [await call.backend.inspect_image(name, _platform(call))]
    filters = {"reference": [parse_reference(name).familiar_name()]}
    return await call.backend.list_images(intermediate=False, filters=filters, manifests=False)


def _pulled(documents: list[Document]) -> bytes:
    identities = [bare_id(document["Id"]) for document in documents]
    return encode_json({"images": identities, "id": identities[-1] if identities else ""})


async def push(call: Call) -> Stream:
    """``POST /libpod/images/{name}/push``: to its own name, or to the destination's."""
    name, _ = await inspect_image(call, call.reference)
    target = call.text("destination").removeprefix("docker://") or name
    return Stream(pieces=_push(call, name, target), headers=_JSON)


async def _push(call: Call, name: str, target: str) -> AsyncGenerator[bytes, None]:
    added = False
    try:
        added = await _give_name(call, name, target)
        documents = await call.backend.push_image(target, "", credentials_for(call, target))
        digest = ""
        async with closing(documents):
            async for document in documents:
                raise_failure(document)
                digest = pushed_digest(document) or digest
                line = progress_line(document)
                if line and not call.boolean("quiet"):
                    yield encode_json({"stream": line})
        if call.version >= TELLS_DIGEST:
            yield encode_json({"manifestdigest": digest})
    except PierheadError as error:
        yield encode_json({"error": sentence(error)})
    finally:
        if added:
            await call.backend.remove_image(target, force=False, no_prune=True)


async def _give_name(call: Call, name: str, target: str) -> bool:
    """The image is called so; returns whether it was not before.

    Raises:
        InvalidInput: another one is.
    """
    if full_name(name) == full_name(target):
        return False
    identity = (await call.backend.inspect_image(name, ""))["Id"]
    try:
        known = await call.backend.inspect_image(target, "")
    except NotFound:
        repository, tag = split_tag(target)
        await call.backend.tag_image(name, repository, tag)
        return True
    if known["Id"] != identity:
        message = f"another image is called {full_name(target)} here"
        raise InvalidInput(message, code="other-image", hint="push that, or remove its name first")
    return False
