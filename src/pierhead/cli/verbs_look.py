"""``list``, ``ps`` and ``events``: what there is, and what it does."""

from __future__ import annotations

import gc
import os

from pierhead.cli.flags import Flag, Verb, quiet_flag
from pierhead.cli.output import STDOUT
from pierhead.cli.verbs_life import describe
from pierhead.errors import Conflict, InvalidInput, NotFound, PierheadError, Unsupported
from pierhead.jsontext import format_compact
from pierhead.runtime import list_ids, load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pierhead.cli.call import Call
    from pierhead.runtime import Container
    from pierhead.runtime.oom import OomEvents

_FORMAT = Flag(
    name="format",
    short="f",
    value="FORMAT",
    about="of the output",
    default="table",
    choices=("table", "json"),
)
_COLUMNS = ("ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER")


# list


def _list(call: Call) -> int:
    if call.options.switch("quiet"):
        call.output.print("".join(f"{name}\n" for name in list_ids(call.root)))
        return 0
    found = _describe_all(call)
    if call.options.text("format") == "json":
        call.output.print(format_compact(found) + "\n")
    else:
        rows = [tuple(str(each[column.lower()]) for column in _COLUMNS) for each in found]
        call.output.print(format_table([_COLUMNS, *rows]))
    return 0


def _describe_all(call: Call) -> list[dict[str, object]]:
    """A container that cannot be read does not hide the others; one that goes meanwhile is not there."""
    found = []
    for name in list_ids(call.root):
        try:
            with load(call.root, name) as container:
                found.append(describe(container))
        except NotFound:
            continue
        except PierheadError as error:
            call.output.warn(f"container {name}: {error.message}")
    return found


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Rows in columns of at least 12 characters, three apart, as runc's: scripts cut them."""
    widths = [max(12, *(len(row[column]) + 3 for row in rows)) for column in range(len(rows[0]))]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in rows
    )


# ps


def _ps(call: Call) -> int:
    pids = load(call.root, call.id).processes()
    if call.options.text("format", "table") == "json":
        call.output.print(format_compact(pids) + "\n")
    else:
        call.output.print(filter_ps(_run_ps(call.arguments[1:] or ("-ef",)), frozenset(map(str, pids))))
    return 0


def _run_ps(arguments: Sequence[str]) -> str:
    """What the machine's ps(1) prints."""
    from pierhead.linux.files import read_all

    reading, writing = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, writing, STDOUT)]
        pid = os.posix_spawnp("ps", ("ps", *arguments), os.environ, file_actions=actions)
    except FileNotFoundError:
        hint = "install it (Debian: procps), or use --format json"
        raise NotFound("there is no ps program on this machine", code="program-missing", hint=hint) from None
    finally:
        os.close(writing)
    text = read_all(reading).decode(errors="surrogateescape")
    os.close(reading)
    if os.waitpid(pid, 0)[1] != 0:
        raise InvalidInput(f"ps {' '.join(arguments)} failed", code="ps-failed")
    return text


def filter_ps(text: str, pids: frozenset[str]) -> str:
    """The heading and the lines of these processes.

    Raises:
        InvalidInput: there is no PID column to know them by.
    """
    heading, *lines = text.splitlines() or [""]
    columns = heading.split()
    if "PID" not in columns:
        hint = "have ps print the column pid, for example with: -o pid,user,args"
        raise InvalidInput("the output of ps has no column PID", code="no-pid-column", hint=hint)
    at = columns.index("PID")
    chosen = [line for line in lines if len(words := line.split()) > at and words[at] in pids]
    return "".join(f"{line}\n" for line in (heading, *chosen))


# events


def _events(call: Call) -> int:
    gc.enable()  # the program's script turns it off; this verb may go on for months
    interval_s = parse_duration(call.options.text("interval", "5s"))
    container = load(call.root, call.id)
    if call.options.switch("stats"):
        _print_stats(call, container)
        return 0
    try:
        oom = container.notify_oom()
    except Unsupported as error:
        call.output.warn(f"lacks of memory are not told: {error.message}")
        _count(call, container, interval_s)
        return 0
    with oom:
        _follow(call, container, oom, interval_s)
    return 0


def _count(call: Call, container: Container, interval_s: float) -> None:
    """Statistics at once and at every interval, until the container has stopped."""
    from pierhead.linux.process import wait_pidfd

    try:
        _print_stats(call, container)
        while not wait_pidfd(container.init.pidfd, interval_s):
            _print_stats(call, container)
    except (Conflict, NotFound):
        return


def _follow(call: Call, container: Container, oom: OomEvents, interval_s: float) -> None:
    """Until the container has stopped: statistics at every interval, lacks of memory as they come."""
    import time

    from pierhead.runtime.stats import oom_event

    due_s = time.monotonic()
    while not oom.ended:
        left_s = due_s - time.monotonic()
        if left_s <= 0:
            try:
                _print_stats(call, container)
            except (Conflict, NotFound):
                return
            due_s += interval_s
            continue
        if oom.wait(left_s) is not None:
            call.output.print(format_compact(oom_event(call.id)) + "\n")


def _print_stats(call: Call, container: Container) -> None:
    from pierhead.runtime.stats import stats_event

    call.output.print(format_compact(stats_event(call.id, container.stats())) + "\n")


_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def parse_duration(text: str) -> float:
    """Seconds of a duration like ``5s``, ``1m30s`` or ``500ms``.

    Raises:
        InvalidInput: it is none, or not longer than 0.
    """
    total_s, rest = 0.0, text
    while rest:
        length = next((at for at, letter in enumerate(rest) if letter not in "0123456789."), len(rest))
        number, rest = rest[:length], rest[length:]
        unit = next((unit for unit in ("ms", "s", "m", "h") if rest.startswith(unit)), "")
        try:
            total_s += float(number) * _UNITS_S[unit]
        except (ValueError, KeyError):
            total_s = 0
            break
        rest = rest[len(unit) :]
    if total_s <= 0:
        raise InvalidInput(f"expected a duration like 5s or 1m30s, found {text!r}", code="bad-usage")
    return total_s


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            name="list",
            about="list containers",
            text="Their states are read from the directory that --root names.",
            flags=(_FORMAT, quiet_flag("their ids only")),
            perform=_list,
        ),
        Verb(
            name="ps",
            arguments="ID [PS-OPTION...]",
            least=1,
            most=None,
            about="list a container's processes",
            text="The table is what ps(1) prints of them, by -ef or the options given; JSON is an array of "
            "numbers.",
            flags=(_FORMAT,),
            examples=(("ps web -o pid,rss,args", "with columns of one's own"),),
            literal=True,
            perform=_ps,
        ),
        Verb(
            name="events",
            arguments="ID",
            least=1,
            most=1,
            about="print statistics and lacks of memory as JSON lines",
            text="Goes on until the container stops. Every line is an object with type, id and data.",
            flags=(
                Flag(name="interval", value="TIME", about="between two statistics", default="5s"),
                Flag(name="stats", kind="switch", about="print statistics once and return"),
            ),
            perform=_events,
        ),
    )
}
