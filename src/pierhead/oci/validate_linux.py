"""Checks of the parts of ``linux`` that stand for themselves: resources, seccomp, sysctl, devices.

``update`` checks resources, the default profile's tests check seccomp, and ``validate`` checks all of them
as part of a whole document.  The paths of errors are those of a whole document unless the caller says
otherwise.

Pure, like ``validate``.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.oci.numbers import (
    MEMORY_POLICIES,
    MEMORY_POLICY_FLAGS,
    SECCOMP_ACTIONS,
    SECCOMP_ARCHITECTURES,
    SECCOMP_FLAGS,
    SECCOMP_OPERATORS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from pierhead.oci.runtime import (
        BlockIO,
        Device,
        DeviceRule,
        IntelRdt,
        Memory,
        MemoryPolicy,
        NetDevice,
        Network,
        Resources,
        Seccomp,
        Syscall,
    )

_REFUSALS = (
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_TRAP",
    "SCMP_ACT_KILL",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_KILL_PROCESS",
)
_MAX_ERRNO = 4095  # linux/err.h; the kernel cuts larger ones down to it
_MAX_TRACE_DATA = 0xFFFF  # SECCOMP_RET_DATA
_SYSCALL_ARGS = 6
_MAJOR_MAX, _MINOR_MAX = 2**12 - 1, 2**20 - 1  # linux/kdev_t.h
_INTERFACE_NAME_MAX = 15  # IFNAMSIZ with its NUL, netdevice(7)

# Parameters that an IPC namespace has its own of (ipc_namespaces(7); runc's list).
_IPC_SYSCTLS = frozenset(
    (
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
    )
)


def invalid(message: str, path: str, *, code: str = "") -> InvalidInput:
    """The error of a document's part."""
    return InvalidInput(message, path=path, code=code or "invalid-document")


def known(name: str, names: Collection[str], what: str, path: str) -> None:
    """``name`` is one of ``names``."""
    if name not in names:
        shown = ", ".join(names)
        raise InvalidInput(
            f"unknown {what} {name!r}", path=path, code="unknown-name", hint=f"known are {shown}"
        )


def check_text(text: str, path: str) -> None:
    """The kernel can take ``text`` as a string: no NUL in it, and bytes for all of it.

    JSON can write halves of surrogate pairs, which are no characters.  Those that stand for a file name's
    bytes that are not UTF-8 (PEP 383) are fine.
    """
    if "\0" in text:
        raise invalid("contains a NUL character", path)
    if not text.isascii():
        try:
            text.encode(errors="surrogateescape")
        except UnicodeEncodeError:
            raise invalid("contains half of a surrogate pair", path) from None


def check_resources(resources: Resources, *, path: str = "$.linux.resources") -> None:
    """Limits that the kernel's files can hold (config-linux.md, "Control groups").

    Names that become parts of file names (``unified``, ``hugepageLimits``) name no other file than they
    should.
    """
    for index, rule in enumerate(resources.devices):
        _check_device_rule(rule, f"{path}.devices[{index}]")
    if resources.memory is not None:
        _check_memory(resources.memory, f"{path}.memory")
    if resources.cpu is not None:
        check_number_list(resources.cpu.cpus, f"{path}.cpu.cpus")
        check_number_list(resources.cpu.mems, f"{path}.cpu.mems")
        if resources.cpu.idle not in (None, 0, 1):
            raise invalid(f"expected 0 or 1, found {resources.cpu.idle}", f"{path}.cpu.idle")
    if resources.block_io is not None:
        _check_block_io(resources.block_io, f"{path}.blockIO")
    if resources.network is not None:
        _check_network(resources.network, f"{path}.network")
    for index, limit in enumerate(resources.hugepage_limits):
        size = limit.page_size
        if size[-2:] not in ("KB", "MB", "GB") or not size[:-2].isdecimal() or not size.isascii():
            raise invalid(
                f"expected a size like 2MB, found {size!r}", f"{path}.hugepageLimits[{index}].pageSize"
            )
    for name in resources.rdma:
        if not name or not name.isprintable() or " " in name or "/" in name:
            raise invalid(f"{name!r} cannot be a device's name", f"{path}.rdma")
    _check_unified(resources.unified, f"{path}.unified")


def _check_unified(unified: dict[str, str], path: str) -> None:
    """Keys are names of files in the container's own cgroup (config-linux.md, "Unified")."""
    for name, value in unified.items():
        if name.startswith(".") or "/" in name or "." not in name or not name.isprintable():
            raise invalid(f"{name!r} is not the name of a cgroup file", path)
        check_text(value, f'{path}["{name}"]')


