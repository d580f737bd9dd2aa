"""/dev of a container: nodes, links, and what its cgroup allows.  Pure.

Source: runtime-spec config-linux.md "Default Devices"; runtime-linux.md "Dev symbolic links".
"""

from __future__ import annotations

from pierhead.errors import InvalidInput, Unsupported
from pierhead.oci.runtime import DeviceRule
from pierhead.runtime.config import Device
from pierhead.runtime.wire import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from pierhead.runtime.config import Config

_TYPE_BITS = {"c": 0o020000, "u": 0o020000, "b": 0o060000, "p": 0o010000}

DEFAULT_DEVICES = tuple(
    Device(path=f"/dev/{name}", type="c", major=major, minor=minor, file_mode=0o666)
    for name, major, minor in (
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
    )
)

_LINKS = (
    ("/proc/self/fd", "/dev/fd", "a process finds its open files under /dev, as on any Linux"),
    ("/proc/self/fd/0", "/dev/stdin", "the standard streams by name"),
    ("/proc/self/fd/1", "/dev/stdout", "the standard streams by name"),
    ("/proc/self/fd/2", "/dev/stderr", "the standard streams by name"),
    ("pts/ptmx", "/dev/ptmx", "new terminals come from the container's own devpts"),
)

ALLOWED_RULES = (
    DeviceRule(allow=True, type="c", access="m"),
    DeviceRule(allow=True, type="b", access="m"),
    *(
        DeviceRule(allow=True, type="c", major=device.major, minor=device.minor, access="rwm")
        for device in DEFAULT_DEVICES
    ),
    DeviceRule(allow=True, type="c", major=136, access="rwm"),
    DeviceRule(allow=True, type="c", major=5, minor=2, access="rwm"),
)
"""What every container may do with devices: make nodes of any (making one gives no access), and use the
default
devices and its own terminals."""


def device_rules(config: Config) -> tuple[DeviceRule, ...]:
    """The rules for the container's cgroup: the configuration's, then what every container needs."""
    own = tuple(
        DeviceRule(
            allow=True,
            type=_rule_type(device),
            major=device.major,
            minor=device.minor,
            access=device.permissions,
        )
        for device in config.devices
        if device.permissions and device.type != "p"
    )
    return (*config.resources.devices, *own, *ALLOWED_RULES)


def _rule_type(device: Device) -> str:
    return "b" if device.type == "b" else "c"


def check_denials(rules: tuple[DeviceRule, ...], *, path: str) -> None:
    """Cgroup v1 can keep the rules: it takes a permission away only by a denial of the very same devices.

    Of one that names more the kernel keeps the part too, and says nothing.  Source: security/device_cgroup.c.

    Args:
        rules: in their order.
        path: JSON path of the rules, for the error.

    Raises:
        Unsupported: it cannot.
    """
    allowed: list[DeviceRule] = []
    all_denied = False
    for index, rule in enumerate(rules):
        if device_lines(rule) == ("a",):
            all_denied, allowed = not rule.allow, []
        elif rule.allow:
            allowed.append(rule)
        elif all_denied and any(_is_part(rule, earlier) for earlier in allowed):
            raise Unsupported(
                f"{path}[{index}]: cgroup v1 cannot deny a part of what an earlier rule allows",
                code="device-rule-unsupported",
                hint="name the allowed devices one by one, or use cgroup v2",
            )


def _is_part(rule: DeviceRule, earlier: DeviceRule) -> bool:
    """Whether the two have devices and access in common, and are not of the same devices."""
    pairs = [(rule.major, earlier.major), (rule.minor, earlier.minor)]
    numbers = [tuple(-1 if number is None else number for number in pair) for pair in pairs]
    types = {"a" if each.type in ("", "a") else each.type.replace("u", "c") for each in (rule, earlier)}
    common = all(-1 in pair or pair[0] == pair[1] for pair in numbers) and ("a" in types or len(types) == 1)
    same = all(pair[0] == pair[1] for pair in numbers) and len(types) == 1
    return common and not same and bool(set(rule.access or "rwm") & set(earlier.access or "rwm"))


def device_lines(rule: DeviceRule) -> tuple[str, ...]:
    """The rule as lines like ``c 1:3 rwm``; ``a`` alone stands for everything there is.

    The kernel takes no access letters with ``a``, so a rule for all types with only some becomes two.
    """
    major = "*" if rule.major in (None, -1) else rule.major
    minor = "*" if rule.minor in (None, -1) else rule.minor
    access = rule.access or "rwm"
    kind = {"": "a", "u": "c"}.get(rule.type, rule.type)
    if kind != "a":
        return (f"{kind} {major}:{minor} {access}",)
    if (major, minor) == ("*", "*") and set(access) == {"r", "w", "m"}:
        return ("a",)
    return tuple(f"{each} {major}:{minor} {access}" for each in ("b", "c"))


def needs_device_setup(config: Config) -> bool:
    """Whether /dev is ours to fill: not when the caller binds a /dev of its own."""
    return not any(
        mount.destination.rstrip("/") == "/dev"
        and (mount.type == "bind" or {"bind", "rbind"} & set(mount.options))
        for mount in config.mounts
    )


def plan_devices(config: Config, *, bind: bool) -> tuple[Operation, ...]:
    """Nodes and links in /dev.

    Args:
        config: the configuration.
        bind: nodes cannot be made (a user namespace): the host's are bound instead.
    """
    if not needs_device_setup(config):
        return ()
    own = {device.path for device in config.devices}
    devices = (*(device for device in DEFAULT_DEVICES if device.path not in own), *config.devices)
    return (*_nodes(devices, bind=bind), *_links())


def _nodes(devices: Iterable[Device], *, bind: bool) -> Iterator[Operation]:
    for device in devices:
        number = 0 if device.type == "p" else device.major << 32 | device.minor
        if device.type not in _TYPE_BITS:
            raise InvalidInput(
                f"device {device.path}: there is no device type {device.type!r}", path="$.linux.devices"
            )
        if bind and device.type != "p":
            why = "a user namespace may not make nodes: the host's is bound"
            yield Operation(name="bind_node", arguments=(device.path, number), why=why)
            continue
        mode = _TYPE_BITS[device.type] | (0o666 if device.file_mode is None else device.file_mode & 0o7777)
        why = "every container has it" if device in DEFAULT_DEVICES else "a device of the configuration"
        arguments = (device.path, mode, number, device.uid or 0, device.gid or 0)
        yield Operation(name="mknod", arguments=arguments, why=why)


def _links() -> Iterator[Operation]:
    for target, path, why in _LINKS:
        yield Operation(name="symlink", arguments=(target, path), why=why)
