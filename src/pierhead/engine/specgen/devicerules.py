"""Which devices a container may use, as Docker's words have it.  Pure.

Source: the kernel's Documentation/admin-guide/cgroup-v1/devices.rst, whose lines Docker takes as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pierhead.errors import InvalidInput, Unsupported
from pierhead.oci.runtime import DeviceRule

if TYPE_CHECKING:
    from pierhead.engine.documents import DeviceMapping, DeviceRequest, HostConfig

_RULE = re.compile(r"([acb]) (\d+|\*):(\d+|\*) ([rwm]{1,3})", re.ASCII)
_NUMBER_DIGITS = 10


def parse_device_rule(text: str) -> DeviceRule:
    """A rule like ``c 13:* rwm``.

    Raises:
        InvalidInput: it is none.
    """
    found = _RULE.fullmatch(text)
    if not found or any(len(number) > _NUMBER_DIGITS for number in found.group(2, 3)):
        raise InvalidInput(f"invalid device cgroup rule format: '{text}'", code="bad-device-rule")
    kind, major, minor, access = found.groups()
    return DeviceRule(allow=True, type=kind, major=_number(major), minor=_number(minor), access=access)


def _number(text: str) -> int:
    return -1 if text == "*" else int(text)


def device_rules(host: HostConfig) -> tuple[DeviceRule, ...]:
    """The rules of the container's cgroup beyond those of its own devices; all of them where privileged."""
    if host.privileged:
        return (DeviceRule(allow=True, access="rwm"),)
    return (DeviceRule(allow=False, access="rwm"), *map(parse_device_rule, host.device_cgroup_rules))


def check_devices(devices: tuple[DeviceMapping, ...]) -> None:
    """Every mapping names a device and letters of ``rwm``.

    Raises:
        InvalidInput: one does not.
    """
    for device in devices:
        if not device.path_on_host.startswith("/"):
            raise InvalidInput(f"the device {device.path_on_host!r} is no absolute path", code="bad-device")
        if device.path_in_container and not device.path_in_container.startswith("/"):
            raise InvalidInput(
                f"the device {device.path_in_container!r} is no absolute path", code="bad-device"
            )
        if not frozenset("rwm").issuperset(device.cgroup_permissions):
            raise InvalidInput(f"invalid device mode: {device.cgroup_permissions}", code="bad-device")


def check_device_requests(requests: tuple[DeviceRequest, ...]) -> None:
    """No devices are asked for that a driver would have to choose: there are no such drivers.

    Raises:
        Unsupported: some are.
    """
    for request in requests:
        capabilities = " ".join(f"[{' '.join(group)}]" for group in request.capabilities)
        raise Unsupported(
            f'could not select device driver "{request.driver}" with capabilities: [{capabilities}]',
            code="no-device-driver",
            hint="name the devices themselves with --device",
        )
