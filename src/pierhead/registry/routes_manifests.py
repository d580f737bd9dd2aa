"""Manifests and who refers to them (distribution-spec "Pulling Manifests", "Pushing Manifests",
"Deleting tags", "Listing Referrers").
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

from pierhead.oci.image import DOCUMENT_BYTES_MAX, INDEX
from pierhead.registry.documents import encode_referrers
from pierhead.registry.faults import Fault
from pierhead.registry.names import check_digest_of_path, check_tag, is_digest_reference, is_tag
from pierhead.registry.replies import is_known, reply, reply_head
from pierhead.registry.storage import MANIFEST_BYTES_MOST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from aiohttp import web

    from pierhead.oci.image import Descriptor
    from pierhead.registry.call import Call

_TAGS_MOST = 100


def _check_reference(reference: str) -> None:
    if is_digest_reference(reference):
        check_digest_of_path(reference)
    elif not is_tag(reference):
        raise Fault("MANIFEST_UNKNOWN", f"{reference[:160]!r} is neither a tag nor a digest")


async def get_manifest(call: Call) -> web.StreamResponse:
    """The manifest is sent as it came; of HEAD only what it would be."""
    _check_reference(call.reference)
    if call.cache is not None:
        record = await call.cache.get_manifest(call.name, call.reference)
    else:
        record = await asyncio.to_thread(call.storage.get_manifest, call.name, call.reference)
    headers = {
        "Content-Type": record.media_type,
        "Docker-Content-Digest": record.digest,
        "ETag": f'"{record.digest}"',
    }
    if is_known(call.request, record.digest):
        return reply(304, {"ETag": headers["ETag"], "Docker-Content-Digest": record.digest})
    if call.request.method == "HEAD":
        return reply_head(headers, len(record.raw))
    return reply(200, headers, record.raw)


async def put_manifest(call: Call) -> web.StreamResponse:
    """The repository has the manifest, under its digest and the tags that were asked for."""
    reference = call.reference
    tags = call.request.query.getall("tag", [])
    if len(tags) > _TAGS_MOST:
        raise Fault("TAG_INVALID", f"a manifest gets at most {_TAGS_MOST} tags at once", status=414)
    if is_digest_reference(reference):
        check_digest_of_path(reference)
        digest = reference
    else:
        check_tag(reference)
        digest, tags = "", [reference, *tags]
    raw = await call.receive_document(MANIFEST_BYTES_MOST)
    found, facts = await asyncio.to_thread(
        call.storage.put_manifest,
        call.name,
        raw,
        content_type=call.request.headers.get("Content-Type", ""),
        digest=digest,
        tags=tags,
    )
    headers = {"Docker-Content-Digest": found, "Location": f"/v2/{call.name}/manifests/{found}"}
    if facts.subject:
        headers["OCI-Subject"] = facts.subject
    answer = reply(201, headers)
    for tag in tags:
        answer.headers.add("OCI-Tag", tag)
    return answer


async def delete_manifest(call: Call) -> web.StreamResponse:
    """The tag is gone, or the manifest with its tags."""
    _check_reference(call.reference)
    await asyncio.to_thread(call.storage.remove_manifest, call.name, call.reference)
    return reply(202)


async def get_referrers(call: Call) -> web.StreamResponse:
    """What refers to the digest, as an index; of nothing, an empty one."""
    check_digest_of_path(call.reference)
    wanted = call.parameter("artifactType")
    there = await call.cache.referrers(call.name, call.reference) if call.cache is not None else None
    found, last = await asyncio.to_thread(_referrers, call, wanted, there)
    headers = {"Content-Type": INDEX}
    if wanted:
        headers["OCI-Filters-Applied"] = "artifactType"
    if last:
        query = urlencode({"last": last, **({"artifactType": wanted} if wanted else {})})
        headers["Link"] = f'</v2/{call.name}/referrers/{call.reference}?{query}>; rel="next"'
    return reply(200, headers, encode_referrers(found))


def _referrers(
    call: Call, artifact_type: str, there: tuple[Descriptor, ...] | None
) -> tuple[list[Descriptor], str]:
    """As many as a document may hold, and the last one's digest if there are more.

    ``there`` are the upstream's, where the repository has one that answers.
    """
    after = call.parameter("last")
    known = call.storage.referrers(call.name, call.reference, after=after)
    if there is not None:
        ordered = sorted(there, key=lambda each: each.digest)
        known = (each for each in ordered if each.digest > after)
    found: list[Descriptor] = []
    size = 0
    for each in known:
        if artifact_type not in ("", each.artifact_type):
            continue
        size += len(encode_referrers((each,)))
        if found and size > DOCUMENT_BYTES_MAX:
            return found, found[-1].digest
        found.append(each)
    return found, ""
