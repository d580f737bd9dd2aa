"""Images as clients of the Docker API ask for them: the image service in docker's words."""

from __future__ import annotations

import time

from pierhead.engine.imagedocuments import (
    PRUNE_FILTERS,
    describe_all,
    history_documents,
    inspect_document,
    no_such_image,
    select,
)
from pierhead.engine.pipes import feed, first_of, read_written
from pierhead.engine.registries import hosts_of, open_client
from pierhead.engine.transfers import Telling, told
from pierhead.errors import Conflict, InvalidInput, NotFound
from pierhead.images.changes import apply_changes
from pierhead.images.choosing import says_yes
from pierhead.images.exchange import describe_loaded, import_image, load_images, save_images
from pierhead.images.platforms import parse_platform
from pierhead.images.reference import DEFAULT_DOMAIN, parse_reference
from pierhead.images.remote.tasks import offload
from pierhead.oci.image import Execution

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable
    from typing import Any

    from pierhead.engine.imagedocuments import Described
    from pierhead.engine.record import Record
    from pierhead.engine.settings import Settings
    from pierhead.engine.transfers import Tell
    from pierhead.images.library import Image
    from pierhead.images.reference import Reference
    from pierhead.images.remote.client import Client
    from pierhead.images.service import ImageService
    from pierhead.oci.image import Platform

    Document = dict[str, Any]
    Filters = dict[str, list[str]]
    Documents = AsyncIterator[Document]
    Publish = Callable[[str, str, dict[str, str]], None]


