"""Everything that ``pierd`` can be told: one table for its flags and for its configuration file.

An option has the name of dockerd's where dockerd has it, as a flag and as a key of daemon.json.  Keys of the
two files are the same:

    pierd.toml                          daemon.json
    data-root = "/srv/pierhead"         {"data-root": "/srv/pierhead",
    debug = true                         "debug": true,
    [log-opts]
    max-size = "10m"                     "log-opts": {"max-size": "10m"}}

Pure.
"""

from __future__ import annotations

from pierhead.cli.flags import Flag
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from pierhead.cli.flags import Kind

    Form = Literal["plain", "pairs", "runtimes", "ulimits"]

LEVELS = ("debug", "info", "warn", "error", "fatal")


class Option(Value):
    """One thing to be told.

    Fields:
        flag: on the command line.
        key: in the file; lists have the plural there.
        form: what a flag of several words is in the file: a list (``plain``), an object of texts
            (``pairs``), or the objects that docker has for programs and for limits.
    """

    flag: Flag
    key: str
    form: Form = "plain"


def _option(
    name: str,
    kind: Kind,
    about: str,
    *,
    value: str = "",
    default: str = "",
    key: str = "",
    form: Form = "plain",
    **more: str | tuple[str, ...],
) -> Option:
    flag = Flag(name=name, kind=kind, value=value, about=about, default=default, **more)  # type: ignore[arg-type]
    return Option(flag=flag, key=key or name, form=form)


OPTIONS: tuple[Option, ...] = (
    # Where it is and where it listens
    _option(
        "host",
        "list",
        "listen there: unix://PATH, tcp://HOST:PORT, fd://",
        value="ADDRESS",
        default="unix://EXEC_ROOT/pierd.sock",
        key="hosts",
        short="H",
    ),
    _option(
        "data-root", "text", "where everything that lasts is kept", value="DIR", default="/var/lib/pierhead"
    ),
    _option(
        "exec-root",
        "text",
        "where everything is kept that dies with the boot",
        value="DIR",
        default="/run/pierhead",
    ),
    _option(
        "pidfile",
        "text",
        "where the process's number stands",
        value="FILE",
        default="EXEC_ROOT/pierd.pid",
        short="p",
    ),
    _option(
        "group",
        "text",
        "the group that may use unix sockets",
        value="GROUP",
        default="docker, if there is one",
        short="G",
    ),
    _option("tls", "switch", "protect TCP with TLS"),
    _option("tlsverify", "switch", "and let in only clients with a certificate of the authority"),
    _option("tlscacert", "text", "the authority's certificate", value="FILE"),
    _option("tlscert", "text", "the daemon's certificate", value="FILE"),
    _option("tlskey", "text", "its private key", value="FILE"),
    _option("metrics-addr", "text", "serve /metrics there", value="HOST:PORT"),
    _option(
        "idle-timeout",
        "number",
        "stop when nobody wants anything and nothing runs for so long; 0 is never",
        value="SECONDS",
        default="0",
    ),
    _option("shutdown-timeout", "number", "requests have so long to end", value="SECONDS", default="15"),
    # What it says
    _option("debug", "switch", "say what is done", short="D"),
    _option(
        "log-level", "text", "how much is said", value="LEVEL", default="info", short="l", choices=LEVELS
    ),
    _option("log-format", "text", "how", value="FORMAT", default="text", choices=("text", "json")),
    _option("label", "list", "of the engine, in its info", value="NAME=VALUE", key="labels"),
    # How containers are made
    _option(
        "storage-driver",
        "text",
        "of images and containers",
        value="NAME",
        default="overlay",
        short="s",
        choices=("overlay", "overlay2", "plain", "vfs"),
    ),
    _option(
        "default-runtime",
        "text",
        "by which containers are made that name none",
        value="NAME",
        default="pierhead",
    ),
    _option(
        "add-runtime",
        "list",
        "a further OCI runtime program",
        value="NAME=PATH",
        key="runtimes",
        form="runtimes",
    ),
    _option("cgroup-parent", "text", "of containers that name none", value="PATH", default="/pierhead"),
    _option(
        "exec-opt", "list", "native.cgroupdriver=cgroupfs or systemd", value="NAME=VALUE", key="exec-opts"
    ),
    _option("userns-remap", "text", "user whose subordinate ids containers get", value="USER"),
    _option(
        "default-ulimit",
        "list",
        "of containers that name none",
        value="NAME=SOFT[:HARD]",
        key="default-ulimits",
        form="ulimits",
    ),
    _option("default-shm-size", "text", "of /dev/shm", value="SIZE", default="64m"),
    _option(
        "seccomp-profile", "text", "of containers that name none", value="FILE", default="the built-in one"
    ),
    _option("init", "switch", "give containers a reaper as their first process"),
    _option("log-driver", "text", "of containers that name none", value="NAME", default="json-file"),
    _option("log-opt", "list", "its options", value="NAME=VALUE", key="log-opts", form="pairs"),
    # Networks
    _option(
        "bridge",
        "text",
        "link of the default network; none is no networks at all",
        value="NAME",
        default="pier0",
        short="b",
    ),
    _option("bip", "text", "the bridge's address, and by its prefix the network", value="CIDR"),
    _option("mtu", "number", "of the default network", value="BYTES", default="1500"),
    _option("ipv6", "switch", "give containers addresses of IPv6; needs --fixed-cidr-v6"),
    _option("fixed-cidr-v6", "text", "the network of these", value="CIDR"),
    _option(
        "ip",
        "text",
        "where ports are published that name no address",
        value="ADDRESS",
        default="all of the machine's",
    ),
    _option("ip-masq", "switch", "containers reach the world under the host's address", default="true"),
    _option(
        "rootless-network",
        "text",
        "by which an ordinary user's containers reach the world",
        value="NAME",
        default="auto",
        choices=("auto", "slirp4netns", "pasta", "none"),
    ),
    _option("dns", "list", "servers for names, of containers that name none", value="ADDRESS"),
    _option("dns-opt", "list", "options of their resolvers", value="OPTION", key="dns-opts"),
    _option("dns-search", "list", "domains that they search", value="DOMAIN"),
    # Registries
    _option(
        "insecure-registry",
        "list",
        "reach it by HTTP or without a valid certificate",
        value="HOST",
        key="insecure-registries",
    ),
    _option(
        "registry-mirror",
        "list",
        "ask it first for images of Docker Hub",
        value="URL",
        key="registry-mirrors",
    ),
)

OPTIONS_BY_KEY = {option.key: option for option in OPTIONS}

CONFIG_FILE = Flag(
    name="config-file",
    value="FILE",
    about="read the rest from there: pierd.toml, or docker's daemon.json",
    default="/etc/pierhead/pierd.toml, if it is there",
)
VALIDATE = Flag(name="validate", kind="switch", about="say whether flags and file are right, and end")

PASSED_OVER = frozenset(
    (
        "builder",
        "containerd",
        "containerd-namespace",
        "containerd-plugin-namespace",
        "experimental",
        "features",
        "ip-forward",
        "live-restore",
        "max-concurrent-downloads",
        "max-concurrent-uploads",
        "max-download-attempts",
        "node-generic-resources",
        "oom-score-adjust",
        "proxies",
        "raw-logs",
        "storage-opts",
        "userland-proxy",
        "userland-proxy-path",
    )
)
"""Keys of daemon.json that change nothing here: each is warned of.  ``live-restore`` is always so."""
