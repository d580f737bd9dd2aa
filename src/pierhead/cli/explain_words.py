"""Operations of a launch plan in words: arguments as people write them, numbers by the kernel's names."""

from __future__ import annotations

from pierhead.oci.numbers import CAPABILITIES, NAMESPACES, RLIMITS, SCHEDULER_POLICIES
from pierhead.runtime import wire_table as wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from pierhead.runtime.plan.launchplan import LaunchPlan
    from pierhead.runtime.wire import Argument, Operation

    Named = Mapping[str, Any]

# mount_setattr(2): the times are a number of their own within the flags.
_ATTRIBUTES = {
    0x1: "RDONLY",
    0x2: "NOSUID",
    0x4: "NODEV",
    0x8: "NOEXEC",
    0x10: "NOATIME",
    0x20: "STRICTATIME",
    0x80: "NODIRATIME",
    0x100000: "IDMAP",
    0x200000: "NOSYMFOLLOW",
}
# mount(2), the flags that set propagation.
_PROPAGATION = {
    0x4000: "REC",
    0x20000: "UNBINDABLE",
    0x40000: "PRIVATE",
    0x80000: "SLAVE",
    0x100000: "SHARED",
}
_OPEN_TREE = {0x1: "OPEN_TREE_CLONE", 0x8000: "AT_RECURSIVE", 0x80000: "OPEN_TREE_CLOEXEC"}
_CLONE_NAMES = {
    "time": "NEWTIME",
    "mount": "NEWNS",
    "cgroup": "NEWCGROUP",
    "uts": "NEWUTS",
    "ipc": "NEWIPC",
    "user": "NEWUSER",
    "pid": "NEWPID",
    "network": "NEWNET",
}
_CLONES = {NAMESPACES[kind]: name for kind, name in _CLONE_NAMES.items()}
_SYNCS = {
    wire.SYNC_MAPS: "id maps, cgroup, OOM score",
    wire.SYNC_NETWORK: "the network",
    wire.SYNC_HOOKS: "hooks",
    wire.SYNC_SECCOMP: "the seccomp agent",
    wire.SYNC_LIMITS: "resource limits",
}
_FILE_TYPES = {0o020000: "c", 0o060000: "b", 0o010000: "p"}
_WORLD = 0xFFFFFFFF
_UNLIMITED = 2**64 - 1
_INSTRUCTION_BYTES = 8


def describe(operation: Operation) -> str:
    """What the operation does, with its arguments; a second line holds details."""
    named = dict(operation.named_arguments())
    words = _WORDS.get(operation.name)
    return words(named) if words else _plainly(operation.name, named)


def clone_words(plan: LaunchPlan) -> str:
    """The clone between the plan's operations."""
    details = []
    if plan.into_cgroup:
        details.append("into its cgroup where that is version 2")
    for name, mappings in (("uids", plan.uid_mappings), ("gids", plan.gid_mappings)):
        spans = [f"{each.container_id}={each.host_id}+{each.size}" for each in mappings]
        if spans:
            details.append(f"{name} {' '.join(spans)}")
    return "\n".join((f"clone3 {flag_names(plan.clone_flags, _CLONES, 'CLONE_')}".rstrip(), *details))


def flag_names(value: int, names: Mapping[int, str], prefix: str) -> str:
    """``PREFIX_A|B|0x40``: names of the bits that are set, what is left as a number."""
    found = []
    for bit, name in names.items():
        if value & bit == bit:
            found.append(name)
            value &= ~bit
    if value:
        found.append(hex(value))
    return prefix + "|".join(found) if found else ""


def capability_names(mask: int) -> str:
    """The capabilities in a set, without their common prefix."""
    count = len(CAPABILITIES)
    if mask & ((1 << count) - 1) == (1 << count) - 1:
        return "all"
    names = [name.removeprefix("CAP_") for number, name in enumerate(CAPABILITIES) if mask >> number & 1]
    return " ".join(names) if names else "none"


def strings(value: Argument) -> list[str]:
    """A list of NUL-ended strings."""
    data = value if isinstance(value, bytes) else str(value).encode()
    return [part.decode(errors="replace") for part in data.split(b"\0")[:-1]]


def argument_words(arguments: Iterable[str]) -> str:
    """A command line as one would type it."""
    return " ".join(_quoted(word) for word in arguments)


def _quoted(word: str) -> str:
    plain = word and all(letter.isalnum() or letter in "@%+=:,./-_" for letter in word)
    return word if plain else "'" + word.replace("'", "'\\''").replace("\n", "\\n") + "'"


def _plainly(name: str, named: Named) -> str:
    shown = (f"{key}={_plain(value)}" for key, value in named.items() if value not in ("", b"", 0))
    return " ".join((name, *shown))


def _plain(value: Argument) -> str:
    return f"{len(value)} bytes" if isinstance(value, bytes) else str(value)


def _number(named: Named, name: str) -> int:
    value = named.get(name, 0)
    return value if isinstance(value, int) else 0


def _lines(first: str, *details: str) -> str:
    return "\n".join((first, *(detail for detail in details if detail)))