def _check_device_rule(rule: DeviceRule, path: str) -> None:
    """See config-linux.md, "Allowed Device list"."""
    known(rule.type, ("", "a", "b", "c"), "device type", f"{path}.type")
    for name, number in (("major", rule.major), ("minor", rule.minor)):
        if number is not None and number < -1:
            raise invalid(f"expected a device number or -1 for any, found {number}", f"{path}.{name}")
    if not frozenset("rwm").issuperset(rule.access):
        raise invalid(f"expected letters of rwm, found {rule.access!r}", f"{path}.access")


def _check_memory(memory: Memory, path: str) -> None:
    """See config-linux.md, "Memory": ``swap`` is the sum of both."""
    for name in ("limit", "reservation", "swap", "kernel", "kernel_tcp"):
        number = getattr(memory, name)
        if number is not None and number < -1:
            json_name = "kernelTCP" if name == "kernel_tcp" else name
            raise invalid(f"expected bytes or -1 for no limit, found {number}", f"{path}.{json_name}")
    limit, swap = memory.limit or 0, memory.swap or 0
    if limit > 0 and 0 < swap < limit:
        raise invalid(f"{swap} is less than the memory limit {limit}, which it includes", f"{path}.swap")
    if limit == -1 and swap > 0:
        raise invalid("cannot be limited while memory is not", f"{path}.swap")
    if memory.swappiness is not None and memory.swappiness > 200:
        raise invalid(f"expected 0 to 200, found {memory.swappiness}", f"{path}.swappiness")


def _check_block_io(block_io: BlockIO, path: str) -> None:
    """Weights are 10 to 1000, 0 leaves them alone (config-linux.md, "Block IO")."""
    weights = [("weight", block_io.weight), ("leafWeight", block_io.leaf_weight)]
    for index, device in enumerate(block_io.weight_device):
        weights.append((f"weightDevice[{index}].weight", device.weight))
        weights.append((f"weightDevice[{index}].leafWeight", device.leaf_weight))
    for name, weight in weights:
        if weight and not 10 <= weight <= 1000:
            raise invalid(f"expected 10 to 1000, found {weight}", f"{path}.{name}")


def _check_network(network: Network, path: str) -> None:
    """See config-linux.md, "Network"."""
    for index, each in enumerate(network.priorities):
        check_interface_name(each.name, f"{path}.priorities[{index}].name")


def check_number_list(text: str, path: str) -> None:
    """A list of numbers like ``0-3,7``, or nothing (cpuset(7), "List format")."""
    if not text:
        return
    for part in text.split(","):
        first, dash, last = part.partition("-")
        numbers = (first.strip(), last.strip()) if dash else (first.strip(),)
        if not all(number.isdecimal() and number.isascii() and len(number) < 10 for number in numbers):
            raise invalid(f"expected a list like 0-3,7, found {text!r}", path)
        if dash and int(first) > int(last):
            raise invalid(f"the range {part} runs backwards", path)


def check_cgroups_path(cgroups_path: str, *, path: str = "$.linux.cgroupsPath") -> None:
    """The path leads where it says (config-linux.md, "Cgroups Path"; crun 1.29's sub-cgroup escape)."""
    check_text(cgroups_path, path)
    if ".." in cgroups_path.replace(":", "/").split("/"):
        raise invalid(f"{cgroups_path!r} contains '..'", path)


def sysctl_path(name: str) -> str:
    """A kernel parameter's path below /proc/sys: ``net/ipv4/ip_forward`` of ``net.ipv4.ip_forward``.

    Where a slash comes before the first dot, slashes separate and dots belong to names, as sysctl(8) has it.
    """
    dot, slash = name.find("."), name.find("/")
    if slash >= 0 and (dot < 0 or slash < dot):
        return name
    # In the dotted form a slash stands for a dot that belongs to a name: net.ipv4.conf.eth0/100.forwarding
    return name.translate({ord("."): "/", ord("/"): "."})


