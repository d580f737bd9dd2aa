"""``pierd`` of an ordinary user: it stays outside, and what serves is inside the user's own namespaces.

    outside: the user's process ── keeper found or made ── enter ─▶ inside: pierd as root of the namespaces
             signals ─────────────────────────────────────────────▶
             sockets of the machine ──────────────────────────────▶ for published ports
             its status ◀────────────────────────────────────────── its end

Who kills the one inside leaves its containers and their keeper; who kills the one outside stops the other.
"""

from __future__ import annotations

import os
import signal

from pierhead import jsontext
from pierhead.engine.machinesockets import MachineSockets
from pierhead.engine.rootless import Quarters
from pierhead.engine.rootlesswords import Rootless
from pierhead.engine.usercgroup import divide_delegated
from pierhead.errors import NotFound
from pierhead.linux import process
from pierhead.linux.refusals import Refusals
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
    with Refusals("serve in the user's namespaces"):
        quarters = Quarters(settings.engine.exec_root)
        sockets, pid, pidfd = _begin(quarters, settings.rootless_network, words, output)
        try:
            for number in _PASSED_ON:
                signal.signal(number, lambda number, _: process.kill_pidfd(pidfd, number) and None)
            with sockets:
                sockets.serve_until(pidfd)
            status = os.waitstatus_to_exitcode(process.reap(pid) or 0)
            quarters.leave()
        finally:
            for number in _PASSED_ON:  # there is nobody any more to pass them on to
                signal.signal(number, signal.SIG_IGN)
            os.close(pidfd)
    return status if status >= 0 else 128 - status


def _begin(
    quarters: Quarters, wanted: str, words: Sequence[str], output: Output
) -> tuple[MachineSockets, int, int]:
    """One that serves is inside; returns what opens sockets for it, its pid and a pidfd."""
    try:
        directory = os.getcwd()
    except FileNotFoundError:
        raise NotFound(
            "the current directory is not there any more",
            code="no-current-directory",
            hint="change to another one",
        ) from None
    cgroup, controllers = divide_delegated()
    with quarters.entering(wanted) as (keeper_pid, network, said):
        if said:
            output.warn(said)
        keeper_fd = os.pidfd_open(keeper_pid)
        sockets = MachineSockets(quarters.directory)
        try:
            network_inside = network.replace(opener_path=sockets.path)
            rootless = Rootless(
                user_id=os.getuid(), network=network_inside, cgroup=cgroup, controllers=controllers
            )
            told = jsontext.format_compact(encode(rootless))
            entered = enter(
                keeper_fd,
                process.python_words(_MODULE, (told, *words)),
                environment=os.environ,
                directory=directory,
                cover=quarters.cover_resolver(keeper_pid, network),
            )
        except BaseException:
            sockets.close()
            raise
        finally:
            os.close(keeper_fd)
        return sockets, *entered


def main(words: Sequence[str]) -> None:
    """The daemon inside has run to its end."""
    from pierhead.cli.daemon import serve

    told, *rest = words
    rootless = decode(Rootless, jsontext.parse(told, name="rootless"), unknown=[])
    raise SystemExit(serve(rest, rootless))
