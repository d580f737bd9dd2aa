"""Containers made from requests, looked at from inside."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.engine.documents import (
    BindOptions,
    DeviceMapping,
    HostConfig,
    Mount,
    TmpfsOptions,
    Ulimit,
    UpdateConfig,
)
from pierhead.engine.etcfiles import EtcFiles, write_etc_files
from pierhead.engine.hostdevices import block_device_numbers, find_devices, observe_machine
from pierhead.engine.specgen import (
    Ground,
    Root,
    fill_host,
    plan_config,
    plan_update,
    plan_user_maps,
    root_of_host,
)
from pierhead.engine.volumemounts import mounted_on, unmount_all
from pierhead.engine.volumes import VolumeStore
from pierhead.errors import InvalidInput
from pierhead.runtime import RootOverlay, host_rootfs
from tests.support.containers import wait_until
from tests.support.requests import CONTAINER_ID, SETTINGS, container_config, record_of
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

    from pierhead.engine.documents import ContainerConfig
    from pierhead.runtime import Config
    from tests.support.containers import Containers, Finished

pytestmark = requires("root")
MIB = 1 << 20


def plan(
    containers: Containers, host: HostConfig, config: ContainerConfig | None = None, **ground: Any
) -> Config:
    """The configuration of a container upon busybox."""
    machine = observe_machine()
    mounts = ground.pop("mounts", ())
    there = {
        "root": Root(rootfs=containers.rootfs, copy_on_write=True),
        "devices": find_devices(host),
        "device_numbers": block_device_numbers(host),
        "machine": machine,
        **ground,
    }
    return plan_config(record_of(host, config=config, mounts=mounts, machine=machine), Ground(**there))


def arguments(config: Config) -> dict[str, Any]:
    """What ``Containers.run`` takes to make this very configuration."""
    assert config.process is not None
    return {**config.__dict__, "process": config.process.__dict__}


def look(containers: Containers, script: str, host: HostConfig | None = None, **what: Any) -> Finished:
    """What a shell writes in a container that was asked for."""
    fields = what.pop("config", {})
    config = container_config(cmd=("/bin/sh", "-c", script), **fields)
    return containers.run(**arguments(plan(containers, host or HostConfig(), config, **what)))


def test_plain(containers: Containers) -> None:
    """Name, user, directory, environment are what the request says, or Docker's."""
    found = look(
        containers,
        "hostname; id -u; pwd; echo $HOSTNAME $A $HOME; exit 3",
        config={"env": ("A=1",), "working_dir": "/made/here"},
    )
    assert found.lines == [CONTAINER_ID[:12], "0", "/made/here", f"{CONTAINER_ID[:12]} 1 /root"]
    assert found.status.code == 3


def test_capabilities_and_privileges(containers: Containers) -> None:
    """The bounding set is Docker's, as changed; a user without rights has none; all for privileged ones."""
    script = "grep -E 'CapBnd|CapEff|NoNewPrivs|Seccomp:' /proc/self/status"
    assert look(containers, script).words == [
        *("CapEff:", "00000000a80425fb", "CapBnd:", "00000000a80425fb", "NoNewPrivs:", "0", "Seccomp:", "2")
    ]
    less = look(
        containers,
        script,
        HostConfig(cap_drop=("ALL",), cap_add=("KILL",), security_opt=("no-new-privileges",)),
    )
    assert "CapBnd:\t0000000000000020" in less.output
    assert "NoNewPrivs:\t1" in less.output
    user = look(containers, script, config={"user": "1000"})
    assert "CapEff:\t0000000000000000" in user.output
    assert "CapBnd:\t00000000a80425fb" in user.output
    with open("/proc/self/status", encoding="ascii") as file:
        own = next(line.split()[1] for line in file if line.startswith("CapBnd"))
    every = look(containers, script, HostConfig(privileged=True)).output
    assert f"CapBnd:\t{own}" in every
    assert "Seccomp:\t0" in every


def test_a_profile_of_ones_own(containers: Containers) -> None:
    """A filter that the request brings holds: here mkdir fails as it says."""
    profile = (
        '{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": '
        '[{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]}'
    )
    found = look(containers, "mkdir /tmp/x 2>&1; uname", HostConfig(security_opt=(f"seccomp={profile}",)))
    assert "No space left on device" in found.output
    assert found.words[-1] == "Linux"


