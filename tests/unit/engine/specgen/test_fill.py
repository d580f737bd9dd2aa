"""Requests that contradict themselves, or ask for what is not there; defaults and warnings."""

from __future__ import annotations

from typing import Any

import pytest

from pierhead.engine.documents import (
    ContainerConfig,
    DeviceMapping,
    DeviceRequest,
    Empty,
    HealthConfig,
    HostConfig,
    LogConfig,
    Mount,
    PortBinding,
    RestartPolicy,
    TmpfsOptions,
    Ulimit,
)
from pierhead.engine.settings import Settings
from pierhead.engine.specgen import Machine
from pierhead.errors import InvalidInput, PierheadError, Unsupported
from pierhead.runtime.config import DEFAULT_MASK_PATHS
from tests.support.requests import MACHINE, SETTINGS, container_config, filled, planned

MIB = 1 << 20
POLICIES = "'no', 'always', 'on-failure', or 'unless-stopped'"

REFUSED_HOSTS: list[tuple[dict[str, Any], str]] = [
    ({"memory": MIB}, "Minimum memory limit allowed is 6MB"),
    (
        {"memory": 64 * MIB, "memory_swap": 32 * MIB},
        "Minimum memoryswap limit should be larger than memory limit, see usage",
    ),
    (
        {"memory": 64 * MIB, "memory_reservation": 128 * MIB},
        "Minimum memory limit can not be less than memory reservation limit, see usage",
    ),
    ({"memory_reservation": MIB}, "Minimum memory reservation allowed is 6MB"),
    (
        {"memory_swap": 64 * MIB},
        "You should always set the Memory limit when using Memoryswap limit, see usage",
    ),
    ({"memory_swappiness": 101}, "Invalid value: 101, valid memory swappiness range is 0-100"),
    (
        {"nano_cpus": 10**9, "cpu_period": 1000},
        "Conflicting options: Nano CPUs and CPU Period cannot both be set",
    ),
    (
        {"nano_cpus": 10**9, "cpu_quota": 1000},
        "Conflicting options: Nano CPUs and CPU Quota cannot both be set",
    ),
    ({"nano_cpus": 5 * 10**9}, "range of CPUs is from 0.01 to 4.00, as there are only 4 CPUs available"),
    (
        {"cpu_period": 999},
        "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)",
    ),
    ({"cpu_quota": 999}, "CPU cfs quota can not be less than 1ms (i.e. 1000)"),
    ({"cpuset_cpus": "a"}, "Invalid value a for cpuset cpus"),
    ({"cpuset_cpus": "2-7"}, "Requested CPUs are not available - requested 2-7, available: 0-3"),
    ({"cpuset_mems": "1"}, "Requested memory nodes are not available - requested 1, available: 0"),
    ({"blkio_weight": 5}, "Range of blkio weight is from 10 to 1000"),
    (
        {"restart_policy": RestartPolicy(name="ever")},
        f"invalid restart policy: unknown policy 'ever'; use one of {POLICIES}",
    ),
    (
        {"restart_policy": RestartPolicy(name="always", maximum_retry_count=2)},
        "invalid restart policy: maximum retry count can only be used with 'on-failure'",
    ),
    (
        {"auto_remove": True, "restart_policy": RestartPolicy(name="always")},
        "can't create 'AutoRemove' container with restart policy",
    ),
    ({"oom_score_adj": 1001}, "Invalid value 1001, range for oom score adj is [-1000, 1000]"),
    ({"shm_size": -1}, "SHM size can not be less than 0"),
    ({"pid_mode": "private"}, "invalid PID mode: private"),
    ({"ipc_mode": "container:"}, "invalid IPC mode: container:"),
    ({"uts_mode": "container:a"}, "invalid UTS mode: container:a"),
    ({"network_mode": "container:"}, "invalid container format container:<name|id>"),
    (
        {"network_mode": "container:a", "dns": ("1.1.1.1",)},
        "conflicting options: dns and the network mode",
    ),
    (
        {"network_mode": "container:a", "publish_all_ports": True},
        "conflicting options: port publishing and the container type network mode",
    ),
    ({"cap_add": ("FLY",)}, 'invalid CapAdd: unknown capability: "CAP_FLY"'),
    ({"security_opt": ("apparmor",)}, 'invalid --security-opt 1: "apparmor"'),
    ({"security_opt": ("magic=1",)}, 'invalid --security-opt 2: "magic=1"'),
    ({"sysctls": {"vm.swappiness": "1"}}, "sysctl 'vm.swappiness' is not allowed: it would change the host"),
    (
        {"sysctls": {"net.ipv4.ip_forward": "1"}, "network_mode": "host"},
        'sysctl "net.ipv4.ip_forward" not allowed in host network namespace',
    ),
    ({"ulimits": (Ulimit(name="wings", soft=1, hard=1),)}, "invalid ulimit type: wings"),
    (
        {"ulimits": (Ulimit(name="nofile", soft=2, hard=1),)},
        "ulimit soft limit must be less than or equal to hard limit: 2 > 1",
    ),
    ({"tmpfs": {"/t": "colour=red"}}, 'Invalid tmpfs option "colour=red"'),
    ({"tmpfs": {"t": ""}}, "invalid mount path: 't' mount path must be absolute"),
    ({"extra_hosts": ("box",)}, 'bad format for add-host: "box"'),
    ({"extra_hosts": ("box:here",)}, 'invalid IP address in add-host: "here"'),
    ({"dns": ("here",)}, "here is not an ip address"),
    ({"device_cgroup_rules": ("c 1 rwm",)}, "invalid device cgroup rule format: 'c 1 rwm'"),
    ({"log_config": LogConfig(type="paper")}, "logger: no log driver named 'paper' is registered"),
    (
        {"log_config": LogConfig(type="json-file", config={"max-sizes": "1"})},
        "unknown log opt 'max-sizes' for json-file log driver",
    ),
    ({"port_bindings": {"http": ()}}, 'invalid port specification: "http"'),
    ({"port_bindings": {"80/tcp": (PortBinding(host_port="99999"),)}}, 'invalid port specification: "99999"'),
    ({"runtime": "crun"}, "unknown or invalid runtime name: crun"),
    ({"isolation": "hyperv"}, "invalid isolation 'hyperv' on linux"),
    (
        {"annotations": {"": "x"}},
        "invalid Annotations: the empty string is not permitted as an annotation key",
    ),
    (
        {"devices": (DeviceMapping(path_on_host="/dev/x", cgroup_permissions="x"),)},
        "invalid device mode: x",
    ),
    (
        {"mounts": (Mount(type="tmpfs", target="/t", tmpfs_options=TmpfsOptions(size_bytes=-1)),)},
        'invalid mount config for type "tmpfs": bad size or mode',
    ),
]


