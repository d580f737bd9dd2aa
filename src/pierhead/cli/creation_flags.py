"""The flags of ``run`` and ``create``: docker's, with docker's names.  Pure."""

from __future__ import annotations

from pierhead.cli.flags import Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.flags import Kind


def _flag(name: str, value: str, about: str, *, short: str = "", default: str = "") -> Flag:
    return Flag(name=name, short=short, value=value, about=about, default=default)


def _kind(kind: Kind, name: str, about: str, *, value: str = "", short: str = "", default: str = "") -> Flag:
    return Flag(name=name, short=short, kind=kind, value=value, about=about, default=default)


CONTENT_TRUST = _kind("switch", "disable-content-trust", "as docker's; who must have signed is in the policy")
PROCESS = (
    _kind("switch", "interactive", "give it our standard input", short="i"),
    _kind("switch", "tty", "give the command a terminal", short="t"),
    _kind("list", "attach", "join these: stdin, stdout, stderr", value="STREAM", short="a"),
    _kind("list", "env", "set a variable, or pass ours on", value="NAME[=VALUE]", short="e"),
    _kind("list", "env-file", "set the variables that stand in it", value="FILE"),
    _flag("workdir", "DIR", "working directory in the container", short="w", default="the image's"),
    _flag("user", "USER[:GROUP]", "run as this user", short="u", default="the image's"),
    _kind("list", "group-add", "further groups of the user", value="GROUP"),
    _flag("entrypoint", "PROGRAM", "run this instead of the image's entrypoint"),
    _kind("switch", "init", "a small init reaps processes and passes signals on"),
    _flag("stop-signal", "SIGNAL", "what asks it to end", default="the image's, or TERM"),
    _kind("number", "stop-timeout", "how long stop waits before it kills", value="SECONDS"),
)
IDENTITY = (
    _flag("name", "NAME", "of the container", default="a made-up one"),
    _kind("list", "label", "a label", value="NAME[=VALUE]", short="l"),
    _kind("list", "label-file", "labels that stand in it", value="FILE"),
    _kind("list", "annotation", "an annotation for the runtime", value="NAME=VALUE"),
    _flag("cidfile", "FILE", "write the container's id there"),
    _flag("hostname", "NAME", "of the container", short="h"),
    _flag("domainname", "NAME", "of the container"),
    _kind("switch", "rm", "remove the container at its end"),
    _flag("restart", "POLICY", "no, always, unless-stopped, on-failure[:COUNT]", default="no"),
    _flag("runtime", "NAME", "what runs it", default="the engine's own library"),
    _flag("platform", "OS/ARCH[/VARIANT]", "which of the image's platforms"),
    Flag(
        name="pull",
        value="WHEN",
        about="when to ask the registry",
        default="missing",
        choices=("missing", "always", "never"),
    ),
    _kind("switch", "quiet", "say nothing of a pull", short="q"),
    CONTENT_TRUST,
)
FILES = (
    _kind("list", "volume", "a volume, or a directory of ours", value="[SOURCE:]DIR[:OPTIONS]", short="v"),
    _kind("list", "mount", "type=bind|volume|tmpfs|image,source=…,target=…", value="OPTIONS"),
    _kind("list", "tmpfs", "a file system in memory", value="DIR[:OPTIONS]"),
    _kind("list", "volumes-from", "the volumes of another container", value="CONTAINER[:ro]"),
    _flag("volume-driver", "NAME", "of volumes that are made"),
    _kind("switch", "read-only", "let nothing be written to the image's files"),
    _kind("list", "storage-opt", "of the container's file system", value="NAME=VALUE"),
    _kind("list", "device", "a device of ours", value="DEVICE[:PATH[:rwm]]"),
    _kind("list", "device-cgroup-rule", "allow devices by numbers: c 1:3 rwm", value="RULE"),
    _flag("gpus", "DEVICES", "devices of the kind gpu"),
    _flag("shm-size", "SIZE", "of /dev/shm", default="64m"),
)
NETWORK = (
    _flag("network", "MODE", "bridge, none, host, container:NAME", default="bridge"),
    _flag("net", "MODE", "the same"),
    _kind("list", "publish", "publish a port", value="[[ADDRESS:]PORT:]PORT[/PROTOCOL]", short="p"),
    _kind("switch", "publish-all", "publish all ports that the image exposes", short="P"),
    _kind("list", "expose", "a port that others may reach", value="PORT[/PROTOCOL]"),
    _flag("ip", "ADDRESS", "IPv4 address"),
    _flag("ip6", "ADDRESS", "IPv6 address"),
    _flag("mac-address", "ADDRESS", "hardware address"),
    _kind("list", "network-alias", "further names in its network", value="NAME"),
    _kind("list", "link", "another container by a name", value="CONTAINER[:NAME]"),
    _kind("list", "dns", "a server for names", value="ADDRESS"),
    _kind("list", "dns-option", "of its resolver", value="OPTION"),
    _kind("list", "dns-search", "a domain to search", value="DOMAIN"),
    _kind("list", "add-host", "a line of /etc/hosts; host-gateway is this machine", value="NAME:ADDRESS"),
)
LIMITS = (
    _flag("memory", "SIZE", "limit of memory, such as 64m", short="m"),
    _flag("memory-reservation", "SIZE", "what it keeps when memory is short"),
    _flag("memory-swap", "SIZE", "limit of memory and swap together; -1 is none"),
    _kind("number", "memory-swappiness", "how readily it is swapped out, 0 to 100", value="N"),
    _kind("switch", "oom-kill-disable", "do not kill it when memory is short"),
    _kind("number", "oom-score-adj", "who is killed first, -1000 to 1000", value="N"),
    _flag("cpus", "NUMBER", "limit of processors, such as 0.5"),
    _kind("number", "cpu-shares", "weight against others", value="N", short="c"),
    _kind("number", "cpu-period", "in us", value="N"),
    _kind("number", "cpu-quota", "in us of each period", value="N"),
    _kind("number", "cpu-rt-period", "of real-time processes, in us", value="N"),
    _kind("number", "cpu-rt-runtime", "of real-time processes, in us", value="N"),
    _flag("cpuset-cpus", "LIST", "processors, such as 0-3,5"),
    _flag("cpuset-mems", "LIST", "nodes of memory"),
    _kind("number", "pids-limit", "limit of processes; -1 is none", value="N"),
    _kind("number", "blkio-weight", "10 to 1000", value="N"),
    _kind("list", "blkio-weight-device", "weight of a device", value="DEVICE:WEIGHT"),
    _kind("list", "device-read-bps", "bytes a second", value="DEVICE:RATE"),
    _kind("list", "device-write-bps", "bytes a second", value="DEVICE:RATE"),
    _kind("list", "device-read-iops", "reads a second", value="DEVICE:RATE"),
    _kind("list", "device-write-iops", "writes a second", value="DEVICE:RATE"),
    _kind("list", "ulimit", "a resource limit", value="NAME=SOFT[:HARD]"),
    _flag("cgroup-parent", "PATH", "where its cgroup is made"),
)
RIGHTS = (
    _kind("switch", "privileged", "all rights and all devices"),
    _kind("list", "cap-add", "a capability more", value="NAME"),
    _kind("list", "cap-drop", "a capability less", value="NAME"),
    _kind("list", "security-opt", "seccomp=…, apparmor=…, no-new-privileges, label=…", value="OPTION"),
    _kind("list", "sysctl", "a parameter of its kernel namespaces", value="NAME=VALUE"),
    _flag("userns", "MODE", "host: the machine's users"),
    _flag("pid", "MODE", "host, or container:NAME"),
    _flag("ipc", "MODE", "none, private, shareable, host, container:NAME"),
    _flag("uts", "MODE", "host"),
    _flag("cgroupns", "MODE", "private or host"),
)
HEALTH_AND_LOG = (
    _flag("health-cmd", "COMMAND", "what tells whether it is well"),
    _flag("health-interval", "TIME", "between two looks, such as 30s"),
    _flag("health-timeout", "TIME", "of one look"),
    _kind("number", "health-retries", "how many must fail", value="N"),
    _flag("health-start-period", "TIME", "how long failures do not count"),
    _flag("health-start-interval", "TIME", "between looks in that time"),
    _kind("switch", "no-healthcheck", "do not look, whatever the image says"),
    _flag("log-driver", "NAME", "where its output goes", default="the engine's"),
    _kind("list", "log-opt", "an option of that", value="NAME=VALUE"),
)
CREATION = (*PROCESS, *IDENTITY, *FILES, *NETWORK, *LIMITS, *RIGHTS, *HEALTH_AND_LOG)
