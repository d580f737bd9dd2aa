"""``pier logs``: what a container has said."""

from __future__ import annotations

import time

from pierhead.cli.engine_call import ask, open_engine
from pierhead.cli.flags import Flag, Verb
from pierhead.cli.output import STDERR, STDOUT, write_all
from pierhead.cli.words import moment_of, unfit
from pierhead.client.streams import split_frames

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.call import Call


def _logs(call: Call) -> int:
    options = call.options
    engine = open_engine(call)
    name = call.arguments[0]
    tail = options.text("tail", "all")
    if tail != "all" and not tail.removeprefix("-").isdecimal():
        raise unfit("tail", tail, "it can be all, or a number of lines")
    now_s = time.time()
    about = ask(engine, lambda: engine.get(f"/containers/{name}/json"))
    query: dict[str, Any] = {
        "stdout": True,
        "stderr": True,
        "follow": options.switch("follow"),
        "timestamps": options.switch("timestamps"),
        "details": options.switch("details"),
        "tail": tail,
        "since": moment_of("since", options.text("since"), now_s),
        "until": moment_of("until", options.text("until"), now_s),
    }
    with engine.open("GET", f"/containers/{about['Id']}/logs", **query) as reply:
        if about["Config"]["Tty"]:
            for piece in reply.body():
                write_all(STDOUT, piece)
        else:
            for stream, data in split_frames(reply.body()):
                write_all(STDERR if stream == "stderr" else STDOUT, data)
    return 0


VERBS = {
    "logs": Verb(
        name="logs",
        arguments="CONTAINER",
        least=1,
        most=1,
        about="print what a container has said",
        flags=(
            Flag(name="follow", short="f", kind="switch", about="and what it says from now on"),
            Flag(name="tail", short="n", value="LINES", about="only the last lines", default="all"),
            Flag(name="timestamps", short="t", kind="switch", about="when each line was said"),
            Flag(name="since", value="TIME", about="only what is newer: 2026-01-02T15:04:05, or 10m"),
            Flag(name="until", value="TIME", about="only what is older"),
            Flag(name="details", kind="switch", about="with what the driver knows of each line"),
        ),
        examples=(("logs --follow --tail 10 web", "the last lines, and those to come"),),
        perform=_logs,
    )
}
