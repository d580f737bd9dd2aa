"""The running host as an image: a sandbox for a command without any image.

Its root is a copy-on-write view of the host's root file system. Other file systems of the host (/proc, /dev,
a /home of its own, …) are not part of the view; secrets that are part of it are hidden; what the container
writes stays in memory and vanishes with it.
"""

import os

from pierhead.runtime.config import (
    COPY_ON_WRITE,
    DEFAULT_MASK_PATHS,
    DEFAULT_MOUNTS,
    DEFAULT_READONLY_PATHS,
    Config,
    Mount,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.oci.runtime import Spec

SECRET_DIRECTORIES = (
    "/boot",
    "/etc/cron.d",
    "/etc/kubernetes",
    "/etc/letsencrypt",
    "/etc/ssl/private",
    "/etc/sudoers.d",
    "/etc/wireguard",
    "/home",
    "/lost+found",
    "/root",
    "/srv",
    "/var/backups",
    "/var/lib/containerd",
    "/var/lib/containers",
    "/var/lib/docker",
    "/var/lib/kubelet",
    "/var/lib/pierhead",
    "/var/lib/private",
    "/var/log",
    "/var/mail",
    "/var/spool",
)
"""Hidden whole where they exist: homes, keys, other containers, mail, logs."""

SECRET_FILES = (
    "/etc/gshadow",
    "/etc/gshadow-",
    "/etc/krb5.keytab",
    "/etc/machine-id",
    "/etc/security/opasswd",
    "/etc/shadow",
    "/etc/shadow-",
    "/etc/sudoers",
)
"""Hidden one by one where they exist."""

_KEY_DIRECTORY, _KEY_PREFIX = "/etc/ssh", "ssh_host_"

_OWN_DIRECTORIES = ("/tmp", "/var/tmp", "/run")
"""Empty and the container's own."""


def host_secrets(root: str = "/") -> tuple[str, ...]:
    """Paths of the host that a container may not see, of those that exist."""
    candidates = [*SECRET_DIRECTORIES, *SECRET_FILES, *_ssh_keys(root)]
    return tuple(path for path in candidates if os.path.lexists(root.rstrip("/") + path))


def _ssh_keys(root: str) -> "Iterable[str]":
    try:
        names = os.listdir(root.rstrip("/") + _KEY_DIRECTORY)
    except OSError:
        return []
    return sorted(f"{_KEY_DIRECTORY}/{name}" for name in names if name.startswith(_KEY_PREFIX))


def _own_mounts() -> tuple[Mount, ...]:
    return tuple(
        Mount(destination=path, type="tmpfs", source="tmpfs", options=("nosuid", "nodev", f"mode={mode}"))
        for path, mode in zip(_OWN_DIRECTORIES, ("1777", "1777", "755"), strict=True)
        if os.path.isdir(path) and not os.path.islink(path)
    )


def host_rootfs(*, hidden: "Iterable[str]" = ()) -> Config:
    """A configuration whose root is the running host; give it a ``process`` and run it.

        config = host_rootfs().replace(process=ProcessSpec(args=("python3", "untrusted.py"), cwd="/tmp"))

    Args:
        hidden: further absolute paths that the container may not see.
    """
    return Config(
        rootfs="/",
        copy_on_write=True,
        hostname="sandbox",
        mounts=(*DEFAULT_MOUNTS, *_own_mounts()),
        mask_paths=(*DEFAULT_MASK_PATHS, *host_secrets(), *hidden),
    )


def host_spec(spec: "Spec") -> "Spec":
    """The given OCI document with the running host for a root."""
    from pierhead.oci.runtime import Linux, Root

    linux = spec.linux or Linux()
    masked = tuple(dict.fromkeys((*linux.masked_paths, *DEFAULT_MASK_PATHS, *host_secrets())))
    readonly = tuple(dict.fromkeys((*linux.readonly_paths, *DEFAULT_READONLY_PATHS)))
    return spec.replace(
        root=Root(path="/"),
        mounts=(*spec.mounts, *_own_mounts()),
        annotations={**spec.annotations, COPY_ON_WRITE: "true"},
        linux=linux.replace(masked_paths=masked, readonly_paths=readonly),
    )
