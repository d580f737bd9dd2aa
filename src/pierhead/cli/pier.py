"""``pier``: images and containers, the command that people type.

    pier pull debian:trixie
    pier run debian:trixie cat /etc/os-release
    pier run @host id                               the running host for an image

    pier ps; pier logs web; pier exec -it web sh

What has to do with containers is asked of the engine, ``pierd``, which is started when nobody answers.
Images are pulled, kept and pushed by the command itself, under locks that other processes respect.
"""

from __future__ import annotations

import os

from pierhead.cli.flags import Flag, Options
from pierhead.cli.program import SPEAKING, Entry, Program, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FLAGS = (
    Flag(
        name="root",
        value="DIR",
        about="where images and containers are kept, with an engine of their own",
        default="/var/lib/pierhead, or the user's own data directory",
    ),
    Flag(name="host", short="H", value="ADDRESS", about="of the engine: unix://PATH or tcp://HOST:PORT"),
    Flag(name="context", short="c", value="NAME", about="the engine of this context"),
    Flag(name="tls", kind="switch", about="speak TLS with it"),
    Flag(name="tlsverify", kind="switch", about="and only if its certificate is right"),
    Flag(name="tls-certs", value="DIR", about="of ca.pem, cert.pem, key.pem", default="~/.docker"),
    *SPEAKING,
)

_TEXT = """
Runs containers, and pulls, keeps, makes and pushes images. Words and flags are docker's, those of groups
too: pier container ls is pier ps. The engine is where --host, PIER_HOST, DOCKER_HOST or a context say; else
it is this machine's own, which is started when nobody answers. Names are written as for docker: busybox,
debian:trixie, registry.example.com/team/app@sha256:…
"""


def _version() -> str:
    import pierhead

    return f"pier version {pierhead.__version__}\n"


def default_root() -> str:
    """Where images are kept when nobody says it: for root the machine's place, else the user's own."""
    if os.geteuid() == 0:
        return "/var/lib/pierhead"
    from pierhead.cli.user_places import user_data_root

    return user_data_root(os.environ, os.geteuid())


def _settle(options: Options) -> tuple[str, str]:
    return os.path.abspath(options.text("root") or default_root()), "cgroupfs"


_OF_CONTAINERS = (
    *("attach", "commit", "cp", "create", "diff", "exec", "kill", "logs", "pause", "port", "rename"),
    *("restart", "rm", "run", "start", "stats", "stop", "top", "unpause", "update", "wait"),
)
_OF_IMAGES = ("history", "import", "load", "pull", "push", "save", "tag")
_ALIASES = {
    **{f"container {verb}": verb for verb in _OF_CONTAINERS},
    **dict.fromkeys(("container ls", "container list", "container ps"), "ps"),
    "container remove": "rm",
    **{f"image {verb}": verb for verb in _OF_IMAGES},
    **dict.fromkeys(("image ls", "image list"), "images"),
    **dict.fromkeys(("image rm", "image remove"), "rmi"),
    "volume list": "volume ls",
    "volume remove": "volume rm",
    "network list": "network ls",
    "network remove": "network rm",
    "context list": "context ls",
    "context remove": "context rm",
    "system info": "info",
    "system events": "events",
}
"""docker's further names; the verbs of groups that docker has at the top as well."""

_SWARM = "an engine here is one machine: run and create make containers"
_ABSENT = {
    **dict.fromkeys(
        ("build", "builder", "buildx"),
        "images are not built here: pull one, or make one with import, commit or bootstrap",
    ),
    "compose": "docker compose works with pierd: set DOCKER_HOST to the address of its socket",
    **dict.fromkeys(("swarm", "node", "service", "stack", "secret", "config"), _SWARM),
    "plugin": "drivers of volumes, networks and logs are those that the engine has",
    "manifest": "pull --all-platforms and push keep an image's whole index",
    "trust": "pier sign signs images, and policy.toml says which must be signed",
    "checkpoint": "pause keeps a container as it is, in memory",
}
"""docker's verbs of which there is nothing here."""

