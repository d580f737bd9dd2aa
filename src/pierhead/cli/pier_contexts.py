"""``pier context …``: engines by names; docker's own contexts can be used as well."""

from __future__ import annotations

import os

from pierhead.cli import contexts
from pierhead.cli.contexts import MATERIAL, Context
from pierhead.cli.engine_place import CONTEXT, DEFAULT_CONTEXT, HOST, default_exec_root
from pierhead.cli.flags import TRUE_WORDS, BadUsage, Flag, Verb
from pierhead.cli.rows import FORMAT, QUIET, show_documents, show_rows
from pierhead.client.address import parse_address
from pierhead.errors import Conflict, InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from pierhead.cli.call import Call

_HEADINGS = {"Name": "NAME", "Description": "DESCRIPTION", "DockerEndpoint": "ENDPOINT", "Current": "CURRENT"}
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")
_SKIP, _ENDPOINT_KEYS = "skip-tls-verify", ("host", "ca", "cert", "key")
_ARCHIVE_BYTES_MAX = 1 << 20


def _own_engine() -> Context:
    host = f"unix://{default_exec_root()}/pierd.sock"
    return Context(name=DEFAULT_CONTEXT, host=host, description="this machine's engine")


# Making, changing


def _create(call: Call) -> int:
    name = call.arguments[0]
    _check_new(name)
    source = call.options.text("from")
    made, material = Context(name=name, host=""), {}
    if source:
        found = _own_engine() if source == DEFAULT_CONTEXT else contexts.find_context(source)
        made, material = found.replace(name=name, root=""), found.read_material()
    _write(call, made, material)
    return 0


def _check_new(name: str) -> None:
    if not name or not set(name) <= _NAME or name == DEFAULT_CONTEXT:
        raise BadUsage(f"a context cannot be called {name!r}", hint="letters, digits and _.+-")
    if name in contexts.list_contexts():
        raise Conflict(
            f"context {name!r} already exists", code="context-exists", hint="pier context rm it first"
        )


def _update(call: Call) -> int:
    found = _ours(call.arguments[0])
    _write(call, found, found.read_material())
    return 0


def _ours(name: str) -> Context:
    """The context, which we may change.

    Raises:
        Conflict: it is docker's, or this machine's.
        NotFound: there is none.
    """
    if name == DEFAULT_CONTEXT:
        raise Conflict(f"context {name!r} is this machine's engine and stays", code="context-fixed")
    found = contexts.find_context(name)
    if not found.ours:
        hint = f"docker context changes it; pier context create --from {name} makes one of our own"
        raise Conflict(f"context {name!r} is docker's", code="context-of-docker", hint=hint)
    return found


def _write(call: Call, context: Context, material: Mapping[str, bytes]) -> None:
    """The context with what the call's flags change is kept."""
    options, kept = call.options, dict(material)
    told = _endpoint(options.text("docker"))
    if options.given("host"):
        told["host"] = options.text("host")
    where = options.text("tls-certs")
    paths = {name: f"{where}/{name}" for name in MATERIAL} if where else {}
    paths |= {f"{key}.pem": told[key] for key in ("ca", "cert", "key") if told.get(key)}
    for name, path in paths.items():
        if path in told.values() or os.path.exists(path):
            kept[name] = _read(path)
    context = context.replace(
        host=told.get("host") or context.host,
        description=options.text("description") if options.given("description") else context.description,
        verify=told[_SKIP] not in TRUE_WORDS if _SKIP in told else context.verify,
    )
    if not context.host:
        raise BadUsage("context create needs a --host", hint="--host tcp://192.0.2.7:2376 --tls-certs DIR")
    parse_address(context.host, tls=bool(kept))
    contexts.write_context(context, kept)
    call.output.print(f"{context.name}\n")


def _endpoint(text: str) -> dict[str, str]:
    """``host=…,ca=…`` by its keys."""
    told = dict(part.partition("=")[::2] for part in text.split(",") if part)
    for key in told:
        if key not in (*_ENDPOINT_KEYS, _SKIP):
            hint = f"there are {', '.join(_ENDPOINT_KEYS)} and {_SKIP}"
            raise BadUsage(f"--docker knows no {key!r}", hint=hint)
    return told


def _read(path: str) -> bytes:
    with open(os.path.expanduser(path), "rb") as file:
        return file.read(_ARCHIVE_BYTES_MAX)


# Looking


def _list(call: Call) -> int:
    current = contexts.current_context()
    known = {DEFAULT_CONTEXT: _own_engine(), **contexts.list_contexts()}
    rows = [
        {
            "Name": name,
            "Description": about.description,
            "DockerEndpoint": about.host,
            "Current": name == current,
            "Error": "",
        }
        for name, about in sorted(known.items())
    ]
    if call.options.switch("quiet"):
        call.output.print("".join(f"{row['Name']}\n" for row in rows))
        return 0
    form = call.options.text("format")
    if form in ("", "table"):
        rows = [{**row, "Name": f"{row['Name']}{' *' if row['Current'] else ''}"} for row in rows]
    show_rows(call.output, form, rows, _HEADINGS, ("Name", "Description", "DockerEndpoint"))
    return 0


