"""A container that a libpod client wants, as a request of Docker's.  Pure.

    SpecGenerator ─ read_spec ─▶ Spec ─ translate ─▶ Creation

What has no counterpart in this engine is refused by name; what says nothing, or what every engine does
anyway, is passed over.
"""

from __future__ import annotations

from pierhead.api.bodies import decode_document
from pierhead.api.libpod.creation_limits import limits
from pierhead.api.libpod.creation_places import exposed_ports, files, networking, ports
from pierhead.api.libpod.spec import Spec
from pierhead.engine.documents import (
    ContainerConfig,
    HealthConfig,
    HostConfig,
    LogConfig,
    NetworkingConfig,
    RestartPolicy,
)
from pierhead.errors import InvalidInput, Unsupported
from pierhead.oci.document import decode
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.api.libpod.spec import LogConfiguration, Namespace

_NO_MATTER = frozenset(
    (
        "containerCreateCommand",  # what was typed, for `podman generate`
        "create_working_dir",  # it is always made
        "dependencyContainers",  # those whose namespaces are joined are asked for anyway
        "healthLogDestination",
        "healthMaxLogCount",
        "healthMaxLogSize",
        "httpproxy",  # of the server's environment, which has none
        "image_arch",
        "image_os",
        "image_variant",
        "manage_password",
        "raw_image_name",
        "sdnotifyMode",
        "volatile",
    )
)
_SAME_HERE: dict[str, tuple[object, ...]] = {
    "cgroups_mode": ("enabled", "default"),
    "health_check_on_failure_action": ("none",),
    "image_volume_mode": ("anonymous", "bind"),
    "seccomp_policy": ("default",),
    "systemd": ("true", "false"),  # "true" means something to systemd only
    "umask": ("0022", "022"),
}
"""Values that mean what this engine does anyway."""
_OWN_IDS = "HostUIDMapping"
_ANNOTATIONS_OF_PODMAN = ("io.podman.annotations.", "io.kubernetes.cri-o.")
_UNCHANGED = ("", "default")


class Creation(Value):
    """What ``api.ports.Containers.create_container`` takes, and sentences about what it cannot be told."""

    name: str
    config: ContainerConfig
    host: HostConfig
    networking: NetworkingConfig


def read_spec(document: dict[str, Any]) -> Spec:
    """What the client wants.

    Raises:
        InvalidInput: it is no such document.
        Unsupported: it wants something that this engine does not do.
    """
    unknown: list[str] = []
    decode(Spec, document, unknown=unknown)
    for path in unknown:
        name = path.removeprefix("$.")
        value = _find(document, name)
        if name in _NO_MATTER or not _says_something(value) or value in _SAME_HERE.get(name, ()):
            continue
        if name == "idmappings" and isinstance(value, dict) and value.get(_OWN_IDS):
            continue
        raise Unsupported(
            f'"{name}" of a container is not supported by this engine', code="no-such-field", hint=_hint(name)
        )
    return decode_document(Spec, document)


def _find(document: object, path: str) -> object:
    for name in path.split("."):
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _says_something(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_says_something, value.values()))
    return bool(value)


def _hint(name: str) -> str:
    return {
        "pod": "join namespaces of another container with --network container:NAME",
        "rootfs": "import the directory as an image first",
        "secrets": "give a file with --volume",
    }.get(name, "leave it out")


def translate(spec: Spec) -> Creation:
    """The request.

    Raises:
        InvalidInput: a field does not mean anything.
        Unsupported: it means something that this engine does not do.
    """
    if not spec.image:
        raise InvalidInput("a container needs an image", code="no-image")
    host = HostConfig(**_host(spec), **files(spec), **limits(spec))
    return Creation(name=spec.name, config=_config(spec), host=host, networking=networking(spec))


def _config(spec: Spec) -> ContainerConfig:
    return ContainerConfig(
        image=spec.image,
        entrypoint=spec.entrypoint,
        cmd=spec.command,
        env=tuple(f"{name}={value}" for name, value in spec.env.items()),
        labels=spec.labels,
        tty=spec.terminal,
        open_stdin=spec.stdin,
        stdin_once=spec.stdin and not spec.terminal,
        hostname=spec.hostname,
        user=spec.user,
        working_dir=spec.work_dir,
        stop_signal="" if spec.stop_signal is None else str(spec.stop_signal),
        stop_timeout=spec.stop_timeout,
        healthcheck=_health(spec.healthconfig),
        exposed_ports=exposed_ports(spec),
    )


