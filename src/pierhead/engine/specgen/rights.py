"""What a container's processes may do: capabilities, filters, labels.  Pure.

Source: capabilities(7); Docker's `docker run` reference, "Runtime privilege and Linux capabilities" and
"Optional security options".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.errors import InvalidInput, Unsupported
from pierhead.oci.numbers import CAPABILITY_NUMBERS
from pierhead.oci.runtime import Capabilities
from pierhead.runtime.config import DEFAULT_CAPABILITIES
from pierhead.values import Value

if TYPE_CHECKING:
    from pierhead.engine.documents import HostConfig
    from pierhead.engine.specgen.ground import Machine

ALL = "ALL"


class Security(Value):
    """The options of ``HostConfig.SecurityOpt``, sorted.

    Fields:
        seccomp: text of a profile, ``unconfined`` or ``builtin``; None where nothing is said.
        apparmor: name of a profile or ``unconfined``; None where nothing is said.
        no_new_privileges: whether execve may not gain privileges.
        labels: of SELinux, ``type:svirt_t`` or ``disable``.
        unmasked: whether nothing is hidden or read-only below /proc and /sys.
        writable_cgroups: whether the container may write its own cgroups.
    """

    seccomp: str | None = None
    apparmor: str | None = None
    no_new_privileges: bool = False
    labels: tuple[str, ...] = ()
    unmasked: bool = False
    writable_cgroups: bool = False


def parse_security_options(options: tuple[str, ...]) -> Security:
    """The options, sorted; of two of one kind the last one holds.

    Raises:
        InvalidInput: with Docker's sentence.
    """
    found = Security()
    for option in options:
        if option == "disable":
            found = found.replace(labels=(*found.labels, "disable"))
            continue
        key, value = _split(option)
        if key == "seccomp":
            found = found.replace(seccomp=value)
        elif key == "apparmor":
            found = found.replace(apparmor=value)
        elif key == "label":
            found = found.replace(labels=(*found.labels, value))
        elif key == "no-new-privileges":
            found = found.replace(no_new_privileges=_truth(option, value))
        elif key == "writable-cgroups":
            found = found.replace(writable_cgroups=_truth(option, value))
        elif key == "systempaths" and value == "unconfined":
            found = found.replace(unmasked=True)
        else:
            raise InvalidInput(f'invalid --security-opt 2: "{option}"', code="bad-security-option")
    return found


def _split(option: str) -> tuple[str, str]:
    """Key and value; a colon separates too, as in Docker's older form."""
    if option in ("no-new-privileges", "writable-cgroups"):
        return option, "true"
    separator = "=" if "=" in option else ":"
    key, found, value = option.partition(separator)
    if not found:
        raise InvalidInput(f'invalid --security-opt 1: "{option}"', code="bad-security-option")
    return key, value


def _truth(option: str, value: str) -> bool:
    if value in ("true", "false"):
        return value == "true"
    raise InvalidInput(f'invalid --security-opt 2: "{option}"', code="bad-security-option")


def check_security(security: Security, machine: Machine) -> None:
    """This kernel can do what the options say.

    Raises:
        InvalidInput, Unsupported: it cannot.
    """
    if security.apparmor not in (None, "", "unconfined") and not machine.apparmor:
        raise InvalidInput(
            f"AppArmor is not enabled on this machine, and the profile {security.apparmor!r} was asked for",
            code="no-apparmor",
            hint="leave out --security-opt apparmor=…",
        )
    for label in security.labels:
        if label != "disable" and label.partition(":")[0] not in (
            "user",
            "role",
            "type",
            "level",
            "filetype",
        ):
            raise InvalidInput(f'invalid --security-opt 2: "label={label}"', code="bad-security-option")
    if machine.selinux and set(security.labels) - {"disable"}:
        raise Unsupported(
            "labels of SELinux are not made by this engine", hint="use --security-opt label=disable"
        )


# Capabilities.


def parse_capabilities(names: tuple[str, ...], option: str) -> tuple[str, ...]:
    """The names as the kernel has them, or ``ALL``; any case and a missing ``CAP_`` will do.

    Args:
        names: as they were given.
        option: ``CapAdd`` or ``CapDrop``, for the error.

    Raises:
        InvalidInput: no such capability.
    """
    found = []
    for name in names:
        full = name.strip().upper()
        if full not in (ALL, "CAP_ALL") and not full.startswith("CAP_"):
            full = f"CAP_{full}"
        if full == "CAP_ALL":
            full = ALL
        if full != ALL and full not in CAPABILITY_NUMBERS:
            raise InvalidInput(f'invalid {option}: unknown capability: "{full}"', code="no-such-capability")
        found.append(full)
    return tuple(dict.fromkeys(found))


def granted_capabilities(host: HostConfig, machine: Machine) -> Capabilities:
    """The five sets of the container's processes: Docker's default set, as changed by the request.

    Capabilities that the engine does not have itself are left out: nobody can hand on what they lack.
    """
    names = _granted_names(host, machine)
    known = frozenset(machine.capabilities)
    ordered = tuple(sorted((name for name in names if name in known), key=CAPABILITY_NUMBERS.__getitem__))
    return Capabilities(bounding=ordered, effective=ordered, permitted=ordered)


def _granted_names(host: HostConfig, machine: Machine) -> set[str]:
    added = set(parse_capabilities(host.cap_add, "CapAdd"))
    dropped = set(parse_capabilities(host.cap_drop, "CapDrop"))
    if host.privileged:
        return set(machine.capabilities)
    if ALL in added:
        return set(machine.capabilities) - dropped
    if ALL in dropped:
        return added
    return set(DEFAULT_CAPABILITIES.bounding) - dropped | added


def lacking_capabilities(host: HostConfig, machine: Machine) -> tuple[str, ...]:
    """Capabilities that were asked for by name and that the engine does not have itself."""
    added = parse_capabilities(host.cap_add, "CapAdd")
    return tuple(name for name in added if name != ALL and name not in machine.capabilities)
