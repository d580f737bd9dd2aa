"""Whether an image is signed as the policy wants it, and signatures that make it so.

Signatures of an image are looked for where cosign leaves them: under the tag that is made of the image's
digest, and among what the registry lists as referring to the image.
"""

from __future__ import annotations

import os

from pierhead.errors import InvalidInput, NotFound
from pierhead.images import signing
from pierhead.images.remote.download import Downloads
from pierhead.images.remote.upload import Uploads
from pierhead.oci.image import MANIFEST, Descriptor, decode_manifest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from pierhead.images.content import ContentStore
    from pierhead.images.policy import Policy
    from pierhead.images.reference import Reference
    from pierhead.images.remote.client import Repository
    from pierhead.oci.image import Manifest

_SIGNATURES_MAX = 100


async def check_image(
    policy: Policy, store: ContentStore, repository: Repository, reference: Reference, digest: str
) -> None:
    """The policy accepts this manifest or index in this repository.

    Args:
        policy: decides.
        store: takes the signatures' payloads.
        repository: is asked for signatures.
        reference: the image's name.
        digest: what the name means.

    Raises:
        Forbidden: it does not; the sentence names the rule and says what is missing.
        NotFound, InvalidInput: a key of the rule is not there, or is none.
        PierheadError: the registry fails: whoever could make it fail could else hide what it has.
    """
    rule = policy.rule_for(reference.name)
    if rule.require == "accept":
        return
    image = f"{reference.familiar()} ({digest})"
    if rule.require == "reject":
        raise policy.refuse(rule, image, "it rejects all that it matches")
    keys = [signing.load_public_key(path) for path in rule.keys]
    count = 0
    async for payload, signature in find_signatures(store, repository, digest):
        count += 1
        for key in keys:
            if signing.verify_payload(key, payload, signature, digest=digest, repository=reference.name):
                return
    names = " or ".join(os.path.basename(path) for path in rule.keys)
    found = "it has no signature" if not count else f"none of its {count} signatures is theirs for it"
    raise policy.refuse(rule, image, f"it has to be signed by {names}, and {found}")


async def find_signatures(
    store: ContentStore, repository: Repository, digest: str
) -> AsyncIterator[tuple[bytes, bytes]]:
    """Payloads with their signatures that the registry has for an image; what is malformed is passed over."""
    downloads = Downloads(store, repository)
    left = _SIGNATURES_MAX
    for manifest in await _find_manifests(repository, digest):
        for layer, signature in signing.signatures_in(manifest):
            left -= 1
            if left < 0:
                return
            try:
                await downloads.fetch(layer)
            except (NotFound, InvalidInput):
                continue
            yield store.read(layer.digest, limit_bytes=signing.PAYLOAD_BYTES_MAX), signature


async def _find_manifests(repository: Repository, digest: str) -> list[Manifest]:
    """Those that could have signatures."""
    referrers = await repository.referrers(digest)
    named = [each.digest for each in referrers if each.media_type == MANIFEST]
    found = []
    for identifier in (signing.signature_tag(digest), *named[:_SIGNATURES_MAX]):
        manifest = await _find_manifest(repository, identifier)
        if manifest is not None:
            found.append(manifest)
    return found


async def _find_manifest(repository: Repository, identifier: str) -> Manifest | None:
    try:
        received = await repository.get_manifest(identifier)
        return decode_manifest(received.raw)
    except (NotFound, InvalidInput):
        return None


async def push_signature(
    store: ContentStore,
    repository: Repository,
    key: PrivateKeyTypes,
    subject: Descriptor,
    *,
    as_referrer: bool,
) -> str:
    """The registry has one more signature of the image; returns the digest of its manifest.

    Args:
        store: keeps the signature's contents on their way.
        repository: where the image is; its name is signed as well.
        key: private.
        subject: the image's manifest or index.
        as_referrer: whether it is listed as a referrer instead of lying under its tag.

    Raises:
        PierheadError: the registry does not take it.
    """
    tag = signing.signature_tag(subject.digest)
    there = None if as_referrer else await _find_manifest(repository, tag)
    others = tuple(layer for layer, _ in signing.signatures_in(there)) if there else ()
    signed = signing.sign_image(key, subject, str(repository), as_referrer=as_referrer, others=others)
    uploads = Uploads(store, repository)
    for digest, content in signed.contents.items():
        store.write(content)
        await uploads.send(Descriptor(digest=digest, size=len(content)))
    found = signed.descriptor
    answer = await repository.put_manifest(signed.manifest, MANIFEST, found.digest if as_referrer else tag)
    if as_referrer and "oci-subject" not in answer.headers:
        await repository.tag_referrer(subject.digest, found)
    return found.digest
