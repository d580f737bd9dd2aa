"""Namespaces: made new, shared with the caller, or joined by path; user namespaces with their id maps."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import InvalidInput, OperationFailed, PierheadError
from pierhead.oci.numbers import CAPABILITIES
from pierhead.oci.runtime import Capabilities, IDMapping, Namespace, User
from pierhead.runtime import Mount, ProcessSpec, Stdio
from pierhead.runtime.config import DEFAULT_MOUNTS
from pierhead.runtime.plan.namespaces import PROC_NAMES
from tests.support.containers import Containers, namespaces, status_of
from tests.support.requires import requires

if TYPE_CHECKING:
    from pierhead.runtime import Container

pytestmark = requires("root")

USUAL = ("mount", "uts", "ipc", "pid", "network", "cgroup")
ALL = (*USUAL, "user", "time")
MAPPED: dict[str, Any] = {
    "uid_mappings": (IDMapping(container_id=0, host_id=100000, size=65536),),
    "gid_mappings": (IDMapping(container_id=0, host_id=200000, size=65536),),
}
LINKS = "for n in mnt uts ipc pid net cgroup user time; do echo $n $(readlink /proc/self/ns/$n); done"


def links_of(output: str) -> dict[str, str]:
    """What LINKS printed: the kernel's name of each namespace by its file."""
    return dict(line.split() for line in output.splitlines())


def host_links(pid: int | str = "self") -> dict[str, str]:
    """A process's namespaces as the host sees them."""
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in PROC_NAMES.values()}


def path_of(container: Container, kind: str) -> str:
    """The file of a container's namespace."""
    return f"/proc/{container.init_pid}/ns/{PROC_NAMES[kind]}"


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in ("mount", "user")])
def test_one_new_namespace(containers: Containers, kind: str) -> None:
    """What is listed is new, what is not listed is the caller's."""
    found = links_of(containers.run(LINKS, namespaces=namespaces("mount", kind), networks=()).output)
    own = {name for name, link in host_links().items() if found[name] != link}
    assert own == {"mnt", PROC_NAMES[kind]}


def test_all_namespaces_at_once(containers: Containers) -> None:
    """All eight together."""
    found = links_of(containers.run(LINKS, namespaces=namespaces(*ALL), **MAPPED).output)
    assert found.keys() == host_links().keys()
    assert not set(found.items()) & set(host_links().items())


@pytest.mark.parametrize("kind", [kind for kind in ALL if kind not in ("mount", "user")])
@pytest.mark.parametrize("user", [False, True])
def test_one_namespace_joined_by_path(containers: Containers, kind: str, *, user: bool) -> None:
    """A path puts the container into that very namespace; with a user namespace of its own too."""
    other = containers.running(namespaces=namespaces(*USUAL, "time"))
    own = [each for each in (*USUAL, *(("user",) if user else ())) if each != kind]
    mine = namespaces(*own, **{kind: path_of(other, kind)})
    maps: dict[str, Any] = MAPPED if user else {}
    container = containers.running(namespaces=mine, networks=(), mounts=_mounts_for(kind, user=user), **maps)
    found, theirs = host_links(container.init_pid), host_links(other.init_pid)
    shared = {name for name in found if found[name] == theirs[name]}
    caller = {"time"} if kind != "time" else set()
    assert found[PROC_NAMES[kind]] == theirs[PROC_NAMES[kind]]
    assert shared - caller == {PROC_NAMES[kind]} | (set() if user else {"user"})


def _mounts_for(kind: str, *, user: bool) -> tuple[Mount, ...]:
    """The usual mounts, but those that need to own the namespace that is another's."""
    foreign = {
        "network": ("/sys", "/sys/fs/cgroup"),
        "pid": ("/proc",),
        "ipc": ("/dev/mqueue",),
        "cgroup": ("/sys/fs/cgroup",),
    }
    left_out = foreign.get(kind, ()) if user else ()
    return tuple(mount for mount in DEFAULT_MOUNTS if mount.destination not in left_out)


def test_a_pod_shares_network_ipc_and_uts(containers: Containers) -> None:
    """As in Kubernetes: a sandbox's net, ipc and uts by path, the rest new; names and interfaces are one."""
    sandbox = containers.running(hostname="pod")
    shared = {kind: path_of(sandbox, kind) for kind in ("network", "ipc", "uts")}
    kinds = namespaces("mount", "pid", "cgroup", **shared)
    first = containers.running(namespaces=kinds)
    assert containers.exec(first, "hostname").output == "pod\n"
    assert "LOOPBACK,UP" in containers.exec(first, "ip link show lo").output
    second = containers.run(
        "hostname pear && hostname; echo $$", namespaces=kinds, process={}, no_new_privileges=True
    )
    assert second.lines[-1] == "1"


