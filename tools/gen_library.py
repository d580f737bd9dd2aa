"""Writes the reference pages of the library from its docstrings: library.md, configuration.md and errors.md.

    python tools/gen_library.py

A test compares the pages with what this would write.
"""
# ruff: noqa: E501 - rows of a Markdown table are one line each

from __future__ import annotations

import ast
import inspect
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from pierhead import errors  # noqa: E402 - found by the line above
from pierhead.oci import runtime as oci  # noqa: E402
from pierhead.oci.document import decode, encode  # noqa: E402
from pierhead.oci.validate import check_spec  # noqa: E402
from pierhead.runtime import (  # noqa: E402
    attach,
    config,
    container,
    factory,
    hostroot,
    logs,
    lookup,
    process,
    stats,
    stdio,
    wire,
)
from pierhead.runtime.plan import launchplan  # noqa: E402
from pierhead.values import Value  # noqa: E402
from tools.docstrings import one_line, read  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

MADE = "<!-- Made by tools/gen_library.py from docstrings: change those. -->\n"


def _type(annotation: object) -> str:
    if annotation is inspect.Parameter.empty or annotation is None:
        return ""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(r"\bpierhead(?:\.\w+)*\.(?=[A-Z])", "", text)
    return text.strip("\"'")


def _default(value: object) -> str:
    """Short values as they are; what is long has a name in its module."""
    if isinstance(value, Value | tuple) and value:
        for name, known in vars(config).items():
            if known is value and name.isupper():
                return name
    if value == {} or callable(value):
        return "{}"
    return _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, Value):
        said = {name: each for name, each in value.__dict__.items() if value.defaults.get(name, ...) != each}
        return f"{type(value).__name__}({', '.join(f'{name}={_shown(each)}' for name, each in said.items())})"
    if isinstance(value, tuple) and value:
        return f"({', '.join(map(_shown, value))}{',' if len(value) == 1 else ''})"
    return repr(value)


def signature(function: Callable[..., object], *, name: str = "") -> str:
    """A call as one writes it, with types."""
    parts = []
    keyword_only = False
    parameters = inspect.signature(function).parameters
    for each, parameter in parameters.items():
        if each == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not keyword_only:
            parts.append("*")
            keyword_only = True
        kind = _type(parameter.annotation)
        shown = f"{each}: {kind}" if kind else each
        if parameter.default is not parameter.empty:
            shown += f" = {_default(parameter.default)}"
        parts.append(shown)
    returned = _type(inspect.signature(function).return_annotation)
    whole = f"{name or function.__name__}({', '.join(parts)})"
    if len(whole) > 100:
        inner = "".join(f"    {part},\n" for part in parts)
        whole = f"{name or function.__name__}(\n{inner})"
    return whole + (f" -> {returned}" if returned not in ("", "None") else "")


def _items(title: str, items: Iterable[tuple[str, str]]) -> str:
    lines = [
        f"- {f'`{name}`: ' if name else ''}{' '.join(text.split())}" for name, text in items if name or text
    ]
    return f"{title}\n\n" + "\n".join(lines) + "\n\n" if lines else ""


def describe_function(function: Callable[..., object], *, level: int, name: str = "") -> str:
    """A function's or method's section."""
    about = read(function)
    text = f"{'#' * level} {function.__name__}\n\n```text\n{signature(function, name=name)}\n```\n\n{about.text}\n\n"
    text += _items("Parameters:", about.section("Args"))
    text += _items("Returns:", about.section("Returns"))
    return text + _items("Raises:", about.section("Raises"))


def _members(cls: type) -> Iterator[tuple[str, object]]:
    for name, member in vars(cls).items():
        if not name.startswith("_"):
            yield name, member


