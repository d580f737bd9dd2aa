"""``nsinit config``: a configuration file from the library's defaults and flags."""

from __future__ import annotations

import os

from pierhead.cli.flags import BadUsage, Flag, Options, Verb
from pierhead.errors import InvalidInput
from pierhead.jsontext import format_indented
from pierhead.oci.document import encode
from pierhead.oci.runtime import Capabilities, Cpu, IDMapping, Memory, Namespace, Pids
from pierhead.runtime.config import (
    DEFAULT_CAPABILITIES,
    DEFAULT_ENV,
    DEFAULT_NAMESPACES,
    SECCOMP_DEFAULT,
    SECCOMP_UNCONFINED,
    Config,
    Mount,
    Network,
    ProcessSpec,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.call import Call

FILE_NAME = "container.json"

FLAGS = (
    Flag(
        name="file",
        short="f",
        value="FILE",
        about="write it there instead of printing it; the file must be new",
    ),
    Flag(name="brief", kind="switch", about="leave out what is as the library has it by default"),
    Flag(
        name="rootfs",
        value="DIR",
        about="root directory; relative ones are relative to the file's directory",
        default="the file's directory",
    ),
    Flag(
        name="host",
        kind="switch",
        about="use the running host as the root, copy-on-write, its secrets hidden",
    ),
    Flag(name="readonly", kind="switch", about="the root cannot be written"),
    Flag(
        name="copy-on-write", kind="switch", about="what is written to the root vanishes with the container"
    ),
    Flag(
        name="bind",
        kind="list",
        value="SRC:DST[:OPTIONS]",
        about="bind a directory or file of the host; ro,nosuid,…",
    ),
    Flag(
        name="tmpfs", kind="list", value="DST[:OPTIONS]", about="an empty file system in memory; size=64m,…"
    ),
    Flag(name="hostname", value="NAME", about="its host name", default="nsinit"),
    Flag(name="user", short="u", value="USER", about="who commands run as", default="root"),
    Flag(name="cwd", value="DIR", about="where commands run", default="/"),
    Flag(name="env", short="e", kind="list", value="NAME=VALUE", about="a variable of commands"),
    Flag(name="memory", value="BYTES", about="most memory, like 64m"),
    Flag(name="memory-swap", value="BYTES", about="most memory and swap together"),
    Flag(name="cpu-share", kind="number", value="SHARES", about="share of CPU time beside others"),
    Flag(name="cpu-quota", kind="number", value="US", about="CPU time in a period, in microseconds"),
    Flag(name="cpu-period", kind="number", value="US", about="that period"),
    Flag(name="cpuset-cpus", value="LIST", about="processors to run on, like 0-3,7"),
    Flag(name="pids-limit", kind="number", value="N", about="most processes and threads"),
    Flag(name="cap-add", kind="list", value="CAP", about="a capability beside the standard ones"),
    Flag(name="cap-drop", kind="list", value="CAP", about="a standard capability less, or ALL"),
    Flag(
        name="seccomp",
        value="PROFILE",
        about="filter of system calls",
        default=SECCOMP_DEFAULT,
        choices=(SECCOMP_DEFAULT, SECCOMP_UNCONFINED),
    ),
    Flag(name="apparmor", value="PROFILE", about="AppArmor profile"),
    Flag(name="process-label", value="LABEL", about="SELinux label of processes"),
    Flag(name="mount-label", value="LABEL", about="SELinux label of mounts"),
    Flag(name="new-privs", kind="switch", about="programs may gain privileges (set-user-id)"),
    Flag(
        name="share",
        kind="list",
        value="NAMESPACE",
        about="have the host's: uts, ipc, pid, network or cgroup",
    ),
    Flag(
        name="map-uids",
        value="HOST:SIZE",
        about="a user namespace: its uids from 0 are the host's from HOST on",
    ),
    Flag(name="map-gids", value="HOST:SIZE", about="the same for gids", default="as uids"),
    Flag(name="bridge", value="NAME", about="a link (veth) on this bridge of the host"),
    Flag(name="link", value="NAME", about="that link's name in the container", default="eth0"),
    Flag(name="address", value="ADDRESS/LENGTH", about="that link's address, IPv4 or IPv6"),
    Flag(name="gateway", value="ADDRESS", about="that link's gateway, IPv4 or IPv6"),
    Flag(name="mac-address", value="MAC", about="that link's hardware address"),
    Flag(name="mtu", kind="number", value="BYTES", about="that link's largest packet"),
    Flag(name="cgroup-parent", value="PATH", about="where its cgroup is made"),
    Flag(name="parent-death-signal", value="SIGNAL", about="what its process gets when nsinit dies"),
)

_SHARABLE = ("uts", "ipc", "pid", "network", "cgroup")


class _Whole(Config):
    """A configuration that is written with all its fields, for people to see what there is."""

    json_always = Config.fields


def _config(call: Call) -> int:
    config = config_from_options(call.options)
    if call.arguments:
        process = config.process or ProcessSpec(args=())
        config = config.replace(process=process.replace(args=call.arguments))
    document = encode(config) if call.options.switch("brief") else whole_document(config)
    path = call.options.text("file")
    if path:
        from pierhead.cli.verbs_document import write_new

        write_new(path, format_indented(document))
    else:
        call.output.print(format_indented(document))
    return 0


def whole_document(config: Config) -> dict[str, Any]:
    """The JSON object of a configuration with its defaults written out; what is None is left out."""
    written = encode(_Whole(**config.__dict__))
    return {name: value for name, value in written.items() if value is not None}


def config_from_options(options: Options) -> Config:
    """The library's default configuration with what the flags say.

    Raises:
        InvalidInput: a flag's value does not fit.
    """
    config = _root(options)
    for part in (_process, _mounts, _resources, _security, _namespaces, _networks):
        config = part(config, options)
    return config


def _root(options: Options) -> Config:
    if options.switch("host"):
        from pierhead.runtime import host_rootfs

        if options.given("rootfs"):
            raise BadUsage("--host and --rootfs name two roots")
        config = host_rootfs()
    else:
        config = Config(rootfs=options.text("rootfs", "."))
    return config.replace(
        readonlyfs=options.switch("readonly"),
        copy_on_write=config.copy_on_write or options.switch("copy-on-write"),
        hostname=options.text("hostname") or config.hostname or "nsinit",
        mount_label=options.text("mount-label"),
        cgroup_parent=options.text("cgroup-parent"),
    )


def _process(config: Config, options: Options) -> Config:
    for entry in options.all("env"):
        if entry.find("=") < 1:
            raise BadUsage(f"--env needs NAME=VALUE, not {entry!r}")
    changes = {name: options.text(name) for name in ("user", "cwd") if options.given(name)}
    if options.given("parent-death-signal"):
        from pierhead.signals import parse_signal

        config = config.replace(parent_death_signal=parse_signal(options.text("parent-death-signal")))
    if not changes and not options.given("env"):
        return config
    env = (*DEFAULT_ENV, *options.all("env"))
    return config.replace(process=ProcessSpec(args=("/bin/sh",), env=env).replace(**changes))


def _mounts(config: Config, options: Options) -> Config:
    more = []
    for text in options.all("bind"):
        source, _, rest = text.partition(":")
        destination, _, words = rest.partition(":")
        if not source or not destination.startswith("/"):
            raise BadUsage(f"--bind needs SOURCE:/DESTINATION, not {text!r}")
        flags = tuple(word for word in words.split(",") if word)
        more.append(
            Mount(
                destination=destination,
                type="bind",
                source=os.path.abspath(source),
                options=("rbind", *flags),
            )
        )
    for text in options.all("tmpfs"):
        destination, _, words = text.partition(":")
        flags = tuple(word for word in words.split(",") if word) or ("nosuid", "nodev")
        more.append(Mount(destination=destination, type="tmpfs", source="tmpfs", options=flags))
    return config.replace(mounts=(*config.mounts, *more)) if more else config


def _resources(config: Config, options: Options) -> Config:
    from pierhead.cli.verbs_update import parse_bytes

    memory = {
        field: parse_bytes(options.text(name))
        for name, field in (("memory", "limit"), ("memory-swap", "swap"))
        if options.given(name)
    }
    numbers = (("cpu-share", "shares"), ("cpu-quota", "quota"), ("cpu-period", "period"))
    cpu: dict[str, Any] = {field: options.number(name) for name, field in numbers if options.given(name)}
    if options.given("cpuset-cpus"):
        cpu["cpus"] = options.text("cpuset-cpus")
    resources = config.resources
    if memory:
        resources = resources.replace(memory=Memory().replace(**memory))
    if cpu:
        resources = resources.replace(cpu=Cpu().replace(**cpu))
    if options.given("pids-limit"):
        resources = resources.replace(pids=Pids(limit=options.number("pids-limit")))
    return config.replace(resources=resources)


def _security(config: Config, options: Options) -> Config:
    return config.replace(
        capabilities=_capabilities(options),
        seccomp=options.text("seccomp", SECCOMP_DEFAULT),
        apparmor_profile=options.text("apparmor"),
        process_label=options.text("process-label"),
        no_new_privileges=not options.switch("new-privs"),
    )


def _capabilities(options: Options) -> Capabilities:
    from pierhead.cli.verbs_exec import capability_name

    dropped = options.all("cap-drop")
    if "ALL" in (word.upper() for word in dropped):
        names = []
    else:
        less = {capability_name(word) for word in dropped}
        names = [name for name in DEFAULT_CAPABILITIES.bounding if name not in less]
    names += [name for word in options.all("cap-add") if (name := capability_name(word)) not in names]
    chosen = tuple(names)
    return Capabilities(bounding=chosen, effective=chosen, permitted=chosen)


def _namespaces(config: Config, options: Options) -> Config:
    shared = options.all("share")
    for kind in shared:
        if kind not in _SHARABLE:
            raise BadUsage(f"--share cannot be {kind!r}", hint=f"it can be {', '.join(_SHARABLE)}")
    namespaces = tuple(item for item in DEFAULT_NAMESPACES if item.type not in shared)
    if options.given("map-uids"):
        namespaces = (*namespaces, Namespace(type="user"))
        uids = _mapping(options.text("map-uids"))
        gids = _mapping(options.text("map-gids")) if options.given("map-gids") else uids
        config = config.replace(uid_mappings=(uids,), gid_mappings=(gids,))
    networks = () if "network" in shared else config.networks
    return config.replace(namespaces=namespaces, networks=networks)


def _mapping(text: str) -> IDMapping:
    host, _, size = text.partition(":")
    if not (host.isascii() and host.isdecimal() and size.isascii() and size.isdecimal()):
        raise BadUsage(f"expected HOST:SIZE like 100000:65536, found {text!r}")
    return IDMapping(container_id=0, host_id=int(host), size=int(size))


def _networks(config: Config, options: Options) -> Config:
    wanted = ("link", "address", "gateway", "mac-address", "mtu")
    if not options.given("bridge"):
        for name in wanted:
            if options.given(name):
                raise BadUsage(f"--{name} is of a link, which needs --bridge")
        return config
    if not config.networks:
        raise BadUsage(
            "--bridge makes a link, which needs a network namespace", hint="leave out --share network"
        )
    address, gateway = options.text("address"), options.text("gateway")
    is_six = ":" in address + gateway
    veth = Network(
        type="veth",
        name=options.text("link", "eth0"),
        bridge=options.text("bridge"),
        mac_address=options.text("mac-address"),
        address="" if is_six else address,
        gateway="" if is_six else gateway,
        ipv6_address=address if is_six else "",
        ipv6_gateway=gateway if is_six else "",
        mtu=options.number("mtu") or 0,
    )
    return config.replace(networks=(*config.networks, veth))


def load_config(path: str) -> Config:
    """The configuration in a file; its rootfs, if relative or missing, is relative to the file's directory.

    Raises:
        NotFound, InvalidInput: there is none, or it is wrong.
    """
    from pierhead.cli.bundle import load_document
    from pierhead.runtime.config import config_from_document

    document = load_document(path, f"make one with: nsinit config --file {FILE_NAME}")
    if not isinstance(document, dict):
        raise InvalidInput(f"{path}: expected an object", code="wrong-type", path="$")
    if "ociVersion" in document:
        hint = "pier-runtime run takes OCI documents; nsinit config makes one of the library's own"
        raise InvalidInput(f"{path} is an OCI document", code="wrong-document", hint=hint)
    directory = os.path.dirname(os.path.abspath(path))
    rootfs = document.get("rootfs", ".")
    if isinstance(rootfs, str):
        document["rootfs"] = os.path.normpath(os.path.join(directory, rootfs))
    return config_from_document(document)


VERBS = {
    "config": Verb(
        name="config",
        stateless=True,
        arguments="[COMMAND [ARGUMENT...]]",
        most=None,
        about="make a configuration file",
        text="The document has the library's own form, with its defaults written out: six namespaces, the "
        "usual mounts and devices, fourteen capabilities, a filter of system calls. COMMAND is what exec "
        "runs when it is told none.",
        flags=FLAGS,
        examples=(
            ("config --file container.json", "the standard configuration, to be edited"),
            (
                "config --memory 64m --bind /srv/data:/data:ro > container.json",
                "with a limit and a directory",
            ),
            ("config --brief --host python3", "only what differs from the defaults"),
        ),
        literal=True,
        perform=_config,
    )
}
