"""Who a process is and what it may do: ids, capabilities, limits, labels, filter.  Pure.

The order is the kernel's: the bounding set is dropped while we hold CAP_SETPCAP, ids change before
capabilities are set, the ambient set comes last. A filter without no_new_privs needs CAP_SYS_ADMIN, so it
goes before the capabilities are given up; with no_new_privs it goes as late as possible, so that it need not
allow what we do ourselves.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.oci import numbers
from pierhead.runtime import wire_table
from pierhead.runtime.wire import Operation

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pierhead.oci.runtime import Capabilities, IOPriority, MemoryPolicy, Personality, Rlimit, Scheduler


def capability_mask(names: Iterable[str]) -> int:
    """Bits by capability number; names that this version does not know are left out (the caller has
    warned).
    """
    mask = 0
    for name in names:
        number = numbers.CAPABILITY_NUMBERS.get(name)
        mask |= 0 if number is None else 1 << number
    return mask


def plan_bounding(capabilities: Capabilities) -> Operation:
    """What no process of the container can ever get back."""
    why = "not even a set-user-id program gets more than this"
    return Operation(name="bounding_set", arguments=(capability_mask(capabilities.bounding),), why=why)


def plan_identity(uid: int, gid: int, groups: tuple[int, ...], *, keep_groups: bool = False) -> Operation:
    """The user's ids; capabilities survive the change and are set right afterwards."""
    encoded = b"".join(group.to_bytes(4, "little") for group in groups)
    flags = wire_table.IDENTITY_KEEP_CAPS | (wire_table.IDENTITY_KEEP_GROUPS if keep_groups else 0)
    return Operation(
        name="identity", arguments=(uid, gid, encoded, flags), why="the user the process runs as"
    )


def plan_capabilities(capabilities: Capabilities) -> tuple[Operation, ...]:
    """The effective, permitted, inheritable and ambient sets."""
    sets = (capabilities.effective, capabilities.permitted, capabilities.inheritable)
    masks = tuple(capability_mask(names) for names in sets)
    operations = [Operation(name="capabilities", arguments=masks, why="what is not listed is dropped")]
    # the kernel raises only what is both permitted and inheritable; the rest was warned of
    ambient = capability_mask(capabilities.ambient) & masks[1] & masks[2]
    if ambient:
        why = "capabilities that survive execve without root"
        operations.append(Operation(name="ambient_set", arguments=(ambient,), why=why))
    return tuple(operations)


def plan_capabilities_for_filter(capabilities: Capabilities) -> Operation:
    """The sets with CAP_SYS_ADMIN beside them, without which the kernel takes no filter (seccomp(2))."""
    filtering = 1 << numbers.CAPABILITY_NUMBERS["CAP_SYS_ADMIN"]
    masks = [capability_mask(names) for names in (capabilities.effective, capabilities.permitted)]
    arguments = (masks[0] | filtering, masks[1] | filtering, capability_mask(capabilities.inheritable))
    why = "what is not listed is dropped, but for the right to set a filter"
    return Operation(name="capabilities", arguments=arguments, why=why)


def _number(table: Mapping[str, int], name: str, what: str, path: str) -> int:
    if name not in table:
        raise InvalidInput(f"there is no {what} {name!r}", path=path)
    return table[name]


def rlimit_number(name: str) -> int:
    """The kernel's number of a limit like ``RLIMIT_NOFILE``."""
    return _number(numbers.RLIMITS, name, "resource limit", "$.process.rlimits")


def plan_rlimits(rlimits: Iterable[Rlimit]) -> tuple[Operation, ...]:
    """Resource limits of the process."""
    return tuple(
        Operation(
            name="rlimit",
            arguments=(rlimit_number(limit.type), limit.soft, limit.hard),
            why=f"limit {limit.type}",
        )
        for limit in rlimits
    )


