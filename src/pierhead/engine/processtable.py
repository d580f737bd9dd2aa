"""``docker top``: what ps(1) says of a container's processes.  Blocks; it runs in threads."""

from __future__ import annotations

import shlex

from pierhead.errors import InvalidInput, OperationFailed, Unsupported
from pierhead.linux.process import run_program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.runtime import Container

_TIMEOUT_S = 10.0
_TABLE_BYTES_MAX = 16 << 20
DEFAULT_ARGUMENTS = "-ef"


def read_table(container: Container, arguments: str) -> dict[str, Any]:
    """``{"Titles", "Processes"}`` of ps(1), the container's processes only.

    Raises:
        InvalidInput: ps does not know the arguments, or shows no PID with them.
        Unsupported: this machine has no ps.
    """
    words = shlex.split(arguments or DEFAULT_ARGUMENTS)
    pids = {str(pid) for pid in container.processes()}
    try:
        code, said = run_program(("ps", *words), timeout_s=_TIMEOUT_S, said_bytes_max=_TABLE_BYTES_MAX)
    except FileNotFoundError:
        raise Unsupported("this machine has no ps program", code="no-ps", hint="install procps") from None
    except TimeoutError:
        raise OperationFailed(f"ps did not end within {_TIMEOUT_S:.0f} s", code="ps-failed") from None
    if code:
        raise InvalidInput(f"ps: {said.strip().splitlines()[0] if said.strip() else code}", code="bad-ps")
    return choose_rows(said, pids)


def choose_rows(table: str, pids: set[str]) -> dict[str, Any]:
    """Titles and rows of the table whose PID is one of these.  Pure.

    Raises:
        InvalidInput: there is no PID column.
    """
    lines = table.splitlines()
    titles = lines[0].split() if lines else []
    if "PID" not in titles:
        hint = "arguments like -ef or -o pid,cmd show one"
        raise InvalidInput("couldn't find PID field in ps output", code="no-pid-column", hint=hint)
    column = titles.index("PID")
    rows = (line.split(None, len(titles) - 1) for line in lines[1:])
    return {"Titles": titles, "Processes": [row for row in rows if len(row) > column and row[column] in pids]}
