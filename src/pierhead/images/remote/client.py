"""The distribution protocol's requests, one method each; mirrors asked first.

What is read is asked of the mirrors in their order and then of the registry itself, which alone is written
to.  A mirror that does not answer is left alone for a while.  What the registry says last is the error; what
the mirrors said is noted on it.

Source: distribution-spec 1.1, and Docker's registry API for the catalog.
"""

from __future__ import annotations

import time
import urllib.parse

from pierhead import jsontext
from pierhead.digests import algorithm_of, compute_digest, is_digest
from pierhead.errors import Forbidden, InvalidInput, NotFound, PierheadError
from pierhead.images.remote import schema1
from pierhead.images.remote.connection import Answer, Connection, Request, retryable
from pierhead.images.remote.hosts import Endpoint, Hosts
from pierhead.images.remote.refusals import describe_endpoint
from pierhead.oci.document import encode
from pierhead.oci.image import (
    DOCKER_INDEX,
    DOCKER_MANIFEST,
    DOCKER_SCHEMA1,
    DOCKER_SCHEMA1_SIGNED,
    DOCUMENT_BYTES_MAX,
    INDEX,
    INDEX_TYPES,
    MANIFEST,
    SCHEMA1_TYPES,
    Descriptor,
    Index,
    decode_index,
    media_type_of,
)
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from typing import TypeVar

    from pierhead.images.reference import Reference

    T = TypeVar("T")

_TYPES = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX, DOCKER_SCHEMA1_SIGNED, DOCKER_SCHEMA1)
_ACCEPT = ("Accept", ", ".join(_TYPES))
_HEAD_ACCEPTS = (200, 400, 404, 405, 406, 501)
"""Answers without a body say no reason: then the manifest itself is asked for, which gives one."""
_HEAD_SAYS = (200, 404, 405, 501)
"""A registry without HEAD does not say whether it has something: it gets it once more then."""
_LIST_BYTES_MAX = 16 << 20
_PAGES_MAX = 10_000
_REST_S = 60.0


class Resolved(Value):
    """What a name means, and the address of the server that said so."""

    descriptor: Descriptor
    answered_by: str


class Received(Resolved):
    """A manifest as it came, verified."""

    raw: bytes


class Client:
    """Registries, over connections that somebody else opens and closes."""

    def __init__(self, connection: Connection, hosts: Hosts | None = None) -> None:
        self.connection = connection
        self.hosts = hosts or Hosts()
        self._resting: dict[str, float] = {}

    def repository(self, reference: Reference) -> Repository:
        """The repository that the reference names."""
        return Repository(self, reference.domain, reference.path)

    async def check(self, domain: str) -> None:
        """The registry is there and knows us, if it wants to.

        Raises:
            PierheadError: it is not, or does not.
        """
        await self.connection.perform(
            self.hosts.origin(domain),
            Request(method="GET", path="", about="let us in"),
            limit_bytes=_LIST_BYTES_MAX,
        )

    async def catalog(self, domain: str, *, page: int = 1000) -> AsyncIterator[str]:
        """The paths of the registry's repositories.

        Raises:
            PierheadError: it keeps them to itself.
        """
        scopes = ("registry:catalog:*",)
        request = Request(
            method="GET", path=f"_catalog?n={page}", about="list its repositories", scopes=scopes
        )
        async for name in self.listing(self.hosts.origin(domain), request, "repositories"):
            yield name

    async def listing(self, endpoint: Endpoint, request: Request, key: str) -> AsyncIterator[str]:
        """The strings of a list that comes in pages, as the protocol's Link header ties them together."""
        for _ in range(_PAGES_MAX):
            answer = await self.connection.perform(endpoint, request, limit_bytes=_LIST_BYTES_MAX)
            document = jsontext.parse(answer.body, name=f"the list of {describe_endpoint(endpoint)}")
            names = document.get(key) if isinstance(document, dict) else None
            for name in names or ():
                if isinstance(name, str):
                    yield name
            following = next_page(answer)
            if not following or following == request.path:
                return
            request = request.replace(path=following)

    async def first(self, endpoints: tuple[Endpoint, ...], ask: Callable[[Endpoint], Awaitable[T]]) -> T:
        """What the first server that has something answers.

        Raises:
            PierheadError: the last one's, with notes of what the others said.
        """
        said: list[str] = []
        for endpoint in endpoints[:-1]:
            if self.rests(endpoint):
                continue
            try:
                return await ask(endpoint)
            except PierheadError as error:
                self.note(endpoint, error)
                said.append(error.message)
        try:
            return await ask(endpoints[-1])
        except PierheadError as error:
            for message in said:
                error.add_note(message)
            raise

    def rests(self, endpoint: Endpoint) -> bool:
        """Whether the mirror did not answer a short while ago."""
        return time.monotonic() < self._resting.get(endpoint.address, 0.0)

    def note(self, endpoint: Endpoint, error: PierheadError) -> None:
        """A mirror that cannot be reached is left alone for a while."""
        if endpoint.is_mirror and retryable(error):
            self._resting[endpoint.address] = time.monotonic() + _REST_S


