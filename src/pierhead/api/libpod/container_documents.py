"""Containers as libpod's clients read them, made of Docker's documents.  Pure.

Source: the API's description (``InspectContainerData``, ``ListContainer``, ``ContainerStats``).
"""

from __future__ import annotations

from pierhead.api.libpod.image_documents import bare_id, full_name
from pierhead.api.libpod.versions import LISTS_ENTRYPOINT
from pierhead.engine.moments import NEVER, parse_moment
from pierhead.signals import NUMBERS, parse_signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pierhead.api.versions import Version

    Document = dict[str, Any]

_S = 1_000_000_000
_NEVER_S = -62135596800
"""Go's zero time as Unix time."""
_STOP_SIGNAL = "15"
_STOP_TIMEOUT_S = 10


def parse_port(port: str) -> tuple[int, str]:
    """``80/tcp``."""
    number, _, protocol = port.partition("/")
    return int(number), protocol or "tcp"


def _seconds(moment: str) -> int:
    return parse_moment(moment) // _S if moment != NEVER else _NEVER_S


def list_entry(summary: Document, inspected: Document, *, with_size: bool) -> Document:
    """A line of ``GET /libpod/containers/json``.

    Args:
        summary: of ``GET /containers/json``.
        inspected: of ``GET /containers/{id}/json``.
        with_size: whether the summary has sizes.
    """
    state = inspected["State"]
    sizes = {"rootFsSize": summary.get("SizeRootFs", 0), "rwSize": summary.get("SizeRw", 0)}
    return {
        "AutoRemove": inspected["HostConfig"]["AutoRemove"],
        "Command": [word for word in (inspected["Path"], *inspected["Args"]) if word],
        "Created": inspected["Created"],
        "CreatedAt": "",
        "CIDFile": "",
        "Exited": state["Status"] in ("exited", "dead"),
        "ExitedAt": _seconds(state["FinishedAt"]),
        "ExitCode": state["ExitCode"],
        "ExposedPorts": exposed(inspected["Config"]["ExposedPorts"]),
        "Id": summary["Id"],
        "Image": full_name(inspected["Config"]["Image"]),  # as it was called, whatever that means by now
        "ImageID": bare_id(summary["ImageID"]),
        "IsInfra": False,
        "Labels": summary["Labels"] or None,
        "Mounts": [mount["Destination"] for mount in summary["Mounts"]],
        "Names": [name.removeprefix("/") for name in summary["Names"]],
        "Namespaces": {},
        "Networks": [name for name in summary["NetworkSettings"]["Networks"] if name not in ("none", "host")],
        "Pid": state["Pid"],
        "Pod": "",
        "PodName": "",
        "Ports": port_mappings(inspected["HostConfig"], summary["Ports"]) or None,
        "Restarts": inspected["RestartCount"],
        "Size": sizes if with_size else None,
        "StartedAt": _seconds(state["StartedAt"]),
        "State": _status(state),
        "Status": (state.get("Health") or {}).get("Status", ""),
    }


def _status(state: Document) -> str:
    """Libpod's word: what restarts has exited and waits."""
    status = str(state["Status"])
    return "exited" if status in ("restarting", "dead") else status


def exposed(ports: Document) -> Document | None:
    """``{"80": ["tcp"]}``."""
    found: Document = {}
    for port in sorted(ports or ()):
        number, protocol = parse_port(port)
        found.setdefault(str(number), []).append(protocol)
    return found or None


