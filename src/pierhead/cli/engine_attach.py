"""Joins with containers that are there already: for ``attach`` and ``start --attach``."""

from __future__ import annotations

import os

from pierhead.cli.attached import FORCED, Detached, Ends, Forced, Join
from pierhead.cli.flags import BadUsage
from pierhead.cli.foreground import SignalPipe
from pierhead.cli.pier_run import outcome_of, start_status
from pierhead.errors import NotModified, PierheadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any

    from pierhead.cli.call import Call
    from pierhead.client.engine import Engine
    from pierhead.client.streams import Streams

    Document = dict[str, Any]


def attend_started(call: Call, engine: Engine, about: Document, *, keys: bytes, takes_input: bool) -> int:
    """The container was started, unless it runs already, and stood in for; the exit code of its process.

    Args:
        call: with ``sig-proxy``.
        engine: has the container.
        about: its inspection.
        keys: that detach.
        takes_input: whether our standard input goes there.

    Raises:
        BadUsage: as of ``attend_running``; nothing was started.
    """
    _check_terminal(about, takes_input=takes_input)

    def start() -> int | None:
        try:
            engine.post(f"/containers/{about['Id']}/start")
        except NotModified:
            call.output.debug("the container runs already")
        except PierheadError as error:
            call.output.error(error)
            return start_status(error.message)
        return None

    end = "removed" if about["HostConfig"].get("AutoRemove") else "next-exit"
    streams = _streams(takes_input=takes_input)
    return attend_begun(call, engine, about, start, end=end, keys=keys, streams=streams)


def attend_running(call: Call, engine: Engine, about: Document, *, keys: bytes, takes_input: bool) -> int:
    """The container, which runs, was stood in for; the exit code of its process.

    Raises:
        BadUsage: its terminal wants ours, and there is none.
    """
    _check_terminal(about, takes_input=takes_input)
    streams = _streams(takes_input=takes_input)
    return attend_begun(call, engine, about, lambda: None, end="not-running", keys=keys, streams=streams)


def _check_terminal(about: Document, *, takes_input: bool) -> None:
    if about["Config"]["Tty"] and takes_input and not os.isatty(0):
        raise BadUsage("the input device is not a TTY", hint="call it on a terminal, or without its input")


def _streams(*, takes_input: bool) -> tuple[str, ...]:
    return (*(("stdin",) if takes_input else ()), "stdout", "stderr")


def attend_begun(
    call: Call,
    engine: Engine,
    about: Document,
    begin: Callable[[], int | None],
    *,
    end: str,
    keys: bytes,
    streams: Collection[str],
) -> int:
    """The container was joined, then begun, and stood in for; the exit code of its process.

    Args:
        call: with ``sig-proxy``.
        engine: has the container.
        about: its inspection, ``Id`` and ``Config``.
        begin: called when it is joined and waited for; may give an exit code, which ends all.
        end: what is waited for.
        keys: that detach.
        streams: those that are ours.
    """
    path = f"/containers/{about['Id']}"
    query: dict[str, Any] = {name: name in streams for name in ("stdin", "stdout", "stderr")}
    query["detachKeys"] = call.options.text("detach-keys")
    terminal = bool(about["Config"]["Tty"])
    with (
        SignalPipe() as signals,
        engine.hijack("POST", f"{path}/attach", terminal=terminal, stream=True, **query) as joined,
        engine.open("POST", f"{path}/wait", condition=end) as waiting,
    ):
        failed = begin()
        if failed is not None:
            return failed
        takes_input = "stdin" in streams
        join = _make_join(call, engine, about, joined, signals, keys=keys, takes_input=takes_input)
        code = attend(call, join)
        return outcome_of(waiting) if code is None else code


def _make_join(
    call: Call,
    engine: Engine,
    about: Document,
    streams: Streams,
    signals: SignalPipe,
    *,
    keys: bytes,
    takes_input: bool,
) -> Join:
    """Ours and the container's streams, not yet joined."""
    path = f"/containers/{about['Id']}"
    terminal = bool(about["Config"]["Tty"])
    proxied = not call.options.given("sig-proxy") or call.options.switch("sig-proxy")
    ends = Ends(
        resize=lambda rows, columns: engine.post(f"{path}/resize", h=rows, w=columns),
        kill=(lambda number: engine.post(f"{path}/kill", signal=number)) if proxied else None,
    )
    return Join(streams, signals, ends, takes_input=takes_input, terminal=terminal, keys=keys)


def attend(call: Call, join: Join) -> int | None:
    """Stands in; the exit status where that is not the process's own."""
    try:
        join.match_size()
        join.run()
    except Detached:
        call.output.debug("detached; the container goes on")
        return 0
    except Forced:
        call.output.warn("got 3 signals to end, and left the container alone")
        return FORCED
    return None
