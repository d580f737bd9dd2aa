"""Hooks: six kinds, each at its moment, in its namespaces, with the state to read and a timeout."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import InvalidInput, PierheadError, TimedOut
from pierhead.oci.runtime import Hook, Hooks
from pierhead.runtime import Mount, Stdio, create, list_ids, run
from pierhead.runtime.config import DEFAULT_MOUNTS
from tests.support.containers import Containers, read_to_end, status_of
from tests.support.requires import requires

if TYPE_CHECKING:
    from pierhead.runtime import Config

pytestmark = requires("root")

KINDS = ("prestart", "create_runtime", "create_container", "start_container", "poststart", "poststop")
BEFORE_START = KINDS[:3]


class Journal:
    """Where hooks write down what they see: a directory of the same path on the host and inside."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "journal").mkdir(mode=0o777)
        (directory / "journal").chmod(0o777)

    def hook(self, kind: str, script: str = "", **fields: Any) -> Hook:
        """A hook that notes its kind, its state and what the script prints."""
        note = f'{{ echo {kind}; cat; echo; {script or "true"}; }} > "$J/$(ls "$J" | wc -l).{kind}"'
        shell = f"J={self.directory}/journal; {note}"
        return Hook(path="/bin/busybox", args=("sh", "-c", shell), env=(PATH,), **fields)

    def fifo(self, name: str) -> Path:
        """A new fifo, which everybody may use."""
        path = self.directory / "journal" / name
        os.mkfifo(path)
        path.chmod(0o666)
        return path

    def hooks(self, script: str = "") -> Hooks:
        """One hook of every kind."""
        return Hooks(**{kind: (self.hook(kind, script),) for kind in KINDS})

    def kinds(self) -> list[str]:
        """Kinds of the hooks that have run, in order."""
        names = os.listdir(self.directory / "journal")
        return [
            name.partition(".")[2] for name in sorted(names, key=lambda name: int(name.partition(".")[0]))
        ]

    def entry(self, kind: str) -> list[str]:
        """What the hook of this kind wrote: its kind, its state, its script's lines."""
        (path,) = (self.directory / "journal").glob(f"*.{kind}")
        return path.read_text().splitlines()

    def state(self, kind: str) -> dict[str, Any]:
        """The state that it read."""
        return dict(json.loads(self.entry(kind)[1]))

    @property
    def mounts(self) -> tuple[Mount, ...]:
        """The usual mounts, and the journal at its own path."""
        at = str(self.directory / "journal")
        return (*DEFAULT_MOUNTS, Mount(destination=at, source=at, options=("bind",)))


PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@pytest.fixture
def journal(containers: Containers) -> Journal:
    """An empty journal."""
    return Journal(containers.directory())


def config_of(containers: Containers, journal: Journal, script: str = "true", **changes: Any) -> Config:
    """A container whose hooks write the journal."""
    return containers.config(script, mounts=journal.mounts, copy_on_write=True, **changes)


def launch(containers: Containers, config: Config, **options: Any) -> Any:
    """The container of the configuration, created."""
    return create(containers.root, containers.id(), config, stdio=Stdio.null(), **options)


def live(containers: Containers, config: Config) -> None:
    """A whole life: created, started, ended by force."""
    container = launch(containers, config)
    container.start()
    container.delete(force=True)


# Order and place


def test_each_kind_at_its_moment(containers: Containers, journal: Journal) -> None:
    """Three while it is created, two when it starts, one when it is gone."""
    container = launch(containers, config_of(containers, journal, hooks=journal.hooks()))
    assert journal.kinds() == ["prestart", "create_runtime", "create_container"]
    container.start()
    assert journal.kinds() == [*BEFORE_START, "start_container", "poststart"]
    container.wait(60)
    container.delete()
    assert journal.kinds() == list(KINDS)


def test_run_has_the_same_order(containers: Containers, journal: Journal) -> None:
    """Created and started in one go, every hook runs all the same."""
    config = config_of(containers, journal, "sleep 0.2", hooks=journal.hooks())
    container = run(containers.root, containers.id(), config, stdio=Stdio.null())
    container.wait(60)
    container.delete()
    assert journal.kinds() == list(KINDS)


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("prestart", "creating"),
        ("create_runtime", "creating"),
        ("create_container", "creating"),
        ("start_container", "created"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ],
)
def test_the_state_on_standard_input(
    containers: Containers, journal: Journal, kind: str, status: str
) -> None:
    """The specification's document, with the status of the moment."""
    changes: dict[str, Any] = {"annotations": {"k": "v"}, "bundle": "/srv/bundle", "oci_version": "1.0.2"}
    config = config_of(containers, journal, hooks=journal.hooks(), **changes)
    container = launch(containers, config)
    pid = container.init_pid
    container.start()
    container.wait(60)
    container.delete()
    state = journal.state(kind)
    if kind == "poststop":
        pid = state.get("pid", 0)
        assert pid == 0
    assert state | {"pid": pid} == state
    assert {name: state[name] for name in ("ociVersion", "id", "status", "bundle", "annotations")} == {
        "ociVersion": "1.0.2",
        "id": container.id,
        "status": status,
        "bundle": "/srv/bundle",
        "annotations": {"k": "v"},
    }


