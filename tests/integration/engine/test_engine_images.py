"""Images as the engine gives them to clients: a real store, a real registry."""

from __future__ import annotations

import asyncio
import io
import json
import random
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.documents import ContainerConfig, HostConfig
from pierhead.engine.images import EngineImages
from pierhead.engine.jobs import Jobs
from pierhead.engine.record import Record, State
from pierhead.engine.roots import Origin, Roots
from pierhead.engine.settings import Settings
from pierhead.errors import Conflict, InvalidInput, NotFound
from pierhead.images.exchange import import_image
from pierhead.images.platforms import format_platform, host_platform
from pierhead.images.service import ImageService
from tests.support.image_archives import archive
from tests.support.registries import Registry, registry
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

pytestmark = requires("root")
ROOTFS = archive({"etc/hostname": b"box\n", "bin/sh": b"#!"})


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Registry]:
    """A registry."""
    with registry(tmp_path / "registry") as found:
        yield found


class Desk:
    """An engine's images, with the containers and the events of a test."""

    def __init__(self, root: Path) -> None:
        self.service = ImageService(root, policy_path=f"{root}-policy.toml")
        self.records: list[Record] = []
        self.events: list[tuple[str, str]] = []
        self.images = EngineImages(
            self.service,
            Settings(data_root=str(root), exec_root=str(root)),
            records=lambda: self.records,
            publish=lambda action, actor, _: self.events.append((action, actor)),
        )

    async def import_rootfs(
        self, repository: str, tag: str = "", *, rootfs: bytes = ROOTFS, **options: Any
    ) -> str:
        """An image of one layer; returns its id."""
        given = {"message": "", "changes": ["CMD /bin/sh", "LABEL a=b"], "platform": ""} | options
        documents = await self.images.import_image(pieces(rootfs), repository=repository, tag=tag, **given)
        return str((await all_of(documents))[-1]["status"])

    def use(self, image_id: str, status: str) -> None:
        """There is a container of the image."""
        self.records.append(
            Record(
                id="c" * 64,
                name="web",
                created_ns=1,
                image="box",
                image_id=image_id,
                config=ContainerConfig(),
                host=HostConfig(),
                state=State(status=status),
            )
        )


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """One over an empty store."""
    found = Desk(tmp_path / "store")
    with found.service:
        yield found


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    """The data as a client sends it."""
    for at in range(0, len(data), 1000):
        yield data[at : at + 1000]


async def all_of(stream: AsyncIterator[Any]) -> list[Any]:
    """Everything that comes."""
    return [each async for each in stream]


def test_pull_is_told_as_docker_tells_it(desk: Desk, server: Registry, tmp_path: Path) -> None:
    """Pushed by one engine, pulled by another: each layer has its lines, the end names digest and state."""
    name = f"{server.address}/team/box"
    asyncio.run(desk.import_rootfs(name, "1"))

    async def there_and_back() -> tuple[list[Any], list[Any], list[Any]]:
        pushed = await all_of(await desk.images.push_image(f"{name}:1", "", {}))
        other = Desk(tmp_path / "other")
        with other.service:
            pulled = await all_of(await other.images.pull_image(f"{name}:1", "", {}))
            return (
                pushed,
                pulled,
                await other.images.list_images(intermediate=False, filters={}, manifests=False),
            )

    pushed, pulled, listed = asyncio.run(there_and_back())
    digest = pushed[-1]["aux"]["Digest"]
    assert pushed[-1]["aux"]["Tag"] == "1"
    statuses = [each["status"] for each in pulled]
    assert statuses[0] == "Pulling from team/box"
    assert pulled[0]["id"] == "1"
    assert {"Pulling fs layer", "Download complete", "Pull complete"} <= set(statuses)
    assert statuses[-2:] == [f"Digest: {digest}", f"Status: Downloaded newer image for {name}:1"]
    assert listed[0]["RepoTags"] == [f"{name}:1"]
    assert listed[0]["RepoDigests"] == [f"{name}@{digest}"]
    assert listed[0]["Labels"] == {"a": "b"}


def test_an_image_under_two_names_in_two_forms(desk: Desk, server: Registry, tmp_path: Path) -> None:
    """Is there while one of them is: the other goes although a container uses it, and nothing is deleted."""
    name = f"{server.address}/team/box:1"
    identity = asyncio.run(desk.import_rootfs("box", "1"))
    desk.service.tag("box:1", name)

    async def push_and_remove() -> tuple[list[Any], list[Any]]:
        await all_of(await desk.images.push_image(name, "", {}))  # compressed now
        assert len({each.descriptor.digest for each in desk.service.library.images()}) == 2
        desk.use(identity, "exited")
        first = await desk.images.remove_image(name, force=False, no_prune=False)
        desk.records.clear()
        return first, await desk.images.remove_image("box:1", force=False, no_prune=False)

    first, second = asyncio.run(push_and_remove())
    assert first == [{"Untagged": name}]
    assert second == [{"Untagged": "box:1"}, {"Deleted": identity}]