PROGRAM = Program(
    name="pier",
    about="containers and images",
    text=_TEXT,
    flags=FLAGS,
    entries=(
        Entry(name="run", module="pier_run", about="run a command in a new container"),
        Entry(name="create", module="pier_run", about="make a container without starting it"),
        Entry(name="start", module="pier_life", about="start containers that do not run"),
        Entry(name="stop", module="pier_life", about="ask containers to end, and kill those that do not"),
        Entry(name="restart", module="pier_life", about="stop containers and start them again"),
        Entry(name="kill", module="pier_life", about="send containers a signal"),
        Entry(name="pause", module="pier_life", about="freeze containers"),
        Entry(name="unpause", module="pier_life", about="let frozen containers go on"),
        Entry(name="rm", module="pier_life", about="remove containers"),
        Entry(name="update", module="pier_life", about="change the limits of containers"),
        Entry(name="ps", module="pier_list", about="list containers"),
        Entry(name="logs", module="pier_logs", about="print what a container has said"),
        Entry(name="port", module="pier_list", about="list a container's published ports"),
        Entry(name="top", module="pier_list", about="list a container's processes"),
        Entry(
            name="diff",
            module="pier_list",
            about="list what a container has changed of its image's files",
        ),
        Entry(
            name="wait",
            module="pier_list",
            about="wait until containers have ended, and print their exit codes",
        ),
        Entry(name="rename", module="pier_list", about="give a container another name"),
        Entry(name="exec", module="pier_exec", about="run a further command in a container"),
        Entry(name="attach", module="pier_exec", about="join a container that runs"),
        Entry(name="stats", module="pier_stats", about="show what containers use"),
        Entry(name="cp", module="pier_copy", about="copy files from or to a container"),
        Entry(name="commit", module="pier_copy", about="make an image of a container"),
        Entry(name="pull", module="pier_transfer", about="fetch an image from a registry"),
        Entry(name="push", module="pier_transfer", about="send an image to a registry"),
        Entry(name="images", module="pier_images", about="list images"),
        Entry(name="history", module="pier_images", about="show how an image came to be"),
        Entry(
            name="inspect",
            module="pier_inspect",
            about="print everything about containers, images, volumes, networks",
        ),
        Entry(name="tag", module="pier_images", about="give an image a further name"),
        Entry(name="rmi", module="pier_images", about="take names from images"),
        Entry(name="save", module="pier_archives", about="write images into one archive"),
        Entry(name="load", module="pier_archives", about="read images from an archive"),
        Entry(name="import", module="pier_archives", about="make an image of a root file system's archive"),
        Entry(
            name="export",
            module="pier_archives",
            about="write a container's or an image's files as an archive",
        ),
        Entry(
            name="frozen-image",
            module="pier_archives",
            about="fetch images into a directory that old loaders read",
        ),
        Entry(name="bootstrap", module="pier_bootstrap", about="make a Debian image without a registry"),
        Entry(name="df", module="pier_space", about="show what each byte is for"),
        Entry(name="prune", module="pier_space", about="remove what no image needs"),
        Entry(name="login", module="pier_transfer", about="keep a name and a password for a registry"),
        Entry(name="logout", module="pier_transfer", about="forget those for a registry"),
        Entry(name="sign", module="pier_sign", about="sign an image in its registry"),
        Entry(name="search", module="pier_images", about="ask the engine for images in Docker Hub's index"),
        Entry(
            name="container export", module="pier_archives", about="write a container's files as an archive"
        ),
        Entry(name="container inspect", module="pier_inspect", about="print everything about containers"),
        Entry(name="container prune", module="pier_system", about="remove stopped containers"),
        Entry(name="image inspect", module="pier_inspect", about="print everything about images"),
        Entry(name="image prune", module="pier_system", about="remove images that nobody uses"),
        Entry(name="volume create", module="pier_places", about="make a volume"),
        Entry(name="volume ls", module="pier_places", about="list volumes"),
        Entry(name="volume inspect", module="pier_inspect", about="print everything about volumes"),
        Entry(name="volume rm", module="pier_places", about="remove volumes"),
        Entry(name="volume prune", module="pier_places", about="remove volumes that no container uses"),
        Entry(name="network create", module="pier_networks", about="make a network"),
        Entry(name="network ls", module="pier_networks", about="list networks"),
        Entry(name="network inspect", module="pier_inspect", about="print everything about networks"),
        Entry(name="network connect", module="pier_networks", about="let a container join a network"),
        Entry(name="network disconnect", module="pier_networks", about="take a container out of a network"),
        Entry(name="network rm", module="pier_networks", about="remove networks"),
        Entry(name="network prune", module="pier_networks", about="remove networks that no container uses"),
        Entry(name="info", module="pier_system", about="print how the engine is set up"),
        Entry(name="version", module="pier_system", about="print the versions of pier and of the engine"),
        Entry(
            name="events",
            module="pier_system",
            about="print what happens to containers, images and volumes",
        ),
        Entry(
            name="system df",
            module="pier_df",
            about="show the room that the engine's things need",
        ),
        Entry(name="system prune", module="pier_system", about="remove what nobody uses"),
        Entry(name="context create", module="pier_contexts", about="give an engine's place a name"),
        Entry(name="context update", module="pier_contexts", about="change a context"),
        Entry(name="context ls", module="pier_contexts", about="list contexts, docker's own as well"),
        Entry(name="context inspect", module="pier_contexts", about="print everything about contexts"),
        Entry(
            name="context export",
            module="pier_contexts",
            about="write a context as docker does, with its keys",
        ),
        Entry(
            name="context import",
            module="pier_contexts",
            about="read a context that pier or docker has exported",
        ),
        Entry(name="context use", module="pier_contexts", about="take this context from now on"),
        Entry(name="context rm", module="pier_contexts", about="remove contexts"),
        Entry(name="context show", module="pier_contexts", about="print the context in use"),
        Entry(
            name="completion",
            module="pier_completion",
            about="print a script that completes words in a shell",
        ),
        Entry(
            name="complete",
            module="pier_completion",
            about="print what can stand in the place of the last word",
        ),
        Entry(name="registry serve", module="pier_registry", about="be a registry"),
        Entry(name="registry gc", module="pier_registry", about="remove what no manifest needs"),
        Entry(name="registry htpasswd", module="pier_registry", about="set a user's password in a file"),
    ),
    version=_version,
    settle=_settle,
    aliases=_ALIASES,
    absent=_ABSENT,
)


def main(words: Sequence[str]) -> int:
    """Performs a call of ``pier``; returns the exit status."""
    return run(PROGRAM, words)