def describe_class(cls: type, *, level: int = 2) -> str:
    """A class's section: its text, attributes, properties and methods."""
    about = read(cls)
    text = f"{'#' * level} {cls.__name__}\n\n{about.text}\n\n"
    if issubclass(cls, Value):
        text += fields_table(cls)
    elif read(cls.__init__).section("Args"):
        text += f"```text\n{signature(cls.__init__, name=cls.__name__)}\n```\n\n"
        text += _items("Parameters:", read(cls.__init__).section("Args"))
    attributes = [item for item in about.section("Attributes") if not issubclass(cls, Value)]
    properties = [(name, read(member).text) for name, member in _members(cls) if isinstance(member, property)]
    text += _items("Attributes:", [*attributes, *properties])
    for name, member in _members(cls):
        function = member.__func__ if isinstance(member, classmethod) else member
        if inspect.isfunction(function) and not (
            issubclass(cls, Value) and name in ("check", "open", "open_log", "log_header")
        ):
            owner = cls.__name__ if isinstance(member, classmethod) else cls.__name__.lower()
            text += (
                describe_function(function, level=level + 1, name=f"{owner}.{name}")
                .replace("(cls, ", "(")
                .replace("(cls)", "()")
            )
    return text


def _field_texts(cls: type) -> dict[str, str]:
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        for section in read(base).sections if base is not object else ():
            for names, text in section.items:
                found.update(dict.fromkeys(names.replace(",", " ").split(), text))
    return found


def _annotations(cls: type) -> dict[str, object]:
    found: dict[str, object] = {}
    for base in reversed(cls.__mro__):
        found.update(
            {
                name: kind
                for name, kind in vars(base).get("__annotations__", {}).items()
                if name in getattr(cls, "fields", ())
            }
        )
    return found


def fields_table(cls: type[Value]) -> str:
    """The fields of a value."""
    texts, kinds = _field_texts(cls), _annotations(cls)
    rows = []
    for name in cls.fields:
        default = f"`{_default(cls.defaults[name])}`" if name in cls.defaults else "required"
        rows.append(
            f"| `{name}` | `{one_line(_type(kinds.get(name)))}` | {one_line(default)} | {one_line(texts.get(name, ''))} |"
        )
    return "| field | type | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows) + "\n\n"


_LIBRARY_INTRO = """`pierhead.runtime` is the public face: `Config`, `Container`, `Device`, `ExitStatus`, `Mount`, `Network`, `Process`,
`ProcessSpec`, `RootOverlay`, `Route`, `Stdio`, `config_from_spec`, `create`, `host_rootfs`, `list_ids`, `load`,
`plan_launch`, `run`. Other modules are named where they are public. Values of limits, hooks and the like come from
`pierhead.oci.runtime`; their fields are in [Configuration](configuration.md). Errors are in [Errors](errors.md).

Containers and clients are context managers: leaving the block gives their descriptors back, and the container goes on.
Everything is synchronous and safe to call from several threads. Nothing forks and no signal handler is set. Importing
`pierhead.runtime` costs nothing: names are loaded when they are used.

A typical use:

```python
from pierhead.runtime import Config, ProcessSpec, run

config = Config(rootfs="/srv/busybox", process=ProcessSpec(args=("true",)))
with run("/run/example", "one", config) as container:
    status = container.wait()
    container.delete()
print(status.code)
```

```output
0
```

## Make and find containers

"""


