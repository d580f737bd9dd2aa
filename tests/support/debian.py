"""Debian's packages of any suite, put into a directory: what this machine's own release does not have.

Needs root and mmdebstrap, and fetches as this machine's apt does.
"""

from __future__ import annotations

import shlex
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# A command behind these words dies when we do, with all its children and their mounts.
ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL", "unshare", "--pid", "--fork", "--kill-child")


class DebianError(Exception):
    """A step failed; the message says how."""


def install_debian(work: Path, suite: str, target: Path, *options: str, unused: Iterable[str] = ()) -> None:
    """The suite's packages are in the directory.

    Args:
        work: a directory for what is needed meanwhile.
        suite: ``trixie``.
        target: the directory, which is empty.
        options: of mmdebstrap.
        unused: files that are left out, as dpkg's patterns.

    Raises:
        DebianError: it failed.
    """
    (work / "apt.conf").write_text(_apt_settings())
    (work / "dpkg.cfg").write_text("force-unsafe-io\n" + "".join(f"path-exclude={each}\n" for each in unused))
    mirror = _mirror()
    run(
        *(*ENDS_WITH_US, "--mount-proc", "env", f"TMPDIR={work}"),
        *("mmdebstrap", "--quiet", "--mode=root", *options),
        *(f"--aptopt={work}/apt.conf", f"--dpkgopt={work}/dpkg.cfg", suite, target),
        *([f"deb {mirror} {suite} main"] if mirror else []),
    )


def _mirror() -> str:
    """The Debian mirror that this machine's apt uses; "" when unknown: mmdebstrap then takes Debian's own."""
    form = "$(REPO_URI) $(ORIGIN) $(COMPONENT) $(RELEASE)"
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", form, "Created-By: Packages"],
        capture_output=True,
        text=True,
        check=False,
    )
    for line in listing.stdout.splitlines():
        uri, *rest = line.split(" ")
        if rest[:2] == ["Debian", "main"] and "-" not in rest[2]:
            return uri
    return ""


def _apt_settings() -> str:
    """How this machine's apt fetches (proxies, retries, clocks), for the apt that fetches here."""
    settings = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False)
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Retries", "Acquire::Check-", "Acquire::ForceIPv")
    lines = [line for line in settings.stdout.splitlines() if line.startswith(wanted)]
    return "\n".join([*lines, 'Acquire::Languages "none";', ""])


def run(*command: str | Path) -> None:
    """The command has ended well.

    Raises:
        DebianError: it has not; with the end of what it said.
    """
    ended = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if ended.returncode != 0:
        tail = "\n".join(ended.stdout.splitlines()[-30:])
        raise DebianError(f"{shlex.join(map(str, command))} ended with {ended.returncode}:\n{tail}")
