"""What this machine has: its devices, and what its kernel lets an engine do.  Asks, and changes nothing."""

from __future__ import annotations

import os
import resource
import stat
from typing import TYPE_CHECKING

from pierhead.engine.specgen.ground import Machine
from pierhead.engine.specgen.limits import block_devices
from pierhead.errors import InvalidInput
from pierhead.linux import apparmor, cgroupfs, facts
from pierhead.oci.numbers import CAPABILITY_NUMBERS, RLIMITS
from pierhead.runtime.config import Device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.engine.documents import DeviceMapping, HostConfig

_EVERY_CONTAINER_HAS = frozenset(
    [
        "console",
        "fd",
        "full",
        "mqueue",
        "null",
        "ptmx",
        "pts",
        "random",
        "shm",
        "stderr",
        "stdin",
        "stdout",
        "tty",
        "urandom",
        "zero",
    ]
)
_DEPTH_MOST = 8
_NOT_DEVICES = frozenset((".lxc", ".lxd-mounts", ".udev"))

_V1_NAMES = {"io": "blkio"}
_PLACES_MOST = 4


# Devices.


def find_devices(host: HostConfig) -> tuple[Device, ...]:
    """What the container gets beyond everybody's devices: those asked for, all of them where privileged.

    Raises:
        InvalidInput: one is not there, or is no device.
    """
    asked = [device for mapping in host.devices for device in _mapped(mapping)]
    found = {device.path: device for device in (*(list_devices() if host.privileged else ()), *asked)}
    return tuple(found.values())


def _mapped(mapping: DeviceMapping) -> Iterator[Device]:
    """The device, or all below a directory, at their places in the container."""
    source = os.path.realpath(mapping.path_on_host)
    place = mapping.path_in_container or mapping.path_on_host
    access = mapping.cgroup_permissions or "rwm"
    if not os.path.isdir(source):
        yield _device(source, place, access, asked=mapping.path_on_host)
        return
    for path, about in _walk(source, 0):
        yield _of_stat(place + path.removeprefix(source), about, access)


def _device(path: str, place: str, access: str, *, asked: str) -> Device:
    try:
        about = os.stat(path)
    except OSError as error:
        raise InvalidInput(
            f'error gathering device information while adding custom device "{asked}": '
            f"{os.strerror(error.errno or 0).lower()}",
            code="no-such-device",
        ) from None
    if not _is_device(about.st_mode):
        raise InvalidInput(
            f'error gathering device information while adding custom device "{asked}": not a device node',
            code="no-such-device",
        )
    return _of_stat(place, about, access)


def _of_stat(place: str, about: os.stat_result, access: str) -> Device:
    return Device(
        path=place,
        type="b" if stat.S_ISBLK(about.st_mode) else "c",
        major=os.major(about.st_rdev),
        minor=os.minor(about.st_rdev),
        file_mode=stat.S_IMODE(about.st_mode),
        uid=about.st_uid,
        gid=about.st_gid,
        permissions=access,
    )


def list_devices(directory: str = "/dev") -> tuple[Device, ...]:
    """All of the machine's device nodes but those that every container gets."""
    return tuple(_of_stat(path, about, "rwm") for path, about in _walk(directory, 0))


def _walk(directory: str, depth: int) -> Iterator[tuple[str, os.stat_result]]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:  # taken away meanwhile
        return
    for name in names:
        path = f"{directory}/{name}"
        if (directory == "/dev" and name in _EVERY_CONTAINER_HAS) or name in _NOT_DEVICES:
            continue
        try:
            about = os.lstat(path)
        except OSError:
            continue
        if stat.S_ISDIR(about.st_mode) and depth < _DEPTH_MOST and not os.path.ismount(path):
            yield from _walk(path, depth + 1)
        elif _is_device(about.st_mode):
            yield path, about


def _is_device(mode: int) -> bool:
    return stat.S_ISBLK(mode) or stat.S_ISCHR(mode)