def plan_scheduler(scheduler: Scheduler) -> Operation:
    """Policy, priority and deadline parameters (struct sched_attr)."""
    policy = _number(
        numbers.SCHEDULER_POLICIES, scheduler.policy, "scheduling policy", "$.process.scheduler.policy"
    )
    flags = 0
    for flag in scheduler.flags:
        flags |= _number(numbers.SCHEDULER_FLAGS, flag, "scheduler flag", "$.process.scheduler.flags")
    size = 48
    attributes = (
        size.to_bytes(4, "little")
        + policy.to_bytes(4, "little")
        + flags.to_bytes(8, "little")
        + scheduler.nice.to_bytes(4, "little", signed=True)
        + scheduler.priority.to_bytes(4, "little", signed=True)
        + scheduler.runtime.to_bytes(8, "little")
        + scheduler.deadline.to_bytes(8, "little")
        + scheduler.period.to_bytes(8, "little")
    )
    return Operation(name="scheduler", arguments=(attributes,), why=f"scheduled by {scheduler.policy}")


def plan_io_priority(priority: IOPriority) -> Operation:
    """Class and level of the process's I/O."""
    number = _number(numbers.IO_PRIORITY_CLASSES, priority.class_, "I/O class", "$.process.ioPriority.class")
    value = number << numbers.IO_PRIORITY_CLASS_SHIFT | priority.priority
    return Operation(name="io_priority", arguments=(value,), why=f"its I/O is of class {priority.class_}")


def plan_personality(personality: Personality) -> Operation:
    """Execution domain: what uname tells of the machine."""
    domain = _number(numbers.PERSONALITIES, personality.domain, "personality", "$.linux.personality.domain")
    if personality.flags:
        raise InvalidInput(
            "personality flags are not defined by the specification", path="$.linux.personality.flags"
        )
    return Operation(name="personality", arguments=(domain,), why="what uname(2) tells")


def plan_memory_policy(policy: MemoryPolicy) -> Operation:
    """NUMA policy of the process's memory."""
    mode = _number(numbers.MEMORY_POLICIES, policy.mode, "memory policy", "$.linux.memoryPolicy.mode")
    for flag in policy.flags:
        mode |= _number(numbers.MEMORY_POLICY_FLAGS, flag, "memory policy flag", "$.linux.memoryPolicy.flags")
    nodes = cpu_mask(policy.nodes, path="$.linux.memoryPolicy.nodes") if policy.nodes else b""
    return Operation(name="memory_policy", arguments=(mode, nodes), why="where its memory is allocated")


def cpu_mask(text: str, *, path: str) -> bytes:
    """A list like ``0-3,7`` as the kernel's bit mask, in whole 64-bit words."""
    bits = 0
    for part in text.replace(" ", "").split(","):
        first, dash, last = part.partition("-")
        last = last if dash else first
        digits = first.isdecimal() and last.isdecimal() and len(first) < 10 and len(last) < 10
        if not digits or int(first) > int(last) or int(last) > 8191:
            raise InvalidInput(f"{text!r} is not a list of numbers like 0-3,7", path=path)
        bits |= (1 << (int(last) + 1)) - (1 << int(first))
    length = (bits.bit_length() + 63) // 64 * 8
    return bits.to_bytes(max(length, 8), "little")


def plan_affinity(text: str, *, place: int, why: str) -> Operation:
    """CPUs that the process may run on."""
    mask = cpu_mask(text, path="$.process.execCPUAffinity")
    return Operation(name="affinity", arguments=(mask,), place=place, why=why)


def plan_labels(apparmor_profile: str, selinux_label: str) -> tuple[Operation, ...]:
    """Labels that the next execve takes on."""
    operations = []
    if apparmor_profile:
        value = f"exec {apparmor_profile}"
        why = "AppArmor confines the program from its first instruction"
        operations.append(Operation(name="label", arguments=("apparmor/exec", value), why=why))
    if selinux_label:
        why = "SELinux confines the program from its first instruction"
        operations.append(Operation(name="label", arguments=("exec", selinux_label), why=why))
    return tuple(operations)
