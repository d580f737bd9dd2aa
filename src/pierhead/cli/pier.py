"""``pier``: images and containers, the command that people type.

    pier pull debian:trixie
    pier run debian:trixie cat /etc/os-release
    pier run @host id                               the running host for an image

No daemon is needed: the command does the work itself, under locks that other processes respect.
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
        about="where images are kept",
        default="/var/lib/pierhead, or the user's own data directory",
    ),
    *SPEAKING,
)

_TEXT = """
Pulls, keeps, makes and pushes images, and runs containers of them. Names are written as for docker: busybox,
debian:trixie, registry.example.com/team/app@sha256:…
"""


def _version() -> str:
    import pierhead

    return f"pier version {pierhead.__version__}\n"


def default_root() -> str:
    """Where images are kept when nobody says it: for root the machine's place, else the user's own."""
    if os.geteuid() == 0:
        return "/var/lib/pierhead"
    data = os.environ.get("XDG_DATA_HOME", "")
    return f"{data or os.path.expanduser('~/.local/share')}/pierhead"


def _settle(options: Options) -> tuple[str, str]:
    return os.path.abspath(options.text("root") or default_root()), "cgroupfs"


PROGRAM = Program(
    name="pier",
    about="images and containers, without a daemon",
    text=_TEXT,
    flags=FLAGS,
    entries=(
        Entry(name="run", module="pier_run", about="run a command in a new container of an image"),
        Entry(name="pull", module="pier_transfer", about="fetch an image from a registry"),
        Entry(name="push", module="pier_transfer", about="send an image to a registry"),
        Entry(name="images", module="pier_images", about="list images"),
        Entry(name="history", module="pier_images", about="show how an image came to be"),
        Entry(name="inspect", module="pier_images", about="print everything about images, as JSON"),
        Entry(name="tag", module="pier_images", about="give an image a further name"),
        Entry(name="rmi", module="pier_images", about="take names from images"),
        Entry(name="save", module="pier_archives", about="write images into one archive"),
        Entry(name="load", module="pier_archives", about="read images from an archive"),
        Entry(name="import", module="pier_archives", about="make an image of a root file system's archive"),
        Entry(name="export", module="pier_archives", about="write an image's root file system as an archive"),
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
        Entry(name="registry serve", module="pier_registry", about="be a registry"),
        Entry(name="registry gc", module="pier_registry", about="remove what no manifest needs"),
        Entry(name="registry htpasswd", module="pier_registry", about="set a user's password in a file"),
    ),
    version=_version,
    settle=_settle,
)


def main(words: Sequence[str]) -> int:
    """Performs a call of ``pier``; returns the exit status."""
    return run(PROGRAM, words)