def block_device_numbers(host: HostConfig) -> dict[str, tuple[int, int]]:
    """Major and minor of the block devices that the limits name.

    Raises:
        InvalidInput: one is not there.
    """
    found = {}
    for path in block_devices(host):
        device = _device(path, path, "", asked=path)
        found[path] = (device.major, device.minor)
    return found


# The machine.


def observe_machine() -> Machine:
    """What this kernel has and lets this process do; asked anew at each call."""
    trees = cgroupfs.discover()
    v2 = trees.mode == "v2"
    controllers = frozenset(
        name
        for name in ("cpu", "cpuset", "io", "memory", "pids")
        if trees.find(name) or trees.find(_V1_NAMES.get(name, name))
    )
    capabilities = _capabilities()
    inside = facts.in_user_namespace()  # where a capability is good for what belongs to the namespace alone
    raises_limits = "CAP_SYS_RESOURCE" in capabilities and not inside
    return Machine(
        cpus=len(os.sched_getaffinity(0)),
        cpu_list=_line("/sys/devices/system/cpu/online"),
        memory_nodes=_line("/sys/devices/system/node/online") or "0",
        cgroup_v2=v2,
        controllers=controllers,
        swap_limit=_has_file(trees, "memory", ("memory.swap.max", "memory.memsw.limit_in_bytes")),
        swappiness=_has_file(trees, "memory", ("memory.swappiness",)),
        oom_kill_disable=_has_file(trees, "memory", ("memory.oom_control",)),
        realtime=_has_file(trees, "cpu", ("cpu.rt_runtime_us",)),
        block_weight=_has_file(
            trees, "io", ("io.weight", "io.bfq.weight", "blkio.weight", "blkio.bfq.weight")
        ),
        hard_limits=() if raises_limits else _hard_limits(),
        oom_score_least=-1000 if raises_limits else int(_line("/proc/self/oom_score_adj")),
        capabilities=capabilities,
        apparmor=apparmor.is_enabled() and not inside,
        selinux=os.path.exists("/sys/fs/selinux/enforce"),
        arch=os.uname().machine,
        kernel=facts.kernel_version(),
        inside=inside,
    )


def with_controllers(machine: Machine, names: frozenset[str]) -> Machine:
    """The machine for an engine whose cgroups have these controllers at most."""
    kept = machine.controllers & names
    memory = "memory" in kept
    return machine.replace(
        controllers=kept,
        swap_limit=machine.swap_limit and memory,
        swappiness=machine.swappiness and memory,
        oom_kill_disable=machine.oom_kill_disable and memory,
        realtime=machine.realtime and "cpu" in kept,
        block_weight=machine.block_weight and "io" in kept,
    )


def _has_file(trees: cgroupfs.Hierarchies, controller: str, names: tuple[str, ...]) -> bool:
    """Whether a cgroup has one of the files.

    The root lacks many that every cgroup below it has, so one of those is looked at, too.
    """
    tree = trees.find(controller) or trees.find(_V1_NAMES.get(controller, controller))
    if tree is None:
        return False
    places = [tree.mountpoint]
    with os.scandir(tree.mountpoint) as entries:
        places += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)][:_PLACES_MOST]
    return any(os.path.exists(f"{place}/{name}") for place in places for name in names)


def _hard_limits() -> tuple[tuple[str, int], ...]:
    """Those hard limits of this process that are limits."""
    found = []
    for name, number in RLIMITS.items():
        hard = resource.getrlimit(number)[1]
        if hard != resource.RLIM_INFINITY:
            found.append((name, hard))
    return tuple(found)


def _capabilities() -> tuple[str, ...]:
    """Capabilities that this process can hand on (proc(5), CapBnd)."""
    for line in _text("/proc/self/status").split("\n"):
        if line.startswith("CapBnd:"):
            mask = int(line.split()[1], 16)
            return tuple(name for name, number in CAPABILITY_NUMBERS.items() if mask >> number & 1)
    return ()


def _line(path: str) -> str:
    return _text(path).partition("\n")[0]


def _text(path: str) -> str:
    """A file's text; empty where there is none."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
