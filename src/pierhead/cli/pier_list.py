"""``pier ps``, ``port``, ``top``, ``diff``, ``logs``: what containers are, do and say."""

from __future__ import annotations

import time

from pierhead.cli.engine_call import ask, open_engine
from pierhead.cli.flags import BadUsage, Flag, Verb
from pierhead.cli.rows import FILTER, FORMAT, NO_TRUNC, QUIET, short_id, show_rows
from pierhead.cli.words import filters
from pierhead.figures import format_age, format_columns, format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pierhead.cli.call import Call

    Document = dict[str, Any]

_COMMAND_WIDTH = 20
_MOUNT_WIDTH = 15
HEADINGS = {
    "ID": "CONTAINER ID",
    "Image": "IMAGE",
    "Command": "COMMAND",
    "RunningFor": "CREATED",
    "CreatedAt": "CREATED AT",
    "Status": "STATUS",
    "State": "STATE",
    "Ports": "PORTS",
    "Names": "NAMES",
    "Size": "SIZE",
    "Labels": "LABELS",
    "Mounts": "MOUNTS",
    "LocalVolumes": "LOCAL VOLUMES",
    "Networks": "NETWORKS",
}
_TABLE = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")


# ps


def _ps(call: Call) -> int:
    options = call.options
    form = options.text("format")
    limit = 1 if options.switch("latest") else options.number("last") or 0
    sized = options.switch("size") or ".Size" in form
    found = open_engine(call).get(
        "/containers/json",
        all=options.switch("all") or limit > 0,
        limit=limit or None,
        size=sized,
        filters=filters("filter", options.all("filter")),
    )
    whole = options.switch("no-trunc")
    if options.switch("quiet"):
        call.output.print("".join(f"{short_id(each['Id'], whole=whole)}\n" for each in found))
        return 0
    rows = (container_row(each, now_s=time.time(), whole=whole) for each in found)
    show_rows(call.output, form, rows, HEADINGS, (*_TABLE, "Size") if options.switch("size") else _TABLE)
    return 0


def container_row(document: Document, *, now_s: float, whole: bool) -> Document:
    """A container of the list, by docker's names of fields."""
    command = document.get("Command") or ""
    labels = document.get("Labels") or {}
    mounts = document.get("Mounts") or ()
    names = [name.removeprefix("/") for name in document.get("Names") or ()]
    created_s = document.get("Created") or 0
    image = document.get("Image") or "<no image>"
    if not whole and image.startswith("sha256:"):
        image = short_id(image)
    return {
        "ID": short_id(document["Id"], whole=whole),
        "Image": image,
        "Command": f'"{command if whole else _cut(command, _COMMAND_WIDTH)}"',
        "CreatedAt": time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(created_s)),
        "RunningFor": format_age(max(0.0, now_s - created_s)),
        "Ports": format_ports(document.get("Ports") or ()),
        "State": document.get("State") or "",
        "Status": document.get("Status") or "",
        "Size": _size(document),
        "Names": ",".join(names if whole else [name for name in names if "/" not in name]),
        "Labels": ",".join(f"{key}={value}" for key, value in sorted(labels.items())),
        "LocalVolumes": str(sum(each.get("Driver") == "local" for each in mounts)),
        "Mounts": ",".join(_mount_name(each, whole=whole) for each in mounts),
        "Networks": ",".join((document.get("NetworkSettings") or {}).get("Networks") or ()),
        "Label": lambda name: labels.get(name, ""),
    }


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _size(document: Document) -> str:
    own, seen = document.get("SizeRw") or 0, document.get("SizeRootFs") or 0
    return f"{format_size(own)} (virtual {format_size(seen)})" if seen else format_size(own)


def _mount_name(mount: Document, *, whole: bool) -> str:
    name = str(mount.get("Name") or mount.get("Source") or "")
    return name if whole else _cut(name, _MOUNT_WIDTH)


def format_ports(ports: Iterable[Document]) -> str:
    """``0.0.0.0:8000-8001->80-81/tcp, 90/udp``: neighbours are joined, as docker does."""
    keys = sorted(
        (
            (
                port.get("IP") or "",
                port.get("Type") or "tcp",
                port["PrivatePort"],
                port.get("PublicPort") or 0,
            )
            for port in ports
        ),
        key=lambda key: (key[2], key[3], key[0], key[1]),
    )
    groups: list[list[Any]] = []
    for address, protocol, inside, outside in keys:
        for group in groups:
            same = group[0] == address and group[1] == protocol and bool(group[4]) == bool(outside)
            if same and group[3] + 1 == inside and (not outside or group[5] + 1 == outside):
                group[3], group[5] = inside, outside
                break
        else:
            groups.append([address, protocol, inside, inside, outside, outside])
    return ", ".join(_port_text(group) for group in groups)


