"""Configurations that make no container, each with the error that says why.

In an error's words ``…`` stands for anything.
"""

from __future__ import annotations

from typing import Any

from pierhead.errors import InvalidInput, NotFound, OperationFailed, PierheadError, TimedOut
from pierhead.oci.runtime import (
    Capabilities,
    Cpu,
    Hook,
    Hooks,
    Memory,
    NetDevice,
    Personality,
    Resources,
    Rlimit,
    User,
)
from pierhead.runtime.config import DEFAULT_MOUNTS, Device, Mount, Network
from tests.support.containers import namespaces
from tests.support.probe import PROBE

PROGRAMS = (
    ("/none", OperationFailed, 'exec: "/none": stat /none: no such file or directory'),
    ("none", OperationFailed, 'exec: "none": executable file not found in $PATH'),
    ("/plain", OperationFailed, 'exec: "/plain": permission denied'),
    ("plain", OperationFailed, 'exec: "plain": permission denied'),
    ("/etc", OperationFailed, 'exec: "/etc": is a directory'),
    ("/garbage", OperationFailed, 'exec: "/garbage": exec format error'),
    ("/script", OperationFailed, 'exec: "/script": no such file or directory: the interpreter … is missing'),
    ("/etc/passwd/x", OperationFailed, 'exec: "/etc/passwd/x": not a directory'),
    ("/dangling", OperationFailed, 'exec: "/dangling": stat /dangling: no such file or directory'),
    ("", InvalidInput, "$.process.args[0]: is empty"),
    ("a\0b", InvalidInput, "$.process.args[0]: contains a NUL character"),
)


def mounts(**mount: Any) -> dict[str, Any]:
    """The standard mounts and this one."""
    return {"mounts": (*DEFAULT_MOUNTS, Mount(**mount))}


def caps(*names: str) -> dict[str, Any]:
    """These capabilities in the three usual sets."""
    return {"capabilities": Capabilities(bounding=names, effective=names, permitted=names)}


def joined(path: str) -> dict[str, Any]:
    """A network namespace to join."""
    return {"namespaces": namespaces("mount", "pid", "ipc", "uts", "cgroup", network=path)}