def library() -> str:
    """library.md."""
    text = f"{MADE}\n# The library\n\n"
    text += _LIBRARY_INTRO
    for function in (
        factory.create,
        factory.run,
        lookup.load,
        lookup.list_ids,
        factory.plan_launch,
        hostroot.host_rootfs,
        config.config_from_spec,
    ):
        text += describe_function(function, level=3)
    text += "".join(
        map(describe_class, (container.Container, process.Process, process.ExitStatus, stdio.Stdio))
    )
    text += "## Plans\n\nWhat `plan_launch`, `Container.plan_exec` and `--explain` show.\n\n"
    for plan_class in (launchplan.LaunchPlan, wire.Operation, launchplan.Slot):
        text += describe_class(plan_class, level=3)
    text += "## What a monitor keeps\n\nIn `pierhead.runtime.attach` and `pierhead.runtime.logs`.\n\n"
    text += describe_class(attach.AttachClient, level=3) + describe_class(attach.Ending, level=3)
    text += describe_function(logs.read_log, level=3) + describe_class(logs.LogEntry, level=3)
    text += "## Statistics\n\nIn `pierhead.runtime.stats`. Times are nanoseconds, sizes bytes, on every kind of cgroup.\n\n"
    for name in (
        "Stats",
        "CpuStats",
        "CpusetStats",
        "MemoryStats",
        "MemoryEntry",
        "PidsStats",
        "BlkioStats",
        "BlkioEntry",
        "HugetlbStats",
        "RdmaStats",
        "InterfaceStats",
        "PressureStats",
        "Pressure",
    ):
        text += describe_class(getattr(stats, name), level=3)
    text += "## OCI documents\n\nIn `pierhead.oci.document` and `pierhead.oci.validate`.\n\n"
    text += "".join(describe_function(each, level=3) for each in (decode, encode, check_spec))
    return text.rstrip() + "\n"


# Configuration ------------------------------------------------------------------------------------------------

OCI_FIELDS = {
    "rootfs": "root.path",
    "copy_on_write": "annotations, `io.pierhead.rootfs.copy-on-write`",
    "readonlyfs": "root.readonly",
    "mounts": "mounts",
    "devices": "linux.devices",
    "mount_label": "linux.mountLabel",
    "rootfs_propagation": "linux.rootfsPropagation",
    "mask_paths": "linux.maskedPaths",
    "readonly_paths": "linux.readonlyPaths",
    "namespaces": "linux.namespaces",
    "uid_mappings": "linux.uidMappings",
    "gid_mappings": "linux.gidMappings",
    "time_offsets": "linux.timeOffsets",
    "hostname": "hostname",
    "domainname": "domainname",
    "sysctl": "linux.sysctl",
    "personality": "linux.personality",
    "net_devices": "linux.netDevices",
    "resources": "linux.resources",
    "cgroup_path": "linux.cgroupsPath",
    "systemd_properties": "annotations, `org.systemd.property.*`",
    "intel_rdt": "linux.intelRdt",
    "memory_policy": "linux.memoryPolicy",
    "capabilities": "process.capabilities",
    "seccomp": "linux.seccomp",
    "no_new_privileges": "process.noNewPrivileges",
    "apparmor_profile": "process.apparmorProfile",
    "process_label": "process.selinuxLabel",
    "rlimits": "process.rlimits",
    "oom_score_adj": "process.oomScoreAdj",
    "io_priority": "process.ioPriority",
    "scheduler": "process.scheduler",
    "exec_cpu_affinity": "process.execCPUAffinity",
    "umask": "process.user.umask",
    "additional_groups": "process.user.additionalGids",
    "process": "process",
    "hooks": "hooks",
    "annotations": "annotations",
    "bundle": "the bundle's directory",
    "oci_version": "ociVersion",
    "no_pivot_root": "`--no-pivot`",
    "no_new_keyring": "`--no-new-keyring`",
    "cgroup_manager": "`--cgroup-manager`, `--systemd-cgroup`",
}
"""Where a field of Config stands in an OCI document, or the flag of pier-runtime that sets it."""

PROCESS_FIELDS = {
    "args": "args",
    "env": "env",
    "cwd": "cwd",
    "user": "user",
    "additional_groups": "user.additionalGids",
    "terminal": "terminal",
    "console_size": "consoleSize",
    "capabilities": "capabilities",
    "rlimits": "rlimits",
    "no_new_privileges": "noNewPrivileges",
    "apparmor_profile": "apparmorProfile",
    "process_label": "selinuxLabel",
    "oom_score_adj": "oomScoreAdj",
    "io_priority": "ioPriority",
    "scheduler": "scheduler",
    "exec_cpu_affinity": "execCPUAffinity",
}