def port_mappings(host: Document, bound: Iterable[Document]) -> list[Document]:
    """What is published, where it runs as it is, else as it was asked for."""
    found = [
        (each.get("IP", ""), each["PrivatePort"], each["PublicPort"], each["Type"])
        for each in bound
        if each.get("PublicPort")
    ]
    if not found:
        for port, bindings in (host["PortBindings"] or {}).items():
            number, protocol = parse_port(port)
            found += [
                (each["HostIp"], number, int(each["HostPort"]), protocol)
                for each in bindings or ()
                if each["HostPort"].isdecimal()
            ]
    return [
        {
            "host_ip": "" if host_ip in ("0.0.0.0", "::") else host_ip,  # noqa: S104 - what all means
            "container_port": inside,
            "host_port": outside,
            "range": 1,
            "protocol": protocol,
        }
        for host_ip, inside, outside, protocol in sorted(set(found), key=lambda each: each[1:])
        if host_ip != "::" or ("0.0.0.0", inside, outside, protocol) not in found  # noqa: S104 - as above
    ]


def inspection(document: Document, image: Document | None, version: Version) -> Document:
    """The answer of ``GET /libpod/containers/{id}/json``.

    Args:
        document: Docker's.
        image: Docker's inspection of its image; None where that is gone.
        version: the client's.
    """
    config, host = document["Config"], document["HostConfig"]
    return {
        "Id": document["Id"],
        "Created": document["Created"],
        "Path": document["Path"],
        "Args": document["Args"],
        "State": _state(document["State"]),
        "Image": bare_id(document["Image"]),
        "ImageDigest": _digest(image),
        "ImageName": full_name(config["Image"]),
        "Rootfs": "",
        "Pod": "",
        "ResolvConfPath": document["ResolvConfPath"],
        "HostnamePath": document["HostnamePath"],
        "HostsPath": document["HostsPath"],
        "StaticDir": document["HostsPath"].rpartition("/")[0],
        "OCIRuntime": host["Runtime"] or "pierhead",
        "Name": document["Name"].removeprefix("/"),
        "RestartCount": document["RestartCount"],
        "Driver": document["Driver"],
        "MountLabel": document["MountLabel"],
        "ProcessLabel": document["ProcessLabel"],
        "AppArmorProfile": document["AppArmorProfile"],
        "EffectiveCaps": None,
        "BoundingCaps": None,
        "ExecIDs": document["ExecIDs"] or [],
        "GraphDriver": {"Name": document["GraphDriver"]["Name"], "Data": document["GraphDriver"].get("Data")},
        "SizeRw": document.get("SizeRw"),
        "SizeRootFs": document.get("SizeRootFs", 0),
        "Mounts": [_mount(each) for each in document["Mounts"]],
        "Dependencies": [],
        "NetworkSettings": _network_settings(document["NetworkSettings"]),
        "Namespace": "",
        "IsInfra": False,
        "IsService": False,
        "Config": _config(config, host, version),
        "HostConfig": _host_config(document),
    }


def _digest(image: Document | None) -> str:
    """The manifest's, which names of registries are followed by."""
    digests = (image or {}).get("RepoDigests") or ()
    return str(digests[0]).partition("@")[2] if digests else ""


def _state(state: Document) -> Document:
    health = state.get("Health")
    return {
        "OciVersion": "1.2.0",
        **{name: state[name] for name in ("Paused", "Restarting", "OOMKilled", "Dead", "Pid", "Error")},
        "Status": _status(state),
        "Running": state["Status"] == "running",  # Docker says so of what is paused, too
        "ExitCode": state["ExitCode"],
        "StartedAt": state["StartedAt"],
        "FinishedAt": state["FinishedAt"],
        "Health": health_document(health) if health else {"Status": "", "FailingStreak": 0, "Log": None},
        "CheckpointedAt": NEVER,
        "RestoredAt": NEVER,
    }


def health_document(health: Document) -> Document:
    """How it fares."""
    return {name: health[name] for name in ("Status", "FailingStreak", "Log")}


def _mount(mount: Document) -> Document:
    found = {
        "Type": mount["Type"],
        "Source": mount["Source"],
        "Destination": mount["Destination"],
        "Driver": mount["Driver"],
        "Mode": mount["Mode"],
        "Options": ["rbind"] if mount["Type"] == "bind" else [],
        "RW": mount["RW"],
        "Propagation": mount["Propagation"],
    }
    return found | ({"Name": mount["Name"]} if mount["Name"] else {})


