"""Pull and push, whole: the registry, the policy, the store, the library and the snapshots together.

    resolve ─▶ policy ─▶ documents and layers ─▶ unpacked as they come ─▶ the name stands for it

A name comes to stand for an image last, when everything of it is here.  Until then a lease keeps it.
"""

from __future__ import annotations

import contextlib
import os

from pierhead.errors import Forbidden, NotFound
from pierhead.images.library.collection import exists_in, reader
from pierhead.images.reference import parse_reference
from pierhead.images.remote import transfer
from pierhead.images.remote.client import Client
from pierhead.images.remote.connection import Connection
from pierhead.images.remote.credentials import CredentialFile, default_paths, find_credentials
from pierhead.images.remote.hosts import REGISTRIES, load_hosts, parse_proxies
from pierhead.images.remote.tasks import offload, parallel
from pierhead.images.unpacking import UnpackArrivals
from pierhead.images.unpackprogress import UnpackProgress
from pierhead.images.walk import walk
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

    from pierhead.images.compression import Written
    from pierhead.images.reference import Reference
    from pierhead.images.remote.credentials import Credentials
    from pierhead.images.remote.progress import Progress
    from pierhead.images.service import ImageService
    from pierhead.oci.image import Descriptor, Platform

_NOBODY: Mapping[str, Credentials] = {}


class PulledImage(Value):
    """What a pull has done.

    Fields:
        name: of the image in the library.
        descriptor: what it stands for.
        newer: whether it stood for something else before, or for nothing.
    """

    name: str
    descriptor: Descriptor
    newer: bool


@contextlib.asynccontextmanager
async def open_client(
    environment: Mapping[str, str] = os.environ, *, known: Mapping[str, Credentials] = _NOBODY
) -> AsyncIterator[Client]:
    """A client of all registries, as this machine's and this user's files describe them.

    Args:
        environment: says where the files are, and which proxies to use.
        known: who we are to these domains, instead of what the files say.
    """
    files = tuple(CredentialFile(path, environment=environment) for path in default_paths(environment))
    home = environment.get("XDG_CONFIG_HOME") or f"{environment.get('HOME', '/root')}/.config"
    hosts = load_hosts((REGISTRIES, f"{home}/pierhead/registries.toml"))
    connection = Connection(
        find_credentials=lambda domain, repository: (
            known.get(domain) or find_credentials(files, domain, repository)
        ),
        proxies=parse_proxies(environment),
    )
    async with connection:
        yield Client(connection, hosts)


async def check_login(
    domain: str, credentials: Credentials, environment: Mapping[str, str] = os.environ
) -> None:
    """The registry lets us in with these.

    Raises:
        Forbidden: it does not.
        Unavailable: it does not answer.
    """
    async with open_client(environment, known={domain: credentials}) as client:
        try:
            await client.check(domain)
        except Forbidden as error:
            if error.code not in ("login-refused", "registry-denied"):
                raise
            who = credentials.username or "whoever has this token"
            message = f"the registry {domain} does not let {who} in with this password"
            hint = "check the name and the password"
            raise Forbidden(message, code="login-refused", hint=hint) from error


async def list_tags(text: str, client: Client | None = None) -> list[str]:
    """Tags that the repository has in its registry.

    Args:
        text: names the repository.
        client: of registries; None for one that is made for this.

    Raises:
        NotFound: there is no such repository.
        PierheadError: the registry refuses.
    """
    async with contextlib.nullcontext(client) if client is not None else open_client() as asked:
        return [tag async for tag in asked.repository(parse_reference(text)).tags()]


