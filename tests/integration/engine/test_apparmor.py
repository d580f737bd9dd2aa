"""Containers of an engine on a kernel with AppArmor: the engine's profile, one of the user's, none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pierhead.engine.documents import ExecConfig
from pierhead.engine.specgen.apparmorprofile import NAME
from pierhead.errors import PierheadError
from pierhead.linux.apparmor import load_profile, loaded_profiles
from tests.support.engines import Engines, create, read_all, run, start
from tests.support.requires import requires

if TYPE_CHECKING:
    from pierhead.engine.engine import Engine

pytestmark = requires("root", "busybox", "apparmor", "apparmor_parser")
LABEL = ("cat", "/proc/self/attr/apparmor/current")
OWN = "profile pierhead-test flags=(attach_disconnected) { file, capability, deny /etc/motd r, }"


async def label_in(engine: Engine, made: str, *, privileged: bool = False) -> str:
    """Of a further process."""
    config = ExecConfig(cmd=LABEL, attach_stdout=True, privileged=privileged)
    exec_id = (await engine.create_exec(made, config))["Id"]
    attachment = await engine.start_exec(exec_id, detach=False, console_size=())
    assert attachment is not None
    return (await read_all(attachment))["stdout"].strip()


async def told_profile(engine: Engine, made: str) -> str:
    """As clients see it."""
    return str((await engine.inspect_container(made, size=False))["AppArmorProfile"])


def test_every_container_is_confined(engines: Engines) -> None:
    """By the engine's own profile, and so are its further processes; what is privileged is not."""

    async def work(engine: Engine) -> None:
        assert "name=apparmor" in (await engine.info())["SecurityOptions"]
        assert NAME in loaded_profiles()
        made = await start(engine, "sleep", "1000")
        assert await told_profile(engine, made) == NAME
        assert await label_in(engine, made) == f"{NAME} (enforce)"
        assert await label_in(engine, made, privileged=True) == "unconfined"
        for wanted in ({"privileged": True}, {"security_opt": ("apparmor=unconfined",)}):
            free = await create(engine, *LABEL, **wanted)
            assert await told_profile(engine, free) == "unconfined"
            assert (await run(engine, *LABEL, **wanted))[1]["stdout"] == "unconfined\n"

    engines.run(work)


def test_what_the_profile_keeps_from_root(engines: Engines) -> None:
    """With every capability and nothing masked it neither mounts nor writes where the machine is changed;
    what an ordinary container does, it does.
    """
    rights = {"cap_add": ("ALL",), "security_opt": ("systempaths=unconfined", "seccomp=unconfined")}
    harm = (
        "mount -t tmpfs x /tmp",
        "mount -o remount,rw /proc",
        "echo > /proc/sys/kernel/modprobe",
        "echo 5 > /proc/sys/vm/swappiness",
    )
    use = "mkfifo /f; echo x > /x; kill -0 1; ls /proc/1/fd; nc -l -p 80 & sleep 0.1; kill $!"

    async def work(engine: Engine) -> None:
        _, output = await run(engine, "sh", "-c", "; ".join(harm), **rights)
        refused = [line.endswith(": Permission denied") for line in output["stderr"].splitlines()]
        assert refused == [True] * len(harm), output
        _, output = await run(engine, "sh", "-c", f"set -e; {use}; echo well")
        assert output["stdout"].endswith("well\n"), output

    engines.run(work)


def test_a_profile_of_ones_own(engines: Engines) -> None:
    """It is the container's; one that the kernel does not have is said at the start."""
    load_profile(OWN)

    async def work(engine: Engine) -> None:
        wanted = {"security_opt": ("apparmor=pierhead-test",)}
        code, output = await run(engine, "sh", "-c", "cat /etc/motd; cat /proc/self/attr/current", **wanted)
        assert code == 0
        assert output["stdout"] == "pierhead-test (enforce)\n"
        assert "Permission denied" in output["stderr"]
        made = await create(engine, "true", security_opt=("apparmor=nobody-has-it",))
        with pytest.raises(PierheadError, match="nobody-has-it"):
            await engine.start_container(made)

    engines.run(work)