def _network_settings(settings: Document) -> Document:
    ports = {port: bindings or None for port, bindings in settings["Ports"].items()}
    networks = {
        name: {**endpoint, "NetworkID": endpoint["NetworkID"] or name, "Links": None}
        for name, endpoint in settings["Networks"].items()
    }
    return {
        **{name: value for name, value in settings.items() if not name.startswith("Secondary")},
        "Ports": ports,
        "Networks": networks,
    }


def _signal_name(number: int) -> str:
    """``SIGTERM``; the first of several names."""
    return next((f"SIG{name}" for name in sorted(NUMBERS) if NUMBERS[name] == number), str(number))


def _config(config: Document, host: Document, version: Version) -> Document:
    entrypoint = config["Entrypoint"]
    words = [entrypoint] if isinstance(entrypoint, str) else list(entrypoint or ())
    number = parse_signal(config["StopSignal"] or _STOP_SIGNAL)
    listed = version >= LISTS_ENTRYPOINT
    timeout_s = config["StopTimeout"]
    found = {
        **{
            name: config[name] for name in ("Hostname", "Domainname", "User", "Tty", "OpenStdin", "StdinOnce")
        },
        **{name: config[name] for name in ("AttachStdin", "AttachStdout", "AttachStderr", "Env")},
        "Cmd": [config["Cmd"]] if isinstance(config["Cmd"], str) else config["Cmd"],
        "Image": full_name(config["Image"]),
        "Volumes": config["Volumes"] or None,
        "WorkingDir": config["WorkingDir"] or "/",
        "Entrypoint": (words or None) if listed else " ".join(words),
        "OnBuild": None,
        "Labels": config["Labels"] or None,
        "Annotations": host["Annotations"] or None,
        "StopSignal": _signal_name(number) if listed else number,
        "HealthcheckOnFailureAction": "none",
        "Umask": "0022",
        "Timeout": 0,
        "StopTimeout": _STOP_TIMEOUT_S if timeout_s is None else timeout_s,
        "Passwd": True,
        "sdNotifyMode": "ignore",
        "ExposedPorts": config["ExposedPorts"] or None,
    }
    if config["Healthcheck"]:
        found["Healthcheck"] = config["Healthcheck"]
    return found


_OTHERWISE = ("Binds", "LogConfig", "Mounts", "NetworkMode", "UTSMode", "Ulimits")


def _host_config(document: Document) -> Document:
    """Most members are called as Docker's; namespaces without a mode are private."""
    host = document["HostConfig"]
    kept = {name: value for name, value in host.items() if name not in _OTHERWISE}
    log = host["LogConfig"]
    return kept | {
        "Binds": [_bind(mount) for mount in document["Mounts"] if mount["Type"] in ("bind", "volume")],
        "CgroupManager": "cgroupfs",
        "CgroupMode": host["CgroupnsMode"] or "private",
        "Cgroups": "default",
        "LogConfig": {
            "Type": log["Type"],
            "Config": log["Config"] or None,
            "Path": document["LogPath"],
            "Tag": log["Config"].get("tag", ""),
            "Size": log["Config"].get("max-size", "0B"),
        },
        "NetworkMode": "bridge" if host["NetworkMode"] in ("", "default") else host["NetworkMode"],
        "IpcMode": host["IpcMode"] or "private",
        "PidMode": host["PidMode"] or "private",
        "UTSMode": host["UTSMode"] or "private",
        "ConsoleSize": list(host["ConsoleSize"] or (0, 0)),
        "Devices": [_named(each, "CgroupPermissions") for each in host["Devices"] or ()],
        "MemorySwappiness": -1 if host["MemorySwappiness"] is None else host["MemorySwappiness"],
        "OomKillDisable": bool(host["OomKillDisable"]),
        "PidsLimit": host["PidsLimit"] or 0,
        "Init": bool(host["Init"]),
        "CapAdd": [_capability(each) for each in host["CapAdd"] or ()],
        "CapDrop": [_capability(each) for each in host["CapDrop"] or ()],
        "Ulimits": [{**each, "Name": f"RLIMIT_{each['Name'].upper()}"} for each in host["Ulimits"] or ()],
        "CgroupConf": None,
    }


