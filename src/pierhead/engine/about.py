"""What an engine says of itself and of its machine: ``GET /info`` and ``GET /version``, in docker's words."""

from __future__ import annotations

import os
import platform
import sys

from pierhead import __version__
from pierhead.engine.moments import format_moment
from pierhead.engine.runtimes import LIBRARY
from pierhead.engine.stats import total_memory
from pierhead.linux.files import read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pierhead.engine.record import Record
    from pierhead.engine.settings import Settings
    from pierhead.engine.specgen import Machine

    Document = dict[str, Any]

ENGINE_VERSION = "28.5.0"
"""The release of Docker's engine whose API this one speaks: clients compare it with what they know."""
API_VERSION, API_VERSION_MIN = "1.51", "1.24"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
_INDEX = "https://index.docker.io/v1/"


def version_document() -> Document:
    """See ``GET /version``."""
    system = os.uname()
    shared = {
        "ApiVersion": API_VERSION,
        "Arch": _ARCHITECTURES.get(system.machine, system.machine),
        "BuildTime": "",
        "Experimental": "false",
        "GitCommit": "",
        "GoVersion": "",
        "KernelVersion": system.release,
        "MinAPIVersion": API_VERSION_MIN,
        "Os": "linux",
    }
    python = f"{sys.version_info.major}.{sys.version_info.minor}.{sys.version_info.micro}"
    return {
        "Platform": {"Name": f"Pierhead {__version__}"},
        "Version": ENGINE_VERSION,
        **shared,
        "Experimental": False,
        "Components": [
            {"Name": "Engine", "Version": ENGINE_VERSION, "Details": shared},
            {"Name": "pierd", "Version": __version__, "Details": {"Python": python}},
        ],
    }


def info_document(
    settings: Settings, machine: Machine, records: Iterable[Record], images: int, listeners: int, now_ns: int
) -> Document:
    """See ``GET /info``.

    Args:
        settings: the engine's.
        machine: this one.
        records: all containers.
        images: how many there are.
        listeners: how many follow events.
        now_ns: Unix time.
    """
    statuses = [record.state.status for record in records]
    paused = statuses.count("paused")
    running = statuses.count("running") + statuses.count("restarting")
    return {
        "ID": _identity(settings),
        "Containers": len(statuses),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": len(statuses) - running - paused,
        "Images": images,
        "Driver": "overlay2" if settings.storage == "overlay" else "vfs",
        "DriverStatus": [["Supports d_type", "true"], ["Native Overlay Diff", "true"]],
        "DockerRootDir": settings.data_root,
        "Plugins": {
            "Volume": ["local"],
            "Network": ["bridge", "host", "null"],
            "Authorization": None,
            "Log": ["journald", "json-file", "local", "none", "syslog"],
        },
        **_machine_facts(machine),
        **_system_facts(),
        "NFd": len(os.listdir("/proc/self/fd")),
        "NGoroutines": len(os.listdir("/proc/self/task")),
        "NEventsListener": listeners,
        "SystemTime": format_moment(now_ns),
        "LoggingDriver": settings.log_driver,
        "CgroupDriver": "none" if settings.cgroup_manager == "disabled" else settings.cgroup_manager,
        "IndexServerAddress": _INDEX,
        "RegistryConfig": _registries(settings),
        "GenericResources": None,
        "Labels": list(settings.labels),
        "Debug": False,
        "ExperimentalBuild": False,
        "ServerVersion": ENGINE_VERSION,
        "Runtimes": {LIBRARY: {"path": ""}}
        | {
            name: {"path": each.path} | ({"runtimeArgs": list(each.arguments)} if each.arguments else {})
            for name, each in settings.runtimes.items()
        },
        "DefaultRuntime": settings.default_runtime,
        "Swarm": _SWARM,
        "LiveRestoreEnabled": True,
        "Isolation": "",
        "InitBinary": "pier-init",
        "ContainerdCommit": {"ID": ""},
        "RuncCommit": {"ID": ""},
        "InitCommit": {"ID": ""},
        "SecurityOptions": _security(settings, machine),
        "Warnings": _warnings(machine),
        "CDISpecDirs": [],
    }


_SWARM = {
    "NodeID": "",
    "NodeAddr": "",
    "LocalNodeState": "inactive",
    "ControlAvailable": False,
    "Error": "",
    "RemoteManagers": None,
}


def _identity(settings: Settings) -> str:
    """The same for one data root of one machine, always."""
    import uuid

    try:
        machine_id = read_file("/etc/machine-id").decode().strip()
    except OSError:
        machine_id = ""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"pierhead:{machine_id}:{settings.data_root}"))


def _machine_facts(machine: Machine) -> Document:
    return {
        "MemoryLimit": "memory" in machine.controllers,
        "SwapLimit": machine.swap_limit,
        "CpuCfsPeriod": "cpu" in machine.controllers,
        "CpuCfsQuota": "cpu" in machine.controllers,
        "CPUShares": "cpu" in machine.controllers,
        "CPUSet": "cpuset" in machine.controllers,
        "PidsLimit": "pids" in machine.controllers,
        "OomKillDisable": machine.oom_kill_disable,
        "CgroupVersion": "2" if machine.cgroup_v2 else "1",
        "NCPU": machine.cpus,
    }


def _system_facts() -> Document:
    system = os.uname()
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return {
        "IPv4Forwarding": _is_on("/proc/sys/net/ipv4/ip_forward"),
        "KernelVersion": system.release,
        "OperatingSystem": release.get("PRETTY_NAME", "Linux"),
        "OSVersion": release.get("VERSION_ID", ""),
        "OSType": "linux",
        "Architecture": system.machine,
        "MemTotal": total_memory(),
        "Name": system.nodename,
        "HttpProxy": os.environ.get("HTTP_PROXY", ""),
        "HttpsProxy": os.environ.get("HTTPS_PROXY", ""),
        "NoProxy": os.environ.get("NO_PROXY", ""),
    }


def _is_on(path: str) -> bool:
    try:
        return read_file(path).strip() == b"1"
    except OSError:
        return False


def _registries(settings: Settings) -> Document:
    official = {"Name": "docker.io", "Mirrors": list(settings.mirrors), "Secure": True, "Official": True}
    insecure = {
        name: {"Name": name, "Mirrors": [], "Secure": False, "Official": False}
        for name in settings.insecure_registries
    }
    return {
        "InsecureRegistryCIDRs": ["::1/128", "127.0.0.0/8"],
        "IndexConfigs": {"docker.io": official, **insecure},
        "Mirrors": list(settings.mirrors) or None,
    }


def _security(settings: Settings, machine: Machine) -> list[str]:
    options = ["name=apparmor"] if machine.apparmor else []
    options.append(f"name=seccomp,profile={settings.seccomp_profile or 'builtin'}")
    if machine.selinux:
        options.append("name=selinux")
    if settings.rootless is not None:
        options.append("name=rootless")
    if settings.userns_remap:
        options.append("name=userns")
    if machine.cgroup_v2:
        options.append("name=cgroupns")
    return options


def _warnings(machine: Machine) -> list[str] | None:
    lacking = {
        "memory": "WARNING: No memory limit support",
        "cpu": "WARNING: No cpu cfs quota support",
        "cpuset": "WARNING: No cpuset support",
        "pids": "WARNING: No pids limit support",
    }
    found = [text for name, text in lacking.items() if name not in machine.controllers]
    if not machine.swap_limit:
        found.append("WARNING: No swap limit support")
    return found or None