def _inspect(call: Call) -> int:
    names = call.arguments or (contexts.current_context(),)
    found = [_own_engine() if name == DEFAULT_CONTEXT else contexts.find_context(name) for name in names]
    documents = [_inspection(each) for each in found]
    show_documents(call.output, call.options.text("format"), documents)
    return 0


def _inspection(context: Context) -> dict[str, Any]:
    material = {"docker": list(context.material)} if context.root and context.material else {}
    paths = (context.metadata_path, context.tls_path) if context.root else ("<IN MEMORY>", "<IN MEMORY>")
    return {
        **context.document(),
        "TLSMaterial": material,
        "Storage": {"MetadataPath": paths[0], "TLSPath": paths[1]},
    }


def _show(call: Call) -> int:
    call.output.print(f"{contexts.current_context()}\n")
    return 0


# Using, removing


def _use(call: Call) -> int:
    name = call.arguments[0]
    if name != DEFAULT_CONTEXT:
        contexts.find_context(name)
    contexts.use_context(name)
    call.output.print(f"{name}\n")
    call.output.remark(f"Current context is now {name!r}; {HOST} and {CONTEXT} go before it\n")
    return 0


def _remove(call: Call) -> int:
    for name in call.arguments:
        found = _ours(name)
        kept = contexts.kept_context()
        if name in (kept, contexts.current_context()) and not call.options.switch("force"):
            raise Conflict(
                f"context {name!r} is in use", code="context-used", hint="pier context use default"
            )
        contexts.remove_context(found)
        if name == kept:
            contexts.use_context(DEFAULT_CONTEXT)
        call.output.print(f"{name}\n")
    return 0


# Elsewhere


def _export(call: Call) -> int:
    from pierhead.cli.context_archives import encode_archive
    from pierhead.cli.output import STDOUT, write_all

    name, path = (*call.arguments, "")[:2]
    found = _own_engine() if name == DEFAULT_CONTEXT else contexts.find_context(name)
    data = encode_archive(found, found.read_material() if found.root else {})
    if path == "-":
        if os.isatty(STDOUT):
            raise BadUsage("an archive is nothing for a terminal", hint="name a file, or use a pipe")
        write_all(STDOUT, data)
        return 0
    path = path or f"{name}.dockercontext"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise Conflict(f"{path} is there already", code="file-exists", hint="name another file") from None
    with os.fdopen(fd, "wb") as file:
        file.write(data)
    call.output.print(f"Written file {path!r}\n")
    return 0


def _import(call: Call) -> int:
    import sys

    from pierhead.cli.context_archives import decode_archive

    name, path = call.arguments
    _check_new(name)
    data = sys.stdin.buffer.read(_ARCHIVE_BYTES_MAX) if path == "-" else _read(path)
    if len(data) == _ARCHIVE_BYTES_MAX:
        raise InvalidInput(f"{path} is too large for a context", code="bad-context")
    found, material = decode_archive(data)
    contexts.write_context(found.replace(name=name), material)
    call.output.print(f"{name}\n")
    call.output.remark(f"Successfully imported context {name!r}\n")
    return 0


_PLACE = (
    Flag(name="host", value="ADDRESS", about="unix://PATH or tcp://HOST:PORT"),
    Flag(
        name="docker",
        value="host=ADDRESS,ca=FILE,cert=FILE,key=FILE,skip-tls-verify=true",
        about="the same in docker's form",
    ),
    Flag(name="tls-certs", value="DIR", about="of ca.pem, cert.pem, key.pem, for TLS; they are copied"),
    Flag(name="description", value="TEXT", about="what it is"),
)


def _verb(name: str, arguments: str, about: str, **more: Any) -> Verb:
    counted = [word for word in arguments.split() if not word.startswith("[")]
    most = None if "..." in arguments else len(arguments.split())
    return Verb(name=name, arguments=arguments, least=len(counted), most=most, about=about, **more)


VERBS = {
    verb.name: verb
    for verb in (
        _verb(
            "context create",
            "NAME",
            "give an engine's place a name",
            flags=(*_PLACE, Flag(name="from", value="NAME", about="as this context is")),
            perform=_create,
        ),
        _verb("context update", "NAME", "change a context", flags=_PLACE, perform=_update),
        Verb(
            name="context ls",
            about="list contexts, docker's own as well",
            flags=(FORMAT, QUIET),
            perform=_list,
        ),
        _verb(
            "context inspect",
            "[NAME...]",
            "print everything about contexts",
            flags=(Flag(name="format", short="f", value="TEMPLATE", about="a template in Go's language"),),
            perform=_inspect,
        ),
        _verb("context use", "NAME", "take this context from now on", perform=_use),
        _verb(
            "context rm",
            "NAME...",
            "remove contexts",
            flags=(Flag(name="force", short="f", kind="switch", about="the one in use, too"),),
            perform=_remove,
        ),
        Verb(name="context show", about="print the context in use", perform=_show),
        _verb(
            "context export",
            "NAME [FILE]",
            "write a context as docker does, with its keys",
            text="FILE is NAME.dockercontext when it is not given; - is standard output.",
            perform=_export,
        ),
        _verb(
            "context import",
            "NAME FILE",
            "read a context that pier or docker has exported",
            text="FILE is a tar or zip archive; - is standard input.",
            perform=_import,
        ),
    )
}
