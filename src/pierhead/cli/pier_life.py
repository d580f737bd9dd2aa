"""``pier start``, ``stop``, ``restart``, ``kill``, ``rm``, ``pause``, ``unpause``, ``update``."""

from __future__ import annotations

from pierhead.cli.detachkeys import DETACH_KEYS, parse_keys
from pierhead.cli.engine_call import ask, on_each, open_engine
from pierhead.cli.flags import BadUsage, Flag, Verb
from pierhead.errors import NotModified, PierheadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.call import Call
    from pierhead.client.engine import Engine

_SIGNAL = Flag(name="signal", short="s", value="SIGNAL", about="what asks it to end", default="its own")
_TIME = Flag(
    name="timeout",
    short="t",
    kind="number",
    value="SECONDS",
    about="how long it may take before it is killed; -1 is for ever",
    default="its own, or 10",
)
_TIMES = (
    _TIME,
    Flag(name="time", kind="number", value="SECONDS", about="the same, as docker said before 28"),
)


def _post(engine: Engine, path: str, **query: Any) -> None:
    try:
        engine.post(path, **query)
    except NotModified:
        return


def _start(call: Call) -> int:
    options = call.options
    if options.switch("attach") or options.switch("interactive"):
        return _start_in_front(call)
    engine = open_engine(call)
    return on_each(call, engine, call.arguments, lambda name: _post(engine, f"/containers/{name}/start"))


def _start_in_front(call: Call) -> int:
    from pierhead.cli.engine_attach import attend_started

    if len(call.arguments) > 1:
        raise BadUsage("you cannot start and attach multiple containers at once")
    keys = parse_keys(call.options.text("detach-keys"))
    engine = open_engine(call)
    name = call.arguments[0]
    about = ask(engine, lambda: engine.get(f"/containers/{name}/json"))
    takes_input = call.options.switch("interactive") and about["Config"]["OpenStdin"]
    return attend_started(call, engine, about, keys=keys, takes_input=takes_input)


def _stop(call: Call) -> int:
    engine = open_engine(call)
    query = {"t": _patience_s(call), "signal": call.options.text("signal")}
    return on_each(
        call, engine, call.arguments, lambda name: _post(engine, f"/containers/{name}/stop", **query)
    )


def _patience_s(call: Call) -> int | None:
    given = call.options.number("timeout")
    return call.options.number("time") if given is None else given


def _restart(call: Call) -> int:
    engine = open_engine(call)
    query = {"t": _patience_s(call), "signal": call.options.text("signal")}
    return on_each(
        call, engine, call.arguments, lambda name: _post(engine, f"/containers/{name}/restart", **query)
    )


def _kill(call: Call) -> int:
    engine = open_engine(call)
    number = call.options.text("signal")
    return on_each(
        call, engine, call.arguments, lambda name: _post(engine, f"/containers/{name}/kill", signal=number)
    )


def _pause(call: Call) -> int:
    engine = open_engine(call)
    return on_each(call, engine, call.arguments, lambda name: _post(engine, f"/containers/{name}/pause"))


def _unpause(call: Call) -> int:
    engine = open_engine(call)
    return on_each(call, engine, call.arguments, lambda name: _post(engine, f"/containers/{name}/unpause"))


def _rm(call: Call) -> int:
    engine = open_engine(call)
    options = call.options
    force = options.switch("force")

    def remove(name: str) -> None:
        engine.delete(f"/containers/{name}", force=force, v=options.switch("volumes"))

    names = call.arguments
    if force and len(names) > 1:
        return _remove_together(call, engine, names, remove)
    return on_each(call, engine, names, remove, may_be_gone=force)


def _remove_together(call: Call, engine: Engine, names: tuple[str, ...], remove: Any) -> int:
    """All at once: each one's processes take their time to end."""
    from concurrent.futures import ThreadPoolExecutor

    def attempt(name: str) -> PierheadError | None:
        try:
            remove(name)
        except PierheadError as error:
            return error
        return None

    with ThreadPoolExecutor(max_workers=16) as threads:
        found = list(threads.map(attempt, names))
    failures = dict(zip(names, found, strict=True))

    def tell(name: str) -> None:
        failure = failures[name]
        if failure is not None:
            raise failure

    return on_each(call, engine, names, tell, may_be_gone=True)


def _update(call: Call) -> int:
    from pierhead.cli.creation import update_document

    engine = open_engine(call)
    document = update_document(call.options)

    def update(name: str) -> None:
        found = engine.post(f"/containers/{name}/update", document)
        for warning in (found or {}).get("Warnings") or ():
            call.output.warn(warning)

    return on_each(call, engine, call.arguments, update)


def _update_flags() -> tuple[Flag, ...]:
    from pierhead.cli.creation_flags import IDENTITY, LIMITS

    names = (
        *("memory", "memory-reservation", "memory-swap", "cpus", "cpu-shares", "cpu-period", "cpu-quota"),
        *("cpu-rt-period", "cpu-rt-runtime", "cpuset-cpus", "cpuset-mems", "pids-limit", "blkio-weight"),
    )
    restart = tuple(flag for flag in IDENTITY if flag.name == "restart")
    return (*(flag for flag in LIMITS if flag.name in names), *restart)


def _verb(name: str, about: str, perform: Any, *flags: Flag) -> Verb:
    return Verb(
        name=name,
        arguments="CONTAINER...",
        least=1,
        most=None,
        about=about,
        flags=flags,
        perform=perform,
    )


VERBS = {
    "start": _verb(
        "start",
        "start containers that do not run",
        _start,
        Flag(name="attach", short="a", kind="switch", about="join its output, and end as it ends"),
        Flag(name="interactive", short="i", kind="switch", about="give it our standard input as well"),
        Flag(name="sig-proxy", kind="switch", about="pass signals on to the process", default="true"),
        DETACH_KEYS,
    ),
    "stop": _verb("stop", "ask containers to end, and kill those that do not", _stop, _SIGNAL, *_TIMES),
    "restart": _verb("restart", "stop containers and start them again", _restart, _SIGNAL, *_TIMES),
    "kill": _verb(
        "kill",
        "send containers a signal",
        _kill,
        Flag(name="signal", short="s", value="SIGNAL", about="which", default="KILL"),
    ),
    "pause": _verb("pause", "freeze containers", _pause),
    "unpause": _verb("unpause", "let frozen containers go on", _unpause),
    "rm": _verb(
        "rm",
        "remove containers",
        _rm,
        Flag(
            name="force",
            short="f",
            kind="switch",
            about="those too that run: they are killed; one that is not there is no failure",
        ),
        Flag(name="volumes", short="v", kind="switch", about="and their nameless volumes"),
    ),
    "update": _verb("update", "change the limits of containers", _update, *_update_flags()),
}
