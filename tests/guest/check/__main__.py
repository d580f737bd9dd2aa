"""Prints what the kernel and the service manager it runs on can do, each tried for real; needs root.

    yes  what works                     the detail seen
    NO   what the tests need            why not            (exit code 1)
    --   what would be nice to have     why not            (tests that need it are skipped here)

System calls stand by their x86_64 numbers, the guest's only architecture.

    tests/guest/run -- python3 -m tests.guest.check
"""

from __future__ import annotations

import sys
from importlib import import_module

from tests.guest.check.probing import FACTS

ROOMS = ("machine", "cgroups", "systemd", "files", "processes", "networks", "security")


def main() -> int:
    """Returns 1 if something needed is missing."""
    for room in ROOMS:
        import_module(f"tests.guest.check.{room}")
    missing = 0
    for name, needed, check in FACTS:
        try:
            mark, detail = "yes", check()
        except Exception as error:  # noqa: BLE001 (the edge: every failure is one line of the report)
            mark, detail = ("NO " if needed else "-- "), f"{error}"
            missing += needed
        print(f"{mark}  {name:58}  {detail}", flush=True)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