class EngineImages:
    """The part of an engine that has to do with images; see ``api.ports.Images``."""

    def __init__(
        self,
        service: ImageService,
        settings: Settings,
        *,
        records: Callable[[], Iterable[Record]],
        publish: Publish,
    ) -> None:
        """Args:
        service: keeps the images.
        settings: name mirrors and insecure registries.
        records: the containers that there are, each of which uses an image.
        publish: takes an event's action, the image's id or name, and attributes.
        """
        self._service = service
        self._hosts = hosts_of(settings)
        self._records = records
        self._publish = publish

    # What there is

    async def list_images(self, *, intermediate: bool, filters: Filters, manifests: bool) -> list[Document]:
        """See ``api.ports.Images``; there are no intermediate images here."""
        del intermediate, manifests

        def run() -> list[Document]:
            return [each.summary() for each in self._select(filters)]

        found = await offload(run)
        users = [record.image_id for record in self._records()]
        for document in found:
            document["Containers"] = users.count(document["Id"])
        return found

    async def inspect_image(self, reference: str, platform: str) -> Document:
        """See ``api.ports.Images``."""
        return await offload(
            lambda: inspect_document(self._service, self.find(reference), _platform(platform))
        )

    async def image_history(self, reference: str, platform: str) -> list[Document]:
        """See ``api.ports.Images``."""
        return await offload(
            lambda: history_documents(self._service, self.find(reference), _platform(platform))
        )

    def find(self, reference: str) -> Image:
        """The image that a client means.

        Raises:
            NotFound: there is none, in docker's words, by which clients know it.
        """
        try:
            return self._service.catalogue.get(reference)
        except NotFound:
            raise no_such_image(reference) from None

    def _select(self, filters: Filters) -> list[Described]:
        return select(describe_all(self._service), filters, self._find_created)

    def _find_created(self, reference: str) -> str:
        return self._service.catalogue.summarise(self.find(reference)).created

    # From and to registries

    async def pull_image(
        self, reference: str, platform: str, credentials: Document, *, all_tags: bool = False
    ) -> Documents:
        """See ``api.ports.Images``."""
        from pierhead.images.pulling import list_tags  # as in open_client

        wanted = _platform(platform)

        async def work(tell: Tell) -> None:
            async with open_client(self._hosts, credentials) as client:
                tags = await list_tags(reference, client) if all_tags else ()
                for name in [f"{reference}:{tag}" for tag in tags] or [reference]:
                    await self._pull(name, wanted, client, tell)

        return await first_of(told(work))

    async def _pull(self, name: str, platform: Platform | None, client: Client, tell: Tell) -> None:
        from pierhead.images.pulling import pull_image  # as in open_client

        platforms = (platform,) if platform else ()
        pulled = await pull_image(
            self._service, name, platforms=platforms, progress=Telling(tell), client=client
        )
        familiar = parse_reference(pulled.name).familiar()
        tell({"status": f"Digest: {pulled.descriptor.digest}"})
        state = "Downloaded newer image for" if pulled.newer else "Image is up to date for"
        tell({"status": f"Status: {state} {familiar}"})
        self._publish("pull", familiar, {"name": parse_reference(pulled.name).familiar_name()})

    async def push_image(
        self, reference: str, platform: str, credentials: Document, *, all_tags: bool = False
    ) -> Documents:
        """See ``api.ports.Images``."""
        if platform:
            message = "an image is pushed with all the platforms that it has here"
            raise InvalidInput(message, code="push-platform", hint="leave --platform out")
        parsed = parse_reference(reference)
        names = await offload(self._names_to_push, parsed, all_tags)
        if not names:
            message = f"An image does not exist locally with the tag: {parsed.familiar_name()}"
            hint = f"give an image this name first: docker tag IMAGE {parsed.familiar()}"
            raise NotFound(message, code="image-not-found", hint=hint)

        async def work(tell: Tell) -> None:
            async with open_client(self._hosts, credentials) as client:
                for name in names:
                    await self._push(name, client, tell)

        return await first_of(told(work))

    def _names_to_push(self, wanted: Reference, all_tags: bool) -> tuple[Reference, ...]:  # noqa: FBT001 - offload's
        if all_tags:
            return self._service.catalogue.tags_of(wanted.name)
        name = wanted.canonical()
        return (name,) if self._service.library.find_image(str(name)) is not None else ()

    async def _push(self, name: Reference, client: Client, tell: Tell) -> None:
        from pierhead.images.pulling import push_image  # as in open_client

        pushed = await push_image(
            self._service, str(name), progress=Telling(tell, pushing=True), client=client
        )
        tag = name.identifier
        tell({"status": f"{tag}: digest: {pushed.digest} size: {pushed.size}"})
        tell({"progressDetail": {}, "aux": {"Tag": tag, "Digest": pushed.digest, "Size": pushed.size}})
        self._publish("push", name.familiar(), {"name": name.familiar_name()})

    async def distribution(self, reference: str, credentials: Document) -> Document:
        """See ``api.ports.Images``."""
        async with open_client(self._hosts, credentials) as client:
            parsed = parse_reference(reference)
            resolved = await client.repository(parsed).resolve(parsed.identifier)
        descriptor = resolved.descriptor
        return {
            "Descriptor": {
                "mediaType": descriptor.media_type,
                "digest": descriptor.digest,
                "size": descriptor.size,
            },
            "Platforms": [],
        }

    async def check_login(self, credentials: Document) -> Document:
        """See ``api.ports.System``."""
        domain = str(credentials.get("serveraddress") or DEFAULT_DOMAIN)
        domain = domain.removeprefix("https://").removeprefix("http://").partition("/")[0]
        if domain in ("index.docker.io", "registry-1.docker.io"):
            domain = DEFAULT_DOMAIN
        async with open_client(self._hosts, credentials) as client:
            await client.check(domain)
        return {"Status": "Login Succeeded", "IdentityToken": ""}

    # From and to archives

    async def save_images(self, references: list[str], platform: str) -> AsyncIterator[bytes]:
        """See ``api.ports.Images``."""
        wanted = _platform(platform)
        identities: dict[str, None] = {}
        for reference in references:
            identities |= await offload(self._ids_to_save, reference)

        def write(fd: int) -> None:
            save_images(self._service, references, fd, platforms=(wanted,) if wanted else ())

        pieces = await first_of(read_written(write))
        for identity in identities:
            self._publish("save", identity, {"name": identity})
        return pieces

    def _ids_to_save(self, reference: str) -> dict[str, None]:
        try:
            found = self._service.catalogue.list_named(reference)
        except NotFound:
            raise no_such_image(reference) from None
        return dict.fromkeys(map(self._id_of, found))

    async def load_images(self, archive: AsyncIterator[bytes], *, quiet: bool, platform: str) -> Documents:
        """See ``api.ports.Images``."""
        del quiet, platform  # an archive's images are kept whole

        async def work(tell: Tell) -> None:
            names = await feed(archive, lambda fd: load_images(self._service, fd))
            for name in names:
                familiar = self._service.catalogue.familiar(name)
                tell({"stream": f"{describe_loaded(self._service, name)}\n"})
                self._publish("load", self.find(name).descriptor.digest, {"name": familiar})

        return await first_of(told(work))

    async def import_image(
        self,
        archive: AsyncIterator[bytes],
        *,
        repository: str,
        tag: str,
        message: str,
        changes: list[str],
        platform: str,
    ) -> Documents:
        """See ``api.ports.Images``."""
        execution = apply_changes(Execution(), changes)
        name = f"{repository}:{tag}" if repository and tag else repository

        def read(fd: int) -> str:
            descriptor = import_image(
                self._service,
                fd,
                name,
                platform=_platform(platform),
                execution=execution,
                comment=message or "Imported from -",
                now_s=time.time(),
            )
            image = next(
                each for each in self._service.library.images() if each.descriptor.digest == descriptor.digest
            )
            return self._service.catalogue.open(image, _platform(platform)).id

        async def work(tell: Tell) -> None:
            identity = await feed(archive, read)
            tell({"status": identity})
            self._publish("import", identity, {"name": name or identity})

        return await first_of(told(work))

    # Names

    async def tag_image(self, reference: str, repository: str, tag: str) -> None:
        """See ``api.ports.Images``."""
        target = f"{repository}:{tag}" if tag else repository
        image = await offload(self.find, reference)
        await offload(self._service.tag, image.name, target)
        self.tell_tag(await offload(self._id_of, image), target)

    def tell_tag(self, identity: str, name: str) -> None:
        """The image is called so from now on."""
        self._publish("tag", identity, {"name": parse_reference(name).canonical().familiar()})

    def _id_of(self, image: Image) -> str:
        try:
            return self._service.catalogue.open(image).id
        except NotFound:
            return image.descriptor.digest

    async def remove_image(self, reference: str, *, force: bool, no_prune: bool) -> list[Document]:
        """See ``api.ports.Images``."""
        image = await offload(self.find, reference)
        identity = await offload(self._id_of, image)
        meant = await offload(self._service.catalogue.list_meant, identity)
        names = [each.name for each in meant]
        by_id = not any(reference in _spellings(name) for name in names)
        if by_id or len(names) == 1:
            self._refuse_used(reference, identity, force=force)
        done = await offload(lambda: list(self._service.remove(reference, force=force)))
        if not no_prune:
            await offload(self._service.collect)
        documents: list[Document] = []
        for line in done:
            word, _, what = line.partition(": ")
            documents.append({word: what})
            self._publish("delete" if word == "Deleted" else "untag", identity, {"name": what})
        return documents

    def _refuse_used(self, reference: str, identity: str, *, force: bool) -> None:
        """No container needs the image.

        Raises:
            Conflict: one does; one that does not run only where nobody insists.
        """
        for record in self._records():
            if record.image_id != identity:
                continue
            runs = record.state.status in ("running", "paused", "restarting")
            if force and not runs:
                continue
            image_id, container_id = identity.removeprefix("sha256:")[:12], record.id[:12]
            message = (
                f"conflict: unable to delete {image_id} (cannot be forced) - "
                f"image is being used by running container {container_id}"
                if force
                else f'conflict: unable to remove repository reference "{reference}" (must force) - '
                f"container {container_id} is using its referenced image {image_id}"
            )
            raise Conflict(message, code="image-in-use", hint=f"remove the container {record.name} first")

    async def prune_images(self, filters: Filters) -> Document:
        """See ``api.ports.Images``; ``dangling=false`` removes every image that no container uses.

        Raises:
            InvalidInput: there is no such filter.
        """
        everything = says_yes(filters, "dangling") is False
        rest = {name: values for name, values in filters.items() if name != "dangling"}
        used = {record.image_id for record in self._records()}

        def run() -> Document:
            deleted: list[Document] = []
            for each in select(describe_all(self._service), rest, self._find_created, PRUNE_FILTERS):
                if each.id in used or not (everything or each.dangling):
                    continue
                for name in each.names:
                    self._service.library.remove_image(name)
                    deleted.append({"Untagged": self._service.catalogue.familiar(name)})
                deleted.append({"Deleted": each.id})
            freed = self._service.collect()
            return {"ImagesDeleted": deleted, "SpaceReclaimed": freed.removed_bytes}

        pruned = await offload(run)
        self._publish("prune", "", {"reclaimed": str(pruned["SpaceReclaimed"])})
        return pruned


def _spellings(name: str) -> tuple[str, ...]:
    """How a person may write the library's name."""
    reference = parse_reference(name)
    spelt = [str(reference), reference.familiar()]
    if reference.tag == "latest":
        spelt += [reference.name, reference.familiar_name()]
    return tuple(spelt)


def _platform(text: str) -> Platform | None:
    """``linux/amd64``, or the JSON object that newer clients send; None for this machine's."""
    if text.startswith("{"):
        from pierhead import jsontext

        document = jsontext.parse(text)
        parts = [document.get(name) for name in ("os", "architecture", "variant")] if document else []
        text = "/".join(part for part in parts if isinstance(part, str) and part)
    return parse_platform(text) if text else None
