"""Programs of containers: what the image says below what is asked for, environment, exec."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.documents import ContainerConfig, Empty, ExecConfig, HealthConfig, HostConfig
from pierhead.engine.specgen import merge_image, plan_exec
from pierhead.engine.specgen.processes import program_of
from pierhead.errors import InvalidInput
from pierhead.oci.image import Execution, Healthcheck
from pierhead.oci.runtime import Box
from tests.support.requests import container_config, planned, record_of

if TYPE_CHECKING:
    from pierhead.runtime.config import ProcessSpec

IMAGE = Execution(
    user="app",
    env=("PATH=/bin", "A=image", "B=image"),
    entrypoint=("/entry",),
    cmd=("serve",),
    working_dir="/srv",
    labels={"one": "image", "two": "image"},
    exposed_ports={"80/tcp": {}},
    volumes={"/data": {}},
    stop_signal="SIGINT",
    healthcheck=Healthcheck(test=("CMD", "true"), interval=5, retries=3),
)


@pytest.mark.parametrize(
    ("fields", "program"),
    [
        ({}, ("/entry", "serve")),
        ({"cmd": ("other",)}, ("/entry", "other")),
        ({"entrypoint": ("/mine",)}, ("/mine",)),
        ({"entrypoint": ("/mine",), "cmd": ("x",)}, ("/mine", "x")),
        ({"entrypoint": ("",), "cmd": ("x",)}, ("x",)),
        ({"entrypoint": (), "cmd": ("x",)}, ("x",)),
        ({"entrypoint": (), "cmd": None}, ("serve",)),
        ({"cmd": ()}, ("/entry", "serve")),
        ({"entrypoint": "/mine", "cmd": "x"}, ("/mine", "x")),
    ],
)
def test_program(fields: dict[str, Any], program: tuple[str, ...]) -> None:
    """Entrypoint and command of image and request are this program, as with Docker."""
    assert program_of(merge_image(ContainerConfig(**fields), IMAGE)) == program


def test_merged() -> None:
    """The request's words go before the image's, field by field and name by name."""
    wanted = ContainerConfig(
        env=("A=mine",),
        labels={"one": "mine"},
        exposed_ports={"81/tcp": Empty()},
        healthcheck=HealthConfig(interval=7),
        working_dir="/work",
    )
    merged = merge_image(wanted, IMAGE)
    assert merged.env == ("A=mine", "PATH=/bin", "B=image")
    assert merged.labels == {"one": "mine", "two": "image"}
    assert set(merged.exposed_ports) == {"80/tcp", "81/tcp"}
    assert merged.healthcheck == HealthConfig(test=("CMD", "true"), interval=7, retries=3)
    assert (merged.user, merged.working_dir, merged.stop_signal) == ("app", "/work", "SIGINT")
    assert merged.volumes == {"/data": Empty()}


def test_no_image() -> None:
    """An image that says nothing changes nothing."""
    for nothing in (None, Execution()):
        assert merge_image(container_config(), nothing) == container_config()


@pytest.mark.parametrize("execution", [None, IMAGE])
def test_the_working_directory_is_kept_clean(execution: Execution | None) -> None:
    """As Docker keeps and shows it."""
    for given, kept in (("/tmp/x/../y/", "/tmp/y"), ("//a/./b", "/a/b"), ("a/../b", "a/../b")):
        assert merge_image(container_config(working_dir=given), execution).working_dir == kept


def first_process(config: ContainerConfig, host: HostConfig | None = None) -> ProcessSpec:
    """The planned first process."""
    process = planned(host, config=config).process
    assert process is not None
    return process


def test_environment() -> None:
    """PATH, HOSTNAME and TERM are there; what is given goes before them; a name alone takes one away."""
    given = first_process(container_config(env=("A=1=2", "PATH=/bin", "B"), hostname="box", tty=True))
    assert given.env == ("PATH=/bin", "HOSTNAME=box", "TERM=xterm", "A=1=2")
    bare = first_process(container_config(env=("HOSTNAME",), hostname="box")).env
    assert not [each for each in bare if each.startswith("HOSTNAME")]
    assert given.terminal


def test_user_and_groups() -> None:
    """Nobody's name is root's number, so that root's further groups are found."""
    assert first_process(container_config()).user == "0"
    assert first_process(container_config(user="app:web")).user == "app:web"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (ExecConfig(), "No exec command specified"),
        (ExecConfig(cmd=("",)), "No exec command specified"),
        (ExecConfig(cmd=("ls",), working_dir="srv"), "Cwd must be an absolute path"),
        (ExecConfig(cmd=("ls",), env=("=1",)), "invalid environment variable: =1"),
    ],
)
def test_no_exec(wanted: ExecConfig, message: str) -> None:
    """What cannot be run is refused with Docker's sentence."""
    with pytest.raises(InvalidInput) as caught:
        plan_exec(record_of(), wanted)
    assert caught.value.message == message


def test_exec() -> None:
    """A further process has the container's environment, directory and user, unless it says otherwise."""
    record = record_of(config=container_config(env=("A=1", "B=2"), user="app", working_dir="/srv"))
    usual = plan_exec(record, ExecConfig(cmd=("id",)))
    assert (usual.args, usual.user, usual.cwd) == (("id",), "app", "/srv")
    assert usual.env[-2:] == ("A=1", "B=2")
    assert (usual.capabilities, usual.apparmor_profile, usual.console_size) == (None, None, None)
    own = plan_exec(
        record,
        ExecConfig(
            cmd=("id",),
            env=("B=3",),
            user="0",
            working_dir="/",
            tty=True,
            privileged=True,
            console_size=(24, 80),
        ),
    )
    assert (own.user, own.cwd, own.terminal, own.console_size) == ("0", "/", True, Box(height=24, width=80))
    assert "B=3" in own.env
    assert "TERM=xterm" in own.env
    assert own.capabilities is not None
    assert "CAP_SYS_ADMIN" in own.capabilities.bounding


@pytest.mark.parametrize(("given", "meant"), [("", "0"), (":5", "0:5"), ("app:5", "app:5")])
def test_users(given: str, meant: str) -> None:
    """Root where nobody is named, also where a group is."""
    process = planned(config=container_config(user=given)).process
    assert process is not None
    assert process.user == meant
    record = record_of(config=container_config(user=given))
    assert plan_exec(record, ExecConfig(cmd=("id",))).user == meant


@pytest.mark.parametrize("user", ["2147483648", "0:2147483648", ":4294967294", "9" * 5000])
def test_users_out_of_range(user: str) -> None:
    """Are refused in Docker's words, of a container, of an exec and of further groups."""
    refused = pytest.raises(InvalidInput, match=r"^uids and gids must be in range 0-2147483647$")
    with refused:
        planned(config=container_config(user=user))
    with refused:
        plan_exec(record_of(), ExecConfig(cmd=("id",), user=user))
    with refused:
        planned(host=HostConfig(group_add=(user.rpartition(":")[2],)))
    greatest = planned(config=container_config(user="2147483647:2147483647")).process
    assert greatest is not None
    assert greatest.user == "2147483647:2147483647"


def test_a_program_without_a_name() -> None:
    """Is one that is not found, so that docker's client ends with 127."""
    with pytest.raises(InvalidInput, match=r'^exec: "": executable file not found in \$PATH$'):
        planned(config=container_config(cmd=("", "x")))