@pytest.mark.parametrize("kind", KINDS)
def test_the_namespaces_of_each_kind(containers: Containers, journal: Journal, kind: str) -> None:
    """Runtime hooks are in the caller's namespaces; createContainer and startContainer in the container's."""
    script = "for n in mnt net uts; do readlink /proc/self/ns/$n; done"
    container = launch(containers, config_of(containers, journal, "sleep 5", hooks=journal.hooks(script)))
    inside = [os.readlink(f"/proc/{container.init_pid}/ns/{name}") for name in ("mnt", "net", "uts")]
    outside = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "net", "uts")]
    container.start()
    container.delete(force=True)
    found = journal.entry(kind)[2:5]
    assert found == (inside if kind in ("create_container", "start_container") else outside)


def test_roots_of_the_hooks_in_the_container(containers: Containers, journal: Journal) -> None:
    """The createContainer hook still has the host's root, startContainer the container's."""
    rootfs = containers.own_rootfs()
    (rootfs / "mark").write_text("")
    script = "test -e /mark && echo inside || echo outside"
    config = config_of(containers, journal, hooks=journal.hooks(script), rootfs=str(rootfs))
    container = launch(containers, config)
    container.start()
    container.wait(60)
    assert journal.entry("create_container")[2] == "outside"
    assert journal.entry("start_container")[2] == "inside"


def test_create_container_sees_the_mounts(containers: Containers, journal: Journal) -> None:
    """It runs after the container's mounts were made and before the root is changed, as runc does."""
    rootfs = containers.own_rootfs()
    script = f"grep -c ' {rootfs}/dev/shm ' /proc/self/mountinfo"
    hooks = Hooks(create_container=(journal.hook("create_container", script),))
    launch(
        containers,
        config_of(containers, journal, hooks=hooks, rootfs=str(rootfs)).replace(copy_on_write=False),
    )
    assert journal.entry("create_container")[2] == "1"


def test_a_runtime_hook_finds_the_containers_namespaces(containers: Containers, journal: Journal) -> None:
    """A createRuntime hook reaches the network namespace by the state's pid: so networks are attached."""
    script = (
        f"pid=$(tr , '\n' | sed -n 's/.*\"pid\"://p'); readlink /proc/$pid/ns/net > {journal.directory}/net"
    )
    hooks = Hooks(create_runtime=(Hook(path="/bin/busybox", args=("sh", "-c", script), env=(PATH,)),))
    container = launch(containers, config_of(containers, journal, hooks=hooks))
    found = (journal.directory / "net").read_text().strip()
    assert found == os.readlink(f"/proc/{container.init_pid}/ns/net")


def test_several_of_one_kind(containers: Containers, journal: Journal) -> None:
    """In their order."""
    hooks = Hooks(
        create_runtime=tuple(journal.hook(f"a{number}") for number in range(3)),
        create_container=tuple(journal.hook(f"b{number}") for number in range(3)),
    )
    launch(containers, config_of(containers, journal, hooks=hooks))
    assert journal.kinds() == ["a0", "a1", "a2", "b0", "b1", "b2"]


@pytest.mark.parametrize("kind", KINDS)
def test_arguments_and_environment(containers: Containers, journal: Journal, kind: str) -> None:
    """A hook gets its own arguments and nothing of the caller's environment."""
    at = f"{journal.directory}/journal/out"
    script = f'echo "$0|$1|$2" > {at}; env >> {at}'
    hook = Hook(path="/bin/busybox", args=("sh", "-c", script, "zero", "one", ""), env=(PATH, "K=v w"))
    container = launch(containers, config_of(containers, journal, hooks=Hooks(**{kind: (hook,)})))
    container.start()
    container.wait(60)
    container.delete()
    lines = Path(at).read_text().splitlines()
    assert lines[0] == "zero|one|"
    assert {line.partition("=")[0] for line in lines[1:]} <= {"PATH", "K", "PWD", "SHLVL", "_", "OLDPWD"}
    assert "K=v w" in lines


def test_without_arguments_the_path_is_the_name(containers: Containers, journal: Journal) -> None:
    """``args`` may be left out."""
    hooks = Hooks(create_runtime=(Hook(path="/bin/true"),), create_container=(Hook(path="/bin/true"),))
    assert status_of(launch(containers, config_of(containers, journal, hooks=hooks))) == "created"


