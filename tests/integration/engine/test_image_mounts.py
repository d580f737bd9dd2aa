"""Files of images that are mounted into containers: to read, as long as the container is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.documents import ExecConfig, ImageOptions, Mount
from pierhead.errors import InvalidInput, NotFound
from tests.support.engines import HOST, IMAGE, OUTPUT, Engines, create, outcome, read_all, run, start
from tests.support.requires import requires

if TYPE_CHECKING:
    from pierhead.engine.engine import Engine

pytestmark = requires("root")


def mount(target: str, subpath: str = "", source: str = IMAGE) -> Mount:
    """A mount of the image's files, or of a part of them."""
    options = ImageOptions(subpath=subpath) if subpath else None
    return Mount(type="image", source=source, target=target, image_options=options)


def test_the_whole_and_a_part(engines: Engines) -> None:
    """All of an image's files, one of its directories, one of its files; nobody can write to them."""

    async def work(engine: Engine) -> None:
        script = "cat /tree/etc/motd /etc2/motd /file; touch /tree/x || touch /etc2/x || echo refused"
        mounts = (mount("/tree"), mount("/etc2", "etc"), mount("/file", "etc/motd"))
        code, output = await run(engine, "sh", "-c", script, mounts=mounts)
        assert (code, output["stdout"]) == (0, "hello\n" * 3 + "refused\n")

    engines.run(work)


def test_an_image_that_is_removed(engines: Engines) -> None:
    """Its files stay while a container has them mounted, and go with it; the container shows the mount."""

    async def work(engine: Engine) -> None:
        await engine.tag_image(IMAGE, "other", "1")
        made = await create(
            engine, "cat", "/tree/etc/motd", image="pierhead/host", mounts=(mount("/tree", source="other:1"),)
        )
        await engine.remove_image("other:1", force=False, no_prune=False)
        await engine.remove_image(IMAGE, force=True, no_prune=False)
        await engine.jobs.thread(engine.images.library.collect)
        document = await engine.inspect_container(made, size=False)
        shown = document["Mounts"][0]
        assert (shown["Type"], shown["Name"], shown["RW"], shown["Destination"]) == (
            "image",
            "other:1",
            False,
            "/tree",
        )
        attachment = await engine.attach_container(made, OUTPUT)
        await engine.start_container(made)
        assert (await read_all(attachment))["stdout"] == "hello\n"
        await engine.remove_container(made, force=True, volumes=False)
        keys = [each.name for each in engine.images.snapshotter.walk()]
        assert not any(made in key for key in keys)

    engines.run(work)


def test_what_is_not_there(engines: Engines) -> None:
    """An image that is not here is missed when the container is made, a part of it when it starts."""

    async def work(engine: Engine) -> None:
        with pytest.raises(InvalidInput, match="No such image: none"):
            await create(engine, "true", mounts=(mount("/x", source="none"),))
        made = await create(engine, "true", mounts=(mount("/x", "no/where"),))
        with pytest.raises(NotFound, match="no such file"):
            await engine.start_container(made)

    engines.run(work)


def test_a_creation_that_fails_late(engines: Engines) -> None:
    """Nothing is left of the volumes and images that a container had by then which never came to be."""

    async def work(engine: Engine) -> None:
        data = Mount(type="volume", source="data", target="/data")
        nameless = Mount(type="volume", target="/cache")
        with pytest.raises(InvalidInput, match="No such image: none"):
            await create(engine, "true", mounts=(data, nameless, mount("/t"), mount("/x", source="none")))
        listed = await engine.list_volumes({})
        assert [each["Name"] for each in listed["Volumes"]] == ["data"]
        await engine.remove_volume("data", force=False)
        kinds = {each.kind for each in engine.images.snapshotter.walk()}
        assert kinds <= {"committed"}

    engines.run(work)


def test_an_engine_that_comes_back(engines: Engines) -> None:
    """What a container has mounted is still its when another engine begins."""

    async def begin(engine: Engine) -> None:
        with_tree: dict[str, Any] = {"image": HOST, "mounts": (mount("/tree"),)}
        await start(engine, "sleep", "100", name="reader", **with_tree)
        await create(engine, "cat", "/tree/etc/motd", name="later", **with_tree)

    async def come_back(engine: Engine) -> None:
        await engine.remove_image(IMAGE, force=True, no_prune=False)
        await engine.jobs.thread(engine.images.library.collect)
        reading = ExecConfig(cmd=("cat", "/tree/etc/motd"), attach_stdout=True)
        assert await engine.execs.run("reader", reading, timeout_s=20) == (0, b"hello\n")
        await engine.start_container("later")
        assert await outcome(engine, "later") == 0

    engines.run(begin, keep=True)
    engines.run(come_back)