@pytest.mark.parametrize(("fields", "message"), REFUSED_HOSTS, ids=[each[1][:40] for each in REFUSED_HOSTS])
def test_refused(fields: dict[str, Any], message: str) -> None:
    """The request is refused with Docker's sentence."""
    with pytest.raises(InvalidInput) as caught:
        filled(HostConfig(**fields))
    assert caught.value.message == message


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"cmd": None}, "no command specified"),
        (
            {"working_dir": "work"},
            "the working directory 'work' is invalid, it needs to be an absolute path",
        ),
        ({"hostname": "x" * 65}, f"invalid hostname: {'x' * 65} is longer than 64 bytes"),
        ({"env": ("=x",)}, "invalid environment variable: =x"),
        ({"stop_signal": "SIGFLY"}, "invalid signal: SIGFLY"),
        ({"healthcheck": HealthConfig(interval=1)}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"healthcheck": HealthConfig(retries=-1)}, "Retries in Healthcheck cannot be negative"),
        ({"exposed_ports": {"80/ip": Empty()}}, "invalid proto: ip"),
    ],
)
def test_refused_container(fields: dict[str, Any], message: str) -> None:
    """What the container's own configuration says is looked at, too."""
    with pytest.raises(InvalidInput) as caught:
        filled(config=container_config(**fields))
    assert caught.value.message == message


@pytest.mark.parametrize(
    "fields",
    [
        {"device_requests": (DeviceRequest(capabilities=(("gpu",),)),)},
        {"links": ("db:db",)},
        {"storage_opt": {"size": "1G"}},
        {"cgroup": "container:x"},
    ],
)
def test_unsupported(fields: dict[str, Any]) -> None:
    """What this engine does not have is refused, and not passed over."""
    with pytest.raises(Unsupported):
        filled(HostConfig(**fields))


def test_device_request_says_which() -> None:
    """The sentence about missing drivers is Docker's, with what was asked for."""
    host = HostConfig(device_requests=(DeviceRequest(capabilities=(("gpu", "compute"),)),))
    with pytest.raises(
        Unsupported, match=r'^could not select device driver "" with capabilities: \[\[gpu compute\]\]$'
    ):
        filled(host)


def test_a_name_of_ones_own_and_another_network() -> None:
    """Who joins another container's network, or the host's names, has no name of its own."""
    named = container_config(hostname="box")
    for host in (HostConfig(network_mode="container:a"), HostConfig(uts_mode="host")):
        with pytest.raises(InvalidInput, match=r"^conflicting options: hostname and the (network|UTS) mode$"):
            filled(host, config=named)


def test_defaults() -> None:
    """What nobody says has a value in what is kept."""
    host, warnings = filled()
    assert warnings == ()
    assert (host.network_mode, host.ipc_mode, host.cgroupns_mode) == ("bridge", "private", "private")
    assert (host.shm_size, host.runtime, host.restart_policy.name) == (64 * MIB, "pierhead", "no")
    assert (host.log_config.type, host.init, host.console_size) == ("json-file", False, (0, 0))
    assert host.masked_paths == DEFAULT_MASK_PATHS


