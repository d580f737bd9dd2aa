"""``pier run``, ``pier create``: new containers of an image."""

from __future__ import annotations

import os

from pierhead.cli.creation import attached_streams, creation_document
from pierhead.cli.creation_flags import CREATION
from pierhead.cli.detachkeys import DETACH_KEYS, parse_keys
from pierhead.cli.engine_call import HOST_WORD, OwnEngine, image_name, near_miss, open_engine, with_near_miss
from pierhead.cli.flags import BadUsage, Flag, Verb
from pierhead.errors import NotFound, PierheadError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call
    from pierhead.client.engine import Engine, Reply

_FAILED, _NOT_EXECUTABLE, _NOT_FOUND = 125, 126, 127
_MISSING = ("no such file or directory", "executable file not found", "not found in $path")
_REFUSED = ("permission denied", "is a directory", "exec format error")
_NO_IMAGE = "No such image"

SIG_PROXY = Flag(name="sig-proxy", kind="switch", about="pass signals on to the process", default="true")


# Making


def _create(call: Call) -> int:
    engine = open_engine(call)
    call.output.print(f"{_make(call, engine, foreground=True)}\n")
    return 0


def _make(call: Call, engine: Engine, *, foreground: bool) -> str:
    """The id of a new container."""
    options, image, command = call.options, call.arguments[0], call.arguments[1:]
    if image == HOST_WORD and not command and not options.given("entrypoint"):
        raise BadUsage("run @host needs a COMMAND", hint="the form is: run @host COMMAND [ARGUMENT...]")
    document = creation_document(options, image, command, foreground=foreground)
    id_file = options.text("cidfile")
    if id_file and os.path.exists(id_file):
        raise BadUsage(f"the file {id_file} is there already", hint="another container's id may stand in it")
    if document["Tty"]:
        from pierhead.cli.terminal import own_size

        document["HostConfig"]["ConsoleSize"] = list(own_size() or (0, 0))
    when = options.text("pull", "missing")
    if when == "always" and image != HOST_WORD:
        _pull(call, engine, image)
    query = {"name": options.text("name"), "platform": options.text("platform")}
    try:
        made = engine.post("/containers/create", document, **query)
    except NotFound as error:
        if not _may_be_pulled(error) or when == "never" or image == HOST_WORD:
            raise with_near_miss(engine, error) from None
        if not options.switch("quiet"):
            call.output.remark(f"Unable to find image {image!r} locally\n")
        try:
            _pull(call, engine, image)
        except PierheadError as failure:
            failure.hint = near_miss(engine, error) or failure.hint
            raise
        made = engine.post("/containers/create", document, **query)
    for warning in made.get("Warnings") or ():
        call.output.warn(warning)
    if id_file:
        with open(id_file, "x", encoding="ascii") as file:
            file.write(made["Id"])
    identity: str = made["Id"]
    return identity


def _may_be_pulled(error: NotFound) -> bool:
    return _NO_IMAGE.lower() in error.message.lower() or error.code == "platform-not-found"


def _pull(call: Call, engine: Engine, image: str) -> None:
    """Where the engine's store is ours, we do it: it is the same work without a way there and back."""
    options = call.options
    if isinstance(engine, OwnEngine):
        from pierhead.cli.pier_transfer import pull
        from pierhead.cli.store import wanted_platform

        platform = wanted_platform(call)
        pull(call, image, (platform,) if platform else (), quiet=options.switch("quiet"))
        return
    from pierhead.cli.engine_images import pull_image

    pull_image(
        call, engine, image_name(image), platform=options.text("platform"), quiet=options.switch("quiet")
    )


# Running


def _run(call: Call) -> int:
    if call.options.switch("detach"):
        if call.options.given("attach"):
            raise BadUsage("--detach and --attach contradict each other")
        engine = open_engine(call)
        identity = _make(call, engine, foreground=False)
        try:
            engine.post(f"/containers/{identity}/start")
        except PierheadError as error:
            return _not_started(call, engine, identity, error)
        call.output.print(f"{identity}\n")
        return 0
    return _run_in_front(call)


def _not_started(call: Call, engine: Engine, identity: str, error: PierheadError) -> int:
    """The status of a container whose start failed; with ``--rm`` it is gone."""
    call.output.error(error)
    if call.options.switch("rm"):
        try:
            engine.delete(f"/containers/{identity}", force=True, v=True)
        except PierheadError as other:
            call.output.debug(f"not removed: {other.message}")
    return start_status(error.message)


def start_status(message: str) -> int:
    """Docker's exit status for a start that failed."""
    lowered = message.lower()
    if any(words in lowered for words in _MISSING):
        return _NOT_FOUND
    return _NOT_EXECUTABLE if any(words in lowered for words in _REFUSED) else _FAILED


def _run_in_front(call: Call) -> int:
    from pierhead.cli.engine_attach import attend_begun

    options = call.options
    streams = attached_streams(options)
    keys = parse_keys(options.text("detach-keys"))
    if options.switch("tty") and "stdin" in streams and not os.isatty(0):
        raise BadUsage("the input device is not a TTY", hint="leave --tty out, or call it on a terminal")
    engine = open_engine(call)
    identity = _make(call, engine, foreground=True)

    def start() -> int | None:
        try:
            engine.post(f"/containers/{identity}/start")
        except PierheadError as error:
            return _not_started(call, engine, identity, error)
        return None

    about = {"Id": identity, "Config": {"Tty": options.switch("tty")}}
    end = "removed" if options.switch("rm") else "next-exit"
    return attend_begun(call, engine, about, start, end=end, keys=keys, streams=streams)


def outcome_of(waiting: Reply) -> int:
    """The exit code that a wait's answer tells.

    Raises:
        OperationFailed: the engine could not tell it.
    """
    from pierhead.errors import OperationFailed
    from pierhead.jsontext import parse

    told = parse(b"".join(waiting.body()), name="the engine's answer")
    error = (told.get("Error") or {}).get("Message")
    if error:
        raise OperationFailed(str(error), code="wait-failed")
    return int(told["StatusCode"])


_TEXT = (
    "The image is pulled if it is not here. @host is this machine, copy-on-write, its secrets hidden. The "
    "command's exit status becomes pier's; 125 is an error of the engine, 126 a command that cannot be "
    "executed, 127 one that is not there. "
)

VERBS = {
    "run": Verb(
        name="run",
        arguments="IMAGE [COMMAND [ARGUMENT...]]",
        least=1,
        most=None,
        about="run a command in a new container",
        text=_TEXT,
        flags=(
            Flag(name="detach", short="d", kind="switch", about="leave it alone, and print its id"),
            *CREATION,
            SIG_PROXY,
            DETACH_KEYS,
        ),
        examples=(
            ("run --rm debian:trixie cat /etc/os-release", "a command"),
            ("run -it --rm debian:trixie", "a shell"),
            ("run -d --name web -p 8080:80 nginx", "a service in the background"),
            ("run --rm @host id", "without any image"),
        ),
        literal=True,
        error_status=_FAILED,
        perform=_run,
    ),
    "create": Verb(
        name="create",
        arguments="IMAGE [COMMAND [ARGUMENT...]]",
        least=1,
        most=None,
        about="make a container without starting it",
        flags=CREATION,
        examples=(("create --name web nginx", "and start it later"),),
        literal=True,
        perform=_create,
    ),
}