def test_a_process_namespace_by_path(containers: Containers) -> None:
    """A container in another's pid namespace sees the other's processes, and is not number 1."""
    other = containers.running()
    kinds = namespaces("mount", "uts", "ipc", "network", "cgroup", pid=path_of(other, "pid"))
    said = containers.run("echo $$; cat /proc/1/cmdline | tr '\\0' ' '", namespaces=kinds)
    assert said.lines[0] != "1"
    assert said.lines[1].startswith("/bin/sleep 1000")


def test_a_container_in_a_joined_pid_namespace_is_managed_like_any_other(containers: Containers) -> None:
    """Status, exec, kill and delete work where the first process is not the namespace's first."""
    other = containers.running()
    kinds = namespaces("mount", "uts", "ipc", "network", "cgroup", pid=path_of(other, "pid"))
    container = containers.create("sleep 1000", namespaces=kinds)
    assert status_of(container) == "created"
    container.start()
    assert status_of(container) == "running"
    assert containers.exec(container, "echo here").output == "here\n"
    container.kill(9)
    assert container.wait(60).signal == 9
    container.delete()
    assert status_of(other) == "running"


@pytest.mark.parametrize("also", [(), ("network", "ipc", "uts"), ("network", "ipc", "uts", "pid")])
def test_a_user_namespace_by_path(containers: Containers, also: tuple[str, ...]) -> None:
    """A container in another's user namespace has the other's id maps, whatever else they share."""
    other = containers.running(namespaces=namespaces(*USUAL, "user"), **MAPPED)
    joined = {kind: path_of(other, kind) for kind in ("user", *also)}
    own = [kind for kind in USUAL if kind not in joined]
    container = containers.running(namespaces=namespaces(*own, **joined))
    for kind in joined:
        name = PROC_NAMES[kind]
        assert host_links(container.init_pid)[name] == host_links(other.init_pid)[name]
    assert Path(f"/proc/{container.init_pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    assert containers.exec(container, "id -u; id -g").words == ["0", "0"]


def test_a_user_namespace_maps_ids(containers: Containers) -> None:
    """Root inside is another user outside; further users and groups as the maps say; setgroups works."""
    process = {"user": User(uid=7, gid=8, additional_gids=(9, 10))}
    kinds = namespaces(*USUAL, "user")
    container = containers.running(namespaces=kinds, process=process, **MAPPED)
    status = dict(
        line.split(":\t", 1) for line in Path(f"/proc/{container.init_pid}/status").read_text().splitlines()
    )
    assert status["Uid"].split() == ["100007"] * 4
    assert status["Gid"].split() == ["200008"] * 4
    assert status["Groups"].split() == ["200009", "200010"]
    assert containers.exec(container, "id -u; cat /proc/self/uid_map", user="0").words[0] == "0"


def test_several_ranges(containers: Containers) -> None:
    """Every line of a map holds."""
    maps = (
        IDMapping(container_id=0, host_id=100000, size=1),
        IDMapping(container_id=1, host_id=300000, size=10),
        IDMapping(container_id=1000, host_id=400000, size=1),
    )
    said = containers.run(
        "cat /proc/self/uid_map", namespaces=namespaces(*USUAL, "user"), uid_mappings=maps, gid_mappings=maps
    )
    assert [line.split() for line in said.lines] == [
        ["0", "100000", "1"],
        ["1", "300000", "10"],
        ["1000", "400000", "1"],
    ]


def test_root_of_a_user_namespace_owns_its_namespaces_and_no_other(containers: Containers) -> None:
    """It may change its host name, and no node can be made, no host file read that root alone may read."""
    names = tuple(name for name in CAPABILITIES if name != "CAP_SYS_RESOURCE")
    rootfs = containers.own_rootfs()
    containers.root = f"{rootfs.parent}/state"  # the view is built where the mapped root gets to
    said = containers.run(
        "hostname mine && hostname; mknod /tmp/n c 1 3 2>&1; echo $?",
        namespaces=namespaces(*USUAL, "user"),
        capabilities=Capabilities(bounding=names, effective=names, permitted=names),
        copy_on_write=True,
        rootfs=str(rootfs),
        seccomp="unconfined",
        **MAPPED,
    )
    assert said.lines[0] == "mine"
    assert "Operation not permitted" in said.lines[1]
    assert said.lines[-1] == "1"


def test_default_devices_in_a_user_namespace(containers: Containers) -> None:
    """The host's nodes are there and work, though none can be made."""
    script = (
        "echo x > /dev/null && head -c4 /dev/zero | wc -c && head -c4 /dev/urandom | wc -c; ls -l /dev/full"
    )
    said = containers.run(script, namespaces=namespaces(*USUAL, "user"), **MAPPED)
    assert said.lines[:2] == ["4", "4"]
    assert said.words[2].startswith("c")


def test_exec_is_in_every_namespace(containers: Containers) -> None:
    """A further process has the very namespaces of the first."""
    container = containers.running(namespaces=namespaces(*ALL), **MAPPED)
    inside = links_of(containers.exec(container, LINKS).output)
    assert inside == host_links(container.init_pid)


def test_the_cgroup_namespace_begins_at_the_containers_cgroup(containers: Containers) -> None:
    """Its own cgroup is its root; without the namespace the host's path is seen."""
    lines = containers.run("cat /proc/self/cgroup").lines
    assert {line.rpartition(":")[2] for line in lines} == {"/"}
    shared = containers.run("cat /proc/self/cgroup", namespaces=namespaces("mount", "pid"), networks=())
    assert any("pierhead-test" in line for line in shared.lines)


def test_names_of_the_uts_namespace(containers: Containers) -> None:
    """Hostname and domainname are set in a new namespace; the host's stay."""
    before = os.uname().nodename
    said = containers.run(
        "hostname; cat /proc/sys/kernel/domainname", hostname="box", domainname="example.org"
    )
    assert said.words == ["box", "example.org"]
    assert os.uname().nodename == before


@pytest.mark.parametrize("changes", [{"hostname": "x"}, {"domainname": "x"}])
def test_names_need_a_uts_namespace(containers: Containers, changes: dict[str, Any]) -> None:
    """Without one the host's name would be changed: refused."""
    before = os.uname().nodename
    with pytest.raises(InvalidInput):
        containers.create("true", namespaces=namespaces("mount", "pid"), networks=(), **changes)
    assert os.uname().nodename == before


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/proc/self/ns/nothing", "no such file"),
        ("/proc/self/ns/uts", "cannot join the network namespace /proc/self/ns/uts: it is not one"),
        ("/etc/passwd", "cannot join the network namespace"),
        ("/", "cannot join the network namespace"),
    ],
)
def test_a_path_that_is_no_such_namespace(containers: Containers, path: str, said: str) -> None:
    """One sentence names the namespace."""
    with pytest.raises(PierheadError, match=said) as caught:
        containers.create("true", namespaces=namespaces("mount", "pid", network=path), networks=())
    assert "network" in caught.value.message


