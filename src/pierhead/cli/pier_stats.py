"""``pier stats``: what containers use, as it changes."""

from __future__ import annotations

import os
from functools import partial

from pierhead.cli.engine_call import ask, open_engine
from pierhead.cli.flags import Flag, Verb
from pierhead.cli.output import STDOUT
from pierhead.cli.rows import FORMAT, NO_TRUNC, short_id, show_rows
from pierhead.figures import format_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.call import Call
    from pierhead.client.engine import Engine

    Document = dict[str, Any]

_HEADINGS = {
    "ID": "CONTAINER ID",
    "Container": "CONTAINER",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_TABLE = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB")
_CLEAR = "\x1b[2J\x1b[H"


def _stats(call: Call) -> int:
    options = call.options
    engine = open_engine(call)
    once = options.switch("no-stream")
    names = _names(call, engine)
    while True:
        rows = _rows(call, engine, names)
        if not once and os.isatty(STDOUT):
            call.output.print(_CLEAR)
        show_rows(call.output, options.text("format"), rows, _HEADINGS, _TABLE)
        if once:
            return 0
        names = names if call.arguments else _names(call, engine)
        if not names:
            return 0


def _names(call: Call, engine: Engine) -> list[str]:
    if call.arguments:
        for name in call.arguments:
            ask(engine, partial(engine.get, f"/containers/{name}/json"))
        return list(call.arguments)
    return [each["Id"] for each in engine.get("/containers/json", all=call.options.switch("all"))]


def _rows(call: Call, engine: Engine, names: list[str]) -> list[Document]:
    """Of all at once: the engine takes a second for each, to see what changes."""
    from concurrent.futures import ThreadPoolExecutor

    from pierhead.errors import NotFound

    whole = call.options.switch("no-trunc")

    def look(name: str) -> Document | None:
        try:
            return stats_row(name, engine.get(f"/containers/{name}/stats", stream="0"), whole=whole)
        except NotFound:
            return None

    if not names:
        return []
    with ThreadPoolExecutor(max_workers=min(32, len(names))) as threads:
        return [row for row in threads.map(look, names) if row is not None]


def stats_row(name: str, document: Document, *, whole: bool) -> Document:
    """A sample by docker's names of fields."""
    memory = document.get("memory_stats") or {}
    cache = (memory.get("stats") or {}).get("inactive_file", 0)
    cache = (memory.get("stats") or {}).get("total_inactive_file", cache)
    used = max(0, (memory.get("usage") or 0) - cache)
    limit = memory.get("limit") or 0
    networks = (document.get("networks") or {}).values()
    read, written = _block_bytes(document)
    received = sum(each.get("rx_bytes", 0) for each in networks)
    sent = sum(each.get("tx_bytes", 0) for each in networks)
    return {
        "ID": short_id(document.get("id") or name, whole=whole),
        "Container": name,
        "Name": str(document.get("name") or "").removeprefix("/"),
        "CPUPerc": f"{cpu_percent(document):.2f}%",
        "MemUsage": f"{format_binary(used)} / {format_binary(limit)}",
        "MemPerc": f"{100 * used / limit if limit else 0:.2f}%",
        "NetIO": f"{format_size(received)} / {format_size(sent)}",
        "BlockIO": f"{format_size(read)} / {format_size(written)}",
        "PIDs": str((document.get("pids_stats") or {}).get("current") or 0),
    }


def cpu_percent(document: Document) -> float:
    """Of one processor, between the two samples that the document has."""
    now, before = document.get("cpu_stats") or {}, document.get("precpu_stats") or {}
    used = _total(now) - _total(before)
    passed = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    count = now.get("online_cpus") or 1
    return used / passed * count * 100 if used > 0 and passed > 0 else 0.0


def _total(stats: Document) -> int:
    return int((stats.get("cpu_usage") or {}).get("total_usage") or 0)


def _block_bytes(document: Document) -> tuple[int, int]:
    sums = {"read": 0, "write": 0}
    for each in (document.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ():
        kind = each.get("op", "").lower()
        if kind in sums:
            sums[kind] += each.get("value") or 0
    return sums["read"], sums["write"]


def format_binary(count_bytes: int) -> str:
    """``1.5MiB``: powers of 1024 and four figures."""
    size, unit = float(count_bytes), 0
    while size >= 1024 and unit < len(_BINARY) - 1:
        size, unit = size / 1024, unit + 1
    return f"{size:.4g}{_BINARY[unit]}"


VERBS = {
    "stats": Verb(
        name="stats",
        arguments="[CONTAINER...]",
        most=None,
        about="show what containers use",
        flags=(
            Flag(name="all", short="a", kind="switch", about="those too that do not run"),
            FORMAT,
            Flag(name="no-stream", kind="switch", about="once, and not as it changes"),
            NO_TRUNC,
        ),
        perform=_stats,
    )
}