def test_a_hook_that_does_not_read_its_state(containers: Containers, journal: Journal) -> None:
    """A state of many kilobytes is no obstacle to a hook that reads nothing of it."""
    many = {f"k{number}": "v" * 1000 for number in range(200)}
    hooks = Hooks(**{kind: (Hook(path="/bin/true"),) for kind in KINDS})
    container = launch(containers, config_of(containers, journal, hooks=hooks, annotations=many))
    container.start()
    container.wait(60)
    container.delete()


def test_a_large_state_arrives_whole(containers: Containers, journal: Journal) -> None:
    """Annotations of 200 KB reach every hook that reads them."""
    many = {f"k{number}": "v" * 1000 for number in range(200)}
    config = config_of(containers, journal, hooks=journal.hooks(), annotations=many)
    container = launch(containers, config)
    container.start()
    container.wait(60)
    container.delete()
    for kind in KINDS:
        assert journal.state(kind)["annotations"] == many


# Failure


def failing(kind: str, hook: Hook, journal: Journal) -> Hooks:
    """Hooks of which one kind fails first, with others after it."""
    return Hooks(
        **{**{each: (journal.hook(each),) for each in KINDS}, kind: (hook, journal.hook(f"{kind}-after"))}
    )


@pytest.mark.parametrize("kind", BEFORE_START)
def test_a_hook_that_fails_while_creating(containers: Containers, journal: Journal, kind: str) -> None:
    """Create fails with the hook's name and last words; later hooks do not run; nothing is left."""
    hook = Hook(path="/bin/busybox", args=("sh", "-c", "echo some trouble >&2; exit 3"), env=(PATH,))
    config = config_of(containers, journal, hooks=failing(kind, hook, journal))
    with pytest.raises(PierheadError, match=r"hook.*/bin/busybox.*some trouble") as caught:
        launch(containers, config)
    assert "exit status 3" in caught.value.message
    expected = {
        "prestart": [],
        "create_runtime": ["prestart"],
        "create_container": ["prestart", "create_runtime"],
    }
    assert [name for name in journal.kinds() if name != "poststop"] == expected[kind]
    assert list_ids(containers.root) == []


def test_a_start_container_hook_that_fails(containers: Containers, journal: Journal) -> None:
    """Start fails, the program does not run, the container has stopped and can be deleted."""
    hook = Hook(path="/bin/busybox", args=("sh", "-c", "echo trouble >&2; exit 4"), env=(PATH,))
    marker = f"{journal.directory}/journal/program"
    config = config_of(
        containers, journal, f"touch {marker}", hooks=failing("start_container", hook, journal)
    )
    container = launch(containers, config)
    with pytest.raises(PierheadError, match="trouble"):
        container.start()
    container.wait(60)
    assert status_of(container) == "stopped"
    assert not os.path.exists(marker)
    assert "poststart" not in journal.kinds()
    container.delete()
    assert journal.kinds()[-1] == "poststop"


def test_a_poststart_hook_that_fails(containers: Containers, journal: Journal) -> None:
    """The error is told and the container stopped, as runc does."""
    hook = Hook(path="/bin/false")
    container = launch(
        containers, config_of(containers, journal, "sleep 1000", hooks=failing("poststart", hook, journal))
    )
    with pytest.raises(PierheadError, match=r"poststart hook #0 .*/bin/false"):
        container.start()
    assert container.wait(60).signal == 9
    assert status_of(container) == "stopped"
    container.delete()


def test_a_poststart_hook_that_fails_in_run(containers: Containers, journal: Journal) -> None:
    """Where there is no container to give back, none is left."""
    config = config_of(containers, journal, "sleep 1000", hooks=Hooks(poststart=(Hook(path="/bin/false"),)))
    with pytest.raises(PierheadError, match="poststart hook #0"):
        run(containers.root, containers.id(), config, stdio=Stdio.null())
    assert list_ids(containers.root) == []


def test_a_poststop_hook_that_fails(containers: Containers, journal: Journal) -> None:
    """The container is gone all the same, the other hooks have run, and the error is told."""
    hook = Hook(path="/bin/false")
    container = launch(containers, config_of(containers, journal, hooks=failing("poststop", hook, journal)))
    with pytest.raises(PierheadError, match="poststop hook #0"):
        container.delete(force=True)
    assert "poststop-after" in journal.kinds()
    assert list_ids(containers.root) == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/nowhere/hook", "/etc/passwd", "/"])
