"""From the helper's words about an operation that failed to one sentence for people."""

from __future__ import annotations

import os

from pierhead.oci.numbers import CAPABILITY_NUMBERS, RLIMITS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pierhead.runtime.wire import Argument, Failure, Operation

    Named = Mapping[str, str]

_EPERM, _ENOENT, _EXDEV, _ENOTDIR, _EISDIR, _EINVAL, _ELOOP, _ETIMEDOUT = 1, 2, 18, 20, 21, 22, 40, 110
_ENOSPC = 28


def describe_failure(failure: Failure, operation: Operation | None, paths: Mapping[str, str]) -> str:
    """One sentence about what failed, naming the operation's object.

    Args:
        failure: the helper's.
        operation: the one that failed; None before the first.
        paths: of what was opened for the plan, by the names that operations use.
    """
    reason = _reason(failure)
    about = f" {failure.about}" if failure.about else ""
    at = f"{failure.doing}{about}: {reason}"
    if operation is None:
        return f"cannot start a process: {reason}" if failure.doing == "clone3" else at
    own = _OWN_WORDS.get(operation.name)
    named = {name: _shown(value) for name, value in operation.named_arguments()}
    if own is not None:
        return own(failure, operation, named, reason)
    if operation.name == "mount" and "'context'" in failure.about:
        return f"cannot apply mountLabel to {named['target']}: {at}"
    if operation.name == "setns":
        return _describe_join(failure, named["namespace"], paths, at)
    return f"{_subject(operation, named)}: {at}"


def _reason(failure: Failure) -> str:
    if failure.errno == _ENOSPC and failure.doing == "clone3":
        return "a limit of namespaces is reached (/proc/sys/user)"
    if failure.errno == _ELOOP and failure.doing == "openat2":
        return "a symbolic link is in the way"
    if failure.errno == _EXDEV and failure.doing == "find out where it leads":
        return "a symbolic link leads it into /proc"
    if failure.errno == _ENOTDIR and failure.doing == "move_mount":
        return "it is not a directory"
    if failure.errno == _EISDIR and failure.doing == "move_mount":
        return "it is a directory"
    return os.strerror(failure.errno).lower() if failure.errno else "failed"


def _hook(failure: Failure, operation: Operation, named: Named, reason: str) -> str:
    name = f"{operation.why.partition(':')[0]} hook ({named['path']})"
    if failure.doing == "hook failed":
        return f"{name} failed with {failure.about}"
    if failure.errno == _ETIMEDOUT:
        return f"{name} did not end within {int(named['timeout_ms']) // 1000} s"
    return f"{name} cannot be run: {reason}"


def _find_executable(failure: Failure, _: Operation, named: Named, reason: str) -> str:
    name = named["name"]
    if failure.doing == "search the PATH":
        found = "executable file not found in $PATH" if failure.errno == _ENOENT else "permission denied"
        return f'exec: "{name}": {found}'
    if failure.errno == _ENOENT:
        return f'exec: "{name}": stat {failure.about}: no such file or directory'
    return f'exec: "{name}": {reason}'


def _execute(failure: Failure, _: Operation, named: Named, reason: str) -> str:
    if failure.errno == _ENOENT:  # the program itself was found before
        reason = "no such file or directory: the interpreter or loader that it names is missing"
    return f'exec: "{named["arguments"]}": {reason}'


def _working_directory(_: Failure, __: Operation, named: Named, reason: str) -> str:
    return f"cannot change to the working directory {named['path']}: {reason}"


def _sysctl(_: Failure, __: Operation, named: Named, reason: str) -> str:
    parameter = named["path"].removeprefix("sys/")
    return f"cannot set the kernel parameter {parameter} to {named['value']!r}: {reason}"


def _console(failure: Failure, _: Operation, __: Named, reason: str) -> str:
    if failure.doing == "send the terminal":
        return f"cannot hand the terminal to the console socket: {reason}"
    return f"cannot make a terminal: {failure.doing} {failure.about}: {reason}"


def _capabilities(failure: Failure, operation: Operation, _: Named, reason: str) -> str:
    """Callers of runtimes know the beginning of these words."""
    wanted = int(operation.arguments[1])
    missing = wanted & ~_own_capabilities()
    lacking = [name for name, number in CAPABILITY_NUMBERS.items() if missing >> number & 1]
    if failure.errno == _EPERM and lacking:
        reason += f": {', '.join(lacking)} cannot be given, because the caller has not got it"
    return f"unable to apply caps: {reason}"


def _own_capabilities() -> int:
    """What this process may give away.  Source: proc_pid_status(5)."""
    from pierhead.linux.files import read_file

    for line in read_file("/proc/self/status").splitlines():
        if line.startswith(b"CapBnd:"):
            return int(line.split()[1], 16)
    return -1


_OWN_WORDS: dict[str, Callable[[Failure, Operation, Named, str], str]] = {
    "hook": _hook,
    "find_executable": _find_executable,
    "execute": _execute,
    "working_directory": _working_directory,
    "sysctl": _sysctl,
    "console": _console,
    "capabilities": _capabilities,
}


_FIELDS = {
    "timens_offsets": "timeOffsets",
    "scheduler": "scheduler",
    "io_priority": "ioPriority",
    "memory_policy": "memoryPolicy",
    "personality": "personality",
}
"""Operations whose object is a field of the configuration."""


def _describe_join(failure: Failure, name: str, paths: Mapping[str, str], at: str) -> str:
    if failure.errno == _EINVAL and name in paths:
        return f"cannot join the {name} {paths[name]}: it is not one"
    return f"cannot join the {name}: {at}"


def _subject(operation: Operation, named: Named) -> str:
    if operation.name in _FIELDS:
        return f"cannot apply {_FIELDS[operation.name]}"
    if operation.name == "mount":
        return f"cannot mount {named['type']} on {named['target']}"
    if operation.name == "bind":
        return f"cannot bind {named['source']} to {named['target']}"
    if operation.name == "label":
        field = "apparmorProfile" if named["attribute"].startswith("apparmor") else "selinuxLabel"
        return f"cannot apply {field} {named['value'].removeprefix('exec ')}"
    if operation.name == "rlimit":
        limit = next(kind for kind, number in RLIMITS.items() if str(number) == named["resource"])
        return f"cannot set {limit} to {named['soft']}:{named['hard']}"
    if operation.name == "keyring" and named["label"]:
        return f"cannot apply selinuxLabel {named['label']} to the session keyring"
    for key in ("path", "target", "name", "source"):
        if key in named:
            return f"cannot perform {operation.name} {named[key]}"
    return f"cannot perform {operation.name}"


def _shown(value: Argument) -> str:
    """An argument in words; of a list of strings the first."""
    return value.split(b"\0")[0].decode(errors="replace") if isinstance(value, bytes) else str(value)
