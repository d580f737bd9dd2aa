"""``pier pull``, ``push``, ``login``, ``logout``: images from and to registries."""

from __future__ import annotations

import asyncio
import gc
import os
import sys

from pierhead.cli.asking import ask, ask_secret
from pierhead.cli.creation_flags import CONTENT_TRUST
from pierhead.cli.engine_call import find_far_engine
from pierhead.cli.flags import BadUsage, Flag, Verb, quiet_flag
from pierhead.cli.progress import make_progress
from pierhead.cli.store import open_service
from pierhead.errors import NotFound
from pierhead.images.platforms import parse_platform
from pierhead.images.reference import DEFAULT_DOMAIN, parse_reference

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call
    from pierhead.client.engine import Engine
    from pierhead.images.compression import Written
    from pierhead.images.pulling import PulledImage
    from pierhead.images.service import ImageService
    from pierhead.oci.image import Platform

_QUIET = quiet_flag("print the image's name only")
_PASSWORD_BYTES_MAX = 65536


# pull, push


def wanted_platforms(call: Call) -> tuple[Platform, ...] | None:
    """Those that ``--platform`` and ``--all-platforms`` ask for; () is this machine's, None all.

    Raises:
        BadUsage: both were given.
    """
    named = call.options.all("platform")
    if not call.options.switch("all-platforms"):
        return tuple(parse_platform(text) for text in named)
    if named:
        raise BadUsage("--platform and --all-platforms contradict each other")
    return None


def pull(call: Call, text: str, platforms: tuple[Platform, ...] | None, *, quiet: bool) -> PulledImage:
    """The image is here; a person is told how it comes."""
    from pierhead.images.pulling import pull_image
    from pierhead.images.unpacking import keeps_owners

    gc.enable()  # the program's script turns it off; a pull makes much that goes again
    progress = make_progress(call.output, quiet=quiet)
    try:
        with open_service(call) as service:
            pulled = pull_image(service, text, platforms=platforms, unpack=keeps_owners(), progress=progress)
            return asyncio.run(pulled)
    finally:
        progress.close()


def _pull(call: Call) -> int:
    quiet = call.options.switch("quiet")
    engine = find_far_engine(call)
    if engine is not None:
        return _pull_far(call, engine)
    if call.options.switch("all-tags"):
        texts = [name for text in call.arguments for name in _all_tags(text)]
    else:
        texts = list(call.arguments)
    for text in texts:
        found = pull(call, text, wanted_platforms(call), quiet=quiet)
        if not quiet:
            familiar = parse_reference(found.name).familiar()
            state = "Downloaded newer image for" if found.newer else "Image is up to date for"
            call.output.remark(f"Digest: {found.descriptor.digest}\nStatus: {state} {familiar}\n")
        call.output.print(f"{found.name}\n")
    return 0


def _pull_far(call: Call, engine: Engine) -> int:
    from pierhead.cli.engine_images import pull_image, pull_tags

    options = call.options
    if options.switch("all-platforms"):
        raise BadUsage("--all-platforms is of our own store; an engine elsewhere pulls one at a time")
    for text in call.arguments:
        if options.switch("all-tags"):
            _refuse_tag(text, "pull")
            pull_tags(call, engine, text, quiet=options.switch("quiet"))
        else:
            pull_image(call, engine, text, platform=options.text("platform"), quiet=options.switch("quiet"))
        call.output.print(f"{parse_reference(text).canonical()}\n")
    return 0


def _all_tags(text: str) -> list[str]:
    """Names of all that the repository has in its registry."""
    from pierhead.images.pulling import list_tags

    _refuse_tag(text, "pull")
    return [f"{text}:{tag}" for tag in asyncio.run(list_tags(text))]


def _refuse_tag(text: str, verb: str) -> None:
    wanted = parse_reference(text)
    if wanted.tag or wanted.digest:
        hint = f"pier {verb} --all-tags {wanted.familiar_name()}"
        raise BadUsage("a tag contradicts --all-tags", hint=hint)


def _push(call: Call) -> int:
    gc.enable()
    engine = find_far_engine(call)
    if engine is not None:
        return _push_far(call, engine)
    with open_service(call) as service:
        for text in _pushed_names(call, service):
            _push_one(call, service, text)
    return 0


def _pushed_names(call: Call, service: ImageService) -> tuple[str, ...]:
    """The name that was given; with ``--all-tags`` every tag that its repository has here.

    Raises:
        BadUsage: a tag was given beside that.
        NotFound: the repository has none.
    """
    text = call.arguments[0]
    if not call.options.switch("all-tags"):
        return (text,)
    _refuse_tag(text, "push")
    wanted = parse_reference(text)
    found = tuple(each.familiar() for each in service.catalogue.tags_of(wanted.name))
    if not found:
        raise _no_image_of(wanted.familiar_name())
    return found


def _no_image_of(repository: str) -> NotFound:
    hint = "pier images lists what there is"
    return NotFound(f"there is no image of {repository}", code="image-not-found", hint=hint)


