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
"""Hidden whole: homes, keys, other containers, mail, logs."""

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
"""Hidden one by one."""

_KEY_DIRECTORY, _KEY_PREFIX = "/etc/ssh", "ssh_host_"
_USUAL_KEYS = tuple(f"{_KEY_DIRECTORY}/{_KEY_PREFIX}{kind}_key" for kind in ("ecdsa", "ed25519", "rsa"))

MEMORY_BYTES = 1 << 30
PROCESSES = 1024
"""Limits of a document that names no others: what is written stays in memory, which is the host's."""

_OWN_DIRECTORIES = ("/tmp", "/var/tmp", "/run")
"""Empty and the container's own."""


def host_secrets(root: str = "/") -> tuple[str, ...]:
    """Paths of the host that a container may not see, whether they exist or not.

    A configuration may be kept, and what it hides may come to be only later; what is not there is not masked.
    Keys of unusual names are listed if they exist.
    """
    return tuple(dict.fromkeys((*SECRET_DIRECTORIES, *SECRET_FILES, *_USUAL_KEYS, *_ssh_keys(root))))


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

    It has no limits; what it writes stays in memory until it ends, so give it ``resources``.
    """
    return Config(
        rootfs="/",
        copy_on_write=True,
        hostname="sandbox",
        mounts=(*DEFAULT_MOUNTS, *_own_mounts()),
        mask_paths=(*DEFAULT_MASK_PATHS, *host_secrets(), *hidden),
    )


def host_spec(spec: "Spec") -> "Spec":
    """The given OCI document with the running host for a root, the default filter, and limits where the
    document's user may set some.
    """
    from pierhead.oci.runtime import Linux, Memory, Pids, Resources, Root
    from pierhead.runtime.resolve import Filters

    linux = spec.linux or Linux()
    masked = tuple(dict.fromkeys((*linux.masked_paths, *DEFAULT_MASK_PATHS, *host_secrets())))
    readonly = tuple(dict.fromkeys((*linux.readonly_paths, *DEFAULT_READONLY_PATHS)))
    capabilities = spec.process.capabilities if spec.process is not None else None
    linux = linux.replace(
        masked_paths=masked,
        readonly_paths=readonly,
        seccomp=linux.seccomp or Filters.default(capabilities.bounding if capabilities is not None else ()),
    )
    if not linux.uid_mappings:  # a user without privileges can have no cgroup made, unless it was delegated
        limits = {"memory": Memory(limit=MEMORY_BYTES), "pids": Pids(limit=PROCESSES)}
        linux = linux.replace(resources=(linux.resources or Resources()).replace(**limits))
    return spec.replace(
        root=Root(path="/"),
        mounts=(*spec.mounts, *_own_mounts()),
        annotations={**spec.annotations, COPY_ON_WRITE: "true"},
        linux=linux,
    )
