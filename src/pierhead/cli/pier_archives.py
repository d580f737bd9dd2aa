"""``pier save``, ``load``, ``import``, ``export``, ``frozen-image``: images and containers as files."""

from __future__ import annotations

import asyncio
import gc
import os
import time
from contextlib import contextmanager

from pierhead.cli.engine_call import ask, find_far_engine, has_engine, open_engine, with_near_miss
from pierhead.cli.flags import BadUsage, Flag, Verb, quiet_flag
from pierhead.cli.output import STDIN, STDOUT, write_all
from pierhead.cli.progress import make_progress
from pierhead.cli.store import PLATFORM, open_service, wanted_platform
from pierhead.errors import NotFound
from pierhead.figures import format_size
from pierhead.images.platforms import parse_platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.cli.call import Call
    from pierhead.client.engine import Engine

_OUTPUT = Flag(
    name="output", short="o", value="FILE", about="where the archive goes", default="standard output"
)
_QUIET = quiet_flag("say nothing beside what was asked for")


def _target(call: Call) -> str | int:
    """A path, or standard output unless somebody sits before it."""
    path = call.options.text("output")
    if path and path != "-":
        return path
    if os.isatty(STDOUT):
        raise BadUsage("an archive is nothing for a terminal", hint="use --output FILE, or a pipe")
    return STDOUT


@contextmanager
def _open_target(call: Call) -> Iterator[int]:
    """A descriptor to write the archive to; a file that is new is gone again if that fails."""
    from pierhead.images.archive.save import new_file

    target = _target(call)
    if isinstance(target, int):
        yield target
        return
    with new_file(target) as fd:
        yield fd


@contextmanager
def _open_source(path: str) -> Iterator[int]:
    """A descriptor to read the archive from."""
    source = _source(path)
    if isinstance(source, int):
        yield source
        return
    fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _source(path: str) -> str | int:
    if path and path != "-":
        return path
    if os.isatty(STDIN):
        raise BadUsage("there is no archive on standard input", hint="name a file, or use a pipe")
    return STDIN


# save, load


def _save(call: Call) -> int:
    from pierhead.images.exchange import save_images

    engine = find_far_engine(call)
    if engine is not None:
        from pierhead.cli.engine_images import save_images as save_far

        with _open_target(call) as fd:
            save_far(engine, call.arguments, fd, platform=call.options.text("platform"))
        return 0
    platforms = tuple(parse_platform(text) for text in call.options.all("platform"))
    target = _target(call)
    with open_service(call) as service:
        size = save_images(service, call.arguments, target, platforms=platforms)
    call.output.debug(f"saved {format_size(size)}")
    return 0


def _load(call: Call) -> int:
    from pierhead.images.exchange import describe_loaded, load_images

    gc.enable()
    if call.arguments:
        raise BadUsage(f"load does not take {call.arguments[0]!r}", hint="name the archive with --input FILE")
    engine = find_far_engine(call)
    if engine is not None:
        return _load_far(call, engine)
    source = _source(call.options.text("input"))
    progress = make_progress(call.output, quiet=call.options.switch("quiet"))
    try:
        with open_service(call) as service:
            names = load_images(service, source, name=call.options.text("name"), progress=progress)
            lines = [describe_loaded(service, name) for name in names]
    finally:
        progress.close()
    for line in lines:
        call.output.print(f"{line}\n")
    return 0


def _load_far(call: Call, engine: Engine) -> int:
    from pierhead.cli.engine_images import load_images as load_far

    path = call.options.text("input")
    if call.options.given("name"):
        raise BadUsage("--name is of our own store", hint="tag the image afterwards: pier tag IMAGE NAME")
    if os.path.isdir(path):
        raise BadUsage(f"{path} is a directory", hint="an engine elsewhere takes archives: tar it first")
    with _open_source(path) as fd:
        load_far(call, engine, fd, quiet=call.options.switch("quiet"))
    return 0


# import, export


def _import(call: Call) -> int:
    from pierhead.images.changes import apply_changes
    from pierhead.images.exchange import import_image
    from pierhead.oci.image import Execution

    path, name = (*call.arguments, "")[:2]
    engine = find_far_engine(call)
    if engine is not None:
        from pierhead.cli.engine_images import import_image as import_far

        changes, message = call.options.all("change"), call.options.text("message")
        with _open_source(path) as fd:
            import_far(call, engine, fd, name, changes=changes, message=message)
        return 0
    execution = apply_changes(Execution(), call.options.all("change"))
    source = _source(path)
    with open_service(call) as service:
        descriptor = import_image(
            service,
            source,
            name,
            platform=wanted_platform(call),
            execution=execution,
            comment=call.options.text("message"),
            now_s=_made_s(),
        )
    call.output.print(f"{descriptor.digest}\n")
    return 0


def _made_s() -> float:
    """Now, or what SOURCE_DATE_EPOCH says (reproducible-builds.org)."""
    given = os.environ.get("SOURCE_DATE_EPOCH", "")
    return float(given) if given.isdecimal() else time.time()