def _named(device: Document, letters: str) -> Document:
    return {**device, letters: device[letters] or "rwm"}


def _capability(name: str) -> str:
    upper = name.upper()
    return upper if upper.startswith("CAP_") or upper == "ALL" else f"CAP_{upper}"


def _bind(mount: Document) -> str:
    options = ["rw" if mount["RW"] else "ro", mount["Propagation"] or "rprivate", "rbind"]
    return f"{mount['Name'] or mount['Source']}:{mount['Destination']}:{','.join(options)}"


# Figures


def stats_entry(now: Document, before: Document | None, up_ns: int) -> Document:
    """A container in ``GET /libpod/containers/stats``.

    Args:
        now: Docker's document.
        before: the one before it; the share of processors is since the start where there is none.
        up_ns: how long it has run; 0 where it does not.
    """
    used_ns = now["cpu_stats"]["cpu_usage"]["total_usage"]
    system_ns = now["cpu_stats"].get("system_cpu_usage", 0)
    memory = now["memory_stats"]
    usage, limit = memory.get("usage", 0), memory.get("limit", 0)
    networks = now["networks"] or {}
    average = used_ns * 100.0 / up_ns if up_ns > 0 else 0.0
    share = _share(now, before) if before else average
    read, written = _block(now["blkio_stats"])
    return {
        "AvgCPU": average,
        "ContainerID": now["id"],
        "Name": now["name"].removeprefix("/"),
        "PerCPU": now["cpu_stats"]["cpu_usage"].get("percpu_usage"),
        "CPU": share,
        "CPUNano": used_ns,
        "CPUSystemNano": now["cpu_stats"]["cpu_usage"]["usage_in_kernelmode"],
        "SystemNano": system_ns,
        "MemUsage": usage,
        "MemLimit": limit,
        "MemPerc": usage * 100.0 / limit if limit else 0.0,
        "NetInput": sum(each["rx_bytes"] for each in networks.values()),
        "NetOutput": sum(each["tx_bytes"] for each in networks.values()),
        "Network": {name: _interface(each) for name, each in networks.items()},
        "BlockInput": read,
        "BlockOutput": written,
        "PIDs": now["pids_stats"].get("current", 0),
        "UpTime": used_ns,
        "Duration": used_ns,
    }


def _interface(counted: Document) -> Document:
    return {
        f"{way}{name}": counted.get(f"{letters}_{word}", 0)
        for way, letters in (("Rx", "rx"), ("Tx", "tx"))
        for name, word in (
            ("Bytes", "bytes"),
            ("Packets", "packets"),
            ("Errors", "errors"),
            ("Dropped", "dropped"),
        )
    }


def _share(now: Document, before: Document) -> float:
    """Per cent of one processor."""
    cpu, earlier = now["cpu_stats"], before["cpu_stats"]
    system_ns = cpu.get("system_cpu_usage", 0) - earlier.get("system_cpu_usage", 0)
    used_ns = cpu["cpu_usage"]["total_usage"] - earlier["cpu_usage"]["total_usage"]
    return used_ns * cpu.get("online_cpus", 1) * 100.0 / system_ns if system_ns > 0 and used_ns > 0 else 0.0


def _block(stats: Document) -> tuple[int, int]:
    entries = stats.get("io_service_bytes_recursive") or ()
    return (
        sum(each["value"] for each in entries if each["op"] == "read"),
        sum(each["value"] for each in entries if each["op"] == "write"),
    )