def _port_text(group: list[Any]) -> str:
    address, protocol, first, last, outside, outside_last = group
    inside = f"{first}-{last}" if last > first else str(first)
    if not outside:
        return f"{inside}/{protocol}"
    shown = f"[{address}]" if ":" in address else address
    ports = f"{outside}-{outside_last}" if outside_last > outside else str(outside)
    return f"{shown}:{ports}->{inside}/{protocol}"


# port


def _port(call: Call) -> int:
    engine = open_engine(call)
    found = ask(engine, lambda: engine.get(f"/containers/{call.arguments[0]}/json"))
    ports: Document = found["NetworkSettings"].get("Ports") or {}
    if len(call.arguments) > 1:
        number, _, protocol = call.arguments[1].partition("/")
        bindings = ports.get(f"{number}/{protocol or 'tcp'}")
        if not bindings:
            raise BadUsage(
                f"no public port {call.arguments[1]!r} published for {call.arguments[0]}",
                hint=f"pier port {call.arguments[0]} lists those that are",
            )
        call.output.print("".join(f"{_binding_text(each)}\n" for each in bindings))
        return 0
    lines = [
        f"{port} -> {_binding_text(each)}\n"
        for port, bindings in sorted(ports.items(), key=lambda item: int(item[0].partition("/")[0]))
        for each in bindings or ()
    ]
    call.output.print("".join(lines))
    return 0


def _binding_text(binding: Document) -> str:
    address = binding.get("HostIp") or "0.0.0.0"  # noqa: S104 - what docker shows
    return f"{f'[{address}]' if ':' in address else address}:{binding['HostPort']}"


# top, diff


def _top(call: Call) -> int:
    engine = open_engine(call)
    words = " ".join(call.arguments[1:])
    found = ask(engine, lambda: engine.get(f"/containers/{call.arguments[0]}/top", ps_args=words))
    call.output.print(format_columns([found["Titles"], *(found.get("Processes") or ())]))
    return 0


def _diff(call: Call) -> int:
    engine = open_engine(call)
    found = ask(engine, lambda: engine.get(f"/containers/{call.arguments[0]}/changes")) or ()
    call.output.print("".join(f"{'CAD'[each['Kind']]} {each['Path']}\n" for each in found))
    return 0


# wait, rename


def _wait(call: Call) -> int:
    from pierhead.cli.engine_call import on_each
    from pierhead.cli.pier_run import outcome_of

    engine = open_engine(call)

    def wait(name: str) -> int:
        with engine.open("POST", f"/containers/{name}/wait") as reply:
            return outcome_of(reply)

    return on_each(call, engine, call.arguments, wait)


def _rename(call: Call) -> int:
    engine = open_engine(call)
    name, wanted = call.arguments
    ask(engine, lambda: engine.post(f"/containers/{name}/rename", name=wanted))
    return 0


VERBS = {
    "ps": Verb(
        name="ps",
        about="list containers",
        flags=(
            Flag(name="all", short="a", kind="switch", about="those too that do not run"),
            FILTER,
            FORMAT,
            Flag(name="last", short="n", kind="number", value="N", about="the last ones that were made"),
            Flag(name="latest", short="l", kind="switch", about="the last one that was made"),
            NO_TRUNC,
            QUIET,
            Flag(name="size", short="s", kind="switch", about="how much each has written"),
        ),
        examples=(
            ("ps --all --filter status=exited", "those that have ended"),
            ("ps --format '{{.Names}}: {{.Status}}'", "in a form of one's own"),
        ),
        perform=_ps,
    ),
    "port": Verb(
        name="port",
        arguments="CONTAINER [PORT[/PROTOCOL]]",
        least=1,
        most=2,
        about="list a container's published ports",
        perform=_port,
    ),
    "top": Verb(
        name="top",
        arguments="CONTAINER [OPTION-OF-PS...]",
        least=1,
        most=None,
        about="list a container's processes",
        literal=True,
        perform=_top,
    ),
    "diff": Verb(
        name="diff",
        arguments="CONTAINER",
        least=1,
        most=1,
        about="list what a container has changed of its image's files",
        text="A was added, C changed, D deleted.",
        perform=_diff,
    ),
    "wait": Verb(
        name="wait",
        arguments="CONTAINER...",
        least=1,
        most=None,
        about="wait until containers have ended, and print their exit codes",
        perform=_wait,
    ),
    "rename": Verb(
        name="rename",
        arguments="CONTAINER NAME",
        least=2,
        most=2,
        about="give a container another name",
        perform=_rename,
    ),
}