def _export(call: Call) -> int:
    """A container's name goes before an image's."""
    if has_engine(call):
        try:
            identity = open_engine(call).get(f"/containers/{call.arguments[0]}/json")["Id"]
        except NotFound as error:
            if find_far_engine(call) is not None:
                raise with_near_miss(open_engine(call), error) from None
        else:
            for flag in ("platform", "sparse"):
                if call.options.given(flag):
                    raise BadUsage(f"--{flag} is of images, and {call.arguments[0]} is a container")
            return _write_container(call, identity)
    return _export_image(call)


def _export_container(call: Call) -> int:
    engine, name = open_engine(call), call.arguments[0]
    return _write_container(call, ask(engine, lambda: engine.get(f"/containers/{name}/json"))["Id"])


def _write_container(call: Call, identity: str) -> int:
    engine = open_engine(call)
    with _open_target(call) as fd, engine.open("GET", f"/containers/{identity}/export") as reply:
        for piece in reply.body():
            write_all(fd, piece)
    return 0


def _export_image(call: Call) -> int:
    from pierhead.images.exchange import export_image

    gc.enable()
    target = _target(call)
    with open_service(call) as service:
        export_image(
            service,
            call.arguments[0],
            target,
            platform=wanted_platform(call),
            sparse=call.options.switch("sparse"),
        )
    return 0


# frozen-image


def _freeze(call: Call) -> int:
    from pierhead.images.exchange import freeze_images

    gc.enable()
    directory, *texts = call.arguments
    progress = make_progress(call.output, quiet=call.options.switch("quiet"))
    try:
        with open_service(call) as service:
            asyncio.run(
                freeze_images(service, texts, directory, platform=wanted_platform(call), progress=progress)
            )
    finally:
        progress.close()
    call.output.remark(f"Use it so: tar -cC {directory} . | docker load\n")
    return 0


VERBS = {
    "save": Verb(
        name="save",
        arguments="IMAGE...",
        least=1,
        most=None,
        about="write images into one archive",
        text="The archive is an OCI layout and what docker load reads, both at once, and it is whole: what "
        "is not here is an error before the first byte. Layers stay as they are. A name without a tag means "
        "all tags of its repository; an image that is named by its id has no name in the archive.",
        flags=(
            _OUTPUT,
            Flag(
                name="platform",
                kind="list",
                value="OS/ARCH[/VARIANT]",
                about="which of an image's platforms",
                default="all that are here",
            ),
        ),
        examples=(("save debian:trixie | ssh other pier load", "to another machine"),),
        perform=_save,
    ),
    "load": Verb(
        name="load",
        most=None,  # a file that is given as an argument has a sentence of its own
        about="read images from an archive",
        text="Reads what pier save, docker save, podman save and skopeo write: OCI layouts, as archives, "
        "compressed or not, and as directories; docker's archives of today and of old.",
        flags=(
            Flag(name="input", short="i", value="FILE", about="the archive", default="standard input"),
            Flag(name="name", value="NAME", about="what its only image is called, whatever it says itself"),
            _QUIET,
        ),
        perform=_load,
    ),
    "import": Verb(
        name="import",
        arguments="FILE [NAME]",
        least=1,
        most=2,
        about="make an image of a root file system's archive",
        text="FILE is a tar archive, compressed or not; - is standard input.",
        flags=(
            Flag(
                name="change",
                short="c",
                kind="list",
                value="INSTRUCTION",
                about='what it runs, as in a Dockerfile: CMD ["/bin/sh"]',
            ),
            Flag(name="message", short="m", value="TEXT", about="for the image's history"),
            PLATFORM,
        ),
        perform=_import,
    ),
    "export": Verb(
        name="export",
        arguments="NAME",
        least=1,
        most=1,
        about="write a container's or an image's files as an archive",
        text="A name means a container, or else an image: its root file system as a container would see it.",
        flags=(
            _OUTPUT,
            PLATFORM,
            Flag(
                name="sparse",
                kind="switch",
                about="leave out large holes of files, as tar --sparse does; not for what becomes a layer",
            ),
        ),
        perform=_export,
    ),
    "container export": Verb(
        name="container export",
        arguments="CONTAINER",
        least=1,
        most=1,
        about="write a container's files as an archive",
        flags=(_OUTPUT,),
        perform=_export_container,
    ),
    "frozen-image": Verb(
        name="frozen-image",
        arguments="DIR NAME:TAG[@DIGEST]...",
        least=2,
        most=None,
        about="fetch images into a directory that old loaders read",
        text="For each layer a directory with VERSION, json and layer.tar, and files manifest.json and "
        "repositories, as Docker's own script leaves them. With a digest, that and nothing else is taken.",
        flags=(PLATFORM, _QUIET),
        examples=(("frozen-image /tmp/frozen busybox:1.36@sha256:…", "one image of known content"),),
        perform=_freeze,
    ),
}
