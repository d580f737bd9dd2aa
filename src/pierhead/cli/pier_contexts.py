"""``pier context …``: engines by names."""

from __future__ import annotations

from pierhead.cli import contexts
from pierhead.cli.engine_place import CONTEXT, DEFAULT_CONTEXT, HOST, default_exec_root
from pierhead.cli.flags import BadUsage, Flag, Verb
from pierhead.cli.rows import FORMAT, QUIET, show_rows
from pierhead.client.address import parse_address
from pierhead.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call

_HEADINGS = {"Name": "NAME", "Description": "DESCRIPTION", "DockerEndpoint": "ENDPOINT", "Current": "CURRENT"}
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")


def _create(call: Call) -> int:
    options = call.options
    name = call.arguments[0]
    current, known = contexts.read_contexts()
    if not set(name) <= _NAME or name == DEFAULT_CONTEXT:
        raise BadUsage(f"a context cannot be called {name!r}", hint="letters, digits and _.+-")
    if name in known:
        raise Conflict(
            f"context {name!r} already exists", code="context-exists", hint="pier context rm it first"
        )
    host, where = options.text("host"), options.text("tls-certs")
    for part in options.text("docker").split(","):
        key, _, value = part.partition("=")
        if key == "host":
            host = value
    if not host:
        raise BadUsage("context create needs a --host", hint="--host tcp://192.0.2.7:2376 --tls-certs DIR")
    parse_address(host, tls=bool(where))
    known[name] = {"host": host, "certificates": where, "description": options.text("description")}
    contexts.write_contexts(current, known)
    call.output.print(f"{name}\n")
    return 0


def _list(call: Call) -> int:
    _, known = contexts.read_contexts()
    current = contexts.current_context()
    own = {"description": "this machine's engine", "host": f"unix://{default_exec_root()}/pierd.sock"}
    rows = [
        {
            "Name": name,
            "Description": about.get("description") or "",
            "DockerEndpoint": about["host"],
            "Current": name == current,
            "Error": "",
        }
        for name, about in sorted({DEFAULT_CONTEXT: own, **known}.items())
    ]
    if call.options.switch("quiet"):
        call.output.print("".join(f"{row['Name']}\n" for row in rows))
        return 0
    form = call.options.text("format")
    if form in ("", "table"):
        rows = [{**row, "Name": f"{row['Name']}{' *' if row['Current'] else ''}"} for row in rows]
    show_rows(call.output, form, rows, _HEADINGS, ("Name", "Description", "DockerEndpoint"))
    return 0


def _use(call: Call) -> int:
    name = call.arguments[0]
    if name != DEFAULT_CONTEXT:
        contexts.find_context(name)
    contexts.write_contexts(name, contexts.read_contexts()[1])
    call.output.print(f"{name}\n")
    call.output.remark(f"Current context is now {name!r}; {HOST} and {CONTEXT} go before it\n")
    return 0


def _remove(call: Call) -> int:
    for name in call.arguments:
        contexts.find_context(name)
        current, known = contexts.read_contexts()
        if name == current and not call.options.switch("force"):
            raise Conflict(
                f"context {name!r} is in use", code="context-used", hint="pier context use default"
            )
        del known[name]
        contexts.write_contexts(DEFAULT_CONTEXT if name == current else current, known)
        call.output.print(f"{name}\n")
    return 0


def _show(call: Call) -> int:
    call.output.print(f"{contexts.current_context()}\n")
    return 0


VERBS = {
    "context create": Verb(
        name="context create",
        arguments="NAME",
        least=1,
        most=1,
        about="give an engine's place a name",
        flags=(
            Flag(name="host", value="ADDRESS", about="unix://PATH or tcp://HOST:PORT"),
            Flag(name="docker", value="host=ADDRESS", about="the same in docker's form"),
            Flag(name="tls-certs", value="DIR", about="of ca.pem, cert.pem, key.pem, for TLS"),
            Flag(name="description", value="TEXT", about="what it is"),
        ),
        perform=_create,
    ),
    "context ls": Verb(name="context ls", about="list contexts", flags=(FORMAT, QUIET), perform=_list),
    "context use": Verb(
        name="context use",
        arguments="NAME",
        least=1,
        most=1,
        about="take this context from now on",
        perform=_use,
    ),
    "context rm": Verb(
        name="context rm",
        arguments="NAME...",
        least=1,
        most=None,
        about="remove contexts",
        flags=(Flag(name="force", short="f", kind="switch", about="the one in use, too"),),
        perform=_remove,
    ),
    "context show": Verb(name="context show", about="print the context in use", perform=_show),
}