def test_an_image_for_other_machines(desk: Desk, server: Registry, tmp_path: Path) -> None:
    """Is pulled where nobody says for which; that is told, and whoever makes a container of it is warned."""
    name = f"{server.address}/team/foreign:1"
    asyncio.run(desk.import_rootfs(*name.rsplit(":", 1), platform="linux/s390x"))

    async def there_and_back() -> tuple[list[Any], Origin, Origin]:
        await all_of(await desk.images.push_image(name, "", {}))
        other = Desk(tmp_path / "other")
        with other.service:
            pulled = await all_of(await other.images.pull_image(name, "", {}))
            async with Jobs() as jobs:
                roots = Roots(other.service, jobs)
                return pulled, await roots.find(name, ""), await roots.find(name, "linux/s390x")

    pulled, unasked, asked = asyncio.run(there_and_back())
    machine = format_platform(host_platform())
    assert {"status": f"WARNING: the image is for linux/s390x, and this machine is {machine}"} in pulled
    (warning,) = unasked.warnings
    assert warning.startswith("The requested image's platform (linux/s390x) does not match the detected host")
    assert asked.warnings == ()


def test_all_tags_of_a_repository(desk: Desk, server: Registry, tmp_path: Path) -> None:
    """A repository without a tag is pushed and pulled with all that it has."""
    name = f"{server.address}/team/several"
    for tag in ("1", "2"):
        asyncio.run(desk.import_rootfs(name, tag))
    asyncio.run(desk.import_rootfs(f"{name}else", "3"))

    async def there_and_back() -> list[Any]:
        pushed = await all_of(await desk.images.push_image(name, "", {}, all_tags=True))
        assert sorted(each["aux"]["Tag"] for each in pushed if "aux" in each) == ["1", "2"]
        other = Desk(tmp_path / "other")
        with other.service:
            await all_of(await other.images.pull_image(name, "", {}, all_tags=True))
            return await other.images.list_images(intermediate=False, filters={}, manifests=False)

    tags = [tag for each in asyncio.run(there_and_back()) for tag in each["RepoTags"]]
    assert sorted(tags) == [f"{name}:1", f"{name}:2"]


def test_pull_of_nothing_fails_at_once(desk: Desk, server: Registry) -> None:
    """What fails before the first line is an error of the call, so that a client gets a status for it."""
    with pytest.raises(NotFound):
        asyncio.run(desk.images.pull_image(f"{server.address}/team/none:1", "", {}))


def test_push_of_nothing(desk: Desk, server: Registry) -> None:
    """Is refused in docker's words, with what to do, before a registry is asked."""
    with pytest.raises(NotFound, match=f"does not exist locally with the tag: {server.address}/none$"):
        asyncio.run(desk.images.push_image(f"{server.address}/none:1", "", {}))


def test_save_and_load(desk: Desk, tmp_path: Path) -> None:
    """What one engine saves another loads, and says so in docker's words."""
    identity = asyncio.run(desk.import_rootfs("box", "1"))

    async def over() -> tuple[bytes, list[Any], str]:
        saved = b"".join(await all_of(await desk.images.save_images(["box:1"], "")))
        other = Desk(tmp_path / "other")
        with other.service:
            said = await all_of(await other.images.load_images(pieces(saved), quiet=False, platform=""))
            return saved, said, (await other.images.inspect_image("box:1", ""))["Id"]

    saved, said, loaded = asyncio.run(over())
    with tarfile.open(fileobj=io.BytesIO(saved)) as opened:
        names = opened.getnames()
    assert {"index.json", "manifest.json", "oci-layout"} <= set(names)
    assert said == [{"stream": "Loaded image: box:1\n"}]
    assert loaded == identity


