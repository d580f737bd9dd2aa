"""``nsinit``: the small command line over the runtime library, without any daemon.

cd /srv/roots/busybox
nsinit exec --tty /bin/sh                          a container named nsinit, gone when the shell ends
nsinit config --memory 64m > container.json        the same, by a file that can be edited
nsinit exec --tty --config container.json /bin/sh
"""

from __future__ import annotations

import os

from pierhead.cli.flags import Flag, Options
from pierhead.cli.program import SPEAKING, Entry, Program, run
from pierhead.cli.runtime import default_root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

FLAGS = (
    Flag(name="root", value="DIR", about="where containers have their state", default="/run/pierhead/nsinit"),
    *SPEAKING,
)

_TEXT = """
Runs a command in a container whose root is a directory, with the library's own configuration: no image, no
bundle and no daemon. What a container is made of stands in one file that config writes; --explain shows
how it is made.
"""

ID = Flag(name="id", value="ID", about="the container", default="nsinit")


def _version() -> str:
    import pierhead

    return f"nsinit version {pierhead.__version__}\n"


def _settle(options: Options) -> tuple[str, str]:
    root = options.text("root") or default_root("auto", "nsinit")
    return os.path.abspath(root), "cgroupfs"


PROGRAM = Program(
    name="nsinit",
    about="run commands in containers, the small way",
    text=_TEXT,
    flags=FLAGS,
    entries=(
        Entry(
            name="exec",
            module="nsinit_exec",
            about="run a command in a container, which is made if there is none",
        ),
        Entry(name="config", module="nsinit_config", about="make a configuration file"),
        Entry(name="state", module="nsinit_look", about="print what is known of a container, as JSON"),
        Entry(name="stats", module="nsinit_look", about="print what a container uses, as JSON"),
        Entry(name="oom", module="nsinit_look", about="tell whenever a container runs out of memory"),
        Entry(name="pause", module="nsinit_look", about="freeze all processes of a container"),
        Entry(name="unpause", module="nsinit_look", about="let a paused container's processes go on"),
        Entry(name="init", module="nsinit_look", about="not to be called: what runs first in a container"),
    ),
    version=_version,
    settle=_settle,
)


def main(words: Sequence[str]) -> int:
    """Performs a call of ``nsinit``; returns the exit status."""
    return run(PROGRAM, words)