CASES: dict[str, tuple[type[PierheadError], str, dict[str, Any]]] = {
    # process
    "no arguments": (InvalidInput, "$.process.args: is empty: …", {"process": {"args": ()}}),
    "too long": (OperationFailed, 'exec: "/probe": argument list too long', {"args": (PROBE, "x" * 200_000)}),
    "environment": (
        InvalidInput,
        "$.process.env[0]: expected NAME=value, found 'x'",
        {"process": {"env": ("x",)}},
    ),
    "relative cwd": (
        InvalidInput,
        "$.process.cwd: expected an absolute path, found 'x'",
        {"process": {"cwd": "x"}},
    ),
    "cwd is a file": (
        OperationFailed,
        "cannot change to the working directory /etc/passwd: not a directory",
        {"process": {"cwd": "/etc/passwd"}},
    ),
    "user": (InvalidInput, "$.process.user: unable to find user none: …", {"process": {"user": "none"}}),
    "group": (
        InvalidInput,
        "$.process.user: unable to find group none: …",
        {"process": {"user": "root:none"}},
    ),
    "uid": (
        InvalidInput,
        "$.process.user.uid: expected 0 to 4294967295, found -1",
        {"process": {"user": User(uid=-1)}},
    ),
    "terminal without console": (
        InvalidInput,
        "the process wants a terminal, and there is nobody to get its other end",
        {"process": {"terminal": True}},
    ),
    "descriptor": (
        InvalidInput,
        "descriptor 9999, which the process is to have, is not open",
        {"options": {"preserve_fds": (9999,)}},
    ),
    "descriptors": (
        InvalidInput,
        "… descriptors are more than can be handed on at once",
        {"options": {"preserve_fds": (0,) * 300}},
    ),
    # mounts
    "source": (
        OperationFailed,
        "cannot bind /no/such to /x: …no such file or directory",
        mounts(destination="/x", type="bind", source="/no/such", options=("bind",)),
    ),
    "type": (
        OperationFailed,
        "cannot mount nosuchfs on /x: …no such device",
        mounts(destination="/x", type="nosuchfs", source="x"),
    ),
    "no type": (
        InvalidInput,
        "$.mounts[7]: the mount on /x has neither a type nor the option bind",
        mounts(destination="/x", source="x"),
    ),
    "option": (
        OperationFailed,
        "cannot mount tmpfs on /x: …Unknown parameter 'nosuch'…",
        mounts(destination="/x", type="tmpfs", source="x", options=("nosuch=1",)),
    ),
    "value": (
        OperationFailed,
        "cannot mount tmpfs on /x: …Bad value for 'size'…",
        mounts(destination="/x", type="tmpfs", source="x", options=("size=lots",)),
    ),
    "no destination": (
        InvalidInput,
        "$.mounts[7].destination: is empty",
        mounts(destination="", type="tmpfs"),
    ),
    "on a file": (
        OperationFailed,
        "cannot mount tmpfs on /etc/passwd: …it is not a directory",
        mounts(destination="/etc/passwd", type="tmpfs", source="x"),
    ),
    "directory on a file": (
        OperationFailed,
        "cannot bind /tmp to /etc/passwd: …it is not a directory",
        mounts(destination="/etc/passwd", type="bind", source="/tmp", options=("bind",)),
    ),
    "file on a directory": (
        OperationFailed,
        "cannot bind /etc/passwd to /etc: …it is a directory",
        mounts(destination="/etc", type="bind", source="/etc/passwd", options=("bind",)),
    ),
    "below a file": (
        OperationFailed,
        "cannot mount tmpfs on /etc/passwd/x: …not a directory",
        mounts(destination="/etc/passwd/x", type="tmpfs", source="x"),
    ),
    "device": (
        OperationFailed,
        "cannot mount ext4 on /x: …",
        mounts(destination="/x", type="ext4", source="/dev/no-such"),
    ),
    "name too long": (
        OperationFailed,
        "cannot mount tmpfs on …file name too long",
        mounts(destination="/" + "n" * 300, type="tmpfs", source="x"),
    ),
    "masked path": (
        InvalidInput,
        "$.mask_paths[0]: expected an absolute path, found 'x'",
        {"mask_paths": ("x",)},
    ),
    "read-only path": (
        InvalidInput,
        "$.readonly_paths[0]: contains a NUL character",
        {"readonly_paths": ("/\0",)},
    ),
    "propagation": (
        InvalidInput,
        "$.rootfs_propagation: unknown propagation 'x'",
        {"rootfs_propagation": "x"},
    ),
    "pivot directory": (
        InvalidInput,
        "$.pivot_dir: expected the name of one directory, found '../x'",
        {"pivot_dir": "../x"},
    ),
    # cgroups
    "dots": (InvalidInput, "$.cgroup_path: '/a/../b' contains '..'", {"cgroup_path": "/a/../b"}),
    "top": (InvalidInput, "$…: a container cannot have the top cgroup", {"cgroup_path": "/"}),
    "newline": (
        InvalidInput,
        "$…: cgroup path '/a\\nb' has a newline or NUL in it",
        {"cgroup_path": "/a\nb"},
    ),
    "manager": (InvalidInput, "$.cgroup_manager: unknown cgroup manager 'x'", {"cgroup_manager": "x"}),
    "no slice": (
        InvalidInput,
        "$…: '/x' is not of the form slice:prefix:name, which systemd's cgroups need",
        {"cgroup_manager": "systemd", "cgroup_path": "/x"},
    ),
    "memory": (
        InvalidInput,
        "$.resources.memory.limit: expected bytes or -1 for no limit, found -5",
        {"resources": Resources(memory=Memory(limit=-5))},
    ),
    "processors": (
        InvalidInput,
        "$.resources.cpu.cpus: expected a list like 0-3,7, found 'a-b'",
        {"resources": Resources(cpu=Cpu(cpus="a-b"))},
    ),
    # rights
    "capability order": (
        InvalidInput,
        "$.capabilities.effective: CAP_KILL is not in permitted, where the kernel wants it",
        {"capabilities": Capabilities(effective=("CAP_KILL",))},
    ),
    "limit": (
        InvalidInput,
        "$.rlimits[0].type: unknown resource limit 'RLIMIT_X'",
        {"rlimits": (Rlimit(type="RLIMIT_X", soft=1, hard=1),)},
    ),
    "soft limit": (
        InvalidInput,
        "$.rlimits[0].soft: 2 is above the hard limit 1",
        {"rlimits": (Rlimit(type="RLIMIT_NOFILE", soft=2, hard=1),)},
    ),
    "oom score": (
        InvalidInput,
        "$.oom_score_adj: expected -1000 to 1000, found 1001",
        {"oom_score_adj": 1001},
    ),
    "profile": (InvalidInput, "$.seccomp: unknown seccomp profile 'x'", {"seccomp": "x"}),
    "device type": (
        InvalidInput,
        "$.devices[0].type: unknown device type 'z'",
        {"devices": (Device(path="/dev/x", type="z", major=1, minor=1),)},
    ),
    "device number": (
        InvalidInput,
        "$.devices[0]: there is no device 8589934592:1",
        {"devices": (Device(path="/dev/x", type="c", major=2**33, minor=1),)},
    ),
    # namespaces
    "no namespace": (
        NotFound,
        "cannot join the network namespace /no/such: there is no such file",
        joined("/no/such"),
    ),
    "ended process": (
        NotFound,
        "cannot join the network namespace /proc/4194304/ns/net: there is no such file",
        joined("/proc/4194304/ns/net"),
    ),
    "a file for one": (
        OperationFailed,
        "cannot join the network namespace /etc/passwd: it is not one",
        joined("/etc/passwd"),
    ),
    "another kind": (
        OperationFailed,
        "cannot join the network namespace /proc/self/ns/uts: it is not one",
        joined("/proc/self/ns/uts"),
    ),
    "relative": (InvalidInput, "$.namespaces[5].path: expected an absolute path, found 'x'", joined("x")),
    "kind": (
        InvalidInput,
        "$.namespaces[1].type: unknown namespace type 'x'",
        {"namespaces": namespaces("mount", "x")},
    ),
    "twice": (
        InvalidInput,
        "$.namespaces[1]: namespace mount is listed twice",
        {"namespaces": namespaces("mount", "mount")},
    ),
    "no mappings": (
        InvalidInput,
        "$.uid_mappings: is missing, and a new user namespace needs it",
        {"namespaces": namespaces("mount", "user")},
    ),
    "hostname": (InvalidInput, "$.hostname: is longer than 64 bytes", {"hostname": "x" * 65}),
    "host's parameter": (
        InvalidInput,
        '$.sysctl["kernel.panic"]: is not a parameter of any namespace, it would change the host\'s',
        {"sysctl": {"kernel.panic": "1"}},
    ),
    "no parameter": (
        OperationFailed,
        "cannot set the kernel parameter net/x/y to '1': no such file or directory",
        {"sysctl": {"net.x.y": "1"}},
    ),
    "parameter's value": (
        OperationFailed,
        "cannot set the kernel parameter net/ipv4/ip_forward to 'lots': invalid argument",
        {"sysctl": {"net.ipv4.ip_forward": "lots"}},
    ),
    "personality": (
        InvalidInput,
        "$.personality.domain: unknown personality 'X'",
        {"personality": Personality(domain="X")},
    ),
    # network, hooks
    "bridge": (
        NotFound,
        "there is no bridge nosuchbr on the host",
        {"networks": (Network(type="veth", name="eth0", bridge="nosuchbr"),)},
    ),
    "interface": (
        NotFound,
        "there is no network device nosuch0 on the host",
        {"net_devices": {"nosuch0": NetDevice(name="x")}},
    ),
    "hook": (
        OperationFailed,
        "createRuntime hook #0 (/no/such) cannot be run: …o such file or directory",
        {"hooks": Hooks(create_runtime=(Hook(path="/no/such"),))},
    ),
    "hook fails": (
        OperationFailed,
        "createRuntime hook #0 (/bin/sh) failed with exit status 3: oops",
        {"hooks": Hooks(create_runtime=(Hook(path="/bin/sh", args=("sh", "-c", "echo oops; exit 3")),))},
    ),
    "hook takes too long": (
        TimedOut,
        "createRuntime hook #0 (/bin/sleep) did not end within 1 s",
        {"hooks": Hooks(create_runtime=(Hook(path="/bin/sleep", args=("sleep", "9"), timeout=1),))},
    ),
    "inner hook": (
        OperationFailed,
        "createContainer hook (/no/such) cannot be run: no such file or directory",
        {"hooks": Hooks(create_container=(Hook(path="/no/such"),))},
    ),
}