def _push_far(call: Call, engine: Engine) -> int:
    from pierhead.cli.engine_images import push_image, tags_of

    options, names = call.options, list(call.arguments)
    if options.given("compression"):
        raise BadUsage("--compression is of our own store; an engine elsewhere decides itself")
    if options.switch("all-tags"):
        _refuse_tag(names[0], "push")
        repository = parse_reference(names[0]).familiar_name()
        names = tags_of(engine, repository)
        if not names:
            raise _no_image_of(repository)
    for name in names:
        push_image(call, engine, name, quiet=options.switch("quiet"))
        call.output.print(f"{parse_reference(name).canonical()}\n")
    return 0


def _push_one(call: Call, service: ImageService, text: str) -> None:
    from pierhead.images.pulling import push_image

    quiet = call.options.switch("quiet")
    progress = make_progress(call.output, quiet=quiet, pushing=True)
    try:
        descriptor = asyncio.run(push_image(service, text, compression=_compression(call), progress=progress))
    finally:
        progress.close()
    reference = parse_reference(text).canonical()
    if not quiet:
        call.output.remark(f"{reference.identifier}: digest: {descriptor.digest} size: {descriptor.size}\n")
    call.output.print(f"{reference}\n")


def _compression(call: Call) -> Written:
    text = call.options.text("compression", "gzip")
    return "zstd" if text == "zstd" else "none" if text == "none" else "gzip"


# login, logout


def _login(call: Call) -> int:
    from pierhead.images.pulling import check_login
    from pierhead.images.remote.credentials import CredentialFile, Credentials, default_paths

    domain = call.arguments[0] if call.arguments else DEFAULT_DOMAIN
    username = call.options.text("username") or ask(
        "Username: ", "a user's name", hint="give it with --username"
    )
    password = _read_password(call)
    credentials = Credentials(username=username, password=password)
    asyncio.run(check_login(domain, credentials))
    CredentialFile(default_paths(os.environ)[0]).store(domain, credentials)
    call.output.print("Login Succeeded\n")
    return 0


def _read_password(call: Call) -> str:
    if call.options.switch("password-stdin"):
        if not call.options.text("username"):
            raise BadUsage("--password-stdin needs --username, since nothing else can be asked for")
        password = sys.stdin.read(_PASSWORD_BYTES_MAX).rstrip("\r\n")
        if not password:
            raise BadUsage("there is no password on standard input")
        return password
    if call.options.given("password"):
        call.output.warn(
            "--password shows the password to everybody who lists processes: use --password-stdin"
        )
        return call.options.text("password")
    return ask_secret("Password: ", "a password", hint="--password-stdin reads one from standard input")


def _logout(call: Call) -> int:
    from pierhead.images.remote.credentials import CredentialFile, default_paths

    domain = call.arguments[0] if call.arguments else DEFAULT_DOMAIN
    removed = CredentialFile(default_paths(os.environ)[0]).remove(domain)
    call.output.print(
        f"Removed login credentials for {domain}\n" if removed else f"Not logged in to {domain}\n"
    )
    return 0


_PLATFORMS = (
    Flag(
        name="platform",
        kind="list",
        value="OS/ARCH[/VARIANT]",
        about="which of an image's platforms",
        default="this machine's",
    ),
    Flag(name="all-platforms", kind="switch", about="every platform that the image has"),
)

VERBS = {
    "pull": Verb(
        name="pull",
        arguments="IMAGE...",
        least=1,
        most=None,
        about="fetch an image from a registry",
        text="What was interrupted goes on where it stopped, also after a restart of the machine. Layers "
        "come several at once, large ones in ranges side by side, and are unpacked meanwhile. Mirrors and "
        "certificates stand in /etc/pierhead/registries.toml, rules of who must have signed in "
        "/etc/pierhead/policy.toml.",
        flags=(
            *_PLATFORMS,
            Flag(name="all-tags", short="a", kind="switch", about="all images of the repository"),
            CONTENT_TRUST,
            _QUIET,
        ),
        examples=(
            ("pull debian:trixie", "from Docker Hub"),
            ("pull --platform linux/arm64 registry.example.com/team/app:1", "for another machine"),
        ),
        perform=_pull,
    ),
    "push": Verb(
        name="push",
        arguments="IMAGE",
        least=1,
        most=1,
        about="send an image to a registry",
        text="Layers go as they are kept; only those that are not compressed at all, as they come from "
        "archives, are compressed once, and the name then stands for the image that was pushed. What the "
        "registry has in another repository is mounted from there.",
        flags=(
            Flag(
                name="compression",
                value="KIND",
                about="of layers that have none",
                default="gzip",
                choices=("gzip", "zstd", "none"),
            ),
            Flag(name="all-tags", short="a", kind="switch", about="push every tag of the repository"),
            CONTENT_TRUST,
            _QUIET,
        ),
        perform=_push,
    ),
    "login": Verb(
        name="login",
        arguments="[REGISTRY]",
        most=1,
        about="keep a name and a password for a registry",
        text="They are kept as docker keeps them: in its config.json, or by the helper that it names.",
        flags=(
            Flag(name="username", short="u", value="NAME", about="whose password it is"),
            Flag(
                name="password",
                short="p",
                value="PASSWORD",
                about="visible to others: better --password-stdin",
            ),
            Flag(name="password-stdin", kind="switch", about="read the password from standard input"),
        ),
        perform=_login,
    ),
    "logout": Verb(
        name="logout",
        arguments="[REGISTRY]",
        most=1,
        about="forget those for a registry",
        perform=_logout,
    ),
}
