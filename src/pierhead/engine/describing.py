"""Containers as the API's documents have them, in the newest version's shape.  Pure."""

from __future__ import annotations

from pierhead.engine.documents import EndpointSettings
from pierhead.engine.moments import format_moment
from pierhead.engine.networknames import NETWORK_DRIVERS, network_identity
from pierhead.engine.specgen.processes import program_of
from pierhead.figures import describe_span, format_age
from pierhead.oci.document import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pierhead.engine.documents import Empty
    from pierhead.engine.record import Record
    from pierhead.engine.settings import Paths

    Document = dict[str, Any]


def status_text(record: Record, now_ns: int) -> str:
    """``Up 3 minutes (healthy)``, ``Exited (0) 2 days ago``."""
    state = record.state
    if state.status in ("running", "paused"):
        text = f"Up {describe_span((now_ns - state.started_ns) / 1e9)}"
        return text + (" (Paused)" if state.status == "paused" else _health_words(record))
    ago = format_age((now_ns - state.finished_ns) / 1e9)
    if state.status == "restarting":
        return f"Restarting ({state.exit_code}) {ago}"
    if state.status == "exited":
        return f"Exited ({state.exit_code}) {ago}" if state.finished_ns else ""
    return {"created": "Created", "removing": "Removal In Progress", "dead": "Dead"}[state.status]


def _health_words(record: Record) -> str:
    health = record.state.health
    if health is None or health.status == "none":
        return ""
    return " (health: starting)" if health.status == "starting" else f" ({health.status})"


def summary(record: Record, now_ns: int) -> Document:
    """The container in ``GET /containers/json`` at this Unix time, without sizes."""
    return {
        "Id": record.id,
        "Names": [f"/{record.name}"],
        "Image": record.image,
        "ImageID": record.image_id,
        "Command": _command(record),
        "Created": record.created_ns // 1_000_000_000,
        "Ports": list(_ports(record)),
        "Labels": record.config.labels,
        "State": record.state.status,
        "Status": status_text(record, now_ns),
        "HostConfig": {"NetworkMode": record.network_mode, "Annotations": record.host.annotations},
        "NetworkSettings": {"Networks": networks(record)},
        "Mounts": [encode(mount) for mount in record.mounts],
    }


def _command(record: Record) -> str:
    """As Docker shows it: words with a blank in single quotes."""
    return " ".join(f"'{word}'" if " " in word else word for word in program_of(record.config))


def _ports(record: Record) -> Iterable[Document]:
    """Those that can be reached, and those that it says it has; one that does not run has none."""
    if record.state.status not in ("running", "paused", "restarting"):
        return
    for port in _exposed(record).keys() | record.ports.keys():
        number, _, protocol = port.partition("/")
        about = {"PrivatePort": int(number), "Type": protocol or "tcp"}
        bindings = record.ports.get(port, ())
        if not bindings:
            yield about
        for binding in bindings:
            yield {"IP": binding.host_ip, **about, "PublicPort": int(binding.host_port)}


def _exposed(record: Record) -> dict[str, Empty]:
    """The ports that it says it has, which somebody can see from its network; none without one of its own."""
    return record.config.exposed_ports if record.endpoint is not None else {}


def networks(record: Record) -> Document:
    """Endpoints by the names of their networks."""
    mode = record.network_mode
    if mode.startswith("container:"):
        return {}
    wanted = record.networking.endpoints_config.get(mode, EndpointSettings())
    if mode in NETWORK_DRIVERS:
        wanted = wanted.replace(network_id=network_identity(mode))
    return {mode: encode(record.endpoint or wanted)}


def inspection(
    record: Record, paths: Paths, graph: Document, exec_ids: Iterable[str], apparmor: str
) -> Document:
    """The container in ``GET /containers/{id}/json``.

    Args:
        record: the container.
        paths: of its files.
        graph: ``GraphDriver``.
        exec_ids: its further processes.
        apparmor: its profile; empty where nobody is confined.
    """
    words = program_of(record.config)
    directory = paths.container(record.id)
    logged = record.host.log_config.type in ("", "json-file", "local")
    return {
        "Id": record.id,
        "Created": format_moment(record.created_ns),
        "Path": words[0] if words else "",
        "Args": list(words[1:]),
        "State": state_document(record),
        "Image": record.image_id,
        "ResolvConfPath": f"{directory}/resolv.conf",
        "HostnamePath": f"{directory}/hostname",
        "HostsPath": f"{directory}/hosts",
        "LogPath": paths.log(record.id) if logged else "",
        "Name": f"/{record.name}",
        "RestartCount": record.restart_count,
        "Driver": graph["Name"],
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": apparmor,
        "ExecIDs": list(exec_ids) or None,
        "HostConfig": encode(record.host),
        "GraphDriver": graph,
        "Mounts": [encode(mount) for mount in record.mounts],
        "Config": encode(record.config),
        "NetworkSettings": _network_settings(record),
    }


def state_document(record: Record) -> Document:
    """``State`` of an inspection."""
    state = record.state
    document = {
        "Status": state.status,
        "Running": state.status in ("running", "paused", "restarting"),
        "Paused": state.status == "paused",
        "Restarting": state.status == "restarting",
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": format_moment(state.started_ns),
        "FinishedAt": format_moment(state.finished_ns),
    }
    if state.health is not None:
        document["Health"] = encode(state.health)
    return document


def _network_settings(record: Record) -> Document:
    endpoint = record.endpoint or EndpointSettings()
    alive = record.state.status in ("running", "paused")
    ports: Document = dict.fromkeys(_exposed(record)) if alive else {}
    ports |= {port: [encode(binding) for binding in bindings] for port, bindings in record.ports.items()}
    return {
        "Bridge": "",
        "SandboxID": record.id if alive else "",
        "SandboxKey": f"/proc/{record.state.pid}/ns/net" if alive else "",
        "HairpinMode": False,
        "LinkLocalIPv6Address": "",
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": ports,
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        "EndpointID": endpoint.endpoint_id,
        "Gateway": endpoint.gateway,
        "GlobalIPv6Address": endpoint.global_ipv6_address,
        "GlobalIPv6PrefixLen": endpoint.global_ipv6_prefix_len,
        "IPAddress": endpoint.ip_address,
        "IPPrefixLen": endpoint.ip_prefix_len,
        "IPv6Gateway": endpoint.ipv6_gateway,
        "MacAddress": endpoint.mac_address,
        "Networks": networks(record),
    }
