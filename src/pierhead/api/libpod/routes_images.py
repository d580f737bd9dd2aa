"""``/libpod/images`` and ``/libpod/commit``."""

from __future__ import annotations

from pierhead.api.libpod.errors import is_in_use, is_missing, sentence
from pierhead.api.libpod.image_documents import (
    bare_id,
    full_name,
    history_entry,
    inspection,
    loaded_name,
    removal,
    spellings,
    summary,
)
from pierhead.api.libpod.images import inspect_image
from pierhead.api.replies import Reply, Stream, encode_json, reply_json, reply_nothing
from pierhead.api.streams import closing
from pierhead.errors import InvalidInput, NotFound, PierheadError, Unsupported

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Any

    from pierhead.api.call import Call

    Document = dict[str, Any]

_FORMATS = ("", "docker-archive", "oci-archive")
"""What is saved is both."""
_NONE, _MISSING, _IN_USE, _FAILED = 0, 1, 2, 125
"""Exit statuses of ``podman rmi``."""


async def list_images(call: Call) -> Reply:
    """``GET /libpod/images/json``."""
    found = await call.backend.list_images(
        intermediate=call.boolean("all"), filters=_filters(call), manifests=False
    )
    return reply_json([summary(document) for document in found])


def _filters(call: Call) -> dict[str, list[str]]:
    filters = call.filters()
    for name in ("readonly", "manifest", "containers", "intermediate", "id", "digest"):
        if filters.get(name):
            message = f'the filter "{name}" of images is not supported by this engine'
            raise Unsupported(message, code="no-such-filter")
    return filters


async def inspect(call: Call) -> Reply:
    """``GET /libpod/images/{name}/json``."""
    name, document = await inspect_image(call, call.reference)
    return reply_json(inspection(document, await call.backend.image_history(name, "")))


async def exists(call: Call) -> Reply:
    """``GET /libpod/images/{name}/exists``."""
    await inspect_image(call, call.reference)
    return reply_nothing()


async def history(call: Call) -> Reply:
    """``GET /libpod/images/{name}/history``."""
    name, _ = await inspect_image(call, call.reference)
    steps = await call.backend.image_history(name, "")
    return reply_json([history_entry(step) for step in steps])


async def tag(call: Call) -> Reply:
    """``POST /libpod/images/{name}/tag``."""
    name, _ = await inspect_image(call, call.reference)
    await call.backend.tag_image(name, call.text("repo"), call.text("tag"))
    return reply_nothing(201)


async def untag(call: Call) -> Reply:
    """``POST /libpod/images/{name}/untag``: the name that is said is taken away.

    Raises:
        NotFound: the image is not called so, though another one may be.
        Unsupported: all are meant, or it is the last one: an image without a name would go.
    """
    _, document = await inspect_image(call, call.reference)
    repository = call.text("repo")
    if not repository:
        message = f"an image keeps one name at least in this engine: {full_name(call.reference)}"
        raise Unsupported(message, code="last-name", hint="say which name is to go, or remove the image")
    wanted = f"{repository}:{call.text('tag') or 'latest'}"
    known = document["RepoTags"] or ()
    meant = [full_name(spelling) for spelling in spellings(wanted)]
    found = [name for each in meant for name in known if full_name(name) == each]
    if not found:
        raise NotFound(f"{wanted}: tag not known", code="tag-not-found")
    if len(known) < 2:
        message = f"an image keeps one name at least in this engine: {full_name(wanted)}"
        raise Unsupported(message, code="last-name", hint="give it another name first, or remove it")
    await call.backend.remove_image(found[0], force=False, no_prune=True)
    return reply_nothing(201)


# Removal


async def remove_one(call: Call) -> Reply:
    """``DELETE /libpod/images/{name}``."""
    name, _ = await inspect_image(call, call.reference)
    lines = await call.backend.remove_image(name, force=call.boolean("force"), no_prune=False)
    deleted, untagged = removal(lines)
    return reply_json({"Deleted": deleted, "Untagged": untagged, "ExitCode": _NONE, "Errors": []})


async def remove(call: Call) -> Reply:
    """``DELETE /libpod/images/remove``: those that are named, or all; what failed stands in the report."""
    names = [name for each in call.all("images") for name in each.split(",") if name]
    if call.boolean("all"):
        listed = await call.backend.list_images(intermediate=False, filters={}, manifests=False)
        names = [bare_id(each["Id"]) for each in listed]
    deleted: list[str] = []
    untagged: list[str] = []
    errors: list[str] = []
    code = _NONE
    for name in names:
        try:
            found = (await inspect_image(call, name))[0]
            lines = await call.backend.remove_image(found, force=call.boolean("force"), no_prune=False)
        except PierheadError as error:
            if not (is_missing(error) and call.boolean("ignore")):
                errors.append(sentence(error))
                code = max(code, _code_of(error))
            continue
        more_deleted, more_untagged = removal(lines)
        deleted += more_deleted
        untagged += more_untagged
    report = {"Deleted": deleted, "Untagged": untagged, "ExitCode": code, "Errors": errors}
    return reply_json(report)