class Repository:
    """One repository of a registry."""

    def __init__(self, client: Client, domain: str, path: str) -> None:
        self.client = client
        self.domain = domain
        self.path = path

    def __str__(self) -> str:
        return f"{self.domain}/{self.path}"

    @property
    def origin(self) -> Endpoint:
        """The registry itself."""
        return self.client.hosts.origin(self.domain)

    def sources(self, *, resolve: bool = False) -> tuple[Endpoint, ...]:
        """The servers to ask for contents, or for what a tag means; the registry itself is the last."""
        endpoints = self.client.hosts.endpoints(self.domain)
        able = tuple(each for each in endpoints[:-1] if (each.resolves if resolve else each.pulls))
        return (*able, endpoints[-1])

    def request(
        self, endpoint: Endpoint, method: str, rest: str, about: str, *, write: bool = False
    ) -> Request:
        """A request for something in this repository at this server."""
        name = endpoint.repository(self.path)
        path = f"{name}/{rest}"
        if endpoint.is_mirror:  # containerd's way to tell a mirror of many whose contents are meant
            path += f"{'&' if '?' in path else '?'}ns={urllib.parse.quote(endpoint.registry, safe='')}"
        scope = f"repository:{name}:{'pull,push' if write else 'pull'}"
        return Request(
            method=method,
            path=path,
            about=f"{about} of {self.path}",
            scopes=(scope,),
            repeats=not endpoint.is_mirror,
        )

    # Manifests

    async def resolve(self, identifier: str) -> Resolved:
        """What a tag or a digest means; asks for the answer's headers only, where they say it.

        Raises:
            NotFound: there is no such manifest.
            PierheadError: nobody answers, or whoever does refuses.
        """

        async def ask(endpoint: Endpoint) -> Resolved:
            request = self._manifest_request(endpoint, "HEAD", identifier).replace(accepts=_HEAD_ACCEPTS)
            try:
                answer = await self.client.connection.perform(endpoint, request)
            except Forbidden as error:
                if error.code != "registry-denied":
                    raise
                return await self._receive(endpoint, identifier)
            found = _describe_head(answer, identifier) if answer.status == 200 else None
            if found is None:
                return await self._receive(endpoint, identifier)
            return Resolved(descriptor=found, answered_by=endpoint.address)

        return await self.client.first(self.sources(resolve=not is_digest(identifier)), ask)

    async def find_manifest(self, identifier: str) -> Descriptor | None:
        """As ``resolve``; None if there is no such manifest."""
        try:
            return (await self.resolve(identifier)).descriptor
        except NotFound:
            return None

    async def get_manifest(self, identifier: str) -> Received:
        """The manifest or index that a tag or a digest means, verified.

        Raises:
            NotFound: there is none.
            InvalidInput: what came is not what it says, or larger than manifests may be.
            PierheadError: nobody answers, or whoever does refuses.
        """
        sources = self.sources(resolve=not is_digest(identifier))
        return await self.client.first(sources, lambda endpoint: self._receive(endpoint, identifier))

    async def _receive(self, endpoint: Endpoint, identifier: str) -> Received:
        request = self._manifest_request(endpoint, "GET", identifier)
        answer = await self.client.connection.perform(endpoint, request, limit_bytes=DOCUMENT_BYTES_MAX)
        start = f"{describe_endpoint(endpoint)} did not {request.about}"
        descriptor, raw = _describe(answer, identifier, start)
        return Received(descriptor=descriptor, raw=raw, answered_by=endpoint.address)

    def _manifest_request(self, endpoint: Endpoint, method: str, identifier: str) -> Request:
        request = self.request(endpoint, method, f"manifests/{identifier}", f"give the manifest {identifier}")
        return request.replace(headers=(_ACCEPT,))

    async def has_manifest(self, digest: str) -> bool:
        """Whether the registry itself has it, and says so."""
        request = self._manifest_request(self.origin, "HEAD", digest).replace(accepts=_HEAD_SAYS)
        return (await self.client.connection.perform(self.origin, request)).status == 200

    async def put_manifest(self, raw: bytes, media_type: str, identifier: str) -> Answer:
        """The registry has the manifest, under a tag or by its digest; returns its answer.

        Raises:
            InvalidInput: the registry understood something else than what was sent.
            PierheadError: it refuses.
        """
        about = f"take the manifest {identifier}"
        request = self.request(self.origin, "PUT", f"manifests/{identifier}", about, write=True)
        request = request.replace(
            headers=(("Content-Type", media_type),), accepts=(200, 201, 202), body=lambda: raw
        )
        answer = await self.client.connection.perform(self.origin, request)
        said = answer.headers.get("docker-content-digest", "")
        if is_digest(said) and compute_digest(raw, algorithm_of(said)) != said:
            message = (
                f"{describe_endpoint(self.origin)} took the manifest {identifier} of {self.path} for {said}"
            )
            raise InvalidInput(message, code="wrong-digest")
        return answer

    async def delete_manifest(self, identifier: str) -> bool:
        """There is no such manifest, or tag; False if there was none before."""
        return await self._delete(f"manifests/{identifier}", f"delete the manifest {identifier}")

    async def _delete(self, rest: str, about: str) -> bool:
        request = self.request(self.origin, "DELETE", rest, about, write=True)
        scope = request.scopes[0].rpartition(":")[0] + ":pull,push,delete"
        request = request.replace(accepts=(200, 202, 204, 404), scopes=(scope,))
        return (await self.client.connection.perform(self.origin, request)).status != 404

    # Contents

    async def find_blob_size(self, digest: str) -> int | None:
        """The size in bytes of a content that the registry itself has; None if it has none, or says none."""
        request = self.request(
            self.origin, "HEAD", f"blobs/{digest}", f"say whether it has the content {digest}"
        )
        answer = await self.client.connection.perform(self.origin, request.replace(accepts=_HEAD_SAYS))
        length = answer.headers.get("content-length", "")
        return int(length) if answer.status == 200 and length.isdecimal() else None

    async def delete_blob(self, digest: str) -> bool:
        """The content is not in this repository; False if it was not before."""
        return await self._delete(f"blobs/{digest}", f"delete the content {digest}")

    # Lists

    async def tags(self, *, page: int = 1000) -> AsyncIterator[str]:
        """The repository's tags, in the registry's order.

        Raises:
            NotFound: there is no such repository.
            PierheadError: the registry refuses.
        """
        request = self.request(self.origin, "GET", f"tags/list?n={page}", "list the tags")
        async for tag in self.client.listing(self.origin, request, "tags"):
            yield tag

    async def referrers(self, digest: str, artifact_type: str = "") -> tuple[Descriptor, ...]:
        """What refers to the manifest: signatures, lists of contents; of one kind, or of any.

        A registry without the referrers API has them under a tag that is made of the digest.

        Raises:
            PierheadError: the registry refuses.
        """
        query = f"?{urllib.parse.urlencode({'artifactType': artifact_type})}" if artifact_type else ""
        about = f"list what refers to {digest}"
        request = self.request(self.origin, "GET", f"referrers/{digest}{query}", about)
        request = request.replace(accepts=(200, 404), headers=(("Accept", INDEX),))
        found: list[Descriptor] = []
        for _ in range(_PAGES_MAX):
            answer = await self.client.connection.perform(
                self.origin, request, limit_bytes=DOCUMENT_BYTES_MAX
            )
            if answer.status == 404:
                found += await self._tagged_referrers(digest)
                break
            found += decode_index(answer.body, name=f"the referrers of {digest}").manifests
            following = next_page(answer)
            if not following or following == request.path:
                break
            request = request.replace(path=following)
        return tuple(each for each in found if artifact_type in ("", each.artifact_type))

    async def tag_referrer(self, subject: str, referrer: Descriptor) -> None:
        """The manifest is listed under the tag that stands for the referrers API where there is none.

        Raises:
            PierheadError: the registry refuses.
        """
        known = await self._tagged_referrers(subject)
        if any(each.digest == referrer.digest for each in known):
            return
        index = Index(schema_version=2, media_type=INDEX, manifests=(*known, referrer))
        raw = jsontext.format_compact(encode(index)).encode()
        await self.put_manifest(raw, INDEX, referrers_tag(subject))

    async def _tagged_referrers(self, digest: str) -> tuple[Descriptor, ...]:
        try:
            received = await self.get_manifest(referrers_tag(digest))
        except NotFound:
            return ()
        return decode_index(received.raw, name=f"the referrers of {digest}").manifests