def test_a_mount_namespace_cannot_be_anothers(containers: Containers) -> None:
    """A root is made in a mount namespace of one's own."""
    with pytest.raises(InvalidInput, match="mount namespace"):
        containers.create("true", namespaces=namespaces("pid", mount="/proc/self/ns/mnt"))


@pytest.mark.parametrize("kinds", [namespaces("mount", "pid", "pid"), (Namespace(type="nothing"),)])
def test_lists_that_are_bad(containers: Containers, kinds: tuple[Namespace, ...]) -> None:
    """Twice the same, or a kind that there is not."""
    with pytest.raises(InvalidInput, match="namespaces"):
        containers.create("true", namespaces=kinds)


def test_maps_need_a_user_namespace(containers: Containers) -> None:
    """Maps without a namespace are refused, and a user namespace without maps too."""
    with pytest.raises(InvalidInput):
        containers.create("true", **MAPPED)
    with pytest.raises(InvalidInput):
        containers.create("true", namespaces=namespaces(*USUAL, "user"))


def test_a_map_that_the_kernel_refuses(containers: Containers) -> None:
    """Overlapping ranges: the error has the lines, and nothing is left."""
    maps = (
        IDMapping(container_id=0, host_id=100000, size=10),
        IDMapping(container_id=5, host_id=200000, size=10),
    )
    with pytest.raises((OperationFailed, InvalidInput), match=r"uid|overlap"):
        containers.create("true", namespaces=namespaces(*USUAL, "user"), uid_mappings=maps, gid_mappings=maps)


def test_no_descriptor_of_a_namespace_stays(containers: Containers) -> None:
    """Making, joining and deleting leaves no descriptor open in the caller."""
    other = containers.running(namespaces=namespaces(*USUAL, "user"), **MAPPED)
    before = set(os.listdir("/proc/self/fd"))
    joined = {kind: path_of(other, kind) for kind in ("user", "network")}
    container = containers.create("true", namespaces=namespaces("mount", "pid", "ipc", **joined))
    process = container.exec(ProcessSpec(args=("/bin/true",)), stdio=Stdio.null())
    assert process.wait(60).code == 0
    process.close()
    container.delete(force=True)
    assert set(os.listdir("/proc/self/fd")) == before
