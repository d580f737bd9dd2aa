"""What ``pierd`` was told, as the settings of an engine and of its daemon.  Pure."""

from __future__ import annotations

import ipaddress
import os

from pierhead import figures
from pierhead.api.listeners import Address, parse_address
from pierhead.api.tls import TlsSettings
from pierhead.cli.user_places import user_data_root, user_exec_root
from pierhead.engine.documents import LogConfig
from pierhead.engine.settings import BridgeSettings, RuntimeProgram, Settings
from pierhead.engine.specgen.logwords import check_log_config
from pierhead.errors import InvalidInput, Unsupported
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pierhead.cli.daemon_given import Given
    from pierhead.engine.rootlesswords import Rootless

_DRIVERS = {"overlay2": "overlay", "vfs": "plain"}
_LEVELS = {"warn": "warning", "fatal": "critical"}


class Roots(Value):
    """Where an engine keeps everything when nobody says it."""

    data_root: str
    exec_root: str
    config_file: str


class DaemonSettings(Value):
    """A daemon.

    Fields:
        engine: what it serves.
        addresses: where it listens.
        group: of unix sockets; "" for docker's, if there is one.
        pidfile: path.
        tls: None for plain TCP.
        metrics: where /metrics is; None for nowhere.
        idle_s: it stops when nothing was wanted for so long; 0 is never.
        patience_s: requests have so long to end.
        log_level: a name of logging's, in small letters.
        log_format: ``text`` or ``json``.
        rootless_network: how an ordinary user's engine has the world: one of ``rootlesswords.CHOICES``.
    """

    engine: Settings
    addresses: tuple[Address, ...]
    group: str = ""
    pidfile: str
    tls: TlsSettings | None = None
    metrics: Address | None = None
    idle_s: int = 0
    patience_s: int = 15
    log_level: str = "info"
    log_format: str = "text"
    rootless_network: str = "auto"


def default_roots(environment: Mapping[str, str], user_id: int) -> Roots:
    """The machine's places for root, a user's own for everybody else."""
    if user_id == 0:
        return Roots(
            data_root="/var/lib/pierhead",
            exec_root="/run/pierhead",
            config_file="/etc/pierhead/pierd.toml",
        )
    home = environment.get("HOME") or f"/home/{user_id}"
    return Roots(
        data_root=user_data_root(environment, user_id),
        exec_root=user_exec_root(environment, user_id),
        config_file=f"{environment.get('XDG_CONFIG_HOME') or f'{home}/.config'}/pierhead/pierd.toml",
    )


def make_settings(given: Given, roots: Roots, user_id: int = 0) -> DaemonSettings:
    """The settings that this means.

    Args:
        given: what was said.
        roots: where everything is that nobody says.
        user_id: of the user whose daemon it is.

    Raises:
        InvalidInput: a value is not of its form, or two do not go together.
        Unsupported: an ordinary user's daemon cannot do it.
    """
    engine = _make_engine(given, roots)
    tls = _make_tls(given)
    exec_root = engine.exec_root
    addresses = tuple(
        parse_address(text, tls=tls is not None, default_path=f"{exec_root}/pierd.sock")
        for text in given.get("hosts", ("unix://",))
    )
    metrics = given.get("metrics-addr")
    if user_id != 0:
        _check_rootless(engine, addresses, metrics)
    level = "debug" if given.get("debug") else given.get("log-level", "info")
    return DaemonSettings(
        engine=engine,
        addresses=addresses,
        group=given.get("group", ""),
        pidfile=os.path.abspath(given.get("pidfile", f"{exec_root}/pierd.pid")),
        tls=tls,
        metrics=parse_address(f"tcp://{metrics}", tls=False, default_path="") if metrics else None,
        idle_s=_count(given, "idle-timeout", 0),
        patience_s=_count(given, "shutdown-timeout", 15),
        log_level=_LEVELS.get(level, level),
        log_format=given.get("log-format", "text"),
        rootless_network=given.get("rootless-network", "auto"),
    )


