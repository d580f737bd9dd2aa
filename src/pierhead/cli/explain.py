"""``--explain`` and ``--trace``: a launch plan as a table that people read.

    #   who       what                                 why                                see
     ·  launcher  write 100 to pids.max                processes and threads              OCI …
    16  init      mount proc on /proc                  the processes and kernel …         fsopen(2), …
                  MOUNT_ATTR_NOSUID|NODEV|NOEXEC

One step a row, in the order in which they happen; the helper's operations have numbers.  A cell that is too
long goes on below itself, and ``″`` repeats the cell above.  The table is as wide as the terminal, 110
columns where there is none.
"""

from __future__ import annotations

from pierhead.cli.explain_words import clone_words, describe
from pierhead.runtime import wire_table
from pierhead.runtime.plan import launchersteps
from pierhead.runtime.wire import INIT, JOINER, STAGE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pierhead.cli.output import Output
    from pierhead.runtime import Config, Container, ProcessSpec
    from pierhead.runtime.plan.launchersteps import LauncherStep
    from pierhead.runtime.plan.launchplan import LaunchPlan
    from pierhead.runtime.wire import Operation

    Row = tuple[str, str, str, str, str]

WIDTH = 110
_LEAST, _MOST = 90, 160
_DITTO = "″"
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_PLACES = {STAGE: "stage", JOINER: "joiner", INIT: "init"}
_LAUNCHER = "launcher"
_COLOURS = {_LAUNCHER: "\x1b[32m", "stage": "\x1b[33m", "joiner": "\x1b[35m", "init": "\x1b[36m"}
_WHO = (
    (_LAUNCHER, "Python, which the caller runs: it enters nothing, and does what must be done from outside"),
    ("stage", "pier-init as it was started, in the caller's namespaces, with its rights"),
    ("joiner", "a process in between: enters or makes what must exist before the clone"),
    ("init", "the process that becomes the program"),
)
_BAR = 16


def explain_launch(
    root: str, container_id: str, config: Config, title: str, output: Output, *, gate: bool
) -> str:
    """How a container would be made, as text for standard output."""
    from pierhead.runtime.factory import plan_launch_steps

    return _for_output(*plan_launch_steps(root, container_id, config, gate=gate), title, output)


def explain_exec(container: Container, wanted: ProcessSpec, title: str, output: Output) -> str:
    """How a further process would be made, as text for standard output."""
    plan = container.plan_exec(wanted)
    if wanted.rlimits is None:
        wanted = wanted.replace(rlimits=container.config.rlimits)
    return _for_output(plan, launchersteps.plan_exec_steps(wanted, plan), title, output)


def _for_output(plan: LaunchPlan, steps: Sequence[LauncherStep], title: str, output: Output) -> str:
    width = min(_MOST, max(_LEAST, output.width(WIDTH)))
    return explain(plan, title, steps, width=width, colour=output.colour())


def explain(
    plan: LaunchPlan,
    title: str,
    steps: Sequence[LauncherStep] = (),
    *,
    width: int = WIDTH,
    colour: bool = False,
) -> str:
    """The plan as text.

    Args:
        plan: what the helper would do.
        title: what it is of.
        steps: what the launcher would do.
        width: columns that may be used.
        colour: whether the reader's terminal shows colours.
    """
    rows = _rows(plan, steps)
    present = {row[1] for row in rows}
    heading = f"{title}: {len(steps)} steps of the launcher, {len(plan.operations)} operations of pier-init"
    lines = [_emphasised(heading, _BOLD, colour=colour), ""]
    longest = max(map(len, present))
    lines += [f"  {who:<{longest}}  {about}" for who, about in _WHO if who in present]
    lines += ["", *_table(rows, width, colour=colour)]
    return "\n".join(lines) + "\n"


def _rows(plan: LaunchPlan, steps: Sequence[LauncherStep]) -> list[Row]:
    def launcher(moment: int) -> list[Row]:
        return [
            ("·", _LAUNCHER, step.what, step.why, _shorter(step.manual))
            for step in steps
            if step.moment == moment
        ]

    rows = launcher(launchersteps.BEGIN)
    cloned = False
    for number, operation in enumerate(plan.operations, 1):
        if operation.place == INIT and not cloned:
            rows.append(_clone_row(plan))
            cloned = True
        who = _PLACES[operation.place]
        rows.append((str(number), who, describe(operation), operation.why, _shorter(operation.manual)))
        rows += launcher(_meets_at(operation))
    if not any(operation.name == "ready" for operation in plan.operations):
        rows += launcher(launchersteps.NOTED)
    return rows + launcher(launchersteps.END)


def _meets_at(operation: Operation) -> int:
    """The moment of the launcher's that the operation waits for; 0 for none."""
    if operation.name == "ready":
        return launchersteps.NOTED
    named = dict(operation.named_arguments())
    if operation.name == "seccomp" and named["listen"]:
        return wire_table.SYNC_SECCOMP
    tag = named["tag"] if operation.name == "sync" else 0
    return tag if isinstance(tag, int) else 0


def _clone_row(plan: LaunchPlan) -> Row:
    why = "the process exists, in namespaces of its own from its first instruction"
    if not plan.clone_flags:
        why = "the process exists, in the namespaces that were joined"
    return ("·", "joiner" if plan.joiner else "stage", clone_words(plan), why, "clone(2), namespaces(7)")