def test_settings_are_defaults() -> None:
    """The engine's settings hold where the request says nothing, and not where it does."""
    settings = SETTINGS.replace(
        ulimits=(("nofile", 10, 20), ("core", 0, 0)), log_options={"max-size": "1m"}, init=True, shm_bytes=MIB
    )
    host, _ = filled(HostConfig(ulimits=(Ulimit(name="nofile", soft=1, hard=2),)), settings=settings)
    assert host.ulimits == (Ulimit(name="nofile", soft=1, hard=2), Ulimit(name="core", soft=0, hard=0))
    assert (host.log_config.config, host.init, host.shm_size) == ({"max-size": "1m"}, True, MIB)
    other, _ = filled(HostConfig(log_config=LogConfig(type="none"), init=False), settings=settings)
    assert (other.log_config, other.init) == (LogConfig(type="none"), False)


def test_privileged_hides_nothing() -> None:
    """Nothing is masked or read-only in a privileged container, nor with unconfined system paths."""
    for host in (HostConfig(privileged=True), HostConfig(security_opt=("systempaths=unconfined",))):
        kept, _ = filled(host)
        assert (kept.masked_paths, kept.readonly_paths) == ((), ())
    assert filled(HostConfig(masked_paths=()))[0].masked_paths == ()


def test_swap_is_as_much_again() -> None:
    """Memory alone limits memory and swap to twice as much, as Docker does."""
    assert filled(HostConfig(memory=64 * MIB))[0].memory_swap == 128 * MIB
    assert filled(HostConfig(memory=64 * MIB, memory_swap=-1))[0].memory_swap == -1


def test_what_the_kernel_lacks_is_dropped_with_a_warning() -> None:
    """A limit that this machine cannot set is not kept, and Docker's warning says so."""
    bare = Machine(
        controllers=frozenset(("memory",)), swap_limit=False, swappiness=False, oom_kill_disable=False
    )
    wanted = HostConfig(
        memory=64 * MIB,
        memory_swappiness=5,
        oom_kill_disable=True,
        pids_limit=5,
        cpu_shares=2,
        cpuset_cpus="0",
        nano_cpus=1,
        blkio_weight=10,
    )
    host, warnings = filled(wanted, machine=bare)
    assert (host.memory, host.memory_swap, host.pids_limit, host.cpu_shares) == (64 * MIB, -1, None, 0)
    assert (host.memory_swappiness, host.oom_kill_disable, host.cpuset_cpus) == (None, None, "")
    assert (host.nano_cpus, host.blkio_weight) == (0, 0)
    assert len(warnings) == 8
    assert (
        "Your kernel does not support swap limit capabilities or the cgroup is not mounted. "
        "Memory limited without swap."
    ) in warnings


def test_no_oom_killer_without_a_limit() -> None:
    """It is let pass, with Docker's warning."""
    _, warnings = filled(HostConfig(oom_kill_disable=True))
    (warning,) = warnings
    assert warning == (
        "OOM killer is disabled for the container, but no memory limit is set, "
        "this can result in the system running out of resources."
    )


def test_what_the_engine_may_not_give() -> None:
    """Limits, scores and capabilities beyond the engine's own are cut to them, with warnings."""
    weak = MACHINE.replace(
        hard_limits=(("RLIMIT_NOFILE", 20000),), oom_score_least=0, capabilities=("CAP_CHOWN", "CAP_KILL")
    )
    wanted = HostConfig(
        ulimits=(Ulimit(name="nofile", soft=30000, hard=40000),),
        oom_score_adj=-500,
        cap_add=("SYS_RESOURCE",),
    )
    _, warnings = filled(wanted, machine=weak)
    assert [warning.split()[2:5] for warning in warnings] == [
        ["may", "not", "raise"],
        ["does", "not", "have"],
        ["may", "not", "set"],
    ]


def test_user_namespaces_and_the_host() -> None:
    """Root of a user namespace is not given the host's own namespaces, unless the request leaves it."""
    settings = Settings(data_root="/d", exec_root="/e", userns_remap="100000:65536")
    for host in (HostConfig(privileged=True), HostConfig(network_mode="host"), HostConfig(pid_mode="host")):
        with pytest.raises(InvalidInput):
            filled(host, settings=settings)
        filled(host.replace(userns_mode="host"), settings=settings)


def test_filling_is_done_once() -> None:
    """What was filled in is as good as what was asked for: filled again it stays."""
    host, _ = filled(HostConfig(memory=64 * MIB, cap_add=("NET_ADMIN",), ulimits=(Ulimit(name="core"),)))
    assert filled(host)[0] == host


def test_a_program_of_one_word() -> None:
    """A command that is a string is a program without arguments; no command at all is an error."""
    assert planned(config=ContainerConfig(cmd="ls", image="x")).process is not None
    with pytest.raises(PierheadError):
        filled(config=ContainerConfig(image="x", cmd=()))