def test_what_is_hidden(containers: Containers) -> None:
    """Docker's paths are masked and read-only, and are not where the request says so."""
    script = (
        "wc -c < /proc/timer_list; touch /proc/sys/kernel/panic 2>&1; grep -c ' /sys sysfs ro' /proc/mounts"
    )
    closed = look(containers, script).lines
    assert closed[0] == "0"
    assert "Read-only file system" in closed[1]
    assert closed[-1] == "1"
    opened = look(containers, script, HostConfig(privileged=True)).lines
    assert int(opened[0]) > 0
    assert opened[-1] == "0"


@requires("memory-controller", "pids-controller", "cpu-controller")
def test_limits(containers: Containers) -> None:
    """The cgroup has the numbers, and an update changes them while the container runs."""
    host = HostConfig(memory=64 * MIB, nano_cpus=5 * 10**8, pids_limit=50, cpu_shares=512)
    config = plan(containers, host, container_config(cmd=("/bin/sleep", "1000")))
    made = containers.start(**arguments(config))
    stats = made.stats()
    assert (stats.memory.usage.limit, stats.pids.limit) == (64 * MIB, 50)
    filled, _ = fill_host(container_config(), host, SETTINGS, machine=observe_machine())
    _, limits = plan_update(filled, UpdateConfig(memory=32 * MIB, pids_limit=20))
    made.update(limits)
    stats = made.stats()
    assert (stats.memory.usage.limit, stats.pids.limit) == (32 * MIB, 20)


def test_ulimits(containers: Containers) -> None:
    """Limits of processes are those asked for, and never above what the engine may set."""
    wanted = HostConfig(
        ulimits=(Ulimit(name="nofile", soft=100, hard=10**9), Ulimit(name="core", soft=0, hard=0)),
        oom_score_adj=300,
    )
    found = look(containers, "ulimit -Sn; ulimit -Hn; ulimit -c; cat /proc/self/oom_score_adj", wanted).lines
    most = dict(observe_machine().hard_limits).get("RLIMIT_NOFILE", 10**9)
    assert found == ["100", str(min(most, 10**9)), "0", "300"]


def test_shared_memory(containers: Containers) -> None:
    """/dev/shm has the size asked for, and is not there where nothing is shared."""
    size = look(containers, "df -k /dev/shm | tail -1", HostConfig(shm_size=2 * MIB)).words[1]
    assert size == "2048"
    assert look(containers, "grep -c /dev/shm /proc/mounts", HostConfig(ipc_mode="none")).words == ["0"]


def test_file_systems_in_memory(containers: Containers) -> None:
    """Both ways to ask for one, with their options; nothing runs from it unless that is asked for."""
    host = HostConfig(
        tmpfs={"/run/a": "size=1m", "/b": "exec,mode=700"},
        mounts=(Mount(type="tmpfs", target="/c", tmpfs_options=TmpfsOptions(size_bytes=MIB, mode=0o711)),),
    )
    script = "grep -E ' (/run/a|/b|/c) ' /proc/mounts; stat -c %a /b /c"
    with VolumeStore(":memory:", str(containers.directory()), "/nowhere") as store:
        points = store.resolve(CONTAINER_ID, container_config(), host, {}).mounts
    lines = look(containers, script, host, mounts=points).lines
    options = {line.split()[1]: line.split()[3].split(",") for line in lines[:-2]}
    assert {"noexec", "nosuid", "nodev", "size=1024k"} <= set(options["/run/a"])
    assert "noexec" not in options["/b"]
    assert "size=1024k" in options["/c"]
    assert lines[-2:] == ["700", "711"]


def test_read_only_root(containers: Containers) -> None:
    """Nothing can be written but in memory; the engine's files are closed too."""
    directory = str(containers.directory())
    write_etc_files(directory, EtcFiles(hostname="box", addresses=("10.0.0.2",)))
    script = "touch /x; echo >> /etc/hosts; touch /dev/shm/x && echo made; tail -1 /etc/hosts"
    found = look(
        containers,
        f"({script}) 2>&1",
        HostConfig(readonly_rootfs=True),
        hosts=f"{directory}/hosts",
        hostname_file=f"{directory}/hostname",
        resolv_conf=f"{directory}/resolv.conf",
    ).output
    assert found.count("Read-only file system") == 2
    assert "made" in found
    assert "10.0.0.2\tbox" in found


