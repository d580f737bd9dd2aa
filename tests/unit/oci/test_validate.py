"""Checks of OCI documents, one wrong thing at a time."""

from __future__ import annotations

import pytest

from pierhead.errors import InvalidInput
from pierhead.ids import check_container_id
from pierhead.oci.default import default_spec
from pierhead.oci.document import decode, encode
from pierhead.oci.numbers import CAPABILITIES, CAPABILITY_NUMBERS
from pierhead.oci.runtime import Process, Spec
from pierhead.oci.validate import (
    SPEC_CHECKS,
    check_process,
    check_spec,
    normalize_guest_path,
)

USER_NAMESPACE = {
    "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "user")],
    "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
    "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
}


def spec_with(changes: dict[str, object]) -> Spec:
    """The default document with parts changed: keys are dotted paths, None removes."""
    document = encode(default_spec())
    for path, value in changes.items():
        *parents, name = path.split(".")
        place = document
        for parent in parents:
            place = place.setdefault(parent, {})
        if value is None:
            del place[name]
        else:
            place[name] = value
    return decode(Spec, document)


def mount(destination: str, **fields: object) -> dict[str, object]:
    """The change that makes ``mounts`` just this one."""
    return {"mounts": [{"destination": destination, **fields}]}


def seccomp(**fields: object) -> dict[str, object]:
    """The change that sets a filter."""
    return {"linux.seccomp": {"defaultAction": "SCMP_ACT_ALLOW", **fields}}


def syscall(**fields: object) -> dict[str, object]:
    """The change that sets a filter with one rule."""
    return seccomp(syscalls=[{"names": ["read"], "action": "SCMP_ACT_KILL", **fields}])


def scheduler(**fields: object) -> dict[str, object]:
    """The change that sets a scheduling policy."""
    return {"process.scheduler": {"policy": "SCHED_OTHER", **fields}}


def mapping(container_id: int, host_id: int, size: int) -> dict[str, int]:
    """One mapping of ids."""
    return {"containerID": container_id, "hostID": host_id, "size": size}