def test_save_by_id(desk: Desk, tmp_path: Path) -> None:
    """An image has the names in the archive by which it was asked for, as with dockerd 26.1: a repository's
    all, one that was asked for by its id none, and it is told of by its id where it is loaded.
    """
    identity = asyncio.run(desk.import_rootfs("box", "1"))
    asyncio.run(desk.images.tag_image("box:1", "other", "2"))
    digest = asyncio.run(desk.images.inspect_image("box:1", ""))["RepoDigests"][0]
    encoded = identity.removeprefix("sha256:")

    def save(*references: str) -> tuple[bytes, list[Any]]:
        async def read() -> bytes:
            return b"".join(await all_of(await desk.images.save_images(list(references), "")))

        saved = asyncio.run(read())
        with tarfile.open(fileobj=io.BytesIO(saved)) as opened:
            manifest = opened.extractfile("manifest.json")
            assert manifest is not None
            return saved, [each["RepoTags"] for each in json.load(manifest)]

    for reference in (identity, encoded, encoded[:12], digest):
        assert save(reference)[1] == [None], reference
    assert desk.events[-1] == ("save", identity)
    assert save("box:1", identity)[1] == [["box:1"]]
    assert save(identity, "other:2")[1] == [["other:2"]]
    asyncio.run(desk.images.tag_image("box:1", "other", "3"))
    assert save("other")[1] == [["other:2", "other:3"]]
    assert save("other:2", "box:1")[1] == [["box:1", "other:2"]]

    async def load(saved: bytes) -> tuple[list[Any], list[Any]]:
        other = Desk(tmp_path / "other")
        with other.service:
            said = await all_of(await other.images.load_images(pieces(saved), quiet=False, platform=""))
            return said, await other.images.list_images(intermediate=False, filters={}, manifests=False)

    said, [loaded] = asyncio.run(load(save(identity)[0]))
    assert said == [{"stream": f"Loaded image ID: {identity}\n"}]
    assert (loaded["Id"], loaded["RepoTags"]) == (identity, [])


def test_load_of_rubbish(desk: Desk) -> None:
    """What is no archive is an error of the call."""
    with pytest.raises(Exception, match="archive"):
        asyncio.run(desk.images.load_images(pieces(b"rubbish" * 9999), quiet=True, platform=""))


def test_saving_may_stop_in_the_middle(desk: Desk) -> None:
    """A client that goes away leaves no thread that writes into a pipe for ever."""
    more_than_pipes_hold = archive({"noise": random.Random(1).randbytes(8 << 20)})
    asyncio.run(desk.import_rootfs("box", "1", rootfs=more_than_pipes_hold))

    async def take_one() -> bytes:
        stream = await desk.images.save_images(["box:1"], "")
        first = await anext(stream)
        await stream.aclose()  # type: ignore[attr-defined]
        return first

    assert asyncio.run(asyncio.wait_for(take_one(), 30))


def test_inspect_and_history(desk: Desk) -> None:
    """An image says what it runs and how it came to be; one that is not there is so in docker's words."""
    asyncio.run(desk.import_rootfs("box", "1", message="from a test"))
    document = asyncio.run(desk.images.inspect_image("box:1", ""))
    assert document["Config"]["Cmd"] == ["/bin/sh", "-c", "/bin/sh"]
    assert document["RootFS"]["Type"] == "layers"
    assert document["Comment"] == "from a test"
    (step,) = asyncio.run(desk.images.image_history("box:1", ""))
    assert step["Tags"] == ["box:1"]
    with pytest.raises(NotFound, match="No such image: nothing"):
        asyncio.run(desk.images.inspect_image("nothing", ""))


def test_filters(desk: Desk) -> None:
    """A list is of what every filter takes."""
    asyncio.run(desk.import_rootfs("box", "1"))
    asyncio.run(desk.import_rootfs("other/box", "2", changes=["LABEL a=c"]))

    def names(**filters: list[str]) -> list[str]:
        found = asyncio.run(desk.images.list_images(intermediate=False, filters=filters, manifests=False))
        return sorted(name for each in found for name in each["RepoTags"])

    assert names() == ["box:1", "other/box:2"]
    assert names(reference=["other/*"]) == ["other/box:2"]
    assert names(label=["a=b"]) == ["box:1"]
    assert names(label=["a"], reference=["box"]) == ["box:1"]
    assert names(dangling=["true"]) == []
    assert names(until=["2001-01-01"]) == []
    assert names(until=["2101-01-01"]) == ["box:1", "other/box:2"]
    for bad, said in (({"label!": ["a"]}, "'label!'"), ({"dangling": ["1", "0"]}, "'dangling=\\[1 0\\]'")):
        with pytest.raises(InvalidInput, match=f"invalid filter {said}"):
            names(**bad)


