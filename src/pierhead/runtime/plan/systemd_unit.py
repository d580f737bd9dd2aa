"""The properties of a container's systemd unit; pure.

Limits are taken from the planned cgroup writes, so that systemd, which writes the same files again whenever
it likes (a daemon-reload, say), writes the same values.  What it has no property for is in the file alone.

A property is ``(name, (signature, value))``, a D-Bus variant as ``jeepney`` takes it.
Sources: systemd.resource-control(5), org.freedesktop.systemd1(5).
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.runtime.plan.devices import device_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pierhead.oci import runtime as oci
    from pierhead.runtime.plan.cgroup_paths import SystemdUnit
    from pierhead.runtime.plan.cgroups import CgroupWrite

    Property = tuple[str, tuple[str, Any]]

UNLIMITED = 2**64 - 1
_ANNOTATION = "org.systemd.property."
_NUMBER_FILES = {
    "memory.max": "MemoryMax",
    "memory.low": "MemoryLow",
    "memory.high": "MemoryHigh",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "memory.limit_in_bytes": "MemoryLimit",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
    "cpu.shares": "CPUShares",
    "io.weight": "IOWeight",
    "blkio.weight": "BlockIOWeight",
}
_SET_FILES = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


def unit_properties(unit: SystemdUnit, description: str, *, pid: int, legacy: bool) -> list[Property]:
    """What makes a unit a container's: its place, its first process, delegation, accounting."""
    properties: list[Property] = [("Description", ("s", description))]
    if unit.is_slice():
        properties.append(("Wants", ("as", [unit.slice_name])))
    else:
        properties += [("Slice", ("s", unit.slice_name)), ("Delegate", ("b", True))]
        if pid:
            properties.append(("PIDs", ("au", [pid])))
    accounting = ("Memory", "CPU", "BlockIO" if legacy else "IO", "Tasks")
    properties += [(f"{name}Accounting", ("b", True)) for name in accounting]
    properties.append(("DefaultDependencies", ("b", False)))
    return properties


def limit_properties(writes: Iterable[CgroupWrite], *, version: int) -> list[Property]:
    """The properties that say the same as the writes, as far as this ``version`` of systemd has them."""
    found: dict[str, tuple[str, Any]] = {}
    quota, period = 0, 0
    for write in writes:
        file, value = write.file, write.value
        if file in _NUMBER_FILES:
            found[_NUMBER_FILES[file]] = ("t", UNLIMITED if value in ("max", "-1") else int(value))
        elif file in _SET_FILES and version >= 244:
            found[_SET_FILES[file]] = ("ay", bits_of_set(value))
        elif file == "cpu.idle" and value == "1" and version >= 252:
            found["CPUWeight"] = ("t", 0)
        elif file == "cpu.max":
            first, _, second = value.partition(" ")
            quota, period = (-1 if first == "max" else int(first)), int(second or period)
        elif file == "cpu.cfs_quota_us":
            quota = int(value)
        elif file == "cpu.cfs_period_us":
            period = int(value)
        elif file == "memory.oom.group":
            found["OOMPolicy"] = ("s", "kill" if value == "1" else "continue")
    if period and version >= 242:
        found["CPUQuotaPeriodUSec"] = ("t", period)
    if quota or period:
        found["CPUQuotaPerSecUSec"] = ("t", _quota_per_second(quota, period or 100_000))
    return list(found.items())


