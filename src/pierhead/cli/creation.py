"""The flags of ``run`` and ``create`` as the document of ``POST /containers/create``."""

from __future__ import annotations

import os

from pierhead.cli import creation_places as places
from pierhead.cli import words
from pierhead.cli.engine_call import image_name
from pierhead.cli.flags import BadUsage

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.flags import Options

    Document = dict[str, Any]

_STREAMS = ("stdin", "stdout", "stderr")


def creation_document(
    options: Options, image: str, command: tuple[str, ...], *, foreground: bool
) -> Document:
    """What the engine is asked for.

    Args:
        options: of ``run`` or ``create``.
        image: its name.
        command: empty for the image's own.
        foreground: whether somebody will be attached.

    Raises:
        BadUsage: a value does not fit.
    """
    exposed, bindings = places.ports_of(options)
    nameless, binds = places.volumes_of(options)
    document = _config(options, image, command, attached_streams(options) if foreground else ())
    document |= {
        "ExposedPorts": exposed,
        "Volumes": nameless,
        "HostConfig": {
            "Binds": binds,
            "PortBindings": bindings,
            "PublishAllPorts": options.switch("publish-all"),
            **_host(options),
            **limits(options),
        },
        "NetworkingConfig": _networking(options),
    }
    return document


def attached_streams(options: Options) -> tuple[str, ...]:
    """Streams that a foreground call joins: those that ``--attach`` names, else the output, and with
    ``--interactive`` the input.
    """
    named = tuple(text.lower() for text in options.all("attach"))
    for text in named:
        if text not in _STREAMS:
            raise words.unfit("attach", text, "it can be stdin, stdout or stderr")
    if named:
        return named
    return _STREAMS if options.switch("interactive") else _STREAMS[1:]


def network_mode(options: Options) -> str:
    """The network it joins."""
    return options.text("network") or options.text("net") or "default"


def _config(options: Options, image: str, command: tuple[str, ...], streams: tuple[str, ...]) -> Document:
    interactive, tty = options.switch("interactive"), options.switch("tty")
    document: Document = {
        "Hostname": options.text("hostname"),
        "Domainname": options.text("domainname"),
        "User": options.text("user"),
        "AttachStdin": "stdin" in streams,
        "AttachStdout": "stdout" in streams,
        "AttachStderr": "stderr" in streams,
        "Tty": tty,
        "OpenStdin": interactive,
        "StdinOnce": interactive and "stdin" in streams,
        "Env": words.variables(options, os.environ),
        "Cmd": list(command) or None,
        "Image": image_name(image),
        "WorkingDir": options.text("workdir"),
        "Labels": words.labels(options),
        "MacAddress": options.text("mac-address"),
        "StopSignal": options.text("stop-signal"),
    }
    if options.given("entrypoint"):
        entrypoint = options.text("entrypoint")
        document["Entrypoint"] = [entrypoint] if entrypoint else [""]
    if options.given("stop-timeout"):
        document["StopTimeout"] = options.number("stop-timeout")
    health = _health(options)
    if health is not None:
        document["Healthcheck"] = health
    return document


def _health(options: Options) -> Document | None:
    given = ("health-cmd", "health-interval", "health-timeout", "health-retries", "health-start-period")
    any_given = any(options.given(name) for name in (*given, "health-start-interval"))
    if options.switch("no-healthcheck"):
        if any_given:
            raise BadUsage("--no-healthcheck contradicts --health-*")
        return {"Test": ["NONE"]}
    if not any_given:
        return None
    command = options.text("health-cmd")
    return {
        "Test": ["CMD-SHELL", command] if command else [],
        "Interval": words.span_of(options, "health-interval"),
        "Timeout": words.span_of(options, "health-timeout"),
        "Retries": options.number("health-retries") or 0,
        "StartPeriod": words.span_of(options, "health-start-period"),
        "StartInterval": words.span_of(options, "health-start-interval"),
    }


def _host(options: Options) -> Document:
    removed, restart = options.switch("rm"), options.text("restart", "no")
    if removed and restart != "no":
        raise BadUsage("--rm and --restart contradict each other")
    document: Document = {
        "AutoRemove": removed,
        "RestartPolicy": words.restart_policy(restart),
        "ContainerIDFile": options.text("cidfile"),
        "NetworkMode": network_mode(options),
        "LogConfig": {"Type": options.text("log-driver"), "Config": words.pairs(options, "log-opt")},
        "VolumeDriver": options.text("volume-driver"),
        "VolumesFrom": list(options.all("volumes-from")),
        "Mounts": [places.mount_of(text) for text in options.all("mount")],
        "Tmpfs": dict(text.partition(":")[::2] for text in options.all("tmpfs")),
        "ShmSize": words.size_of(options, "shm-size"),
        "ReadonlyRootfs": options.switch("read-only"),
        "StorageOpt": words.pairs(options, "storage-opt"),
        "Annotations": words.pairs(options, "annotation"),
        "CapAdd": list(options.all("cap-add")),
        "CapDrop": list(options.all("cap-drop")),
        "SecurityOpt": [_security(text) for text in options.all("security-opt")],
        "Sysctls": words.pairs(options, "sysctl"),
        "Privileged": options.switch("privileged"),
        "GroupAdd": list(options.all("group-add")),
        "Dns": list(options.all("dns")),
        "DnsOptions": list(options.all("dns-option")),
        "DnsSearch": list(options.all("dns-search")),
        "ExtraHosts": [_extra_host(text) for text in options.all("add-host")],
        "Links": list(options.all("link")),
        "PidMode": options.text("pid"),
        "IpcMode": options.text("ipc"),
        "UTSMode": options.text("uts"),
        "UsernsMode": options.text("userns"),
        "CgroupnsMode": options.text("cgroupns"),
        "Runtime": options.text("runtime"),
    }
    if options.given("init"):
        document["Init"] = options.switch("init")
    return document


