"""``pier system …``, ``info``, ``version``, ``events``, ``container prune``: about the engine as a whole."""

from __future__ import annotations

import time

from pierhead.cli.engine_call import open_engine
from pierhead.cli.flags import Flag, Verb
from pierhead.cli.pier_places import FORCE, print_pruned
from pierhead.cli.prompt import agrees
from pierhead.cli.rows import FILTER
from pierhead.cli.words import filters, moment_of
from pierhead.figures import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.call import Call

    Document = dict[str, Any]

_FORM = Flag(name="format", short="f", value="TEMPLATE", about="json, or a template in Go's language")
_NS = 1_000_000_000


def _show(call: Call, document: Document, text: str) -> int:
    form = call.options.text("format")
    if form == "json":
        from pierhead.jsontext import format_compact

        text = f"{format_compact(document)}\n"
    elif form:
        from pierhead.templates.gotemplate import format_template

        text = f"{format_template(form, document)}\n"
    call.output.print(text)
    return 0


# version, info


def _version(call: Call) -> int:
    import os
    import sys

    import pierhead
    from pierhead.client.engine import API_VERSION

    engine = open_engine(call)
    server = engine.get("/version")
    client = {
        "Version": pierhead.__version__,
        "ApiVersion": API_VERSION,
        "Os": "linux",
        "Arch": os.uname().machine,
        "PythonVersion": sys.version.partition(" ")[0],
    }
    text = "".join(
        (
            f"Client:\n{_lines(client, ('Version', 'ApiVersion', 'PythonVersion'))}",
            f"\nServer: at {engine.address}\n",
            _lines(server, ("Version", "ApiVersion", "MinAPIVersion", "KernelVersion", "Os", "Arch")),
            *(
                f" {each['Name']}:\n  Version:         {each['Version']}\n"
                for each in server.get("Components") or ()
            ),
        )
    )
    return _show(call, {"Client": client, "Server": server}, text)


_TITLES = {
    "ApiVersion": "API version",
    "MinAPIVersion": "Oldest API",
    "PythonVersion": "Python",
    "KernelVersion": "Kernel",
}


def _lines(document: Document, names: tuple[str, ...]) -> str:
    return "".join(f" {_TITLES.get(name, name) + ':':<17} {document.get(name, '')}\n" for name in names)


_INFO = (
    ("Containers", "Containers"),
    (" Running", "ContainersRunning"),
    (" Paused", "ContainersPaused"),
    (" Stopped", "ContainersStopped"),
    ("Images", "Images"),
    ("Server Version", "ServerVersion"),
    ("Storage Driver", "Driver"),
    ("Logging Driver", "LoggingDriver"),
    ("Cgroup Driver", "CgroupDriver"),
    ("Cgroup Version", "CgroupVersion"),
    ("Default Runtime", "DefaultRuntime"),
    ("Kernel Version", "KernelVersion"),
    ("Operating System", "OperatingSystem"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("CPUs", "NCPU"),
    ("Total Memory", "MemTotal"),
    ("Name", "Name"),
    ("ID", "ID"),
    ("Docker Root Dir", "DockerRootDir"),
)


def _info(call: Call) -> int:
    found = open_engine(call).get("/info")
    told = {**found, "MemTotal": format_size(found.get("MemTotal") or 0)}
    text = "Server:\n" + "".join(f" {title}: {told.get(name, '')}\n" for title, name in _INFO)
    text += "".join(f"WARNING: {each}\n" for each in found.get("Warnings") or ())
    return _show(call, found, text)


# events


def _events(call: Call) -> int:
    options = call.options
    now_s = time.time()
    form = options.text("format")
    write = None
    if form and form != "json":
        from pierhead.templates.gotemplate import parse_template

        write = parse_template(form)
    found = open_engine(call).documents(
        "GET",
        "/events",
        since=moment_of("since", options.text("since"), now_s),
        until=moment_of("until", options.text("until"), now_s),
        filters=filters("filter", options.all("filter")),
    )
    for event in found:
        if form == "json":
            from pierhead.jsontext import format_compact

            call.output.print(f"{format_compact(event)}\n")
        else:
            call.output.print(f"{write(event, {'$': event}) if write else _event_text(event)}\n")
    return 0


def _event_text(event: Document) -> str:
    actor = event.get("Actor") or {}
    attributes = actor.get("Attributes") or {}
    told = ", ".join(f"{name}={attributes[name]}" for name in sorted(attributes))
    seconds, rest_ns = divmod(event["timeNano"], _NS)
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(seconds))
    offset = time.strftime("%z", time.localtime(seconds))
    head = f"{moment}.{rest_ns:09}{offset[:3]}:{offset[3:]} {event['Type']} {event['Action']}"
    return f"{head} {actor.get('ID', '')}{f' ({told})' if told else ''}"