def _health(wanted: HealthConfig | None) -> HealthConfig | None:
    return wanted if wanted is None or wanted.test else None


def _host(spec: Spec) -> dict[str, Any]:
    return {
        "network_mode": _network_mode(spec.netns),
        "pid_mode": _mode("pid", spec.pidns),
        "ipc_mode": _mode("ipc", spec.ipcns, own="private", allowed=("none", "shareable")),
        "uts_mode": _mode("uts", spec.utsns),
        "userns_mode": _mode("user", spec.userns),
        "cgroupns_mode": _mode("cgroup", spec.cgroupns, own="private"),
        "port_bindings": ports(spec),
        "publish_all_ports": spec.publish_image_ports,
        "dns": spec.dns_server,
        "dns_search": spec.dns_search,
        "dns_options": spec.dns_option,
        "extra_hosts": spec.hostadd,
        "restart_policy": _restart(spec),
        "auto_remove": spec.remove,
        "init": spec.init or None,
        "annotations": {
            name: value
            for name, value in spec.annotations.items()
            if not name.startswith(_ANNOTATIONS_OF_PODMAN)
        },
        "log_config": _log(spec.log_configuration),
        "group_add": spec.groups,
        "cap_add": spec.cap_add,
        "cap_drop": spec.cap_drop,
        "privileged": spec.privileged,
        "readonly_rootfs": spec.read_only_filesystem,
        "security_opt": _security(spec),
        "sysctls": spec.sysctl,
        "runtime": spec.oci_runtime,
        "shm_size": spec.shm_size or 0,
        "storage_opt": spec.storage_opts,
    } | _masks(spec)


def _mode(kind: str, wanted: Namespace, *, own: str = "", allowed: tuple[str, ...] = ()) -> str:
    """A namespace's mode in Docker's words."""
    mode = wanted.nsmode
    if mode in _UNCHANGED:
        return ""
    if mode == "private":
        return own
    if mode == "host" or mode in allowed:
        return mode
    if mode == "container" and wanted.value and kind in ("pid", "ipc", "network"):
        return f"container:{wanted.value}"
    raise Unsupported(
        f'the mode "{mode}" of a container\'s {kind} namespace is not supported by this engine',
        code="no-such-mode",
        hint="say private or host"
        if kind in ("uts", "cgroup", "user")
        else "say private, host or container:NAME",
    )


def _network_mode(wanted: Namespace) -> str:
    """As ``_mode``; a bridge is the default network, whatever it is called."""
    return _mode("network", wanted, own="bridge", allowed=("none", "bridge"))


def _restart(spec: Spec) -> RestartPolicy:
    tries = spec.restart_tries if spec.restart_policy == "on-failure" else None
    return RestartPolicy(name=spec.restart_policy, maximum_retry_count=tries or 0)


def _log(wanted: LogConfiguration) -> LogConfig:
    """Podman's own file is what ours is to clients: what ``logs`` reads."""
    driver = {"k8s-file": "json-file"}.get(wanted.driver, wanted.driver)
    options = dict(wanted.options)
    if wanted.size > 0:
        driver = driver or "json-file"
        options["max-size"] = str(wanted.size)
    return LogConfig(type=driver, config=options)


def _security(spec: Spec) -> tuple[str, ...]:
    options = [f"label={option}" for option in spec.selinux_opts]
    if spec.apparmor_profile:
        options.append(f"apparmor={spec.apparmor_profile}")
    if spec.seccomp_profile_path == "unconfined":
        options.append("seccomp=unconfined")
    elif spec.seccomp_profile_path:
        raise Unsupported(
            f"a file of the client's cannot be a container's seccomp profile: {spec.seccomp_profile_path}",
            code="no-profile-path",
            hint="name it in the daemon's settings, or send it with docker's command line",
        )
    if spec.no_new_privileges:
        options.append("no-new-privileges")
    return tuple(options)


def _masks(spec: Spec) -> dict[str, Any]:
    if spec.mask:
        message = "further masked paths of a container are not supported by this engine"
        raise Unsupported(message, code="no-mask", hint="mount something there")
    if not spec.unmask:
        return {}
    if tuple(word.upper() for word in spec.unmask) != ("ALL",):
        message = "single paths of a container cannot be unmasked by this engine"
        raise Unsupported(message, code="no-unmask", hint="say unmask=ALL")
    return {"masked_paths": (), "readonly_paths": ()}
