"""The real systemd of a machine, for tests: units, and a user's own manager."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def systemctl(*words: str) -> None:
    """The command succeeds."""
    subprocess.run(["systemctl", *words], check=True)


def unit_property(unit: str, name: str) -> str:
    """What systemctl says."""
    command = ["systemctl", "show", "--property", name, "--value", unit]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def inactive(*units: str) -> list[str]:
    """Those of the units that are not active."""
    return [unit for unit in units if unit_property(unit, "ActiveState") != "active"]


def start_bus() -> None:
    """What a systemd, if there is one, starts when it is first spoken to runs already: no test leaves it."""
    if Path("/run/systemd/system").is_dir() and os.geteuid() == 0:
        systemctl("start", "dbus.service")


@contextmanager
def user_manager(uid: int) -> Iterator[None]:
    """The user's service manager runs; it is gone afterwards, with its slices."""
    slices = [f"user-runtime-dir@{uid}.service", f"user-{uid}.slice", "systemd-logind.service", "user.slice"]
    to_stop = inactive(f"user@{uid}.service", *slices)
    systemctl("start", f"user@{uid}.service")
    try:
        yield
    finally:
        systemctl("stop", *to_stop)