def test_devices(containers: Containers, tmp_path: Path) -> None:
    """A device is there under its new name, and may be used as its letters say; a missing one is an error."""
    node = tmp_path / "node"
    os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(1, 12))  # nobody's: where it is allowed it is not there
    mapping = DeviceMapping(path_on_host=str(node), path_in_container="/dev/nothing", cgroup_permissions="r")
    script = "stat -c %t:%T /dev/nothing; (exec 3</dev/nothing) 2>&1; (exec 3>/dev/nothing) 2>&1"
    number, read, written = look(containers, script, HostConfig(devices=(mapping,))).lines
    assert number == "1:c"
    assert "No such device" in read
    assert "not permitted" in written
    with pytest.raises(InvalidInput, match=r'adding custom device "/dev/none": no such file or directory$'):
        find_devices(HostConfig(devices=(DeviceMapping(path_on_host="/dev/none"),)))


def test_namespaces_of_the_host(containers: Containers) -> None:
    """Each mode shares the host's, and private ones are other ones."""
    names = ("pid", "ipc", "uts", "net", "cgroup")
    script = f"cd /proc/self/ns; for n in {' '.join(names)}; do readlink $n; done"
    own = [os.readlink(f"/proc/self/ns/{name}") for name in names]
    host = HostConfig(
        pid_mode="host", ipc_mode="host", uts_mode="host", network_mode="host", cgroupns_mode="host"
    )
    assert look(containers, script, host).lines == own
    private = look(containers, script).lines
    assert len(private) == len(own)
    assert not set(private) & set(own)


def test_namespaces_of_another_container(containers: Containers) -> None:
    """A container that joins another one has its namespaces and no others of these kinds."""
    first = containers.start(
        **arguments(plan(containers, HostConfig(), container_config(cmd=("/bin/sleep", "1000"))))
    )
    kinds = {"pid": "pid", "ipc": "ipc", "network": "net"}
    joined = {kind: f"/proc/{first.init_pid}/ns/{name}" for kind, name in kinds.items()}
    host = HostConfig(pid_mode="container:a", ipc_mode="container:a", network_mode="container:a")
    script = "cd /proc/self/ns; for n in pid ipc net; do readlink $n; done; readlink uts"
    found = look(containers, script, host, namespaces=joined).lines
    assert found[:3] == [os.readlink(path) for path in joined.values()]
    assert found[3] != os.readlink(f"/proc/{first.init_pid}/ns/uts")


def test_sysctls(containers: Containers) -> None:
    """What the request sets, and Docker's two for networks of one's own."""
    script = "cd /proc/sys/net/ipv4; cat ip_forward ip_unprivileged_port_start ping_group_range"
    found = look(containers, script, HostConfig(sysctls={"net.ipv4.ip_forward": "1"})).lines
    assert [line.split() for line in found] == [["1"], ["0"], ["0", "2147483647"]]


def test_groups(containers: Containers) -> None:
    """Groups by number beside the user's own."""
    assert look(containers, "id -G", HostConfig(group_add=("20",)), config={"user": "1000:1000"}).words == [
        "1000",
        "20",
    ]