def check_sysctl(
    sysctl: dict[str, str], spaces: dict[str, str], *, hostname: str = "", domainname: str = ""
) -> None:
    """Only parameters that a namespace of the container has its own of (config-linux.md, "Sysctl").

    Args:
        sysctl: values by the parameters' names.
        spaces: paths of the container's namespaces by their types.
        hostname: of the document: the parameter of the same meaning conflicts with it.
        domainname: the same.
    """
    for name, value in sysctl.items():
        path = f'$.linux.sysctl["{name}"]'
        parts = sysctl_path(name).split("/")
        if any(part in ("", ".", "..") for part in parts):
            raise invalid("is not the name of a kernel parameter", path)
        check_text(name + value, path)
        space = namespace_of_sysctl(name)
        if space == "":
            raise invalid("is not a parameter of any namespace, it would change the host's", path)
        if space not in spaces:
            raise invalid(f"needs its own {space} namespace", path)
        if hostname and parts == ["kernel", "hostname"]:
            raise invalid("says the same as hostname", path)
        if domainname and parts == ["kernel", "domainname"]:
            raise invalid("says the same as domainname", path)


def namespace_of_sysctl(name: str) -> str:
    """The type of namespace that has its own of a parameter, "" where the host has the only one."""
    parts = sysctl_path(name).split("/")
    if parts[0] == "net":
        return "network"
    if parts[:2] == ["fs", "mqueue"] or ".".join(parts) in _IPC_SYSCTLS:
        return "ipc"
    if parts in (["kernel", "hostname"], ["kernel", "domainname"]):
        return "uts"
    return "user" if parts[0] == "user" else ""


def check_devices(devices: tuple[Device, ...], *, path: str = "$.linux.devices") -> None:
    """Nodes of a known type with a number, at an absolute path, each once (config-linux.md, "Devices")."""
    seen: set[str] = set()
    for index, device in enumerate(devices):
        here = f"{path}[{index}]"
        known(device.type, ("c", "b", "u", "p"), "device type", f"{here}.type")
        if not device.path.startswith("/"):
            raise invalid(f"expected an absolute path, found {device.path!r}", f"{here}.path")
        check_text(device.path, f"{here}.path")
        if device.path in seen:
            raise invalid(f"{device.path} is listed twice", here)
        seen.add(device.path)
        if device.type != "p" and (device.major < 0 or device.minor < 0):
            raise invalid(f"{device.path} needs a major and a minor number", here)
        if device.type != "p" and (device.major > _MAJOR_MAX or device.minor > _MINOR_MAX):
            raise invalid(f"there is no device {device.major}:{device.minor}", here)


def check_net_devices(
    net_devices: dict[str, NetDevice], spaces: dict[str, str], *, path: str = "$.linux.netDevices"
) -> None:
    """Interfaces have names and a network namespace to go to (config-linux.md, "Network Devices")."""
    if net_devices and "network" not in spaces:
        raise invalid("needs a network namespace", path)
    seen: set[str] = set()
    for host_name, device in net_devices.items():
        here = f'{path}["{host_name}"]'
        check_interface_name(host_name, here)
        if device.name:
            check_interface_name(device.name, f"{here}.name")
        name = device.name or host_name
        if name in seen:
            raise invalid(f"two interfaces would be called {name}", here)
        seen.add(name)


def check_interface_name(name: str, path: str) -> None:
    """What the kernel takes as an interface's name (dev_valid_name in net/core/dev.c)."""
    check_text(name, path)
    bad = any(letter in "/:%" or letter.isspace() for letter in name)
    if bad or name in ("", ".", "..") or len(name.encode(errors="surrogateescape")) > _INTERFACE_NAME_MAX:
        raise invalid(f"{name!r} cannot be the name of a network interface", path)


def check_intel_rdt(rdt: IntelRdt, *, path: str = "$.linux.intelRdt") -> None:
    """A class's name is one file name and a schema one line (config-linux.md, "IntelRdt")."""
    check_text(rdt.clos_id, f"{path}.closID")
    if rdt.clos_id in (".", "..") or "/" in rdt.clos_id or "\n" in rdt.clos_id:
        raise invalid(f"{rdt.clos_id!r} cannot be the name of a class", f"{path}.closID")
    lines = [("l3CacheSchema", rdt.l3_cache_schema), ("memBwSchema", rdt.mem_bw_schema)]
    lines += [(f"schemata[{index}]", line) for index, line in enumerate(rdt.schemata)]
    for name, line in lines:
        if "\n" in line:
            raise invalid("contains a line break", f"{path}.{name}")


