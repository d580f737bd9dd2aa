"""Contexts: engines by names, kept in ``~/.config/pierhead/contexts.json``.

{"current": "far", "contexts": {"far": {"host": "tcp://192.0.2.7:2376", "certificates": "/home/me/far"}}}
"""

from __future__ import annotations

import os

from pierhead.cli.engine_place import CONTEXT, DEFAULT_CONTEXT, EnginePlace
from pierhead.client.address import parse_address
from pierhead.errors import InvalidInput, NotFound
from pierhead.jsontext import format_indented, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Contexts = dict[str, dict[str, Any]]


def contexts_path() -> str:
    """The file."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return f"{home}/pierhead/contexts.json"


def read_contexts() -> tuple[str, Contexts]:
    """The name of the one in use, and all.

    Raises:
        InvalidInput: the file is damaged.
    """
    path = contexts_path()
    try:
        with open(path, encoding="utf-8") as file:
            found = parse(file.read(), name=path)
    except FileNotFoundError:
        return DEFAULT_CONTEXT, {}
    known = found.get("contexts") if isinstance(found, dict) else None
    if not isinstance(known, dict) or not all(isinstance(each, dict) for each in known.values()):
        raise InvalidInput(f"{path} is damaged", code="bad-contexts", hint="remove it, or mend it")
    return str(found.get("current") or DEFAULT_CONTEXT), known


def write_contexts(current: str, contexts: Contexts) -> None:
    """The file says so."""
    path = contexts_path()
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    beside = f"{path}.{os.getpid()}"
    with open(beside, "w", encoding="utf-8") as file:
        file.write(format_indented({"current": current, "contexts": contexts}))
    os.replace(beside, path)


def current_context() -> str:
    """The name of the one in use."""
    named = os.environ.get(CONTEXT)
    if named:
        return named
    return read_contexts()[0] if os.path.exists(contexts_path()) else DEFAULT_CONTEXT


def find_context(name: str) -> dict[str, Any]:
    """The context of this name.

    Raises:
        NotFound: there is none.
    """
    contexts = read_contexts()[1]
    if name not in contexts:
        from pierhead.nearest import nearest

        near = nearest(name, list(contexts))
        hint = f"did you mean {near}?" if near else "pier context ls lists them"
        raise NotFound(f"context {name!r} does not exist", code="no-context", hint=hint)
    return contexts[name]


def context_place(name: str) -> EnginePlace:
    """Where the context's engine is.

    Raises:
        NotFound: there is no such context.
    """
    found = find_context(name)
    where = str(found.get("certificates") or "")
    address = parse_address(str(found.get("host") or ""), tls=bool(where))
    return EnginePlace(address=address, certificates=where)
