"""``nsinit state``, ``stats``, ``oom``, ``pause``, ``unpause``: a container that exists; and ``init``."""

from __future__ import annotations

import gc

from pierhead.cli.flags import Verb
from pierhead.cli.nsinit import ID
from pierhead.errors import InvalidInput, PierheadError
from pierhead.jsontext import format_indented
from pierhead.runtime import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.cli.call import Call
    from pierhead.runtime import Container


def _load(call: Call) -> Container:
    return load(call.root, container_id(call))


def container_id(call: Call) -> str:
    """Which container is meant: --id, or the only argument."""
    given = call.options.text("id")
    if given and call.arguments and call.arguments[0] != given:
        raise InvalidInput(f"two containers are named: {given} and {call.arguments[0]}", code="bad-usage")
    return given or (call.arguments[0] if call.arguments else ID.default)


def _state(call: Call) -> int:
    container = _load(call)
    known = container.state
    document = {
        "id": container.id,
        "status": container.status,
        "init_pid": container.init_pid,
        "init_start_time": known.init_start_time,
        "created": container.created,
        "cgroup_paths": container.cgroup_paths,
        "namespace_paths": namespace_paths(container),
        "config": known.config,
    }
    call.output.print(format_indented(document))
    return 0


_NAMESPACE_FILES = {"network": "net", "mount": "mnt"}


def namespace_paths(container: Container) -> dict[str, str]:
    """Where each of its namespaces can be joined, while its first process lives."""
    pid = container.init_pid
    if not pid:
        return {}
    kinds = [item.type for item in container.config.namespaces]
    return {kind: f"/proc/{pid}/ns/{_NAMESPACE_FILES.get(kind, kind)}" for kind in kinds}


def _stats(call: Call) -> int:
    from pierhead.runtime.stats import stats_event

    container = _load(call)
    call.output.print(format_indented(stats_event(container.id, container.stats())["data"]))
    return 0


def _oom(call: Call) -> int:
    gc.enable()  # the program's script turns it off; this verb may go on for months
    container = _load(call)
    with container.notify_oom() as events:
        call.output.remark(f"waiting for container {container.id} to run out of memory\n")
        for killed in events:
            processes = "one process was killed" if killed == 1 else f"{killed} processes were killed"
            call.output.print(f"out of memory: {processes}\n" if killed else "out of memory\n")
    return 0


def _pause(call: Call) -> int:
    _load(call).pause()
    return 0


def _unpause(call: Call) -> int:
    _load(call).resume()
    return 0


def _init(_: Call) -> int:
    raise PierheadError(
        "init is not to be called: it is what runs first inside a container",
        code="internal-verb",
        hint="pier-init does it, by a plan that `nsinit exec --explain` shows",
    )


def _verb(name: str, about: str, perform: Callable[[Call], int], text: str = "") -> Verb:
    return Verb(name=name, arguments="[ID]", most=1, about=about, text=text, flags=(ID,), perform=perform)


VERBS = {
    verb.name: verb
    for verb in (
        _verb("state", "print what is known of a container, as JSON", _state),
        _verb("stats", "print what a container uses, as JSON", _stats),
        _verb("oom", "tell whenever a container runs out of memory", _oom, "Ends with the container."),
        _verb("pause", "freeze all processes of a container", _pause),
        _verb("unpause", "let a paused container's processes go on", _unpause),
        Verb(
            name="init",
            arguments="[ARGUMENT...]",
            most=None,
            about="not to be called: what runs first in a container",
            literal=True,
            perform=_init,
        ),
    )
}
