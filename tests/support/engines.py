"""Engines for tests: in directories of their own, with an image of busybox, on an event loop of the test's.

    def test_something(engines: Engines) -> None:
        async def work(engine: Engine) -> None:
            ...
        engines.run(work)

What a test leaves is removed with the engine's own verbs; so the leak fixture sees what those leave.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
from typing import TYPE_CHECKING, Any

from pierhead.engine.documents import ContainerConfig, HostConfig, NetworkingConfig
from pierhead.engine.engine import Engine
from pierhead.engine.queries import AttachQuery
from pierhead.engine.settings import BridgeSettings, RuntimeProgram, Settings
from pierhead.errors import NotFound
from pierhead.linux.cgroupfs import discover

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from pierhead.engine.streams import Attachment

IMAGE = "box"
HOST = "pierhead/host"
ALL = AttachQuery(stdin=True, stdout=True, stderr=True)
OUTPUT = AttachQuery(stdout=True, stderr=True)


def _other_runtime() -> dict[str, Any]:
    """Containers are made by the program of PIERHEAD_TEST_RUNTIME, if there is one."""
    path = os.environ.get("PIERHEAD_TEST_RUNTIME")
    return {"runtimes": {"other": RuntimeProgram(path=path)}, "default_runtime": "other"} if path else {}


class Engines:
    """Engines one after the other over the same directories."""

    def __init__(self, directory: Path, store: Path, *, bridge: str | None = None) -> None:
        """Args: store is a data root with the image, to be copied; bridge of the default network, None for no
        networks.
        """
        self._parent = f"/pierhead-engine-{os.getpid()}"
        self.settings = Settings(
            data_root=str(directory / "data"),
            exec_root=str(directory / "exec"),
            cgroup_parent=self._parent,
            bridge=None if bridge is None else BridgeSettings(name=bridge),
            **_other_runtime(),
        )
        # By a program that keeps the layers' white-outs, which are devices.
        subprocess.run(("cp", "-a", store, self.settings.data_root), check=True)

    def run(self, work: Callable[[Engine], Awaitable[None]], *, keep: bool = False) -> None:
        """The work is done with an engine; with ``keep`` its containers are there for the next one."""
        asyncio.run(self._run(work, keep=keep))

    async def _run(self, work: Callable[[Engine], Awaitable[None]], *, keep: bool) -> None:
        async with Engine(self.settings) as engine:
            try:
                await work(engine)
            finally:
                if not keep:
                    for record in engine.roster.all():
                        with contextlib.suppress(NotFound):  # it was just about to remove itself
                            await engine.remove_container(record.id, force=True, volumes=True)
        if not keep:
            self._remove_cgroup()

    def _remove_cgroup(self) -> None:
        """The parent of the containers' cgroups, which engines leave for the next container."""
        for tree in discover().trees:
            with contextlib.suppress(FileNotFoundError):
                os.rmdir(tree.directory(self._parent))


async def create(engine: Engine, *words: str, image: str = IMAGE, name: str = "", **wanted: Any) -> str:
    """A container's id; ``wanted`` are fields of its configuration or of its host's."""
    host = {key: wanted.pop(key) for key in tuple(wanted) if key in HostConfig.fields}
    host.setdefault("network_mode", "none")
    made = await engine.create_container(
        name,
        ContainerConfig(image=image, cmd=words or None, **wanted),
        HostConfig(**host),
        NetworkingConfig(),
        "",
    )
    return str(made["Id"])


async def start(engine: Engine, *words: str, **wanted: Any) -> str:
    """The id of a container that was just started."""
    made = await create(engine, *words, **wanted)
    await engine.start_container(made)
    return made


async def outcome(engine: Engine, reference: str, condition: str = "not-running") -> int:
    """The exit code, when the condition is met."""
    waited = await engine.wait_container(reference, condition)
    async for document in waited:
        if document is not None:
            return int(document["StatusCode"])
    raise AssertionError("the wait ended without an outcome")


async def read_all(attachment: Attachment) -> dict[str, str]:
    """What came, by stream, until the process ended."""
    found: dict[str, bytes] = {}
    async for stream, piece in attachment.output():
        found[stream] = found.get(stream, b"") + piece
    await attachment.close()
    return {stream: piece.decode() for stream, piece in found.items()}


async def run(engine: Engine, *words: str, **wanted: Any) -> tuple[int, dict[str, str]]:
    """The exit code of a container, and all that it wrote, seen from its first byte on."""
    made = await create(engine, *words, **wanted)
    attachment = await engine.attach_container(made, OUTPUT)
    await engine.start_container(made)
    output = await read_all(attachment)
    code = await outcome(engine, made)
    await engine.remove_container(made, force=False, volumes=False)
    return code, output


async def state_of(engine: Engine, reference: str) -> dict[str, Any]:
    """``State`` of the container's inspection."""
    document = await engine.inspect_container(reference, size=False)
    state: dict[str, Any] = document["State"]
    return state
