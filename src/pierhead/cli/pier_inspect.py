"""``pier inspect``: everything about containers, images, volumes and networks; ``pier container inspect`` and
the like about one kind of them.
"""

from __future__ import annotations

from pierhead.cli.engine_call import has_engine, near_miss, open_engine
from pierhead.cli.engine_place import find_place
from pierhead.cli.flags import Flag, Verb
from pierhead.cli.rows import show_documents
from pierhead.cli.store import PLATFORM
from pierhead.errors import NotFound, PierheadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pierhead.cli.call import Call

    Find = Callable[[str], Any]

KINDS = ("container", "image", "volume", "network")
_PATHS = {"container": "/containers/{}/json", "volume": "/volumes/{}", "network": "/networks/{}"}


def _inspect(call: Call) -> int:
    kind = call.options.text("type")
    kinds = (kind,) if kind else KINDS
    finders = [_finder(call, each) for each in kinds if each == "image" or has_engine(call)]
    return _show(call, finders, kind or "object")


def _finder(call: Call, kind: str) -> Find:
    if kind == "image":
        return lambda name: _find_image(call, name)
    engine = open_engine(call)
    size = kind == "container" and call.options.switch("size")
    return lambda name: engine.get(_PATHS[kind].format(name), size=size)


def _find_image(call: Call, name: str) -> Any:
    if not find_place(call).ours:
        return open_engine(call).get(f"/images/{name}/json", platform=call.options.text("platform"))
    from pierhead.cli.store import open_service, wanted_platform

    with open_service(call) as service:
        return service.inspect(name, wanted_platform(call))


def _show(call: Call, finders: list[Find], what: str) -> int:
    """What is found is printed, then the first that is not is an error."""
    found: list[Any] = []
    failed: list[PierheadError] = []
    for name in call.arguments:
        for find in finders:
            try:
                found.append(find(name))
            except NotFound as error:
                last: PierheadError = error
                continue
            break
        else:
            failed.append(last if len(finders) == 1 else _no_such(call, what, name))
    show_documents(call.output, call.options.text("format"), found)
    for each in failed:
        call.output.error(each)
    return 1 if failed else 0


def _no_such(call: Call, what: str, name: str) -> NotFound:
    hint = ""
    if has_engine(call):
        hint = near_miss(open_engine(call), NotFound(f"No such container: {name}"))
    return NotFound(f"No such {what}: {name}", hint=hint)


def _inspect_kind(kind: str) -> Callable[[Call], int]:
    return lambda call: _show(call, [_finder(call, kind)], kind)


FORMAT = Flag(name="format", short="f", value="TEMPLATE", about="json, or a template in Go's language")
SIZE = Flag(name="size", short="s", kind="switch", about="how much a container has written")

_EXAMPLES = (("inspect --format '{{.State.Status}}' web", "one field"),)
VERBS = {
    "inspect": Verb(
        name="inspect",
        arguments="NAME...",
        least=1,
        most=None,
        about="print everything about containers, images, volumes, networks",
        text="What a name means is looked for in this order.",
        flags=(
            FORMAT,
            SIZE,
            PLATFORM,
            Flag(name="type", value="KIND", about="only of this kind", choices=KINDS),
        ),
        examples=_EXAMPLES,
        perform=_inspect,
    ),
    **{
        f"{kind} inspect": Verb(
            name=f"{kind} inspect",
            arguments="NAME...",
            least=1,
            most=None,
            about=f"print everything about {kind}s",
            flags=(FORMAT, SIZE)
            if kind == "container"
            else (FORMAT, PLATFORM)
            if kind == "image"
            else (FORMAT,),
            perform=_inspect_kind(kind),
        )
        for kind in KINDS
    },
}