_LEAVES = (
    "Resources",
    "Memory",
    "Cpu",
    "Pids",
    "BlockIO",
    "WeightDevice",
    "ThrottleDevice",
    "HugepageLimit",
    "Network",
    "InterfacePriority",
    "Rdma",
    "DeviceRule",
    "Namespace",
    "IDMapping",
    "TimeOffset",
    "User",
    "Capabilities",
    "Rlimit",
    "Hooks",
    "Hook",
    "Seccomp",
    "Syscall",
    "SyscallArg",
    "NetDevice",
    "IOPriority",
    "Scheduler",
    "ExecCPUAffinity",
    "MemoryPolicy",
    "Personality",
    "Box",
)


def _config_table(cls: type[Value], names: Iterable[str], places: dict[str, str]) -> str:
    texts, kinds = _field_texts(cls), _annotations(cls)
    rows = []
    for name in names:
        default = f"`{_default(cls.defaults[name])}`" if name in cls.defaults else "required"
        place = places.get(name, "")
        shown = place if "`" in place or " " in place or not place else f"`{place}`"
        rows.append(
            f"| `{name}` | `{one_line(_type(kinds[name]))}` | {one_line(default)} | {shown or '-'} | {one_line(texts.get(name, ''))} |"
        )
    return "| field | type | default | OCI | meaning |\n|---|---|---|---|---|\n" + "\n".join(rows) + "\n\n"


def _constant(name: str) -> str:
    value = getattr(config, name)
    if name == "DEFAULT_MOUNTS":
        shown = "\n".join(f"{each.destination:<16} {each.type:<8} {','.join(each.options)}" for each in value)
    elif name == "DEFAULT_CAPABILITIES":
        shown = " ".join(word.removeprefix("CAP_") for word in value.bounding)
    elif name == "DEFAULT_NAMESPACES":
        shown = " ".join(each.type for each in value)
    else:
        shown = "\n".join(str(each) for each in value) if isinstance(value, tuple) else repr(value)
    return f"`{name}`\n\n```text\n{shown}\n```\n\n"


def configuration() -> str:
    """configuration.md."""
    text = f"{MADE}\n# Configuration\n\n"
    text += """A container is described by a `Config`. From Python one makes the value; `nsinit` reads it as JSON, with the same names
(`nsinit config` writes such a file); an OCI bundle's `config.json` says the same in its own document. The column *OCI*
has the place there, or the flag of `pier-runtime`; `-` is for what OCI documents cannot say.

Defaults are the library's. An OCI document takes nothing from them: what it does not say, the container does not have.
Wrong values are errors with the JSON path of the culprit, before anything is made.

"""
    done: set[str] = set()
    for section in read(config.Config).sections:
        names = [
            name
            for names, _ in section.items
            for name in names.replace(",", " ").split()
            if name in config.Config.fields
        ]
        done.update(names)
        more = []
        if section.title.startswith("Every process"):
            more = [name for name in config.Config.fields if name in PROCESS_FIELDS and name not in names]
        title = section.title.split(",")[0]
        text += f"## {title}\n\n" + _config_table(config.Config, dict.fromkeys((*names, *more)), OCI_FIELDS)
        done.update(more)
    missing = set(config.Config.fields) - done
    assert not missing, f"fields that Config's docstring does not name: {missing}"
    text += (
        "## ProcessSpec\n\n" + read(config.ProcessSpec).text + "\n\nThe column *OCI* is below `process`.\n\n"
    )
    text += _config_table(config.ProcessSpec, config.ProcessSpec.fields, PROCESS_FIELDS)
    for cls in (config.RootOverlay, config.Mount, config.Device, config.Network, config.Route):
        text += f"## {cls.__name__}\n\n{read(cls).text}\n\n" + fields_table(cls)
    text += "## Values of OCI documents\n\nIn `pierhead.oci.runtime`, with the specification's fields in snake case.\n\n"
    for name in _LEAVES:
        cls = getattr(oci, name)
        title = "Network (of Resources)" if name == "Network" else name
        text += f"### {title}\n\n{read(cls).text}\n\n" + _plain_table(cls)
    text += "## Defaults\n\n"
    for name in (
        "DEFAULT_NAMESPACES",
        "DEFAULT_MOUNTS",
        "DEFAULT_CAPABILITIES",
        "DEFAULT_MASK_PATHS",
        "DEFAULT_READONLY_PATHS",
        "DEFAULT_ENV",
    ):
        text += _constant(name)
    return text.rstrip() + "\n"