def _quota_per_second(quota_us: int, period_us: int) -> int:
    """Rounded up to whole percents, as systemd keeps it: a group below could not use what is cut off."""
    if quota_us <= 0:
        return UNLIMITED
    return -(-(quota_us * 1_000_000 // period_us) // 10_000) * 10_000


def bits_of_set(text: str) -> bytes:
    """A list like ``0-2,5`` as a bit mask, lowest byte first."""
    mask = 0
    try:
        for part in text.split(","):
            first, _, last = part.strip().partition("-")
            if part.strip():
                low, high = int(first), int(last or first)
                mask |= (1 << (high + 1)) - (1 << low)
    except ValueError:
        raise InvalidInput(f"{text!r} is not a list of numbers like 0-2,5", code="bad-resources") from None
    return mask.to_bytes((mask.bit_length() + 7) // 8 or 1, "little")


# Devices


def device_properties(rules: Iterable[oci.DeviceRule]) -> list[Property]:
    """Device rules as systemd's allow list, which it enforces besides ours.

    systemd knows only "nothing but these".  Rules that end as "all but these" leave it switched off.
    """
    allowed: dict[str, str] | None = {}
    for rule in rules:
        for line in device_lines(rule):
            allowed = _after_rule(allowed, line, allow=rule.allow)
    if allowed is None:
        return [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    entries = [(_device_node(device), access) for device, access in allowed.items()]
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", entries))]


def _after_rule(allowed: dict[str, str] | None, line: str, *, allow: bool) -> dict[str, str] | None:
    """The allow list after one more line; None stands for "all (but some)"."""
    if line == "a":
        return None if allow else {}
    if allowed is None:
        return None
    device, _, access = line.rpartition(" ")
    had = allowed.get(device, "")
    kept = had + "".join(letter for letter in access if letter not in had)
    if not allow:
        kept = "".join(letter for letter in had if letter not in access)
    return {
        **{name: value for name, value in allowed.items() if name != device},
        **({device: kept} if kept else {}),
    }


def _device_node(device: str) -> str:
    """``c 1:3`` as systemd names it: a node, or a group by type and major number (a star for any)."""
    kind, _, numbers = device.partition(" ")
    major, _, minor = numbers.partition(":")
    name = "block" if kind == "b" else "char"
    return f"{name}-{major}" if minor == "*" else f"/dev/{name}/{major}:{minor}"


# Annotations


def annotation_properties(annotations: dict[str, str]) -> list[Property]:
    """Properties from annotations ``org.systemd.property.NAME``, whose values are GVariant text.

    A name that ends in ``Sec`` is given in seconds and becomes the ``USec`` that the bus knows.

    Raises:
        InvalidInput: a name that is none, or a text that does not parse.
    """
    properties: list[Property] = []
    for key, text in annotations.items():
        if not key.startswith(_ANNOTATION):
            continue
        name = key[len(_ANNOTATION) :]
        if len(name) < 3 or not (name.isascii() and name.isalpha()):
            raise InvalidInput(f"annotation {key} does not name a systemd property", code="bad-annotation")
        signature, value = parse_variant(text, name=key)
        if name.endswith("Sec") and name[-4:-3].islower():
            if signature not in tuple("ynqiuxtd"):
                raise InvalidInput(
                    f"annotation {key}: {text} is not a number of seconds", code="bad-annotation"
                )
            name, signature, value = name[:-3] + "USec", "t", int(value * 1_000_000)
        properties.append((name, (signature, value)))
    return properties


_TYPES = {
    "boolean": "b",
    "byte": "y",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "double": "d",
    "string": "s",
    "objectpath": "o",
}


def parse_variant(text: str, *, name: str = "value") -> tuple[str, Any]:
    """Signature and value of GVariant text: ``true``, ``'x'``, ``5``, ``uint64 5``, ``['a']``, ``@as []``."""
    text = text.strip()
    try:
        first, _, rest = text.partition(" ")
        if first in _TYPES:
            return _typed(_TYPES[first], rest.strip())
        if first.startswith("@"):
            return _typed(first[1:], rest.strip())
        if text in ("true", "false"):
            return "b", text == "true"
        if text[:1] in ("'", '"'):
            return "s", _unquote(text)
        if text[:1] == "[":
            return _untyped_array([parse_variant(item, name=name) for item in _split_array(text)])
        return ("d", float(text)) if "." in text else ("i", int(text, 0))
    except ValueError as error:
        raise InvalidInput(f"{name}: {text} is not GVariant text: {error}", code="bad-annotation") from None


def _untyped_array(items: list[tuple[str, Any]]) -> tuple[str, Any]:
    signatures = {signature for signature, _ in items}
    if len(signatures) != 1:
        raise ValueError("the type of an array is that of its elements, which must agree")
    return "a" + signatures.pop(), [value for _, value in items]


def _typed(signature: str, text: str) -> tuple[str, Any]:
    if signature.startswith("a") and len(signature) == 2:
        return signature, [_typed(signature[1], item)[1] for item in _split_array(text)]
    if signature == "b" and text in ("true", "false"):
        return signature, text == "true"
    if signature == "d":
        return signature, float(text)
    if signature in ("s", "o"):
        return signature, _unquote(text)
    if signature in tuple("ynqiuxt"):
        return signature, int(text, 0)
    raise ValueError(f"type {signature} cannot be given in an annotation")


def _unquote(text: str) -> str:
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        raise ValueError("a string stands in quotes")
    return text[1:-1].replace("\\" + text[0], text[0]).replace("\\\\", "\\")


def _split_array(text: str) -> list[str]:
    """The elements of ``[…]``, split at commas outside quotes."""
    if text[:1] != "[" or text[-1:] != "]":
        raise ValueError("an array stands in square brackets")
    items, start, quote = [], 1, ""
    for index, char in enumerate(text[:-1]):
        if quote:
            quote = "" if char == quote and text[index - 1] != "\\" else quote
        elif char in "'\"":
            quote = char
        elif char == ",":
            items.append(text[start:index].strip())
            start = index + 1
    last = text[start:-1].strip()
    return [*items, last] if last else items