def referrers_tag(digest: str) -> str:
    """The tag under which registries without the API have a manifest's referrers.

    Source: distribution-spec, "Referrers Tag Schema".
    """
    algorithm, _, encoded = digest.partition(":")
    return f"{algorithm[:32]}-{encoded[:64]}"


def next_page(answer: Answer) -> str:
    """The URL of a list's next page, on the same server; "" if this was the last.

    Source: RFC 8288, as the distribution-spec uses it.
    """
    for link in answer.headers.get("link", "").split(","):
        target, _, parameters = link.strip().partition(";")
        if (
            target.startswith("<")
            and target.endswith(">")
            and 'rel="next"' in parameters.replace("rel=next", 'rel="next"')
        ):
            try:
                found = urllib.parse.urljoin(answer.url, target[1:-1])
                return found if _server_of(found) == _server_of(answer.url) else ""
            except ValueError:  # as of //[
                return ""
    return ""


def _server_of(url: str) -> tuple[str, str]:
    """Its scheme too: who is spoken to over TLS is not sent a token in the clear."""
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


def _describe_head(answer: Answer, identifier: str) -> Descriptor | None:
    """The descriptor that an answer's headers are; None if they do not say enough."""
    digest = answer.headers.get("docker-content-digest", "") or identifier
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
    size = answer.headers.get("content-length", "")
    if not is_digest(digest) or media_type not in _TYPES or not size.isdecimal():
        return None
    if is_digest(identifier) and identifier != digest:
        return None
    return Descriptor(media_type=media_type, digest=digest, size=int(size))


