"""A Debian image from Debian's packages, where no registry is in reach: mmdebstrap or debootstrap does it.

    debian:trixie          the release trixie of Debian, in its smallest variant
    ubuntu:noble           the same for Ubuntu

What the program makes is imported as any root file system is.
"""

from __future__ import annotations

import os
import re
import shutil

from pierhead.errors import InvalidInput, NotFound, OperationFailed
from pierhead.linux.process import run_visibly
from pierhead.oci.image import Execution
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_RELEASE = re.compile(r"[a-z][a-z0-9-]*")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]*")
_DISTRIBUTIONS = ("debian", "ubuntu")


class Bootstrap(Value):
    """What is to be made.

    Fields:
        distribution: ``debian`` or ``ubuntu``.
        release: its code name.
        variant: as the program calls it: ``minbase`` and others.
        packages: further ones.
        mirror: URL to take them from; "" is the program's own choice.
        architecture: in Debian's words; "" is this machine's.
    """

    distribution: str
    release: str
    variant: str = "minbase"
    packages: tuple[str, ...] = ()
    mirror: str = ""
    architecture: str = ""


EXECUTION = Execution(
    env=("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",), cmd=("/bin/bash",)
)
"""What a container of it runs by default."""


def parse_release(text: str) -> Bootstrap:
    """The release that ``debian:trixie`` names.

    Raises:
        InvalidInput: it names none.
    """
    distribution, colon, release = text.partition(":")
    if distribution not in _DISTRIBUTIONS or not colon or not _RELEASE.fullmatch(release):
        hint = "write it as debian:trixie or ubuntu:noble"
        raise InvalidInput(f"{text!r} is not a release", code="unknown-release", hint=hint)
    return Bootstrap(distribution=distribution, release=release)


def check_packages(names: Sequence[str]) -> None:
    """These can be names of packages.

    Raises:
        InvalidInput: one cannot.
    """
    for name in names:
        if not _PACKAGE.fullmatch(name):
            raise InvalidInput(f"{name!r} is not a package's name", code="invalid-package")


def make_rootfs(wanted: Bootstrap, scratch: str) -> str:
    """An archive of the root file system is in the scratch directory; returns its path.

    What the program says goes to standard error.

    Raises:
        NotFound: neither program is installed.
        OperationFailed: it fails.
    """
    archive = f"{scratch}/rootfs.tar"
    arguments = _arguments(wanted, archive, scratch)
    status = run_visibly(arguments)
    if status == 0 and arguments[0] == "debootstrap":
        status = run_visibly(("tar", "--numeric-owner", "-cf", archive, "-C", f"{scratch}/rootfs", "."))
    if status != 0:
        message = f"{arguments[0]} could not make {wanted.distribution}:{wanted.release}"
        raise OperationFailed(f"{message}: it ended with status {status}", code="bootstrap-failed")
    return archive


def _arguments(wanted: Bootstrap, archive: str, scratch: str) -> tuple[str, ...]:
    flags = [f"--variant={wanted.variant}"]
    if wanted.packages:
        flags.append(f"--include={','.join(wanted.packages)}")
    mirror = (wanted.mirror,) if wanted.mirror else ()
    if shutil.which("mmdebstrap"):
        if wanted.architecture:
            flags.append(f"--architectures={wanted.architecture}")
        return ("mmdebstrap", *flags, wanted.release, archive, *mirror)
    if shutil.which("debootstrap"):
        if wanted.architecture:
            flags.append(f"--arch={wanted.architecture}")
        os.makedirs(f"{scratch}/rootfs", exist_ok=True)
        return ("debootstrap", *flags, wanted.release, f"{scratch}/rootfs", *mirror)
    hint = "install one of them (Debian: apt-get install mmdebstrap)"
    raise NotFound("there is neither mmdebstrap nor debootstrap here", code="program-missing", hint=hint)