def _security(text: str) -> str:
    """A seccomp profile is sent whole: the engine may be on another machine."""
    name, _, path = text.partition("=")
    if name != "seccomp" or path in ("unconfined", "builtin") or path.startswith("{"):
        return text
    try:
        with open(path, encoding="utf-8") as file:
            return f"seccomp={file.read()}"
    except (OSError, UnicodeDecodeError) as error:
        reason = (getattr(error, "strerror", None) or "it is not UTF-8 text").lower()
        raise BadUsage(f"--security-opt: cannot read the profile {path}: {reason}") from None


def _extra_host(text: str) -> str:
    """``NAME:ADDRESS`` or ``NAME=ADDRESS``, with a colon."""
    name, equals, address = text.partition("=")
    if not equals:
        name, _, address = text.partition(":")
    if not name or not address:
        raise words.unfit("add-host", text, "write it as db:192.0.2.7")
    return f"{name}:{address.removeprefix('[').removesuffix(']')}"


def limits(options: Options) -> Document:
    """``Resources`` of the API."""
    document: Document = {
        "Memory": words.size_of(options, "memory"),
        "MemoryReservation": words.size_of(options, "memory-reservation"),
        "MemorySwap": words.size_of(options, "memory-swap"),
        "MemorySwappiness": options.number("memory-swappiness"),
        "OomScoreAdj": options.number("oom-score-adj") or 0,
        "NanoCpus": words.nano_cpus(options),
        "CpuShares": options.number("cpu-shares") or 0,
        "CpuPeriod": options.number("cpu-period") or 0,
        "CpuQuota": options.number("cpu-quota") or 0,
        "CpuRealtimePeriod": options.number("cpu-rt-period") or 0,
        "CpuRealtimeRuntime": options.number("cpu-rt-runtime") or 0,
        "CpusetCpus": options.text("cpuset-cpus"),
        "CpusetMems": options.text("cpuset-mems"),
        "PidsLimit": options.number("pids-limit"),
        "BlkioWeight": options.number("blkio-weight") or 0,
        "BlkioWeightDevice": words.device_weights(options, "blkio-weight-device"),
        "BlkioDeviceReadBps": words.device_rates(options, "device-read-bps"),
        "BlkioDeviceWriteBps": words.device_rates(options, "device-write-bps"),
        "BlkioDeviceReadIOps": words.device_rates(options, "device-read-iops"),
        "BlkioDeviceWriteIOps": words.device_rates(options, "device-write-iops"),
        "Ulimits": words.ulimits(options),
        "Devices": [places.device_of(text) for text in options.all("device")],
        "DeviceCgroupRules": list(options.all("device-cgroup-rule")),
        "DeviceRequests": places.gpus_of(options.text("gpus")),
        "CgroupParent": options.text("cgroup-parent"),
    }
    if options.switch("oom-kill-disable"):
        document["OomKillDisable"] = True
    return document


def _networking(options: Options) -> Document:
    wanted: Document = {}
    addresses = {"IPv4Address": options.text("ip"), "IPv6Address": options.text("ip6")}
    if any(addresses.values()):
        wanted["IPAMConfig"] = addresses
    if options.given("network-alias"):
        wanted["Aliases"] = list(options.all("network-alias"))
    if options.text("mac-address"):
        wanted["MacAddress"] = options.text("mac-address")
    return {"EndpointsConfig": {network_mode(options): wanted}} if wanted else {}


_UPDATES = {
    "memory": "Memory",
    "memory-reservation": "MemoryReservation",
    "memory-swap": "MemorySwap",
    "cpus": "NanoCpus",
    "cpu-shares": "CpuShares",
    "cpu-period": "CpuPeriod",
    "cpu-quota": "CpuQuota",
    "cpu-rt-period": "CpuRealtimePeriod",
    "cpu-rt-runtime": "CpuRealtimeRuntime",
    "cpuset-cpus": "CpusetCpus",
    "cpuset-mems": "CpusetMems",
    "pids-limit": "PidsLimit",
    "blkio-weight": "BlkioWeight",
}


def update_document(options: Options) -> Document:
    """What ``update`` changes: only what was given.

    Raises:
        BadUsage: nothing was given, or a value does not fit.
    """
    values: Document = {
        "memory": words.size_of(options, "memory"),
        "memory-reservation": words.size_of(options, "memory-reservation"),
        "memory-swap": words.size_of(options, "memory-swap"),
        "cpus": words.nano_cpus(options),
    }
    document: Document = {}
    for flag, field in _UPDATES.items():
        if options.given(flag):
            text = options.text(flag)
            document[field] = values[flag] if flag in values else text if "cpuset" in flag else int(text)
    if options.given("restart"):
        document["RestartPolicy"] = words.restart_policy(options.text("restart"))
    if not document:
        raise BadUsage("you must provide one or more flags when using this command", hint="see --help")
    return document