def _describe(answer: Answer, identifier: str, start: str) -> tuple[Descriptor, bytes]:
    """What came, verified: its descriptor, and the bytes that the digest is of.

    Raises:
        InvalidInput: it is not what was asked for, or not what it says; the sentence begins with ``start``.
    """
    raw = answer.body
    try:
        shape = media_type_of(raw)
    except InvalidInput as error:
        hint = "does something else than a registry answer there, a proxy that wants a login?"
        raise InvalidInput(f"{start}: {error.message}", code=error.code, hint=hint) from None
    sent = answer.headers.get("content-type", "").partition(";")[0].strip()
    media_type = sent if sent in _TYPES else shape
    if media_type not in _TYPES:
        what = media_type or sent or "nothing that is known here"
        raise InvalidInput(f"{start}: what came is {what[:200]}", code="unknown-manifest")
    if contradicts(raw, media_type):
        found = shape or "something else"
        message = f"{start}: it was sent as {sent} and says that it is {found[:200]}"
        raise InvalidInput(message, code="ambiguous-manifest")
    # Of a signed manifest nothing counts but what was signed: the rest could say anything.
    verified = schema1.payload(raw) if media_type == DOCKER_SCHEMA1_SIGNED else raw
    said = answer.headers.get("docker-content-digest", "")
    wanted = [each for each in (identifier, said) if is_digest(each)] or [compute_digest(verified)]
    for digest in wanted:
        found = compute_digest(verified, algorithm_of(digest))
        if found != digest:
            raise InvalidInput(f"{start}: what came is not {digest} but {found}", code="wrong-digest")
    return Descriptor(media_type=media_type, digest=wanted[0], size=len(verified)), verified


def contradicts(raw: bytes, media_type: str) -> bool:
    """Whether a manifest says itself, or shows by its shape, that it is not of the type it is said to have.

    Readers that believe different places would see different images (CVE-2021-41190).
    """
    if media_type in SCHEMA1_TYPES:
        return media_type_of(raw) not in SCHEMA1_TYPES
    found = media_type_of(raw)
    if jsontext.parse(raw).get("mediaType"):
        return found != media_type
    return found in SCHEMA1_TYPES or (found in INDEX_TYPES) != (media_type in INDEX_TYPES)
