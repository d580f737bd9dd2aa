"""``pier exec``, ``pier attach``: into containers that run."""

from __future__ import annotations

import os
from time import sleep

from pierhead.cli.detachkeys import DETACH_KEYS, parse_keys
from pierhead.cli.engine_call import ask, open_engine
from pierhead.cli.flags import BadUsage, Flag, Verb
from pierhead.cli.words import variables

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.call import Call
    from pierhead.client.engine import Engine

_PAUSE_S_MAX = 0.1


def _exec(call: Call) -> int:
    options = call.options
    name, command = call.arguments[0], call.arguments[1:]
    terminal, detached = options.switch("tty"), options.switch("detach")
    takes_input = options.switch("interactive") and not detached
    keys = parse_keys(options.text("detach-keys"))
    if terminal and takes_input and not os.isatty(0):
        raise BadUsage("the input device is not a TTY", hint="leave --tty out, or call it on a terminal")
    engine = open_engine(call)
    document: dict[str, Any] = {
        "User": options.text("user"),
        "Privileged": options.switch("privileged"),
        "Tty": terminal,
        "AttachStdin": takes_input,
        "AttachStdout": not detached,
        "AttachStderr": not detached,
        "Env": variables(options, os.environ),
        "WorkingDir": options.text("workdir"),
        "DetachKeys": options.text("detach-keys"),
        "Cmd": list(command),
    }
    if terminal:
        from pierhead.cli.terminal import own_size

        document["ConsoleSize"] = list(own_size() or (0, 0))
    made = ask(engine, lambda: engine.post(f"/containers/{name}/exec", document))
    path = f"/exec/{made['Id']}"
    if detached:
        engine.post(f"{path}/start", {"Detach": True, "Tty": terminal})
        return 0
    return _attend(call, engine, path, document, keys=keys)


def _attend(call: Call, engine: Engine, path: str, document: dict[str, Any], *, keys: bytes) -> int:
    from pierhead.cli.attached import Ends, Join
    from pierhead.cli.engine_attach import attend
    from pierhead.cli.foreground import SignalPipe

    terminal = document["Tty"]
    wanted = {"Detach": False, "Tty": terminal}
    if "ConsoleSize" in document:
        wanted["ConsoleSize"] = document["ConsoleSize"]
    ends = Ends(resize=lambda rows, columns: engine.post(f"{path}/resize", h=rows, w=columns))
    with (
        SignalPipe() as signals,
        engine.hijack("POST", f"{path}/start", wanted, terminal=terminal) as streams,
    ):
        takes_input = document["AttachStdin"]
        join = Join(streams, signals, ends, takes_input=takes_input, terminal=terminal, keys=keys)
        code = attend(call, join)
    if code is not None:
        return code
    return _exit_code(engine, path)


def _exit_code(engine: Engine, path: str) -> int:
    """Of a process whose output has ended: it may live on for a moment, or for long without any."""
    pause_s = 0.001
    while (found := engine.get(f"{path}/json"))["ExitCode"] is None:
        sleep(pause_s)
        pause_s = min(2 * pause_s, _PAUSE_S_MAX)
    return int(found["ExitCode"])


def _attach(call: Call) -> int:
    from pierhead.cli.engine_attach import attend_running

    keys = parse_keys(call.options.text("detach-keys"))
    engine = open_engine(call)
    name = call.arguments[0]
    about = ask(engine, lambda: engine.get(f"/containers/{name}/json"))
    state = about["State"]
    if not state["Running"]:
        raise BadUsage(
            "you cannot attach to a stopped container, start it first", hint=f"pier start --attach {name}"
        )
    if state["Paused"]:
        hint = f"pier unpause {name}"
        raise BadUsage("you cannot attach to a paused container, unpause it first", hint=hint)
    takes_input = not call.options.switch("no-stdin") and about["Config"]["OpenStdin"]
    return attend_running(call, engine, about, keys=keys, takes_input=takes_input)


VERBS = {
    "exec": Verb(
        name="exec",
        arguments="CONTAINER COMMAND [ARGUMENT...]",
        least=2,
        most=None,
        about="run a further command in a container",
        text="The command's exit status becomes pier's.",
        flags=(
            Flag(name="detach", short="d", kind="switch", about="leave it alone"),
            Flag(name="interactive", short="i", kind="switch", about="give it our standard input"),
            Flag(name="tty", short="t", kind="switch", about="give it a terminal"),
            Flag(
                name="env",
                short="e",
                kind="list",
                value="NAME[=VALUE]",
                about="set a variable, or pass on ours",
            ),
            Flag(name="env-file", kind="list", value="FILE", about="set the variables that stand in it"),
            Flag(name="user", short="u", value="USER[:GROUP]", about="run as this user"),
            Flag(name="workdir", short="w", value="DIR", about="working directory in the container"),
            Flag(name="privileged", kind="switch", about="with all rights"),
            DETACH_KEYS,
        ),
        examples=(("exec -it web sh", "a shell"),),
        literal=True,
        perform=_exec,
    ),
    "attach": Verb(
        name="attach",
        arguments="CONTAINER",
        least=1,
        most=1,
        about="join a container that runs",
        flags=(
            Flag(name="no-stdin", kind="switch", about="only its output"),
            Flag(name="sig-proxy", kind="switch", about="pass signals on to the process", default="true"),
            DETACH_KEYS,
        ),
        perform=_attach,
    ),
}
