"""The guest's kernel and root file system, made once from Debian's packages.

    CACHE/image-KEY/linux      the kernel of Debian's user-mode-linux, to be run by the loader beside it
                    ld.so      loader and C library of the kernel's release
                    libc.so.6  of Debian: newer than the host's
                    root.ext4  sparse; never written to: each machine writes to a copy-on-write file

The recipe is this file, packages.txt and the files under root/; when it changes, the image is made
anew. Knows nothing of how a machine is run.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.debian import install_debian, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
SUITE = "trixie"
# Trixie's own user-mode-linux, 6.12, panics when a process is killed while it forks (flush_tlb_mm walks into
# the XA_ZERO_ENTRY that dup_mmap leaves in an unfinished mm), and has no time namespaces.
KERNEL_SUITE = "forky"
ROOT_SIZE = "4G"  # sparse: a machine may fill it, nothing is taken before
_OURS = re.compile(r"image-[0-9a-f]{16}|new-\w+")
LOADER = b"/lib64/ld-linux-x86-64.so.2\0"

HOST_PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}

# Of the kernel's 140 MB of modules, those that containers, their file systems and their networks use.
MODULES = (
    "drivers/block/loop.ko",
    "drivers/net/*",
    "fs/autofs/*",
    "fs/binfmt_misc.ko",
    "fs/fuse/*",
    "fs/overlayfs/*",
    "fs/squashfs/*",
    "lib/*",
    "net/802/*",
    "net/8021q/*",
    "net/bridge/*",
    "net/ipv4/*",
    "net/ipv6/*",
    "net/llc/*",
    "net/netfilter/*",
    "net/sched/*",
)
UNUSED = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/i18n/*")

# Units that wait for hardware, that look after a machine for weeks, or that repeat what is done here.
MASKED = (
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "dpkg-db-backup.timer",
    "fstrim.timer",
    "systemd-tmpfiles-clean.timer",
    "modprobe@configfs.service",
    "modprobe@drm.service",
    "modprobe@efi_pstore.service",
    "sys-kernel-config.mount",
    "systemd-binfmt.service",
    "systemd-journal-catalog-update.service",
    "systemd-journal-flush.service",
    "systemd-pstore.service",
    "systemd-random-seed.service",
    "systemd-tmpfiles-setup-dev-early.service",
    "systemd-hostnamed.socket",
    "systemd-creds.socket",
    "systemd-sysext.socket",
    "systemd-initctl.socket",
    "systemd-ask-password-console.path",
    "systemd-ask-password-wall.path",
    "tmp.mount",  # tests keep what they wrote until the end: the disk has more room
)


class GuestError(Exception):
    """The machine cannot be had; the message says why and what to do."""


@dataclass(frozen=True, kw_only=True)
class Image:
    """A complete image on disk."""

    directory: Path

    @property
    def root(self) -> Path:
        """The root file system, to be opened copy-on-write."""
        return self.directory / "root.ext4"


def ensure(cache: Path, *, say: Callable[[str], None]) -> Image:
    """Returns the image of the present recipe; makes it when the cache lacks it.

    Two callers at once make it once: the second waits for the first.

    Raises:
        GuestError: a program is missing here, we are not root, or a step failed (the message says how).
    """
    missing = sorted({package for program, package in HOST_PROGRAMS.items() if shutil.which(program) is None})
    if missing:
        raise GuestError(
            f"missing on this machine: {' '.join(missing)}\nhint: apt-get install {' '.join(missing)}"
        )
    directory = cache / f"image-{recipe_key()}"
    with _lock(cache):
        if not directory.exists():
            if os.geteuid() != 0:
                raise GuestError("making the image needs root (it holds files of several owners)")
            for old in cache.iterdir():
                if old.is_dir() and _OURS.fullmatch(old.name):
                    shutil.rmtree(old)
            say("making the image from Debian's packages (once; about half a minute)")
            with tempfile.TemporaryDirectory(dir=cache, prefix="new-") as new:
                _make(Path(new))
                (Path(new) / "image").rename(directory)
    return Image(directory=directory)


def recipe_key() -> str:
    """Names the recipe by its content: sources, modes and links of everything that goes into the image."""
    digest = hashlib.sha256()
    for path in sorted([HERE / "image.py", HERE / "packages.txt", *(HERE / "root").rglob("*")]):
        if not path.is_dir():
            mode = path.stat().st_mode
            content = path.read_bytes()
            digest.update(f"{path.relative_to(HERE)} {mode:o} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:16]


def _packages() -> list[str]:
    lines = (HERE / "packages.txt").read_text().splitlines()
    return [line.split("#")[0].strip() for line in lines if line.split("#")[0].strip()]


def _make(work: Path) -> None:
    kernel, root, image = work / "kernel", work / "root", work / "image"
    for directory in (kernel, root, image):
        directory.mkdir()
    packages = ",".join(_packages())
    install_debian(work, SUITE, root, "--variant=essential", f"--include={packages}", unused=UNUSED)
    install_debian(work, KERNEL_SUITE, kernel, "--variant=extract", "--include=user-mode-linux,libc6")
    _take_kernel(kernel, image)
    _take_modules(kernel, root)
    _settle(root)
    options = "lazy_itable_init=1,nodiscard,root_owner=0:0"
    form = ["-t", "ext4", "-m", "0", "-I", "256", "-O", "^has_journal", "-E", options]
    run("mke2fs", "-q", *form, "-d", root, image / "root.ext4", ROOT_SIZE)


def _take_kernel(kernel: Path, image: Path) -> None:
    content = (kernel / "usr/bin/linux.uml").read_bytes()
    if content.count(LOADER) != 1:
        raise GuestError("the kernel of user-mode-linux does not name its loader as expected")
    # A relative loader: the kernel is started with its own directory as the working directory.
    (image / "linux").write_bytes(content.replace(LOADER, b"ld.so".ljust(len(LOADER), b"\0")))
    (image / "linux").chmod(0o755)
    libraries = kernel / "usr/lib/x86_64-linux-gnu"
    shutil.copy(libraries / "ld-linux-x86-64.so.2", image / "ld.so")
    shutil.copy(libraries / "libc.so.6", image / "libc.so.6")


def _take_modules(kernel: Path, root: Path) -> None:
    (source,) = (kernel / "usr/lib/uml/modules").iterdir()
    target = root / "usr/lib/modules" / source.name
    for pattern in ("modules.builtin*", "modules.order", *(f"kernel/{each}" for each in MODULES)):
        for path in source.glob(pattern):
            place = target / path.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            if path.is_dir():
                shutil.copytree(path, place)
            else:
                shutil.copy(path, place)
    run("chroot", root, "depmod", source.name)


def _settle(root: Path) -> None:
    shutil.copytree(HERE / "root", root, dirs_exist_ok=True)
    system = root / "etc/systemd/system"
    for unit in MASKED:
        (system / unit).unlink(missing_ok=True)
        (system / unit).symlink_to("/dev/null")
    (root / "etc/hostname").write_text("guest\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost guest\n::1 localhost\n")
    (root / "etc/fstab").write_text("")
    (root / "etc/machine-id").write_text(hashlib.sha256(b"pierhead guest").hexdigest()[:32] + "\n")
    # Debian's ninety profiles take seven seconds to load and confine programs that the guest does not have.
    for profile in (root / "etc/apparmor.d").iterdir():
        if profile.is_file():
            profile.unlink()
    run("chroot", root, "useradd", "--create-home", "--shell", "/bin/sh", "pier")
    # Newer than /usr: systemd sees that nothing is left to be done after an upgrade.
    for stamp in ("etc/.updated", "var/.updated"):
        (root / stamp).touch()


@contextlib.contextmanager
def _lock(cache: Path) -> Iterator[None]:
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