# prune


def _prune_containers(call: Call) -> int:
    if not agrees(call, "This removes all stopped containers."):
        return 0
    found = open_engine(call).post("/containers/prune", filters=filters("filter", call.options.all("filter")))
    print_pruned(call, "Deleted Containers:", found.get("ContainersDeleted") or (), found)
    return 0


def _prune_images(call: Call) -> int:
    every = call.options.switch("all")
    what = "all images without a container" if every else "all images without a name"
    if not agrees(call, f"This removes {what}."):
        return 0
    wanted = filters("filter", call.options.all("filter")) or {}
    wanted["dangling"] = ["false" if every else "true"]
    found = open_engine(call).post("/images/prune", filters=wanted)
    print_pruned(call, "Deleted Images:", _deleted_images(found), found)
    return 0


def _deleted_images(found: Document) -> list[str]:
    return [f"{verb}: {name}" for each in found.get("ImagesDeleted") or () for verb, name in each.items()]


def _prune_all(call: Call) -> int:
    options = call.options
    every, volumes = options.switch("all"), options.switch("volumes")
    whose = "without a container" if every else "without a name"
    parts = ["all stopped containers", "all networks without a container", f"all images {whose}"]
    if volumes:
        parts.insert(1, "all nameless volumes")
    if not agrees(call, f"This removes {', '.join(parts)}."):
        return 0
    engine = open_engine(call)
    given = filters("filter", options.all("filter")) or {}
    total = 0
    steps = [("/containers/prune", given, "Deleted Containers:", "ContainersDeleted")]
    if volumes:
        steps.append(("/volumes/prune", given, "Deleted Volumes:", "VolumesDeleted"))
    steps.append(("/networks/prune", given, "Deleted Networks:", "NetworksDeleted"))
    dangling = {**given, "dangling": ["false" if every else "true"]}
    steps.append(("/images/prune", dangling, "Deleted Images:", "ImagesDeleted"))
    for path, wanted, title, member in steps:
        found = engine.post(path, filters=wanted or None)
        names = _deleted_images(found) if member == "ImagesDeleted" else found.get(member) or ()
        total += found.get("SpaceReclaimed") or 0
        if names:
            call.output.print("".join(f"{line}\n" for line in (title, *names, "")))
    call.output.print(f"Total reclaimed space: {format_size(total)}\n")
    return 0


_PRUNE_FILTER = Flag(name="filter", kind="list", value="NAME=VALUE", about="only those of which it is so")
_ALL_IMAGES = Flag(name="all", short="a", kind="switch", about="images too that have a name")
VERBS = {
    "version": Verb(
        name="version", about="print the versions of pier and of the engine", flags=(_FORM,), perform=_version
    ),
    "info": Verb(name="info", about="print how the engine is set up", flags=(_FORM,), perform=_info),
    "events": Verb(
        name="events",
        about="print what happens to containers, images and volumes",
        flags=(
            FILTER,
            Flag(name="format", value="TEMPLATE", about="json, or a template in Go's language"),
            Flag(name="since", value="TIME", about="from then on: 2026-01-02T15:04:05, or 10m"),
            Flag(name="until", value="TIME", about="until then"),
        ),
        examples=(("events --since 10m --until 0s --filter event=die", "what has ended lately"),),
        perform=_events,
    ),
    "system prune": Verb(
        name="system prune",
        about="remove what nobody uses",
        flags=(
            _ALL_IMAGES,
            Flag(name="volumes", kind="switch", about="nameless volumes as well"),
            _PRUNE_FILTER,
            FORCE,
        ),
        perform=_prune_all,
    ),
    "container prune": Verb(
        name="container prune",
        about="remove stopped containers",
        flags=(_PRUNE_FILTER, FORCE),
        perform=_prune_containers,
    ),
    "image prune": Verb(
        name="image prune",
        about="remove images that nobody uses",
        flags=(_ALL_IMAGES, _PRUNE_FILTER, FORCE),
        perform=_prune_images,
    ),
}