def _shorter(manual: str) -> str:
    return manual.replace("OCI runtime-spec, ", "OCI ").replace("linux.resources.", "resources.")


def _table(rows: Sequence[Row], width: int, *, colour: bool) -> list[str]:
    widths = _column_widths(rows, width)
    names = zip(("who", "what", "why", "see"), widths[1:], strict=True)
    heading = "  ".join(("#".rjust(widths[0]), *(name.ljust(space) for name, space in names))).rstrip()
    lines = [_emphasised(heading, _BOLD, colour=colour)]
    above: Row = ("", "", "", "", "")
    for row in rows:
        shown = (*row[:3], _DITTO if row[3] == above[3] else row[3], _DITTO if row[4] == above[4] else row[4])
        lines += _row_lines(shown, widths, colour=colour)
        above = row
    return lines


def _column_widths(rows: Sequence[Row], width: int) -> tuple[int, ...]:
    """What and why share what the others leave, 5 to 4; see gets a fifth at most."""
    number = max(len(row[0]) for row in rows)
    who = max(len(row[1]) for row in rows)
    see = min(max(len(row[4]) for row in rows), width // 5)
    rest = width - number - who - see - 8
    what = min(max(len(line) for row in rows for line in row[2].split("\n")), rest * 5 // 9)
    why = min(max(len(row[3]) for row in rows), rest - what)
    return number, who, what, why, see


def _row_lines(row: Row, widths: Sequence[int], *, colour: bool) -> list[str]:
    what, why, see = (_wrapped(cell, space) for cell, space in zip(row[2:], widths[2:], strict=True))
    lines = []
    for at in range(max(len(what), len(why), len(see))):
        first = at == 0
        cells = (
            row[0].rjust(widths[0]) if first else "",
            row[1] if first else "",
            *(_at(c, at) for c in (what, why, see)),
        )
        padded = [cell.ljust(space) for cell, space in zip(cells, widths, strict=True)]
        if colour:
            _paint(padded, row[1], first=first)
        lines.append("  ".join(padded).rstrip())
    return lines


def _paint(cells: list[str], who: str, *, first: bool) -> None:
    cells[0] = f"{_DIM}{cells[0]}{_PLAIN}"
    cells[1] = f"{_COLOURS[who]}{cells[1]}{_PLAIN}"
    if first:
        verb, space, rest = cells[2].partition(" ")
        cells[2] = f"{_BOLD}{verb}{_PLAIN}{space}{rest}"
    cells[4] = f"{_DIM}{cells[4].rstrip()}{_PLAIN}"


def _wrapped(text: str, width: int) -> list[str]:
    """Lines of at most the width; what a line break in the text sets apart stays apart."""
    lines: list[str] = []
    for line in text.split("\n"):
        words = [part for word in line.split() for part in _parts(word, width)]
        current = ""
        for word in words:
            if current and len(current) + 1 + len(word) > width:
                lines.append(current)
                current = word
            else:
                current = f"{current} {word}" if current else word
        lines.append(current)
    return lines


def _parts(word: str, width: int) -> list[str]:
    """A word that is too long, broken behind a comma, a bar or a slash where there is one."""
    parts = []
    while len(word) > width:
        at = max((word.rfind(mark, 0, width) + 1 for mark in ",|/:."), default=0) or width
        parts.append(word[:at])
        word = word[at:]
    return [*parts, word]


def _at(lines: Sequence[str], number: int) -> str:
    return lines[number] if number < len(lines) else ""


def _emphasised(text: str, code: str, *, colour: bool) -> str:
    return f"{code}{text}{_PLAIN}" if colour else text


def trace_table(plan: LaunchPlan, trace: Mapping[int, int], took_ns: int, output: Output) -> str:
    """What every operation of a launch took, as text for standard error."""
    from pierhead.cli.output import STDERR

    return format_trace(plan, trace, took_ns, colour=output.colour(STDERR))


def format_trace(plan: LaunchPlan, trace: Mapping[int, int], took_ns: int, *, colour: bool = False) -> str:
    """What every operation took, their sum, and the whole.

    Args:
        plan: what was done.
        trace: nanoseconds by the operation's index; what is missing was not measured.
        took_ns: the whole launch as the launcher saw it.
        colour: whether the reader's terminal shows colours.
    """
    longest_ns = max(trace.values(), default=0) or 1
    heading = f"  #  {'who':<6}  {'took':>12}  {'':<{_BAR}}  what"
    lines = [_emphasised(heading, _BOLD, colour=colour)]
    for index, operation in enumerate(plan.operations):
        took = trace.get(index)
        bar = "▇" * round(_BAR * (took or 0) / longest_ns)
        who = f"{_PLACES[operation.place]:<6}"
        shown = f"{_COLOURS[who.strip()]}{who}{_PLAIN}" if colour else who
        time = "" if took is None else f"{took / 1000:.1f} µs"
        what = describe(operation).replace("\n", " ")
        lines.append(f"{index + 1:3}  {shown}  {time:>12}  {bar:<{_BAR}}  {_cut(what, WIDTH - 29 - _BAR)}")
    total_ns = sum(trace.values())
    rest = "the rest: starting the helper, cgroups, the clone, the program's execve, the dialogue"
    lines.append(
        _emphasised(f"     {len(trace)} operations together {total_ns / 1000:.1f} µs", _BOLD, colour=colour)
    )
    lines.append(f"     the whole launch      {took_ns / 1000:.1f} µs ({rest})")
    return "\n".join(lines) + "\n"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
