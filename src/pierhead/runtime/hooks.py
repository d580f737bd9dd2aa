"""Hooks that run in the launcher's namespaces: prestart, createRuntime, poststart, poststop."""

from __future__ import annotations

import os

from pierhead import jsontext
from pierhead.errors import OperationFailed, TimedOut
from pierhead.linux import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from pierhead.oci.runtime import Hook
    from pierhead.runtime.config import Config


def run_all(kind: str, hooks: Sequence[Hook], state: bytes) -> None:
    """Every hook has run, in order, with the container's state on its standard input.

    Raises:
        OperationFailed: one cannot be run or ended with another status than 0; those after it have not run.
        TimedOut: one took longer than its timeout.
    """
    for number, hook in enumerate(hooks):
        run_one(f"{kind} hook #{number} ({hook.path})", hook, state)


def run_one(name: str, hook: Hook, state: bytes) -> None:
    """One hook has run."""
    environment = dict(entry.split("=", 1) for entry in hook.env if "=" in entry)
    try:
        code, said = process.run_program(
            hook.args or (hook.path,),
            path=hook.path,
            environment=environment,
            stdin=state,
            timeout_s=hook.timeout,
        )
    except TimeoutError:
        raise TimedOut(f"{name} did not end within {hook.timeout} s") from None
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise OperationFailed(f"{name} cannot be run: {reason}", errno=error.errno or 0) from None
    if code != 0:
        how = f"exit status {code}" if code > 0 else f"signal {-code}"
        raise OperationFailed(f"{name} failed with {how}" + (f": {said}" if said else ""), code="hook-failed")


def state_document(config: Config, container_id: str, status: str, pid: int) -> bytes:
    """The state document that hooks read (runtime-spec, State)."""
    about: dict[str, object] = {
        "ociVersion": config.oci_version,
        "id": container_id,
        "status": status,
        "pid": pid,
        "bundle": config.bundle or os.path.dirname(config.rootfs),
    }
    if config.annotations:
        about["annotations"] = dict(config.annotations)
    return jsontext.format_compact(about).encode()