def _plain_table(cls: type[Value]) -> str:
    kinds = _annotations(cls)
    rows = []
    for name in cls.fields:
        default = f"`{_default(cls.defaults[name])}`" if name in cls.defaults else "required"
        rows.append(f"| `{name}` | `{one_line(_type(kinds[name]))}` | {one_line(default)} |")
    return "| field | type | default |\n|---|---|---|\n" + "\n".join(rows) + "\n\n"


# Errors -------------------------------------------------------------------------------------------------------


def _message(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(
            "…" if isinstance(part, ast.FormattedValue) else str(part.value)
            for part in node.values
            if isinstance(part, ast.Constant | ast.FormattedValue)
        )
    return "…"


def codes() -> list[tuple[str, str, str]]:
    """Every code that is raised: code, class, message with … for what differs."""
    kinds = {name for name, member in vars(errors).items() if isinstance(member, type)} | {
        "BadUsage",
        "LaunchFailed",
        "invalid",
    }
    found: dict[tuple[str, str], str] = {}
    for path in sorted((ROOT / "src/pierhead").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if (
                not isinstance(node, ast.Call)
                or not isinstance(node.func, ast.Name)
                or node.func.id not in kinds
            ):
                continue
            code = next((word.value for word in node.keywords if word.arg == "code"), None)
            if isinstance(code, ast.Constant) and code.value and node.args:
                kind = "InvalidInput" if node.func.id == "invalid" else node.func.id
                found.setdefault((str(code.value), kind), _message(node.args[0]))
    return [(code, kind, message) for (code, kind), message in sorted(found.items())]


def errors_page() -> str:
    """errors.md."""
    text = f"{MADE}\n# Errors\n\n"
    text += """Every error that Pierhead raises on purpose is a `PierheadError` of `pierhead.errors`. Its kind says what sort of thing went
wrong; its `code` says exactly what, for programs; its message is one sentence for people, without a full stop, and names the
object. `hint` says what to do, where there is something to do. Notes (`__notes__`) tell of a clean-up that failed as well.

```python
from pierhead.errors import NotFound, PierheadError
from pierhead.runtime import load

try:
    load("/run/example", "nobody")
except NotFound as error:
    print(error.code, error.status)
    print(error.message)
```

```output
container-not-found 404
container does not exist: nobody
```

## Kinds

"""
    text += (
        "```text\n" + (errors.__doc__ or "").split("\n\n")[1].replace("\n    ", "\n").strip() + "\n```\n\n"
    )
    text += """The number is the HTTP status that an engine gives. On the command line every error is exit status 1 (255 for `exec`): see
[Exit statuses](exit-codes.md). `InvalidInput.path` has the JSON path of the culprit. `OperationFailed.errno` has the
kernel's number, or 0. `LaunchFailed` (`pierhead.runtime.handshake`), an `OperationFailed`, has the `operation` of the plan
that failed, and the helper's own words in `failure`.

An `OSError` may come from the state root itself: no rights there, a full disk. Exceptions of other types are faults of
Pierhead, or of the caller (`TypeError`).

## Codes

A code does not change once it is released; messages may. Where no code is given an error has its kind's: `invalid-input`,
`forbidden`, `not-found`, `conflict`, `unsupported`, `unavailable`, `timed-out`, `operation-failed`, `launch-failed`.

| code | kind | message, for example |
|---|---|---|
"""
    text += "".join(f"| `{code}` | {kind} | {one_line(message)} |\n" for code, kind, message in codes())
    return text


PAGES = {"library.md": library, "configuration.md": configuration, "errors.md": errors_page}


def main() -> None:
    """Writes the pages."""
    for name, make in PAGES.items():
        (ROOT / "docs/reference" / name).write_text(make())


if __name__ == "__main__":
    main()
