"""Questions before something cannot be undone."""

from __future__ import annotations

import os

from pierhead.cli.output import STDIN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call


def agrees(call: Call, warning: str) -> bool:
    """Whether the person wants it: says so with --force, or types y."""
    if call.options.switch("force"):
        return True
    call.output.remark(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")
    answer = b""
    while not answer.endswith(b"\n") and (letter := os.read(STDIN, 1)):
        answer += letter
    return answer.strip().lower() in (b"y", b"yes")