def _attributes(value: int) -> str:
    return flag_names(value, _ATTRIBUTES, "MOUNT_ATTR_")


def _change(named: Named) -> str:
    """Attributes that are set and cleared."""
    on, off = _attributes(_number(named, "set")), _attributes(_number(named, "clear") & ~0x70)
    return " ".join(part for part in (on, f"without {off}" if off else "") if part)


def _propagation(named: Named, key: str = "propagation") -> str:
    return flag_names(_number(named, key), _PROPAGATION, "MS_")


def _mount(named: Named) -> str:
    kind, source, target = (str(named[key]) for key in ("type", "source", "target"))
    of = f" of {source}" if source not in (kind, "", "none", "shm", "cgroup") else ""
    options = _mount_options(named["options"])
    return _lines(
        f"mount {kind}{of} on {target}",
        " ".join(part for part in (_attributes(_number(named, "attributes")), _propagation(named)) if part),
        f"-o {options}" if options else "",
    )


def _mount_options(encoded: Argument) -> str:
    """``f`` and a name, or ``s``, a name and a value, each ended by NUL."""
    parts = strings(encoded)
    found = []
    while parts:
        word = parts.pop(0)
        found.append(f"{word[1:]}={parts.pop(0)}" if word.startswith("s") and parts else word[1:])
    return ",".join(found)


def _bind(named: Named) -> str:
    flags = _number(named, "flags")
    source = str(named["source"] or named["tree"])
    recursive = " with all below it" if flags & wire.BIND_RECURSIVE else ""
    details = [_change(named), _propagation(named)]
    if named.get("userns"):
        details.append(f"ids mapped as {named['userns']}")
    return _lines(
        f"bind {source}{recursive} to {named['target']}", " ".join(part for part in details if part)
    )


def _open_tree(named: Named) -> str:
    mapped = f"ids mapped as {named['userns']}" if named.get("userns") else ""
    flags = flag_names(_number(named, "flags"), _OPEN_TREE, "")
    return _lines(f"open_tree {named['source']} as {named['slot']}", flags, mapped)


def _mknod(named: Named) -> str:
    mode, device = _number(named, "mode"), _number(named, "device")
    kind = _FILE_TYPES.get(mode & 0o170000, "?")
    numbers = f" {device >> 32}:{device & 0xFFFFFFFF}" if kind != "p" else ""
    return f"mknod {named['path']} {kind}{numbers} mode {mode & 0o7777:04o}{_owner(named)}"


def _owner(named: Named) -> str:
    uid, gid = _number(named, "uid"), _number(named, "gid")
    return f" owner {uid}:{gid}" if uid or gid else ""


def _rlimit(named: Named) -> str:
    numbers = {number: name for name, number in RLIMITS.items()}
    soft, hard = (_limit(_number(named, key)) for key in ("soft", "hard"))
    return f"rlimit {numbers.get(_number(named, 'resource'), named['resource'])} soft {soft} hard {hard}"


def _limit(value: int) -> str:
    return "unlimited" if value == _UNLIMITED else str(value)


def _identity(named: Named) -> str:
    data = named["groups"] if isinstance(named["groups"], bytes) else b""
    groups = [str(int.from_bytes(data[at : at + 4], "little")) for at in range(0, len(data), 4)]
    kept = "keeping capabilities" if _number(named, "flags") & wire.IDENTITY_KEEP_CAPS else ""
    more = f"groups {' '.join(groups)}" if groups else ""
    return _lines(f"identity uid {named['uid']} gid {named['gid']}", more, kept)


def _capabilities(named: Named) -> str:
    sets = {key: capability_names(_number(named, key)) for key in ("effective", "permitted", "inheritable")}
    if sets["effective"] == sets["permitted"]:
        first = f"effective and permitted: {sets['effective']}"
        return _lines("capabilities", first, f"inheritable: {sets['inheritable']}")
    return _lines("capabilities", *(f"{key}: {names}" for key, names in sets.items()))


def _program(data: Argument) -> str:
    count = len(data) // _INSTRUCTION_BYTES if isinstance(data, bytes) else 0
    return f"{count} instructions"


def _scheduler(named: Named) -> str:
    data = named["attributes"] if isinstance(named["attributes"], bytes) else b""
    policies = {number: name for name, number in SCHEDULER_POLICIES.items()}
    policy = int.from_bytes(data[4:8], "little")
    return f"scheduler {policies.get(policy, policy)}"


def _affinity(named: Named) -> str:
    data = named["mask"] if isinstance(named["mask"], bytes) else b""
    mask = int.from_bytes(data, "little")
    return "affinity to processors " + ",".join(str(at) for at in range(mask.bit_length()) if mask >> at & 1)


def _hook(named: Named) -> str:
    timeout_ms = _number(named, "timeout_ms")
    limit = f"at most {timeout_ms / 1000:g} s" if timeout_ms else ""
    return _lines(f"hook {named['path']}", argument_words(strings(named["arguments"])), limit)