def _check_rootless(engine: Settings, addresses: tuple[Address, ...], metrics: str | None) -> None:
    """Its network namespace is not the machine's, and no systemd is asked for cgroups."""
    elsewhere = [each.text for each in addresses if each.kind != "unix"]
    if elsewhere or metrics:
        raise Unsupported(
            f"pierd of an ordinary user cannot listen at {(elsewhere or [f'tcp://{metrics}'])[0]}",
            code="rootless",
            hint="it listens at unix sockets; ssh -L leads one of them to another machine",
        )
    if engine.cgroup_manager == "systemd":
        raise Unsupported(
            "pierd of an ordinary user makes no cgroups by systemd",
            code="rootless",
            hint="leave native.cgroupdriver out: a unit with DelegateSubgroup= gives it a cgroup",
        )


def settle_rootless(settings: DaemonSettings, rootless: Rootless) -> DaemonSettings:
    """The settings of a daemon in an ordinary user's namespaces: cgroups where it was given one, and names by
    its network.
    """
    engine = settings.engine
    engine = engine.replace(
        rootless=rootless,
        cgroup_manager="cgroupfs" if rootless.cgroup else "disabled",
        cgroup_parent=f"{rootless.cgroup}/{engine.cgroup_parent.strip('/')}",
        dns=engine.dns or rootless.network.dns,
    )
    return settings.replace(engine=engine)


def _count(given: Given, key: str, default: int) -> int:
    number: int = given.get(key, default)
    if number < 0:
        raise _bad(key, number, "it cannot be less than 0")
    return number


def _bad(key: str, value: object, hint: str) -> InvalidInput:
    return InvalidInput(f"{key} cannot be {value!r}", code="bad-configuration", hint=hint)


def _make_tls(given: Given) -> TlsSettings | None:
    verify = given.get("tlsverify", False)
    if not (verify or given.get("tls", False)):
        return None
    certificate, key, authority = (given.get(name, "") for name in ("tlscert", "tlskey", "tlscacert"))
    if not (certificate and key):
        message = "TLS needs both a certificate and a key"
        raise InvalidInput(message, code="bad-configuration", hint="give tlscert and tlskey")
    if verify and not authority:
        message = "certificates of clients cannot be verified without their authority"
        raise InvalidInput(message, code="bad-configuration", hint="give tlscacert")
    return TlsSettings(certificate=certificate, key=key, authority=authority if verify else "")


def _make_engine(given: Given, roots: Roots) -> Settings:
    driver: str = given.get("storage-driver", "overlay")
    manager = _cgroup_manager(given.get("exec-opts", ()))
    runtimes = {name: _runtime(name, each) for name, each in given.get("runtimes", {}).items()}
    default_runtime = given.get("default-runtime", "pierhead")
    if default_runtime not in ("pierhead", *runtimes):
        raise _bad(
            "default-runtime",
            default_runtime,
            f"there are pierhead, {', '.join(sorted(runtimes))}".rstrip(", "),
        )
    log = LogConfig(
        type=given.get("log-driver", "json-file"),
        config={name: str(value) for name, value in given.get("log-opts", {}).items()},
    )
    check_log_config(log)
    return Settings(
        data_root=os.path.abspath(given.get("data-root", roots.data_root)),
        exec_root=os.path.abspath(given.get("exec-root", roots.exec_root)),
        default_runtime=default_runtime,
        runtimes=runtimes,
        log_driver=log.type,
        log_options=log.config,
        storage=_DRIVERS.get(driver, driver),
        cgroup_parent=given.get("cgroup-parent", "/pierhead"),
        cgroup_manager=manager,
        bridge=_make_bridge(given),
        dns=tuple(_address("dns", each) for each in given.get("dns", ())),
        dns_search=given.get("dns-search", ()),
        dns_options=given.get("dns-opts", ()),
        ulimits=tuple(_ulimit(name, each) for name, each in given.get("default-ulimits", {}).items()),
        shm_bytes=parse_size(given.get("default-shm-size", "64m"), "default-shm-size"),
        seccomp_profile=given.get("seccomp-profile", ""),
        userns_remap=given.get("userns-remap", ""),
        init=given.get("init", False),
        labels=given.get("labels", ()),
        mirrors=given.get("registry-mirrors", ()),
        insecure_registries=given.get("insecure-registries", ()),
    )


