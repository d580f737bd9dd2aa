"""``pier volume …``."""

from __future__ import annotations

from pierhead.cli.engine_call import on_each, open_engine
from pierhead.cli.flags import Flag, Verb
from pierhead.cli.prompt import agrees
from pierhead.cli.rows import FILTER, FORMAT, QUIET, show_rows
from pierhead.cli.words import filters, pairs
from pierhead.figures import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.call import Call

    Document = dict[str, Any]

FORCE = Flag(name="force", short="f", kind="switch", about="do not ask")
VOLUME_HEADINGS = {
    "Driver": "DRIVER",
    "Name": "VOLUME NAME",
    "Scope": "SCOPE",
    "Mountpoint": "MOUNTPOINT",
    "Labels": "LABELS",
    "Links": "LINKS",
    "Size": "SIZE",
}


def _create_volume(call: Call) -> int:
    options = call.options
    document: Document = {
        "Name": call.arguments[0] if call.arguments else options.text("name"),
        "Driver": options.text("driver", "local"),
        "DriverOpts": pairs(options, "opt"),
        "Labels": pairs(options, "label"),
    }
    made = open_engine(call).post("/volumes/create", document)
    call.output.print(f"{made['Name']}\n")
    return 0


def _list_volumes(call: Call) -> int:
    options = call.options
    wanted = filters("filter", options.all("filter"))
    found = open_engine(call).get("/volumes", filters=wanted)
    volumes = sorted(found.get("Volumes") or (), key=lambda each: each["Name"])
    if options.switch("quiet"):
        call.output.print("".join(f"{each['Name']}\n" for each in volumes))
        return 0
    rows = (volume_row(each) for each in volumes)
    show_rows(call.output, options.text("format"), rows, VOLUME_HEADINGS, ("Driver", "Name"))
    return 0


def volume_row(volume: Document) -> Document:
    """A volume of the list, by docker's names of fields."""
    labels = volume.get("Labels") or {}
    return {
        "Driver": volume["Driver"],
        "Name": volume["Name"],
        "Scope": volume.get("Scope") or "local",
        "Mountpoint": volume.get("Mountpoint") or "",
        "Labels": join_labels(labels),
        "Links": "N/A",
        "Size": "N/A",
        "Label": lambda name: labels.get(name, ""),
    }


def join_labels(labels: Document) -> str:
    """``a=1,b=2``."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _remove_volumes(call: Call) -> int:
    engine = open_engine(call)
    force = call.options.switch("force")
    return on_each(call, engine, call.arguments, lambda name: engine.delete(f"/volumes/{name}", force=force))


def _prune_volumes(call: Call) -> int:
    every = call.options.switch("all")
    what = "all local volumes" if every else "all nameless local volumes"
    if not agrees(call, f"This removes {what} not used by at least one container."):
        return 0
    wanted = filters("filter", call.options.all("filter")) or {}
    if every:
        wanted["all"] = ["true"]
    found = open_engine(call).post("/volumes/prune", filters=wanted or None)
    print_pruned(call, "Deleted Volumes:", found.get("VolumesDeleted") or (), found)
    return 0


def print_pruned(call: Call, title: str, names: Any, found: Document) -> None:
    """What was removed, and how much room it had, in docker's form."""
    lines = [title, *names, ""] if names else []
    freed = format_size(found.get("SpaceReclaimed") or 0)
    call.output.print("".join(f"{line}\n" for line in (*lines, f"Total reclaimed space: {freed}")))


VERBS = {
    "volume create": Verb(
        name="volume create",
        arguments="[NAME]",
        most=1,
        about="make a volume",
        flags=(
            Flag(name="driver", short="d", value="NAME", about="which driver", default="local"),
            Flag(name="name", value="NAME", about="of the volume", default="a made-up one"),
            Flag(name="opt", short="o", kind="list", value="NAME=VALUE", about="of the driver"),
            Flag(name="label", kind="list", value="NAME[=VALUE]", about="a label"),
        ),
        examples=(("volume create -o type=tmpfs -o device=tmpfs -o o=size=64m quick", "one in memory"),),
        perform=_create_volume,
    ),
    "volume ls": Verb(
        name="volume ls",
        about="list volumes",
        flags=(FILTER, FORMAT, QUIET),
        perform=_list_volumes,
    ),
    "volume rm": Verb(
        name="volume rm",
        arguments="VOLUME...",
        least=1,
        most=None,
        about="remove volumes",
        flags=(Flag(name="force", short="f", kind="switch", about="one that is not there is no error"),),
        perform=_remove_volumes,
    ),
    "volume prune": Verb(
        name="volume prune",
        about="remove volumes that no container uses",
        flags=(
            Flag(name="all", short="a", kind="switch", about="those too that have a name"),
            Flag(name="filter", kind="list", value="NAME=VALUE", about="only those of which it is so"),
            FORCE,
        ),
        perform=_prune_volumes,
    ),
}
