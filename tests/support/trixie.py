"""Programs of Debian trixie that Debian 12 has not, made to run here with the C library of their release.

    CACHE/docker-compose-KEY/docker-compose   a script that calls the rest
                             program  ld.so  libc.so.6

``python -m tests.support.trixie`` makes what is missing (``make packages`` calls it).  Where a program cannot
be had, it says why, and the tests that need it are skipped.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from tests.support.debian import DebianError, install_debian

CACHE = Path(__file__).resolve().parents[2] / "build" / "peers"
_SUITE = "trixie"
_LIBRARIES = "usr/lib/x86_64-linux-gnu"
_COMPOSE = "usr/libexec/docker/cli-plugins/docker-compose"
_CALL = """#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
exec "$here/ld.so" --argv0 "$0" --library-path "$here" "$here/program" "$@"
"""


def find_compose() -> str:
    """Docker Compose of version 2: the one that is named, the system's, or trixie's; "" for none."""
    places = (
        os.environ.get("PIERHEAD_TEST_COMPOSE", ""),
        f"/{_COMPOSE}",
        "/usr/lib/docker/cli-plugins/docker-compose",
        str(_place()),
    )
    return next((path for path in places if os.access(path, os.X_OK)), "")


def ensure_compose() -> None:
    """It can be found.

    Raises:
        DebianError: it cannot be had here.
    """
    if find_compose():
        return
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None or os.uname().machine != "x86_64":
        raise DebianError("it is made as root, with mmdebstrap, on x86-64")
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock, tempfile.TemporaryDirectory(dir=CACHE, prefix="new-") as new:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not find_compose():
            _make(Path(new))


def _place() -> Path:
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    return CACHE / f"docker-compose-{key}" / "docker-compose"


def _make(work: Path) -> None:
    root, made = work / "root", work / "made"
    for directory in (root, made):
        directory.mkdir()
    install_debian(work, _SUITE, root, "--variant=extract", "--include=docker-compose,libc6")
    shutil.copy(root / _COMPOSE, made / "program")
    shutil.copy(root / _LIBRARIES / "ld-linux-x86-64.so.2", made / "ld.so")
    shutil.copy(root / _LIBRARIES / "libc.so.6", made / "libc.so.6")
    (made / "docker-compose").write_text(_CALL)
    (made / "docker-compose").chmod(0o755)
    for old in CACHE.glob("docker-compose-*"):
        shutil.rmtree(old)
    made.rename(_place().parent)


def main() -> int:
    """Makes what is missing, or says why not."""
    try:
        ensure_compose()
    except DebianError as error:
        print(f"Docker Compose cannot be had, its tests are skipped: {error}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