def check_memory_policy(policy: MemoryPolicy, *, path: str = "$.linux.memoryPolicy") -> None:
    """See config-linux.md, "Memory policy"; set_mempolicy(2)."""
    known(policy.mode, MEMORY_POLICIES, "memory policy", f"{path}.mode")
    for index, flag in enumerate(policy.flags):
        known(flag, MEMORY_POLICY_FLAGS, "memory policy flag", f"{path}.flags[{index}]")
    check_number_list(policy.nodes, f"{path}.nodes")
    if policy.mode in ("MPOL_DEFAULT", "MPOL_LOCAL") and policy.nodes:
        raise invalid(f"{policy.mode} takes no nodes", f"{path}.nodes")
    if policy.mode not in ("MPOL_DEFAULT", "MPOL_LOCAL", "MPOL_PREFERRED") and not policy.nodes:
        raise invalid(f"{policy.mode} needs nodes", f"{path}.nodes")


def check_seccomp(seccomp: Seccomp, *, path: str = "$.linux.seccomp") -> list[str]:
    """Names of actions, architectures, flags and operators exist and fit (config-linux.md, "Seccomp").

    Returns:
        Warnings, one sentence each.
    """
    known(seccomp.default_action, SECCOMP_ACTIONS, "action", f"{path}.defaultAction")
    if seccomp.default_action == "SCMP_ACT_NOTIFY":
        raise invalid("SCMP_ACT_NOTIFY cannot be the default: nothing could run", f"{path}.defaultAction")
    _check_errno(seccomp.default_action, seccomp.default_errno_ret, f"{path}.defaultErrnoRet")
    for index, architecture in enumerate(seccomp.architectures):
        known(architecture, SECCOMP_ARCHITECTURES, "architecture", f"{path}.architectures[{index}]")
    for index, flag in enumerate(seccomp.flags):
        known(flag, SECCOMP_FLAGS, "flag", f"{path}.flags[{index}]")
    if seccomp.listener_metadata and not seccomp.listener_path:
        raise invalid("needs listenerPath", f"{path}.listenerMetadata")
    for index, rule in enumerate(seccomp.syscalls):
        _check_syscall(rule, f"{path}.syscalls[{index}]", has_listener=bool(seccomp.listener_path))
    if _refuses(seccomp, "execve"):
        raise invalid("refuses execve, so the program itself could not be started", path)
    if seccomp.listener_path and not any(rule.action == "SCMP_ACT_NOTIFY" for rule in seccomp.syscalls):
        return [f"{path}.listenerPath: is ignored, because no rule says SCMP_ACT_NOTIFY"]
    return []


def _refuses(seccomp: Seccomp, name: str) -> bool:
    """Whether the system call never gets through, whatever its arguments."""
    rules = [rule for rule in seccomp.syscalls if name in rule.names]
    if any(rule.action not in _REFUSALS for rule in rules):
        return False
    return seccomp.default_action in _REFUSALS or any(not rule.args for rule in rules)


def _check_syscall(rule: Syscall, path: str, *, has_listener: bool) -> None:
    if not rule.names:
        raise invalid("is empty", f"{path}.names")
    if rule.action not in SECCOMP_ACTIONS:
        known(rule.action, SECCOMP_ACTIONS, "action", f"{path}.action")
    _check_errno(rule.action, rule.errno_ret, f"{path}.errnoRet")
    if rule.action == "SCMP_ACT_NOTIFY":
        if not has_listener:
            raise invalid("SCMP_ACT_NOTIFY needs seccomp.listenerPath", f"{path}.action")
        if "write" in rule.names:
            raise invalid("SCMP_ACT_NOTIFY cannot be used for write: setting the filter up needs it", path)
    for index, arg in enumerate(rule.args):
        if not 0 <= arg.index < _SYSCALL_ARGS:
            message = f"expected 0 to {_SYSCALL_ARGS - 1}, found {arg.index}"
            raise invalid(message, f"{path}.args[{index}].index")
        known(arg.op, SECCOMP_OPERATORS, "operator", f"{path}.args[{index}].op")


def _check_errno(action: str, errno_ret: int | None, path: str) -> None:
    """Only two actions take an errno; with others the runtime must fail (config-linux.md, "Seccomp")."""
    if errno_ret is None:
        return
    greatest = {"SCMP_ACT_ERRNO": _MAX_ERRNO, "SCMP_ACT_TRACE": _MAX_TRACE_DATA}.get(action)
    if greatest is None:
        raise invalid(f"is of SCMP_ACT_ERRNO and SCMP_ACT_TRACE, not of {action}", path)
    if not 0 <= errno_ret <= greatest:
        raise invalid(f"expected 0 to {greatest}, found {errno_ret}", path)