def test_binds(containers: Containers, tmp_path: Path) -> None:
    """Directories of the host, made where missing, read-only with all that is mounted below."""
    (tmp_path / "shared/sub").mkdir(parents=True)
    host = HostConfig(
        binds=(f"{tmp_path}/shared:/rw", f"{tmp_path}/shared:/ro:ro", f"{tmp_path}/new:/new"),
        mounts=(
            Mount(
                type="bind",
                source=f"{tmp_path}/shared",
                target="/mount",
                read_only=True,
                bind_options=BindOptions(non_recursive=True),
            ),
        ),
    )
    script = "echo x > /rw/file; touch /rw/sub/file; cat /ro/file /mount/file; ls /ro/sub /mount/sub; "
    script += "touch /ro/y /ro/sub/y /mount/y 2>&1; ls -d /new"
    subprocess.run(("mount", "-t", "tmpfs", "none", tmp_path / "shared/sub"), check=True)
    try:
        with VolumeStore(":memory:", str(tmp_path / "volumes"), str(tmp_path / "run")) as store:
            points = store.resolve(CONTAINER_ID, container_config(), host, {}).mounts
            sources = store.mount(CONTAINER_ID, container_config(), host, points)
            found = look(containers, script, host, mounts=points, sources=sources)
    finally:
        unmount_all(str(tmp_path / "shared/sub"))
    assert found.lines[:6] == ["x", "x", "/mount/sub:", "", "/ro/sub:", "file"]
    assert found.output.count("Read-only file system") == 3
    assert found.lines[-1] == "/new"
    assert (tmp_path / "new").is_dir()


def _device(path: str) -> int:
    return os.stat(path).st_dev


def test_shared_binds(containers: Containers, tmp_path: Path) -> None:
    """What the container mounts below a shared bind is there on the host, below a private one it is not."""
    shared = tmp_path / "shared"
    (shared / "sub").mkdir(parents=True)
    script = "mount -t tmpfs none /b/sub && sleep 1000"
    command = container_config(cmd=("/bin/sh", "-c", script))
    subprocess.run(("mount", "--bind", shared, shared), check=True)
    try:
        # First out of the group of the mount below it, which would show it a second time.
        subprocess.run(("mount", "--make-private", shared), check=True)
        subprocess.run(("mount", "--make-shared", shared), check=True)
        for propagation in ("rprivate", "rshared"):
            host = HostConfig(binds=(f"{shared}:/b:{propagation}",), privileged=True)
            with VolumeStore(":memory:", str(tmp_path / "volumes"), str(tmp_path / "run")) as store:
                points = store.resolve(CONTAINER_ID, command, host, {}).mounts
                store.mount(CONTAINER_ID, command, host, points)
            made = containers.start(**arguments(plan(containers, host, command, mounts=points)))
            place = f"/proc/{made.init_pid}/root/b"
            wait_until("it is mounted inside", lambda place=place: _device(place) != _device(f"{place}/sub"))
            assert mounted_on(str(shared / "sub")) == (propagation == "rshared")
            made.delete(force=True)
    finally:
        unmount_all(str(shared / "sub"))
        unmount_all(str(shared))


def test_the_machine_as_an_image(containers: Containers) -> None:
    """The host's own root, hidden where it has secrets, in a container that was asked for."""
    root = root_of_host(host_rootfs())
    found = look(
        containers, "wc -c < /etc/shadow; ls /root | wc -l; echo ok > /etc/mine; cat /etc/mine", root=root
    )
    assert found.words == ["0", "0", "ok"]
    assert not os.path.exists("/etc/mine")


def test_mapped_users(containers: Containers) -> None:
    """Root in the container is somebody else outside, and volumes are its own."""
    maps = plan_user_maps("app", "app:100000:65536\n", "app:200000:65536\n")
    directory = str(containers.directory())
    host = HostConfig(binds=("data:/data",))
    config = container_config()
    for name in ("root", "upper", "work"):
        os.mkdir(f"{directory}/{name}")
    upper, work = f"{directory}/upper", f"{directory}/work"
    overlay = RootOverlay(lower=(containers.rootfs,), upper=upper, work=work)
    with VolumeStore(":memory:", f"{directory}/v", f"{directory}/run", owner=(100000, 200000)) as store:
        points = store.resolve(CONTAINER_ID, config, host, {}).mounts
        sources = store.mount(CONTAINER_ID, config, host, points)
        found = look(
            containers,
            "id -u; id -g; cat /proc/self/uid_map; touch /data/x && stat -c %u:%g /data/x",
            host,
            mounts=points,
            sources=sources,
            user_mappings=maps[0],
            group_mappings=maps[1],
            root=Root(rootfs=f"{directory}/root", overlay=overlay),
        )
        about = os.stat(f"{points[0].source}/x")
    assert found.words[:5] == ["0", "0", "0", "100000", "65536"]
    assert found.words[5] == "0:0"
    assert (about.st_uid, about.st_gid) == (100000, 200000)