def _code_of(error: PierheadError) -> int:
    if is_missing(error):
        return _MISSING
    return _IN_USE if is_in_use(error) else _FAILED


async def prune(call: Call) -> Reply:
    """``POST /libpod/images/prune``."""
    return reply_json(await prune_reports(call, call.filters(), everything=call.boolean("all")))


async def prune_reports(
    call: Call, filters: dict[str, list[str]], *, everything: bool
) -> list[dict[str, object]]:
    """The images that were removed; the space that they took stands with the first."""
    if everything:
        filters = {**filters, "dangling": ["false"]}
    done = await call.backend.prune_images(filters)
    deleted, _ = removal(done["ImagesDeleted"] or ())
    return [
        {"Id": identity, "Size": 0 if index else done["SpaceReclaimed"]}
        for index, identity in enumerate(deleted)
    ]


# Archives


async def save_one(call: Call) -> Stream:
    """``GET /libpod/images/{name}/get``."""
    return await _save(call, [call.reference])


async def save(call: Call) -> Stream:
    """``GET /libpod/images/export``."""
    return await _save(call, [name for each in call.all("references") for name in each.split(",") if name])


async def _save(call: Call, names: list[str]) -> Stream:
    if not names:
        raise InvalidInput("no image was named", code="bad-parameter")
    if call.text("format") not in _FORMATS:
        message = f'images are not saved as "{call.text("format")}" by this engine'
        raise Unsupported(message, code="no-such-format", hint="say docker-archive or oci-archive")
    references = []
    for name in names:
        spelling, image = await inspect_image(call, name)
        tagged = full_name(spelling)  # with a tag, for none would mean all of them
        references.append(tagged if tagged in map(full_name, image["RepoTags"]) else spelling)
    pieces = await call.backend.save_images(references, "")
    return Stream(pieces=pieces, headers={"Content-Type": "application/x-tar"})


async def load(call: Call) -> Reply:
    """``POST /libpod/images/load``."""
    documents = await call.backend.load_images(call.body.pieces(), quiet=True, platform="")
    names = []
    async with closing(documents):
        async for document in documents:
            raise_failure(document)
            names.append(loaded_name(document))
    return reply_json({"Names": [name for name in names if name]})


def raise_failure(document: Document) -> None:
    """A document of Docker's that tells of a failure becomes one.

    Raises:
        PierheadError: it does.
    """
    if "errorDetail" in document:
        raise PierheadError(document["errorDetail"]["message"], code="transfer-failed")


async def import_image(call: Call) -> Reply:
    """``POST /libpod/images/import``: from the body; never from elsewhere."""
    if call.text("url"):
        message = "archives are not fetched by this engine"
        raise Unsupported(message, code="no-import-from-url", hint="fetch it and pipe it in")
    name = call.text("reference")
    repository, tag_name = split_tag(name)
    documents = await call.backend.import_image(
        call.body.pieces(),
        repository=repository,
        tag=tag_name,
        message=call.text("message"),
        changes=changes_of(call),
        platform="/".join(call.text(part) for part in ("os", "architecture") if call.text(part)),
    )
    identity = ""
    async with closing(documents):
        async for document in documents:
            raise_failure(document)
            identity = document.get("status", identity)
    return reply_json({"Id": bare_id(identity)})


def split_tag(name: str) -> tuple[str, str]:
    """Repository and tag, which is behind the last colon if no part of a path follows it."""
    repository, colon, tag_name = name.rpartition(":")
    return (repository, tag_name) if colon and "/" not in tag_name else (name, "")


def changes_of(call: Call) -> list[str]:
    """Instructions, which people may also write as ``CMD=…``."""
    found = []
    for change in call.all("changes"):
        head, equals, rest = change.partition("=")
        found.append(f"{head} {rest}" if equals and head.isalpha() else change)
    return found


async def commit(call: Call) -> Reply | Stream:
    """``POST /libpod/commit``."""
    if call.boolean("squash"):
        message = "the layers of an image are not made one by this engine"
        raise Unsupported(message, code="no-squash", hint="leave --squash out")
    reference = call.text("container")
    if not reference:
        raise InvalidInput("no container was named", code="bad-parameter")
    made = await call.backend.commit_container(
        reference,
        repository=call.text("repo"),
        tag=call.text("tag"),
        comment=call.text("comment"),
        author=call.text("author"),
        pause=call.boolean("pause"),
        changes=changes_of(call),
        config=None,
    )
    identity = bare_id(made["Id"])
    if not call.boolean("stream"):
        return reply_json({"Id": identity}, 201)
    return Stream(pieces=_told(identity), headers={"Content-Type": "application/json"})


async def _told(identity: str) -> AsyncGenerator[bytes, None]:
    yield encode_json({"stream": identity})


async def search(_: Call) -> Reply:
    """``GET /libpod/images/search``."""
    message = "searching registries is not supported by this engine"
    raise Unsupported(message, code="no-search", hint="registries list their tags: GET /v2/NAME/tags/list")