def test_a_hook_that_cannot_be_run(containers: Containers, journal: Journal, kind: str, path: str) -> None:
    """A missing program, one that is not executable, a directory: the error names it."""
    config = config_of(containers, journal, hooks=Hooks(**{kind: (Hook(path=path),)}))
    with pytest.raises(PierheadError, match=f"hook.*{path}"):
        live(containers, config)


# Time


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_that_takes_too_long(containers: Containers, journal: Journal, kind: str) -> None:
    """After its timeout it is killed, and that is an error."""
    fifo = journal.fifo("life")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    script = f"exec 9> {fifo}; echo began >&9; exec sleep 1000"
    hook = Hook(path="/bin/busybox", args=("sh", "-c", script), env=(PATH,), timeout=1)
    config = config_of(containers, journal, "sleep 1000", hooks=Hooks(**{kind: (hook,)}))
    began = time.monotonic()
    with pytest.raises(PierheadError, match=r"hook.*/bin/busybox.*did not end"):
        live(containers, config)
    assert time.monotonic() - began > 0.9
    assert read_to_end(reader) == "began\n"  # the end comes when nobody can write any more


def test_a_timeout_is_told_as_one(containers: Containers, journal: Journal) -> None:
    """Of the launcher's own hooks it is TimedOut."""
    hook = Hook(path="/bin/sleep", args=("sleep", "1000"), timeout=1)
    with pytest.raises(TimedOut, match="createRuntime hook #0"):
        launch(containers, config_of(containers, journal, hooks=Hooks(create_runtime=(hook,))))


def test_a_hook_in_time_is_not_killed(containers: Containers, journal: Journal) -> None:
    """A timeout that is not reached does nothing."""
    hooks = Hooks(**{kind: (journal.hook(kind, "sleep 0.1", timeout=60),) for kind in KINDS})
    container = launch(containers, config_of(containers, journal, hooks=hooks))
    container.start()
    container.wait(60)
    container.delete()
    assert journal.kinds() == list(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_may_leave_a_process_behind(containers: Containers, journal: Journal, kind: str) -> None:
    """A daemon that it starts, and that holds its output open, does not keep the launch waiting."""
    fifo = journal.fifo("end")
    writer = os.open(fifo, os.O_RDWR)
    # It stays until nobody can write to the fifo any more, which it must have opened while somebody can.
    script = f"exec 3< {fifo}; cat <&3 & echo started"
    hook = Hook(path="/bin/busybox", args=("sh", "-c", script), env=(PATH,))
    try:
        container = launch(containers, config_of(containers, journal, hooks=Hooks(**{kind: (hook,)})))
        container.start()
        container.wait(60)
        container.delete()
    finally:
        os.close(writer)


@pytest.mark.parametrize("kind", KINDS)
def test_hooks_have_no_descriptor_of_ours(containers: Containers, journal: Journal, kind: str) -> None:
    """Standard input, output and error, and nothing else: even of what the caller lets others inherit."""
    at = f"{journal.directory}/journal/fds"
    hook = Hook(path="/bin/busybox", args=("sh", "-c", f"exec ls /proc/self/fd > {at}"), env=(PATH,))
    inheritable = os.open("/", os.O_RDONLY)
    os.set_inheritable(inheritable, True)
    try:
        container = launch(containers, config_of(containers, journal, hooks=Hooks(**{kind: (hook,)})))
        container.start()
        container.wait(60)
        container.delete()
    finally:
        os.close(inheritable)
    assert Path(at).read_text().split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_alone_reads_its_state(containers: Containers, journal: Journal, kind: str) -> None:
    """Whatever other hooks there are, it gets the state."""
    config = config_of(containers, journal, hooks=Hooks(**{kind: (journal.hook(kind),)}))
    container = launch(containers, config)
    container.start()
    container.wait(60)
    container.delete()
    assert journal.state(kind)["id"] == container.id


@pytest.mark.parametrize("kind", KINDS)
def test_a_hook_that_says_much(containers: Containers, journal: Journal, kind: str) -> None:
    """More than a pipe holds is no obstacle."""
    hook = Hook(path="/bin/busybox", args=("sh", "-c", "yes | head -c 1000000"), env=(PATH,))
    container = launch(containers, config_of(containers, journal, hooks=Hooks(**{kind: (hook,)})))
    container.start()
    container.wait(60)
    container.delete()


@pytest.mark.parametrize(
    "hook",
    [
        Hook(path="relative"),
        Hook(path=""),
        Hook(path="/bin/true", timeout=0),
        Hook(path="/bin/true", timeout=-1),
    ],
)
def test_hooks_that_cannot_be(containers: Containers, journal: Journal, hook: Hook) -> None:
    """A path that is not absolute, a timeout that is none."""
    with pytest.raises(InvalidInput, match="hooks"):
        launch(containers, config_of(containers, journal, hooks=Hooks(create_runtime=(hook,))))
