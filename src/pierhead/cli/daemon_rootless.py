"""``pierd`` of an ordinary user: it stays outside, and what serves is inside the user's own namespaces.

    outside: the user's process ── keeper found or made ── enter ─▶ inside: pierd as root of the namespaces
             signals ─────────────────────────────────────────────▶
             its status ◀────────────────────────────────────────── its end

Who kills the one inside leaves its containers and their keeper; who kills the one outside stops the other.
"""

from __future__ import annotations

import os
import signal

from pierhead import jsontext
from pierhead.engine.rootless import Quarters
from pierhead.engine.rootlesswords import Rootless
from pierhead.linux import process
from pierhead.oci.document import decode, encode
from pierhead.runtime.keeper import enter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pierhead.cli.daemon_settings import DaemonSettings
    from pierhead.cli.output import Output

_PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_MODULE = "pierhead.cli.daemon_rootless"


def run_rootless(settings: DaemonSettings, words: Sequence[str], output: Output) -> int:
    """An engine of the user's has served to its end; returns its exit status.

    Args:
        settings: what it was told.
        words: the same as flags, which it is told again inside.
        output: for warnings.

    Raises:
        PierheadError: the namespaces cannot be.
    """
    quarters = Quarters(settings.engine.exec_root)
    keeper_pid, network, said = quarters.ensure(settings.rootless_network)
    if said:
        output.warn(said)
    keeper_fd = os.pidfd_open(keeper_pid)
    try:
        rootless = Rootless(user_id=os.getuid(), network=network)
        told = jsontext.format_compact(encode(rootless))
        command = process.python_words(_MODULE, (told, *words))
        pid, pidfd = enter(
            keeper_fd,
            command,
            environment=os.environ,
            directory=os.getcwd(),
            cover=quarters.cover_resolver(keeper_pid, network),
        )
    finally:
        os.close(keeper_fd)
    try:
        for number in _PASSED_ON:
            signal.signal(number, lambda number, _: process.kill_pidfd(pidfd, number) and None)
        process.wait_pidfd(pidfd)
        status = os.waitstatus_to_exitcode(process.reap(pid) or 0)
    finally:
        os.close(pidfd)
    quarters.leave()
    return status if status >= 0 else 128 - status


def main(words: Sequence[str]) -> None:
    """The daemon inside has run to its end."""
    from pierhead.cli.daemon import serve

    told, *rest = words
    rootless = decode(Rootless, jsontext.parse(told, name="rootless"), unknown=[])
    raise SystemExit(serve(rest, rootless))
