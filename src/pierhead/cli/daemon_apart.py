"""``pierd`` as ``pier`` starts it: in no directory that somebody may want to unmount."""

from __future__ import annotations

import os

from pierhead.cli.daemon import main as serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(words: Sequence[str]) -> None:
    """The daemon has run to its end."""
    os.chdir("/")
    os.umask(0o022)
    raise SystemExit(serve(words))