async def pull_image(
    service: ImageService,
    text: str,
    *,
    platforms: tuple[Platform, ...] | None = (),
    unpack: bool = True,
    progress: UnpackProgress | None = None,
    client: Client | None = None,
) -> PulledImage:
    """The image is here under its name, whole, and unpacked.

    Args:
        service: whose store it comes to.
        text: its name.
        platforms: see ``transfer.pull``.
        unpack: whether its layers become snapshots at once; with several platforms, those of the first.
        progress: is told.
        client: asks the registry; None is one as this user's files describe it.

    Raises:
        Forbidden: the policy, or the registry, does not let us have it.
        NotFound, InvalidInput, Unavailable, OperationFailed: see ``transfer.pull``.
    """
    if client is None:
        async with open_client() as own:
            return await pull_image(
                service, text, platforms=platforms, unpack=unpack, progress=progress, client=own
            )
    reference = parse_reference(text)
    name = str(reference.canonical())
    progress = progress or UnpackProgress()
    with service.library.lease(purpose=f"pull of {reference.familiar()}") as lease:
        repository = client.repository(reference)
        policy = service.policy()
        if policy.rule_for(reference.name).require != "accept":
            from pierhead.images.trust import check_image

            resolved = await repository.resolve(reference.identifier)
            await check_image(policy, lease.content, repository, reference, resolved.descriptor.digest)
            reference = reference.replace(digest=resolved.descriptor.digest)
        async with parallel() as group:
            with UnpackArrivals(service, lease, group, progress) as arrivals:
                pulled = await transfer.pull(
                    client,
                    lease.content,
                    reference,
                    platforms=platforms,
                    progress=progress,
                    arrivals=arrivals if unpack else None,
                    pin=lease.pin,
                )
        before = await offload(service.library.find_image, name)
        await offload(service.library.set_image, name, pulled.descriptor)
        await offload(_remember_sources, service, reference, pulled.descriptor)
    newer = before is None or before.descriptor.digest != pulled.descriptor.digest
    return PulledImage(name=name, descriptor=pulled.descriptor, newer=newer)


async def push_image(
    service: ImageService,
    text: str,
    *,
    compression: Written = "gzip",
    progress: Progress | None = None,
    client: Client | None = None,
) -> Descriptor:
    """The registry that the name names has the image, and the name stands for it; returns what was pushed.

    Args:
        service: has the image.
        text: its name, which begins with the registry's.
        compression: what layers get that have none; the image's digest is another one then.
        progress: is told.
        client: asks the registry; None is one as this user's files describe it.

    Raises:
        NotFound: there is no such image, or something of it is neither here nor there.
        Forbidden, Unavailable: the registry does not take it.
    """
    if client is None:
        async with open_client() as own:
            return await push_image(service, text, compression=compression, progress=progress, client=own)
    from pierhead.images.recompress import compress_image

    reference = parse_reference(text)
    image = service.library.find_image(str(reference.canonical()))
    if image is None:
        hint = f"give an image this name first: pier tag IMAGE {text}"
        raise NotFound(f"there is no image {reference.familiar()}", code="image-not-found", hint=hint)
    with service.library.lease(purpose=f"push of {reference.familiar()}") as lease:
        await offload(lease.pin_graph, image.descriptor)
        pushed = await offload(compress_image, service.library, lease, image.descriptor, compression)
        if progress is not None:
            progress.resolved(image.name, pushed, "")
        await transfer.push(
            client, lease.content, reference, pushed, progress=progress, sources=service.library.sources
        )
        if pushed.digest != image.descriptor.digest:
            await offload(service.library.set_image, image.name, pushed)
        await offload(_remember_sources, service, reference, pushed)
    return pushed


async def sign_image(
    service: ImageService,
    text: str,
    key: PrivateKeyTypes,
    *,
    as_referrer: bool = False,
    client: Client | None = None,
) -> str:
    """The registry has a signature of the image that it has under the name; returns its manifest's digest.

    Args:
        service: whose store keeps the signature on its way.
        text: the image's name.
        key: private.
        as_referrer: whether the registry lists it as a referrer, instead of under a tag.
        client: asks the registry; None is one as this user's files describe it.

    Raises:
        NotFound: the registry has no such image.
        Forbidden, Unavailable: it does not take the signature.
    """
    if client is None:
        async with open_client() as own:
            return await sign_image(service, text, key, as_referrer=as_referrer, client=own)
    from pierhead.images.trust import push_signature

    reference = parse_reference(text)
    repository = client.repository(reference)
    with service.library.lease(purpose=f"signature of {reference.familiar()}") as lease:
        subject = (await repository.resolve(reference.identifier)).descriptor
        return await push_signature(lease.content, repository, key, subject, as_referrer=as_referrer)


def _remember_sources(service: ImageService, reference: Reference, descriptor: Descriptor) -> None:
    """Contents that are in the repository can be mounted from it, when they are pushed to another."""
    read, exists = reader(service.content), exists_in(service.content)
    contents = (
        step.child.descriptor.digest
        for step in walk(descriptor, read, exists)
        if step.present and step.child.kind not in ("index", "manifest")
    )
    service.library.record_sources(contents, reference.name)