WRONG = [
    # root, process
    ({"ociVersion": "2.0.0"}, "$.ociVersion: expected a version 1.x of the specification, found '2.0.0'"),
    ({"ociVersion": ""}, "$.ociVersion: expected a version 1.x of the specification, found ''"),
    ({"ociVersion": "1"}, "$.ociVersion: expected a version 1.x"),
    ({"ociVersion": "1.x"}, "$.ociVersion: expected a version 1.x"),
    ({"ociVersion": "1.2.3.4"}, "$.ociVersion: expected a version 1.x"),
    ({"root": None}, "$.root: is missing"),
    ({"root.path": ""}, "$.root.path: is empty"),
    ({"root.path": "a\0b"}, "$.root.path: contains a NUL character"),
    ({"process": None}, "$.process: is missing"),
    ({"process.args": None}, "$.process.args: is empty: it needs at least the program to run"),
    ({"process.args": [""]}, "$.process.args[0]: is empty"),
    ({"process.args": ["sh", "a\0b"]}, "$.process.args[1]: contains a NUL character"),
    ({"process.args": ["\ud800"]}, "$.process.args[0]: contains half of a surrogate pair"),
    ({"process.cwd": "home"}, "$.process.cwd: expected an absolute path, found 'home'"),
    ({"process.cwd": ""}, "$.process.cwd: expected an absolute path, found ''"),
    ({"process.cwd": "/\0"}, "$.process.cwd: contains a NUL character"),
    ({"process.env": ["A=b", "C"]}, "$.process.env[1]: expected NAME=value, found 'C'"),
    ({"process.env": ["=b"]}, "$.process.env[0]: expected NAME=value, found '=b'"),
    ({"process.env": ["A=\0"]}, "$.process.env[0]: contains a NUL character"),
    ({"process.user": {"uid": 2**32 - 1}}, "$.process.user.uid: 4294967295 is not an id"),
    ({"process.user": {"gid": 2**32 - 1}}, "$.process.user.gid: 4294967295 is not an id"),
    (
        {"process.user": {"additionalGids": [0, 2**32 - 1]}},
        "$.process.user.additionalGids[1]: 4294967295 is not",
    ),
    ({"process.user": {"umask": 512}}, "$.process.user.umask: expected 0 to 511 (0777), found 512"),
    (
        {"process.capabilities": {"effective": ["CAP_KILL"]}},
        "$.process.capabilities.effective: CAP_KILL is not in permitted, where the kernel wants it",
    ),
    (
        {"process.rlimits": [{"type": "RLIMIT_FOO", "soft": 1, "hard": 1}]},
        "$.process.rlimits[0].type: unknown resource limit 'RLIMIT_FOO'",
    ),
    (
        {"process.rlimits": [{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2},
        "$.process.rlimits[1]: RLIMIT_CPU is listed twice",
    ),
    (
        {"process.rlimits": [{"type": "RLIMIT_CPU", "soft": 2, "hard": 1}]},
        "$.process.rlimits[0].soft: 2 is above the hard limit 1",
    ),
    ({"process.oomScoreAdj": 1001}, "$.process.oomScoreAdj: expected -1000 to 1000, found 1001"),
    ({"process.apparmorProfile": "a\0"}, "$.process.apparmorProfile: contains a NUL character"),
    (scheduler(policy="SCHED_WARP"), "$.process.scheduler.policy: unknown scheduling policy 'SCHED_WARP'"),
    (scheduler(flags=["X"]), "$.process.scheduler.flags[0]: unknown scheduling flag 'X'"),
    (scheduler(nice=20), "$.process.scheduler.nice: expected -20 to 19, found 20"),
    (scheduler(priority=5), "$.process.scheduler.priority: is not of SCHED_OTHER, only of SCHED_FIFO and"),
    (scheduler(policy="SCHED_RR"), "$.process.scheduler.priority: expected 1 to 99 for SCHED_RR, found 0"),
    (scheduler(runtime=5), "$.process.scheduler: runtime, deadline and period are of SCHED_DEADLINE, not of"),
    (scheduler(policy="SCHED_DEADLINE"), "$.process.scheduler: SCHED_DEADLINE needs 0 < runtime <= deadline"),
    ({"process.ioPriority": {"class": "X"}}, "$.process.ioPriority.class: unknown I/O priority class 'X'"),
    (
        {"process.ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 8}},
        "$.process.ioPriority.priority: expected 0 to 7, found 8",
    ),
    (
        {"process.execCPUAffinity": {"initial": "a"}},
        "$.process.execCPUAffinity.initial: expected a list like",
    ),
    (
        {"process.execCPUAffinity": {"final": "3-1"}},
        "$.process.execCPUAffinity.final: the range 3-1 runs backwards",
    ),
    # names of the host
    ({"linux.namespaces": [{"type": "mount"}]}, "$.hostname: needs a uts namespace"),
    ({"hostname": "x" * 65}, "$.hostname: is longer than 64 bytes"),
    ({"domainname": "\u00e9" * 33}, "$.domainname: is longer than 64 bytes"),
    # namespaces and ids
    ({"linux.namespaces": [{"type": "net"}]}, "$.linux.namespaces[0].type: unknown namespace type 'net'"),
    (
        {"linux.namespaces": [{"type": "pid"}, {"type": "pid", "path": "/p"}]},
        "$.linux.namespaces[1]: namespace pid is listed twice",
    ),
    (
        {"linux.namespaces": [{"type": "pid", "path": "proc/1/ns/pid"}]},
        "$.linux.namespaces[0].path: expected an absolute path, found 'proc/1/ns/pid'",
    ),
    ({"linux.uidMappings": [mapping(0, 0, 1)]}, "$.linux.uidMappings: needs a user namespace"),
    ({"linux.gidMappings": [mapping(0, 0, 1)]}, "$.linux.gidMappings: needs a user namespace"),
    (
        {"linux": {**USER_NAMESPACE, "uidMappings": []}},
        "$.linux.uidMappings: is missing, and a new user namespace needs it",
    ),
    (
        {"linux": {**USER_NAMESPACE, "gidMappings": [mapping(0, 0, 0)]}},
        "$.linux.gidMappings: a mapping's size is 0",
    ),
    (
        {"linux": {**USER_NAMESPACE, "uidMappings": [mapping(0, 10, 5), mapping(4, 20, 5)]}},
        "$.linux.uidMappings: two mappings both contain the container id 4",
    ),
    (
        {"linux": {**USER_NAMESPACE, "uidMappings": [mapping(0, 10, 5), mapping(5, 14, 5)]}},
        "$.linux.uidMappings: two mappings both contain the host id 14",
    ),
    (
        {"linux": {**USER_NAMESPACE, "uidMappings": [mapping(0, 2**32 - 2, 5)]}},
        "$.linux.uidMappings: the mapping from 4294967294 ends above 4294967294",
    ),
    (
        {"linux": {**USER_NAMESPACE, "uidMappings": [mapping(n, n, 1) for n in range(341)]}},
        "$.linux.uidMappings: has 341 entries, and the kernel takes 340",
    ),
    (
        {"linux": USER_NAMESPACE, "process.user": {"uid": 65536}},
        "$.process.user.uid: 65536 is not mapped in the user namespace",
    ),
    (
        {"linux": USER_NAMESPACE, "process.user": {"additionalGids": [1, 70000]}},
        "$.process.user.additionalGids[1]: 70000 is not mapped in the user namespace",
    ),
    ({"linux.timeOffsets": {"boottime": {"secs": 1}}}, "$.linux.timeOffsets: needs a new time namespace"),
    (
        {
            "linux.namespaces": [{"type": "time", "path": "/t"}, {"type": "mount"}, {"type": "uts"}],
            "linux.timeOffsets": {"boottime": {"secs": 1}},
        },
        "$.linux.timeOffsets: needs a new time namespace",
    ),
    (
        {
            "linux.namespaces": [{"type": "time"}, {"type": "mount"}, {"type": "uts"}],
            "linux.timeOffsets": {"realtime": {"secs": 1}},
        },
        "$.linux.timeOffsets.realtime: unknown clock 'realtime'",
    ),
    (
        {
            "linux.namespaces": [{"type": "time"}, {"type": "mount"}, {"type": "uts"}],
            "linux.timeOffsets": {"monotonic": {"nanosecs": 10**9}},
        },
        "$.linux.timeOffsets.monotonic.nanosecs: expected less than 1000000000, found 1000000000",
    ),
    # mounts
    ({"linux.namespaces": [{"type": "uts"}]}, "$.mounts: needs a mount namespace"),
    ({"linux.namespaces": [{"type": "uts"}], "mounts": None}, "$.linux.maskedPaths: needs a mount namespace"),
    (
        {"linux.namespaces": [{"type": "uts"}], "mounts": None, "linux.maskedPaths": None},
        "$.linux.readonlyPaths: needs a mount namespace",
    ),
    ({"linux.maskedPaths": ["/a", "/\0"]}, "$.linux.maskedPaths[1]: contains a NUL character"),
    (mount(""), "$.mounts[0].destination: is empty"),
    (mount("/a", source="\0"), "$.mounts[0].source: contains a NUL character"),
    (mount("/a", options=["ro", "\0"]), "$.mounts[0].options: contains a NUL character"),
    (
        mount("/proc", type="tmpfs"),
        "$.mounts[0].destination: a file system of type 'tmpfs' cannot be mounted on /proc",
    ),
    (
        mount("/x/..//proc/.", type="tmpfs"),
        "$.mounts[0].destination: a file system of type 'tmpfs' cannot be mounted on /proc",
    ),
    (
        mount("/proc", type="bind", source="/tmp/evil", options=["rbind"]),
        "$.mounts[0].destination: '/tmp/evil' cannot be mounted on /proc, only a proc file system",
    ),
    (
        mount("/proc/self/attr", type="tmpfs"),
        "$.mounts[0].destination: '/proc/self/attr' cannot be mounted because it is inside /proc",
    ),
    (
        mount("proc/../proc/sys", type="proc"),
        "$.mounts[0].destination: 'proc/../proc/sys' cannot be mounted because it is inside /proc",
    ),
    (
        mount("/a", type="bind", options=["idmap"]),
        "$.mounts[0].options: idmap without mappings uses the container's user namespace, and it has none",
    ),
    (
        mount("/a", type="bind", options=["idmap", "ridmap"], uidMappings=[mapping(0, 0, 1)]),
        "$.mounts[0].options: idmap and ridmap cannot both be given",
    ),
    (
        mount("/a", type="tmpfs", uidMappings=[mapping(0, 0, 1)], gidMappings=[mapping(0, 0, 1)]),
        "$.mounts[0]: only a bind mount can be mapped to other ids",
    ),
    (
        mount("/a", type="bind", uidMappings=[mapping(0, 0, 1)]),
        "$.mounts[0]: uidMappings and gidMappings must be given together",
    ),
    (
        mount("/a", options=["rbind"], uidMappings=[mapping(0, 0, 1)], gidMappings=[mapping(0, 0, 0)]),
        "$.mounts[0].gidMappings: a mapping's size is 0",
    ),
    ({"linux.rootfsPropagation": "semi"}, "$.linux.rootfsPropagation: unknown propagation 'semi'"),
    # hooks
    (
        {"hooks.poststop": [{"path": "bin/x"}]},
        "$.hooks.poststop[0].path: expected an absolute path, found 'bin/x'",
    ),
    (
        {"hooks.createRuntime": [{"path": "/x"}, {"path": ""}]},
        "$.hooks.createRuntime[1].path: expected an absolute",
    ),
    (
        {"hooks.prestart": [{"path": "/x", "timeout": 0}]},
        "$.hooks.prestart[0].timeout: expected more than 0 seconds",
    ),
    (
        {"hooks.prestart": [{"path": "/x", "timeout": -5}]},
        "$.hooks.prestart[0].timeout: expected more than 0",
    ),
    (
        {"hooks.startContainer": [{"path": "/x", "env": ["x"]}]},
        "$.hooks.startContainer[0].env[0]: expected NAME=",
    ),
    ({"hooks.poststart": [{"path": "/x", "args": ["\0"]}]}, "$.hooks.poststart[0].args[0]: contains a NUL"),
    # the rest of linux
    ({"linux.personality": {"domain": "BSD"}}, "$.linux.personality.domain: unknown personality 'BSD'"),
    (
        {"linux.personality": {"domain": "LINUX", "flags": ["X"]}},
        "$.linux.personality.flags: no flags are defined",
    ),
    (
        {"linux.sysctl": {"vm.swappiness": "0"}},
        '$.linux.sysctl["vm.swappiness"]: is not a parameter of any namespace',
    ),
    (
        {"linux.sysctl": {"kernel.core_pattern": "|/x"}},
        '$.linux.sysctl["kernel.core_pattern"]: is not a parameter',
    ),
    (
        {"linux.sysctl": {"net/../kernel/core_pattern": ""}},
        '$.linux.sysctl["net/../kernel/core_pattern"]: is not the',
    ),
    ({"linux.sysctl": {"net..x": ""}}, '$.linux.sysctl["net..x"]: is not the name of a kernel parameter'),
    ({"linux.sysctl": {"net.x": "\0"}}, '$.linux.sysctl["net.x"]: contains a NUL character'),
    (
        {"linux.sysctl": {"user.max_pid_namespaces": "1"}},
        '$.linux.sysctl["user.max_pid_namespaces"]: needs its own user',
    ),
    (
        {"linux.sysctl": {"kernel.hostname": "x"}},
        '$.linux.sysctl["kernel.hostname"]: says the same as hostname',
    ),
    (
        {"domainname": "d", "linux.sysctl": {"kernel.domainname": "x"}},
        '$.linux.sysctl["kernel.domainname"]: says the same as domainname',
    ),
    (
        {
            "linux.namespaces": [{"type": "mount"}, {"type": "uts"}],
            "linux.sysctl": {"net.ipv4.ip_forward": "1"},
        },
        '$.linux.sysctl["net.ipv4.ip_forward"]: needs its own network namespace',
    ),
    (
        {"linux.namespaces": [{"type": "mount"}, {"type": "uts"}], "linux.sysctl": {"kernel.shmmax": "1"}},
        '$.linux.sysctl["kernel.shmmax"]: needs its own ipc namespace',
    ),
    ({"linux.devices": [{"path": "/x", "type": "z"}]}, "$.linux.devices[0].type: unknown device type 'z'"),
    (
        {"linux.devices": [{"path": "x", "type": "c"}]},
        "$.linux.devices[0].path: expected an absolute path, found 'x'",
    ),
    ({"linux.devices": [{"path": "/x", "type": "p"}] * 2}, "$.linux.devices[1]: /x is listed twice"),
    (
        {"linux.devices": [{"path": "/x", "type": "c", "major": -1, "minor": 0}]},
        "$.linux.devices[0]: /x needs a major and a minor number",
    ),
    (
        {"linux.namespaces": [{"type": "mount"}, {"type": "uts"}], "linux.netDevices": {"eth1": {}}},
        "$.linux.netDevices: needs a network namespace",
    ),
    (
        {"linux.netDevices": {"a/b": {}}},
        """$.linux.netDevices["a/b"]: 'a/b' cannot be the name of a network""",
    ),
    (
        {"linux.netDevices": {"a": {"name": "x" * 16}}},
        f"""$.linux.netDevices["a"].name: '{"x" * 16}' cannot be the name""",
    ),
    (
        {"linux.netDevices": {"a": {"name": "b"}, "b": {}}},
        '$.linux.netDevices["b"]: two interfaces would be called b',
    ),
    ({"linux.cgroupsPath": "/a/../../b"}, "$.linux.cgroupsPath: '/a/../../b' contains '..'"),
    ({"linux.cgroupsPath": "x.slice:..:y"}, "$.linux.cgroupsPath: 'x.slice:..:y' contains '..'"),
    ({"linux.intelRdt": {"closID": "../x"}}, "$.linux.intelRdt.closID: '../x' cannot be the name of a class"),
    ({"linux.intelRdt": {"schemata": ["a", "b\nc"]}}, "$.linux.intelRdt.schemata[1]: contains a line break"),
    ({"linux.memoryPolicy": {"mode": "X"}}, "$.linux.memoryPolicy.mode: unknown memory policy 'X'"),
    ({"linux.memoryPolicy": {"mode": "MPOL_BIND"}}, "$.linux.memoryPolicy.nodes: MPOL_BIND needs nodes"),
    (
        {"linux.memoryPolicy": {"mode": "MPOL_LOCAL", "nodes": "0"}},
        "$.linux.memoryPolicy.nodes: MPOL_LOCAL takes no",
    ),
    (
        {"linux.memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["X"]}},
        "$.linux.memoryPolicy.flags[0]: un",
    ),
    # seccomp
    (seccomp(defaultAction="ALLOW"), "$.linux.seccomp.defaultAction: unknown action 'ALLOW'"),
    (
        seccomp(defaultAction="SCMP_ACT_NOTIFY"),
        "$.linux.seccomp.defaultAction: SCMP_ACT_NOTIFY cannot be the default",
    ),
    (
        seccomp(defaultErrnoRet=1),
        "$.linux.seccomp.defaultErrnoRet: is of SCMP_ACT_ERRNO and SCMP_ACT_TRACE, not of",
    ),
    (seccomp(architectures=["X86"]), "$.linux.seccomp.architectures[0]: unknown architecture 'X86'"),
    (seccomp(flags=["X"]), "$.linux.seccomp.flags[0]: unknown flag 'X'"),
    (seccomp(listenerMetadata="x"), "$.linux.seccomp.listenerMetadata: needs listenerPath"),
    (syscall(names=[]), "$.linux.seccomp.syscalls[0].names: is empty"),
    (syscall(action="X"), "$.linux.seccomp.syscalls[0].action: unknown action 'X'"),
    (
        syscall(errnoRet=1),
        "$.linux.seccomp.syscalls[0].errnoRet: is of SCMP_ACT_ERRNO and SCMP_ACT_TRACE, not of",
    ),
    (
        syscall(action="SCMP_ACT_ERRNO", errnoRet=4096),
        "$.linux.seccomp.syscalls[0].errnoRet: expected 0 to 4095, found 4096",
    ),
    (
        syscall(action="SCMP_ACT_NOTIFY"),
        "$.linux.seccomp.syscalls[0].action: SCMP_ACT_NOTIFY needs seccomp.listener",
    ),
    (
        seccomp(listenerPath="/s", syscalls=[{"names": ["read", "write"], "action": "SCMP_ACT_NOTIFY"}]),
        "$.linux.seccomp.syscalls[0]: SCMP_ACT_NOTIFY cannot be used for write",
    ),
    (
        syscall(args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]),
        "$.linux.seccomp.syscalls[0].args[0].index: expected 0 to 5, found 6",
    ),
    (
        syscall(args=[{"index": 5, "value": 0, "op": "=="}]),
        "$.linux.seccomp.syscalls[0].args[0].op: unknown operator '=='",
    ),
]


@pytest.mark.parametrize(("changes", "message"), WRONG, ids=[message.split(": ")[0] for _, message in WRONG])
def test_wrong_documents(changes: dict[str, object], message: str) -> None:
    """Each is refused by a sentence that begins with the JSON path of the culprit."""
    with pytest.raises(InvalidInput) as caught:
        check_spec(spec_with(changes))
    assert str(caught.value).startswith(message)
    assert message.startswith(caught.value.path)


@pytest.mark.parametrize("destination", ["/", "//", "/a/..", "/."])
@pytest.mark.parametrize("fields", [{"type": "tmpfs"}, {"source": "/srv", "options": ["rbind"]}])
def test_nothing_is_mounted_over_the_root(destination: str, fields: dict[str, object]) -> None:
    """It would be of no effect: the root is changed to what lies below."""
    with pytest.raises(
        InvalidInput, match=r"^\$\.mounts\[0\]\.destination: nothing can be mounted over the root"
    ):
        check_spec(spec_with(mount(destination, **fields)))


def test_an_annotation_has_a_name() -> None:
    """An empty key is refused."""
    with pytest.raises(InvalidInput, match=r"^\$\.annotations: a key is empty"):
        check_spec(spec_with({"annotations": {"": "x"}}))


@pytest.mark.parametrize("type_", ["c", "b", "u"])
@pytest.mark.parametrize("numbers", [{}, {"major": 1}, {"minor": 3}])
def test_a_device_without_its_numbers(type_: str, numbers: dict[str, int]) -> None:
    """Both are required of all but FIFOs: 0:0 would be another device's."""
    device = {"path": "/dev/foo", "type": type_, **numbers}
    with pytest.raises(
        InvalidInput, match=r"^\$\.linux\.devices\[0\]: /dev/foo needs a major and a minor number"
    ):
        check_spec(spec_with({"linux.devices": [device]}))
    assert check_spec(spec_with({"linux.devices": [{"path": "/dev/foo", "type": "p"}]})) == []


RIGHT: list[dict[str, object]] = [
    {},
    {"ociVersion": "1.0.0"},
    {"ociVersion": "1.0.2-dev"},
    {"ociVersion": "1.3.0+dev"},
    {"ociVersion": "1.99.0-rc.1"},
    {"process.args": ["\udcff"]},
    {"process.capabilities": None},
    {"linux": USER_NAMESPACE, "process.user": {"uid": 1000, "gid": 1000}},
    {
        "linux": {
            "namespaces": [{"type": "user", "path": "/proc/9/ns/user"}, {"type": "mount"}, {"type": "uts"}],
            "uidMappings": [mapping(0, 0, 1)],
        },
        "process.user": {"uid": 7},
    },
    {
        "linux.namespaces": [{"type": "time"}, {"type": "mount"}, {"type": "uts"}],
        "linux.timeOffsets": {"boottime": {"secs": -5}, "monotonic": {"nanosecs": 5}},
    },
    mount("/proc", type="proc"),
    mount("/proc", type="bind", source="/proc", options=["rbind"]),
    mount("/proc/cpuinfo", type="bind", source="/var/lib/lxcfs/proc/cpuinfo", options=["bind"]),
    mount("/procedures", type="tmpfs"),
    mount(
        "/a", type="bind", options=["ridmap"], uidMappings=[mapping(0, 5, 1)], gidMappings=[mapping(0, 5, 1)]
    ),
    {"linux": USER_NAMESPACE, **mount("/a", options=["rbind", "idmap"])},
    {"linux.sysctl": {"net.ipv4.ip_forward": "1", "kernel.shmmax": "5", "fs.mqueue.msg_max": "7"}},
    {"linux.sysctl": {"net/ipv4/conf/eth0.100/forwarding": "1"}},
    {"hostname": None, "linux.sysctl": {"kernel.hostname": "x"}},
    {"linux": {**USER_NAMESPACE, "sysctl": {"user.max_pid_namespaces": "5"}}},
    {"linux.netDevices": {"eth1": {"name": "eth0"}, "eth0": {"name": "eth1"}}},
    {"linux.cgroupsPath": "system.slice:pierhead:a..b"},
    {"linux.rootfsPropagation": "rshared"},
    {"linux.personality": {"domain": "LINUX32"}},
    {"linux.memoryPolicy": {"mode": "MPOL_INTERLEAVE", "nodes": "0-1, 3", "flags": ["MPOL_F_STATIC_NODES"]}},
    {"process.execCPUAffinity": {"initial": "0-3, 7", "final": ""}},
    scheduler(policy="SCHED_FIFO", priority=99),
    scheduler(policy="SCHED_DEADLINE", runtime=1, deadline=2, period=3),
    scheduler(policy="SCHED_BATCH", nice=-20, flags=["SCHED_FLAG_RESET_ON_FORK"]),
    syscall(action="SCMP_ACT_ERRNO", errnoRet=38),
    seccomp(listenerPath="/s", syscalls=[{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}]),
]


@pytest.mark.parametrize("changes", RIGHT)
def test_right_documents(changes: dict[str, object]) -> None:
    """Each is accepted without a warning."""
    assert check_spec(spec_with(changes)) == []


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        (
            {"process.capabilities": {"bounding": ["CAP_FLY"]}},
            "$.process.capabilities.bounding: CAP_FLY is not known and is ignored",
        ),
        (
            {"process.capabilities": {"permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]}},
            "$.process.capabilities.ambient: CAP_KILL cannot be raised and are ignored",
        ),
        (
            mount("data", type="tmpfs"),
            "$.mounts[0].destination: 'data' is not absolute and is taken from the root",
        ),
        (
            seccomp(listenerPath="/s"),
            "$.linux.seccomp.listenerPath: is ignored, because no rule says SCMP_ACT_NOTIFY",
        ),
    ],
)
def test_warnings(changes: dict[str, object], warning: str) -> None:
    """What runc lets pass is let pass, with a sentence about it."""
    (sentence,) = check_spec(spec_with(changes))
    assert sentence.startswith(warning)


def test_process_alone() -> None:
    """The document of exec --process has its own root in messages."""
    assert check_process(Process(args=("sh",), cwd="/")) == []
    with pytest.raises(InvalidInput, match=r"^\$\.cwd: expected an absolute path"):
        check_process(Process(args=("sh",), cwd="."))


@pytest.mark.parametrize("container_id", ["a", "A-b_c+d.e", "0", "...", "x" * 1024])
def test_container_ids(container_id: str) -> None:
    """Letters, digits and _ + . - make an id."""
    check_container_id(container_id)


@pytest.mark.parametrize(
    "container_id", ["", ".", "..", "a/b", "a b", "\u00e4", "a\n", "../x", "x" * 1025, "a\0", "a:b", "%"]
)
def test_wrong_container_ids(container_id: str) -> None:
    """Nothing else does: ids become names of directories and cgroups."""
    with pytest.raises(InvalidInput) as caught:
        check_container_id(container_id)
    assert caught.value.code == "invalid-id"
    assert len(str(caught.value)) < 160


def test_every_check_names_its_section() -> None:
    """A reader finds the rule behind each check."""
    for check in SPEC_CHECKS:
        assert "config" in (check.__doc__ or ""), check.__name__


@pytest.mark.parametrize(
    ("path", "normal"),
    [("/", "/"), ("", "/"), ("//a/./b/", "/a/b"), ("/a/../../b", "/b"), ("proc", "/proc"), ("/..", "/")],
)
def test_normalize_guest_path(path: str, normal: str) -> None:
    """Dots and slashes do not hide where a path leads."""
    assert normalize_guest_path(path) == normal


def test_capability_numbers() -> None:
    """A few of linux/capability.h, as the order of a list is easily broken."""
    assert len(CAPABILITIES) == 41
    known = {
        "CAP_CHOWN": 0,
        "CAP_SYS_ADMIN": 21,
        "CAP_MKNOD": 27,
        "CAP_SETFCAP": 31,
        "CAP_CHECKPOINT_RESTORE": 40,
    }
    assert {name: CAPABILITY_NUMBERS[name] for name in known} == known
