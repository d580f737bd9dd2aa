"""A profile as people keep them in files: Docker's form of a seccomp filter, or the specification's.  Pure.

Docker's has rules for machines, kernels and capabilities in one document, of which those are taken that hold
here::

    "archMap":  [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]}]
    "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ALLOW",
                  "includes": {"caps": ["CAP_BPF"], "arches": ["amd64"], "minKernel": "4.8"},
                  "excludes": {}}]

Source: moby/profiles, seccomp/seccomp.go; runtime-spec config-linux.md, "Seccomp".
"""

# Annotations are read at run time: no postponed evaluation here.
from pierhead import jsontext
from pierhead.errors import InvalidInput
from pierhead.linux.facts import parse_kernel_version
from pierhead.oci.document import UINT, decode, ranges
from pierhead.oci.runtime import Seccomp, Syscall, SyscallArg
from pierhead.oci.validate_linux import check_seccomp
from pierhead.values import Value

# Names of machines: uname(2)'s, Go's, libseccomp's.
_MACHINES = {"x86_64": ("amd64", "SCMP_ARCH_X86_64"), "aarch64": ("arm64", "SCMP_ARCH_AARCH64")}


class ArchitectureMap(Value):
    """An architecture and those whose programs its machines run besides."""

    architecture: str
    sub_architectures: tuple[str, ...] = ()


class Filter(Value):
    """When a rule holds, or does not."""

    caps: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    min_kernel: str = ""


class Rule(Value):
    """Some system calls and what to do at them."""

    json_ranges = ranges(errno_ret=UINT)

    name: str = ""
    names: tuple[str, ...] = ()
    action: str
    errno_ret: int | None = None
    args: tuple[SyscallArg, ...] = ()
    comment: str = ""
    includes: Filter = Filter()
    excludes: Filter = Filter()


class Profile(Value):
    """The document."""

    json_ranges = ranges(default_errno_ret=UINT)

    default_action: str
    default_errno_ret: int | None = None
    architectures: tuple[str, ...] = ()
    arch_map: tuple[ArchitectureMap, ...] = ()
    flags: tuple[str, ...] = ()
    listener_path: str = ""
    listener_metadata: str = ""
    syscalls: tuple[Rule, ...] = ()


def parse_profile(text: str, capabilities: tuple[str, ...], arch: str, kernel: tuple[int, int]) -> Seccomp:
    """The filter that a profile's text says for this container and machine.

    Args:
        text: JSON.
        capabilities: that the container has.
        arch: the machine as uname(2) has it.
        kernel: major and minor version.

    Raises:
        InvalidInput: it is no profile.
    """
    try:
        profile = decode(Profile, jsontext.parse(text, name="the seccomp profile"), unknown=[])
        go_name, library_name = _MACHINES.get(arch, (arch, ""))
        seccomp = Seccomp(
            default_action=profile.default_action,
            default_errno_ret=profile.default_errno_ret,
            architectures=_architectures(profile, library_name),
            flags=profile.flags,
            listener_path=profile.listener_path,
            listener_metadata=profile.listener_metadata,
            syscalls=tuple(
                _syscall(rule)
                for rule in profile.syscalls
                if _includes(rule.includes, capabilities, go_name, kernel)
                and not _excludes(rule.excludes, capabilities, go_name, kernel)
            ),
        )
        check_seccomp(seccomp, path="$")
    except InvalidInput as error:
        raise InvalidInput(
            f"Decoding seccomp profile failed: {error.message}", code="bad-seccomp-profile", hint=error.hint
        ) from None
    return seccomp


def _architectures(profile: Profile, name: str) -> tuple[str, ...]:
    if profile.architectures and profile.arch_map:
        raise InvalidInput("use either 'architectures' or 'archMap'", code="bad-seccomp-profile")
    for each in profile.arch_map:
        if each.architecture == name:
            return (each.architecture, *each.sub_architectures)
    return profile.architectures


def _syscall(rule: Rule) -> Syscall:
    if rule.name and rule.names:
        raise InvalidInput("use either 'name' or 'names' for syscalls", code="bad-seccomp-profile")
    wanted = (rule.name,) if rule.name else rule.names
    return Syscall(names=wanted, action=rule.action, errno_ret=rule.errno_ret, args=rule.args)


def _includes(
    condition: Filter, capabilities: tuple[str, ...], machine: str, kernel: tuple[int, int]
) -> bool:
    """Whether everything holds that the condition names."""
    return (
        set(condition.caps) <= set(capabilities)
        and (not condition.arches or machine in condition.arches)
        and (not condition.min_kernel or kernel >= _version(condition.min_kernel))
    )


def _excludes(
    condition: Filter, capabilities: tuple[str, ...], machine: str, kernel: tuple[int, int]
) -> bool:
    """Whether anything holds that the condition names."""
    return (
        bool(set(condition.caps) & set(capabilities))
        or machine in condition.arches
        or (bool(condition.min_kernel) and kernel >= _version(condition.min_kernel))
    )


def _version(text: str) -> tuple[int, int]:
    try:
        return parse_kernel_version(text)
    except ValueError:
        raise InvalidInput(f"{text!r} is no kernel version", code="bad-seccomp-profile") from None
