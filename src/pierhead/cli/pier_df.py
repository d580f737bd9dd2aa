"""``pier system df``: the room that an engine's images, containers and volumes need."""

from __future__ import annotations

import time

from pierhead.cli.engine_call import open_engine
from pierhead.cli.flags import BadUsage, Flag, Verb
from pierhead.cli.image_rows import IMAGE_HEADINGS, document_rows
from pierhead.cli.pier_list import HEADINGS, container_row
from pierhead.cli.pier_places import VOLUME_HEADINGS, volume_row
from pierhead.cli.rows import FORMAT, show_rows
from pierhead.figures import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.call import Call

    Document = dict[str, Any]

_DF = {
    "Type": "TYPE",
    "TotalCount": "TOTAL",
    "Active": "ACTIVE",
    "Size": "SIZE",
    "Reclaimable": "RECLAIMABLE",
}


def _df(call: Call) -> int:
    found = open_engine(call).get("/system/df")
    if call.options.switch("verbose"):
        return _show_all(call, found)
    containers, volumes = found.get("Containers") or [], found.get("Volumes") or []
    images = found.get("Images") or []
    used = [each for each in images if each.get("Containers")]
    running = [each for each in containers if each["State"] in ("running", "paused", "restarting")]
    linked = [each for each in volumes if (each.get("UsageData") or {}).get("RefCount")]
    rows = [
        _df_row(
            "Images", images, used, found.get("LayersSize") or 0, sum(map(_image_size, used)) if used else 0
        ),
        _df_row("Containers", containers, running, _sum(containers), _sum(running)),
        _df_row("Local Volumes", volumes, linked, _sum(volumes), _sum(linked)),
        _df_row("Build Cache", [], [], 0, 0),
    ]
    show_rows(call.output, call.options.text("format"), rows, _DF, tuple(_DF))
    return 0


def _image_size(image: Document) -> int:
    return int(image.get("Size") or 0)


def _sum(found: list[Document]) -> int:
    sizes = (each.get("SizeRw") or (each.get("UsageData") or {}).get("Size") or 0 for each in found)
    return sum(size for size in sizes if size > 0)


def _df_row(kind: str, found: list[Document], used: list[Document], size: int, kept: int) -> Document:
    free = max(0, size - kept)
    share = f" ({100 * free // size}%)" if size else ""
    return {
        "Type": kind,
        "TotalCount": str(len(found)),
        "Active": str(len(used)),
        "Size": format_size(size),
        "Reclaimable": f"{format_size(free)}{share}",
    }


# Each of them


_PARTS = {
    "Images": (
        "Images space usage:",
        IMAGE_HEADINGS,
        ("Repository", "Tag", "ID", "CreatedSince", "Size", "SharedSize", "UniqueSize", "Containers"),
    ),
    "Containers": (
        "Containers space usage:",
        HEADINGS,
        ("ID", "Image", "Command", "LocalVolumes", "Size", "RunningFor", "Status", "Names"),
    ),
    "Volumes": ("Local Volumes space usage:", VOLUME_HEADINGS, ("Name", "Links", "Size")),
}


def _show_all(call: Call, found: Document) -> int:
    """Every image, container and volume with what it needs."""
    form, now_s = call.options.text("format"), time.time()
    containers = found.get("Containers") or ()
    rows = {
        "Images": [
            {**row, **_image_sizes(each)}
            for each in found.get("Images") or ()
            for row in document_rows(each, now_s=now_s, whole=False)
        ],
        "Containers": [container_row(each, now_s=now_s, whole=False) for each in containers],
        "Volumes": [{**volume_row(each), **_volume_usage(each)} for each in found.get("Volumes") or ()],
    }
    if form == "json":
        from pierhead.jsontext import format_compact

        told = {
            kind: [{key: row[key] for key in sorted(row) if not callable(row[key])} for row in found_rows]
            for kind, found_rows in rows.items()
        }
        call.output.print(f"{format_compact({**told, 'BuildCache': []})}\n")
        return 0
    if form not in ("", "table"):
        raise BadUsage("--verbose goes with table or json only", hint="--format json gives everything")
    for kind, (title, headings, columns) in _PARTS.items():
        call.output.print(f"{title}\n\n")
        show_rows(call.output, "table", rows[kind], headings, columns)
        call.output.print("\n")
    call.output.print("Build cache usage: 0B\n")
    return 0


def _image_sizes(image: Document) -> Document:
    size_bytes, shared_bytes = image.get("Size") or 0, max(0, image.get("SharedSize") or 0)
    return {
        "SharedSize": format_size(shared_bytes),
        "UniqueSize": format_size(max(0, size_bytes - shared_bytes)),
    }


def _volume_usage(volume: Document) -> Document:
    usage = volume.get("UsageData") or {}
    size_bytes, links = usage.get("Size", -1), usage.get("RefCount", -1)
    return {
        "Size": format_size(size_bytes) if size_bytes >= 0 else "N/A",
        "Links": str(links) if links >= 0 else "N/A",
    }


VERBS = {
    "system df": Verb(
        name="system df",
        about="show the room that the engine's things need",
        flags=(
            FORMAT,
            Flag(name="verbose", short="v", kind="switch", about="every image, container and volume"),
        ),
        perform=_df,
    ),
}