def test_filters_by_a_name_without_its_tag(desk: Desk, tmp_path: Path) -> None:
    """``before`` and ``since`` take a name as every other request does."""
    (tmp_path / "rootfs.tar").write_bytes(ROOTFS)
    with (tmp_path / "rootfs.tar").open("rb") as file:
        for created_s, name in enumerate(("older", "box", "newer")):
            file.seek(0)
            import_image(desk.service, file.fileno(), name, now_s=created_s)
    for word, name in (("before", "older"), ("since", "newer")):
        for spelt in ("box", "docker.io/library/box"):
            found = desk.images.list_images(intermediate=False, filters={word: [spelt]}, manifests=False)
            assert [each["RepoTags"] for each in asyncio.run(found)] == [[f"{name}:latest"]]
    with pytest.raises(NotFound, match="No such image: nothing:latest"):
        asyncio.run(
            desk.images.list_images(intermediate=False, filters={"since": ["nothing"]}, manifests=False)
        )


def test_prune_keeps_what_filters_do_not_name(desk: Desk) -> None:
    """Images go by age and labels, and nothing goes where a filter is unknown."""
    asyncio.run(desk.import_rootfs("box", "1"))
    everything = {"dangling": ["false"]}
    for filters in ({"until": ["1h"]}, {"label": ["a=z"]}, {"label!": ["a=b"]}):
        assert not asyncio.run(desk.images.prune_images({**everything, **filters}))["ImagesDeleted"]
    for filters in ({"unil": ["1h"]}, {"until": ["soon"]}, {"dangling": ["perhaps"]}):
        with pytest.raises(InvalidInput, match="invalid"):
            asyncio.run(desk.images.prune_images({**everything, **filters}))
    assert asyncio.run(desk.images.prune_images({**everything, "label": ["a=b"]}))["ImagesDeleted"]


def test_prune_removes_what_has_no_name(desk: Desk) -> None:
    """An image that nobody can call goes without being asked for all; one with a name stays."""
    asyncio.run(desk.import_rootfs("box", "1"))
    nameless = asyncio.run(desk.import_rootfs("", changes=["LABEL a=c"]))
    listed = asyncio.run(
        desk.images.list_images(intermediate=False, filters={"dangling": ["true"]}, manifests=False)
    )
    assert [(each["Id"], each["RepoTags"], each["RepoDigests"]) for each in listed] == [(nameless, [], [])]
    pruned = asyncio.run(desk.images.prune_images({}))
    assert desk.events[-1] == ("prune", "")
    assert {"Deleted": nameless} in pruned["ImagesDeleted"]
    assert [
        each["RepoTags"]
        for each in asyncio.run(desk.images.list_images(intermediate=False, filters={}, manifests=False))
    ] == [["box:1"]]


@pytest.mark.parametrize(("status", "forced"), [("running", False), ("exited", True)])
def test_an_image_in_use(desk: Desk, status: str, *, forced: bool) -> None:
    """The last name of an image stays while a container needs it, unless it stands still and one insists."""
    identity = asyncio.run(desk.import_rootfs("box", "1"))
    desk.use(identity, status)
    with pytest.raises(Conflict, match=r"must force|cannot be forced"):
        asyncio.run(desk.images.remove_image("box:1", force=False, no_prune=False))
    if forced:
        done = asyncio.run(desk.images.remove_image("box:1", force=True, no_prune=False))
        assert done == [{"Untagged": "box:1"}, {"Deleted": identity}]
        assert ("delete", identity) in desk.events
    else:
        with pytest.raises(Conflict, match="cannot be forced"):
            asyncio.run(desk.images.remove_image("box:1", force=True, no_prune=False))


def test_a_second_name_goes_freely(desk: Desk) -> None:
    """A name that is not the last one may go while a container needs the image."""
    identity = asyncio.run(desk.import_rootfs("box", "1"))
    asyncio.run(desk.images.tag_image("box:1", "box", "2"))
    desk.use(identity, "running")
    done = asyncio.run(desk.images.remove_image("box:2", force=False, no_prune=False))
    assert done == [{"Untagged": "box:2"}]


def test_prune(desk: Desk) -> None:
    """Images that no container uses go when everything unused is to go, and only then."""
    used = asyncio.run(desk.import_rootfs("box", "1"))
    asyncio.run(desk.import_rootfs("spare", "1", changes=["LABEL x=y"]))
    desk.use(used, "exited")
    assert asyncio.run(desk.images.prune_images({}))["ImagesDeleted"] == []
    done = asyncio.run(desk.images.prune_images({"dangling": ["false"]}))
    assert [each["Untagged"] for each in done["ImagesDeleted"] if "Untagged" in each] == ["spare:1"]
    assert done["SpaceReclaimed"] > 0