def _working_directory(named: Named) -> str:
    flags = _number(named, "flags")
    return f"chdir {named['path']}" + (" again" if flags & wire.DIRECTORY_AGAIN else "")


def _find(named: Named) -> str:
    name = str(named["name"])
    return f"find {name}" + ("" if "/" in name else f"\nin {':'.join(strings(named['directories']))}")


def _descriptors(named: Named) -> str:
    count = _number(named, "count")
    return "close all descriptors but 0 1 2" + (f" and {count} from 3 on" if count else "")


def _stdio(named: Named) -> str:
    kept = [f"{number}={named[key] or 'as it is'}" for number, key in enumerate(("input", "output", "error"))]
    owner = _number(named, "uid")
    return _lines(f"stdio {' '.join(kept)}", f"owner {owner}" if owner else "")


def _console(named: Named) -> str:
    rows, columns = _number(named, "rows"), _number(named, "columns")
    size = f"{columns} x {rows} characters" if rows or columns else ""
    where = "mounted on /dev/console" if named["mount"] else ""
    return _lines("console a new terminal", " ".join(part for part in (size, where) if part))


def _execute(named: Named) -> str:
    count = len(strings(named["environment"]))
    return _lines(f"execve {argument_words(strings(named['arguments']))}", f"with {count} variables")


def _remount(named: Named) -> str:
    return _lines(
        f"change mount {named['target']}", " ".join(p for p in (_change(named), _propagation(named)) if p)
    )


_WORDS: dict[str, Callable[[Named], str]] = {
    "affinity": _affinity,
    "ambient_set": lambda named: f"ambient_set\n{capability_names(_number(named, 'mask'))}",
    "become_root": lambda named: f"become_root uid {named['uid']} gid {named['gid']}",
    "bind": _bind,
    "bind_node": lambda named: f"bind the host's {named['path']}",
    "bounding_set": lambda named: f"bounding_set\n{capability_names(_number(named, 'mask'))}",
    "capabilities": _capabilities,
    "console": _console,
    "device_program": lambda named: (
        f"load device program, {_program(named['program'])}\non {named['cgroup']}"
    ),
    "domainname": lambda named: f"setdomainname {named['name']}",
    "execute": _execute,
    "find_executable": _find,
    "gate": lambda _: "wait at the gate",
    "hook": _hook,
    "hostname": lambda named: f"sethostname {named['name']}",
    "identity": _identity,
    "join_cgroup": lambda named: f"join {named['file']}",
    "keyring": lambda _: "new session keyring",
    "label": lambda named: f"label {named['attribute']} {named['value']}",
    "loopback_up": lambda _: "bring lo up",
    "mask": lambda named: f"mask {named['path']}",
    "mkdir": lambda named: f"mkdir {named['path']} mode {_number(named, 'mode') & 0o7777:04o}{_owner(named)}",
    "mknod": _mknod,
    "mount": _mount,
    "move_root": lambda _: "move root over /, chroot",
    "netlink_socket": lambda _: "open a netlink socket for the launcher",
    "no_new_privileges": lambda _: "prctl PR_SET_NO_NEW_PRIVS",
    "open_tree": _open_tree,
    "own_descriptors": _descriptors,
    "parent_death_signal": lambda named: f"prctl PR_SET_PDEATHSIG {named['signal']}",
    "personality": lambda named: f"personality {hex(_number(named, 'persona') & _WORLD)}",
    "pivot_root": lambda named: f"pivot_root {named['old'] or 'onto itself'}",
    "propagation": lambda named: f"propagation of {named['path']} {_propagation(named, 'flags')}",
    "readonly": lambda named: f"read-only {named['path']}",
    "ready": lambda _: "tell the launcher: ready",
    "remount": _remount,
    "reopen_null": lambda _: "reopen /dev/null",
    "rlimit": _rlimit,
    "root": lambda named: f"root is {named['path']}",
    "root_attributes": lambda named: f"root {_attributes(_number(named, 'set'))}",
    "root_here": lambda _: "root is / as it is here",
    "scheduler": _scheduler,
    "seccomp": lambda named: (
        f"seccomp filter of {_program(named['program'])}" + (", with a listener" if named["listen"] else "")
    ),
    "session": lambda _: "setsid",
    "setns": lambda named: (
        f"setns {named['namespace']}\n{flag_names(_number(named, 'kind'), _CLONES, 'CLONE_')}"
    ),
    "stdio": _stdio,
    "symlink": lambda named: f"symlink {named['path']} to {named['target']}",
    "sync": lambda named: f"wait for the launcher: {_SYNCS.get(_number(named, 'tag'), named['tag'])}",
    "sysctl": lambda named: f"sysctl {str(named['path']).removeprefix('sys/')} = {named['value']}",
    "timens_offsets": lambda named: f"time offsets {argument_words(str(named['text']).split())}",
    "umask": lambda named: f"umask {_number(named, 'mask'):04o}",
    "unshare": lambda named: f"unshare {flag_names(_number(named, 'flags'), _CLONES, 'CLONE_')}",
    "working_directory": _working_directory,
}
