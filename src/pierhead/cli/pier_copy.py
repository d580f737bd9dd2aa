"""``pier cp``, ``pier commit``: files from and to containers, images of containers."""

from __future__ import annotations

import os

from pierhead.cli.engine_call import ask, open_engine
from pierhead.cli.flags import BadUsage, Flag, Verb
from pierhead.cli.output import STDIN, STDOUT, write_all
from pierhead.cli.words import split_tag
from pierhead.errors import InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pierhead.cli.call import Call
    from pierhead.client.engine import Engine

_DIRECTORY, _LINK = 1 << 31, 1 << 27  # of Go's os.FileMode
_STAT = "x-docker-container-path-stat"
_READ_BYTES = 1 << 16


def split_place(text: str) -> tuple[str, str]:
    """Container ("" for ours) and path of ``web:/etc/hosts`` or ``./a:b``."""
    if text.startswith(("/", ".")) or text == "-":
        return "", text
    container, colon, path = text.partition(":")
    return (container, path) if colon else ("", text)


def _copy(call: Call) -> int:
    source, target = (split_place(text) for text in call.arguments)
    if bool(source[0]) == bool(target[0]):
        both = "copying between containers is not supported" if source[0] else "one of them names a container"
        raise BadUsage(both, hint="write it as CONTAINER:PATH and PATH")
    engine = open_engine(call)
    if source[0]:
        return _copy_out(call, engine, *source, target[1])
    return _copy_in(call, engine, source[1], *target)


# Out


def _copy_out(call: Call, engine: Engine, container: str, path: str, target: str) -> int:
    from pierhead.cli.copying import Target, unpack

    if call.options.switch("follow-link"):
        path = _followed(engine, container, path)
    with ask(engine, lambda: engine.open("GET", f"/containers/{container}/archive", path=path)) as reply:
        if target == "-":
            for piece in reply.body():
                write_all(STDOUT, piece)
            return 0
        is_directory = bool(_decode_stat(reply.headers[_STAT])["mode"] & _DIRECTORY)
        place = Target(path=target, contents_only=path.endswith("/."), of_directory=is_directory)
        unpack(reply.body(), place, archive=call.options.switch("archive"))
    if not call.options.switch("quiet"):
        call.output.remark(f"Copied to {os.path.abspath(target)}\n")
    return 0


# In


def _copy_in(call: Call, engine: Engine, source: str, container: str, path: str) -> int:
    from pierhead.cli.copying import pack_tree

    if not path:
        raise BadUsage(f"{container}: has no path", hint="write it as CONTAINER:PATH")
    query: dict[str, Any] = {"noOverwriteDirNonDir": True, "copyUIDGID": call.options.switch("archive")}
    url = f"/containers/{container}/archive"
    if source == "-":
        with ask(engine, lambda: engine.open("PUT", url, _standard_input(), path=path, **query)):
            return 0
    if not os.path.lexists(source):
        raise InvalidInput(f"{source}: no such file or directory", code="not-found")
    about = ask(engine, lambda: _stat(engine, container, path))
    if about is not None and about["mode"] & _LINK:
        path = _followed(engine, container, path)
        about = _stat(engine, container, path)
    directory, name = path, os.path.basename(os.path.abspath(source))
    if source.endswith("/.") and about is not None:
        name = "."
    elif about is None or not about["mode"] & _DIRECTORY:
        if path.endswith("/") and not os.path.isdir(source):
            raise InvalidInput(f"{container}:{path} is no directory", code="no-directory")
        directory, name = os.path.dirname(path.rstrip("/")) or "/", os.path.basename(path.rstrip("/"))
    follow = call.options.switch("follow-link")
    pieces = pack_tree(source, name, follow=follow)
    with engine.open("PUT", url, pieces, path=directory, **query):
        pass
    if not call.options.switch("quiet"):
        call.output.remark(f"Copied to {container}:{path}\n")
    return 0


def _standard_input() -> Iterator[bytes]:
    while data := os.read(STDIN, _READ_BYTES):
        yield data


def _stat(engine: Engine, container: str, path: str) -> dict[str, Any] | None:
    """What is at the path; None where nothing is.

    Raises:
        NotFound: the container is not.
    """
    try:
        with engine.open("HEAD", f"/containers/{container}/archive", path=path) as reply:
            return _decode_stat(reply.headers[_STAT])
    except NotFound:
        engine.get(f"/containers/{container}/json")
        return None


def _followed(engine: Engine, container: str, path: str) -> str:
    about = _stat(engine, container, path)
    return str(about["linkTarget"]) if about and about["mode"] & _LINK and about["linkTarget"] else path


def _decode_stat(text: str) -> dict[str, Any]:
    from base64 import b64decode

    from pierhead.jsontext import parse

    found: dict[str, Any] = parse(b64decode(text), name="the engine's answer")
    return found


# commit


def _commit(call: Call) -> int:
    options = call.options
    name, tag = split_tag(call.arguments[1] if len(call.arguments) > 1 else "")
    engine = open_engine(call)
    query: dict[str, Any] = {
        "container": call.arguments[0],
        "repo": name,
        "tag": tag,
        "comment": options.text("message"),
        "author": options.text("author"),
        "changes": list(options.all("change")),
        "pause": "0" if options.given("pause") and not options.switch("pause") else "1",
    }
    made = ask(engine, lambda: engine.post("/commit", {}, **query))
    call.output.print(f"{made['Id']}\n")
    return 0


VERBS = {
    "cp": Verb(
        name="cp",
        arguments="[CONTAINER:]PATH [CONTAINER:]PATH",
        least=2,
        most=2,
        about="copy files from or to a container",
        text="A dash is an archive on standard input or output. The contents of a directory are DIRECTORY/. "
        "as for docker.",
        flags=(
            Flag(name="archive", short="a", kind="switch", about="with owners"),
            Flag(
                name="follow-link", short="L", kind="switch", about="what a link leads to, and not the link"
            ),
            Flag(name="quiet", short="q", kind="switch", about="say nothing"),
        ),
        examples=(("cp web:/etc/nginx/nginx.conf .", "one file"),),
        perform=_copy,
    ),
    "commit": Verb(
        name="commit",
        arguments="CONTAINER [IMAGE[:TAG]]",
        least=1,
        most=2,
        about="make an image of a container",
        flags=(
            Flag(name="author", short="a", value="NAME", about="who made it"),
            Flag(name="change", short="c", kind="list", value="LINE", about='a line such as CMD ["sh"]'),
            Flag(name="message", short="m", value="TEXT", about="why"),
            Flag(name="pause", short="p", kind="switch", about="freeze it meanwhile", default="true"),
        ),
        perform=_commit,
    ),
}
