"""Containers through an engine: made, run, seen, waited for, removed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from tests.support.engines import HOST, OUTPUT, Engines, create, outcome, read_all, run, start
from tests.support.requires import requires

if TYPE_CHECKING:
    from pierhead.engine.engine import Engine

pytestmark = requires("root", "busybox")


def test_run_of_an_image(engines: Engines) -> None:
    """The image's command runs, its output is seen whole, its exit code is known, nothing is left."""

    async def work(engine: Engine) -> None:
        assert await run(engine) == (0, {"stdout": "hello\n"})
        assert await run(engine, "sh", "-c", "echo out; echo err >&2; exit 7") == (
            7,
            {"stdout": "out\n", "stderr": "err\n"},
        )

    engines.run(work)


def test_programs_can_tell_where_they_are(engines: Engines) -> None:
    """By the file that Docker's containers have; it is no change, and an image may have one of its own."""

    async def work(engine: Engine) -> None:
        made = await start(engine, "sh", "-c", "test -f /.dockerenv")
        assert await outcome(engine, made) == 0
        assert await engine.container_changes(made) == []
        await engine.commit_container(
            made,
            repository="again",
            tag="",
            comment="",
            author="",
            pause=False,
            changes=['CMD ["ls", "/.dockerenv"]'],
            config=None,
        )
        assert await run(engine, image="again") == (0, {"stdout": "/.dockerenv\n"})

    engines.run(work)


def test_run_of_the_host(engines: Engines) -> None:
    """The running machine is an image."""

    async def work(engine: Engine) -> None:
        code, output = await run(engine, "sh", "-c", "id -u; cat /etc/hostname", image=HOST, hostname="box")
        assert (code, output) == (0, {"stdout": "0\nbox\n"})

    engines.run(work)


def test_a_view_of_this_machine_keeps_its_files(engines: Engines) -> None:
    """What such a container has written is there when it starts again, and gone when it is removed."""

    async def work(engine: Engine) -> None:
        script = "cat /new || echo first > /new"
        made = await create(engine, "sh", "-c", script, image=HOST)
        for expected in ({}, {"stdout": "first\n"}):
            attachment = await engine.attach_container(made, OUTPUT.replace(stderr=False))
            await engine.start_container(made)
            assert await read_all(attachment) == expected
            assert await outcome(engine, made) == 0
        places.append(engine.paths.changes(made))
        assert os.path.exists(f"{places[0]}/upper/new")
        await engine.remove_container(made, force=False, volumes=False)

    places: list[str] = []
    engines.run(work)
    assert not os.path.exists(places[0])