def _cgroup_manager(options: tuple[str, ...]) -> str:
    for option in options:
        name, _, value = option.partition("=")
        if name != "native.cgroupdriver" or value not in ("cgroupfs", "systemd"):
            raise _bad("exec-opts", option, "there is native.cgroupdriver=cgroupfs or systemd")
        return value
    return "cgroupfs"


def _runtime(name: str, program: object) -> RuntimeProgram:
    """A path, or docker's object ``{"path", "runtimeArgs"}``."""
    told: dict[str, Any] = program if isinstance(program, dict) else {"path": program}
    path, arguments = told.get("path"), told.get("runtimeArgs") or ()
    if name == "pierhead":
        raise _bad("runtimes", name, "it is the library's own name")
    if not isinstance(path, str) or not path:
        hint = "write it as a flag NAME=PATH, or in the file as [runtimes.NAME] with a path"
        raise InvalidInput(f"runtimes: {name} has no path", code="bad-configuration", hint=hint)
    return RuntimeProgram(path=path, arguments=tuple(str(each) for each in arguments))


def _ulimit(name: str, limit: object) -> tuple[str, int, int]:
    """``SOFT[:HARD]``, or docker's object ``{"Soft", "Hard"}``."""
    try:
        if isinstance(limit, dict):
            soft, hard = int(limit["Soft"]), int(limit["Hard"])
        else:
            first, _, last = str(limit).partition(":")
            soft, hard = int(first), int(last or first)
    except (KeyError, ValueError):
        raise _bad("default-ulimits", limit, "write it as NAME=SOFT:HARD") from None
    if -1 < hard < soft:
        raise _bad("default-ulimits", limit, f"of {name}, the soft limit is greater than the hard one")
    return name, soft, hard


def parse_size(text: str, key: str) -> int:
    """Bytes of ``64m``, as docker reads sizes: powers of 1024.

    Raises:
        InvalidInput: it is no size.
    """
    found = figures.parse_size(text)
    if found is None:
        raise _bad(key, text, "write it as 64m")
    return found


# Networks


def _make_bridge(given: Given) -> BridgeSettings | None:
    name = given.get("bridge", "pier0")
    if name == "none":
        return None
    subnet, gateway = _parse_bip(given.get("bip", ""))
    ipv6_subnet = given.get("fixed-cidr-v6", "")
    if given.get("ipv6", False) != bool(ipv6_subnet):
        message = "ipv6 and fixed-cidr-v6 belong together"
        raise InvalidInput(
            message, code="bad-configuration", hint="give both: --ipv6 --fixed-cidr-v6 fd00:1::/64"
        )
    if ipv6_subnet:
        _network("fixed-cidr-v6", ipv6_subnet, 6)
    return BridgeSettings(
        name=name,
        subnet=subnet,
        gateway=gateway,
        ipv6_subnet=ipv6_subnet,
        mtu=_count(given, "mtu", 1500) or 1500,
        masquerade=given.get("ip-masq", True),
        host_ip=_address("ip", given.get("ip", "0.0.0.0")),  # noqa: S104 - as docker does
    )


def _parse_bip(text: str) -> tuple[str, str]:
    """``192.168.5.1/24``: network and gateway."""
    if not text:
        return "", ""
    try:
        found = ipaddress.IPv4Interface(text)
    except ValueError:
        raise _bad("bip", text, "write it as 192.168.5.1/24") from None
    if found.ip == found.network.network_address:
        raise _bad("bip", text, "it is the bridge's address and not the network's: 192.168.5.1/24")
    return str(found.network), str(found.ip)


def _network(key: str, text: str, version: int) -> str:
    try:
        found = ipaddress.ip_network(text)
    except ValueError as error:
        raise _bad(key, text, str(error)) from None
    if found.version != version:
        raise _bad(key, text, f"it must be of IPv{version}")
    return text


def _address(key: str, text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise _bad(key, text, "it must be an address") from None
