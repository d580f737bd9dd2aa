"""Mount options, as in fstab(5) and the OCI specification, to what the kernel takes.  Pure.

Source: runtime-spec config.md "Linux mount options"; mount_setattr(2), fsconfig(2).
"""

from __future__ import annotations

from pierhead.values import Value

RDONLY, NOSUID, NODEV, NOEXEC = 0x1, 0x2, 0x4, 0x8
ATIME_MASK, RELATIME, NOATIME, STRICTATIME = 0x70, 0x0, 0x10, 0x20
NODIRATIME, NOSYMFOLLOW = 0x80, 0x200000
MS_REC, MS_UNBINDABLE, MS_PRIVATE, MS_SLAVE, MS_SHARED = 0x4000, 0x20000, 0x40000, 0x80000, 0x100000

ATTRIBUTES: dict[str, tuple[int, int]] = {
    "ro": (RDONLY, 0),
    "rw": (0, RDONLY),
    "nosuid": (NOSUID, 0),
    "suid": (0, NOSUID),
    "nodev": (NODEV, 0),
    "dev": (0, NODEV),
    "noexec": (NOEXEC, 0),
    "exec": (0, NOEXEC),
    "nodiratime": (NODIRATIME, 0),
    "diratime": (0, NODIRATIME),
    "relatime": (RELATIME, ATIME_MASK),
    "norelatime": (STRICTATIME, ATIME_MASK),
    "noatime": (NOATIME, ATIME_MASK),
    "atime": (RELATIME, ATIME_MASK),
    "strictatime": (STRICTATIME, ATIME_MASK),
    "nostrictatime": (RELATIME, ATIME_MASK),
    "nosymfollow": (NOSYMFOLLOW, 0),
    "symfollow": (0, NOSYMFOLLOW),
}
"""Attributes of one mount by option: what is set, what is cleared."""

RECURSIVE_ATTRIBUTES = {"r" + name: pair for name, pair in ATTRIBUTES.items()}
"""The same for a mount and all below it: ``rro`` and its kin."""

PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}

SUPERBLOCK_FLAGS = frozenset(
    ("sync", "async", "dirsync", "lazytime", "nolazytime", "mand", "nomand", "iversion")
)
"""Options of the file system itself that every file system takes."""

_WITHOUT_EFFECT = frozenset(
    ("defaults", "silent", "loud", "async", "noiversion", "auto", "noauto", "user", "nofail")
)


class MountOptions(Value):
    """Options, sorted by who takes them.

    Fields:
        set, clear: attributes of this mount.
        recursive_set, recursive_clear: attributes of this mount and those below it.
        propagation: mount(2) flags; 0 leaves it.
        bind, recursive: a bind mount, and whether with the mounts below the source.
        remount: change a mount that is there.
        copy_up: a tmpfs begins with what the directory held that it covers.
        idmap: "" or ``idmap`` or ``ridmap``.
        data: the file system's own options, in order, ``key=value`` or ``key``.
    """

    set: int = 0
    clear: int = 0
    recursive_set: int = 0
    recursive_clear: int = 0
    propagation: int = 0
    bind: bool = False
    recursive: bool = False
    remount: bool = False
    copy_up: bool = False
    idmap: str = ""
    data: tuple[str, ...] = ()

    def encoded_data(self) -> bytes:
        """The file system's options as the wire's ``mount`` takes them."""
        out = []
        for option in self.data:
            key, equals, value = option.partition("=")
            out.append(f"s{key}\0{value}\0" if equals else f"f{key}\0")
        return "".join(out).encode(errors="surrogateescape")


def parse_options(options: tuple[str, ...]) -> MountOptions:
    """The options sorted; of two that exclude each other the last one holds, as in mount(8)."""
    found: dict[str, int] = {"set": 0, "clear": 0, "recursive_set": 0, "recursive_clear": 0, "propagation": 0}
    bind = recursive = remount = copy_up = False
    idmap = ""
    data = []
    for option in options:
        if option in ATTRIBUTES:
            _apply(found, "set", "clear", ATTRIBUTES[option])
        elif option in RECURSIVE_ATTRIBUTES:
            _apply(found, "recursive_set", "recursive_clear", RECURSIVE_ATTRIBUTES[option])
        elif option in PROPAGATION:
            found["propagation"] = PROPAGATION[option]
        elif option in ("bind", "rbind"):
            bind, recursive = True, option == "rbind"
        elif option == "remount":
            remount = True
        elif option in ("idmap", "ridmap"):
            idmap = option
        elif option == "tmpcopyup":
            copy_up = True
        elif option not in _WITHOUT_EFFECT:
            data.append(option)
    return MountOptions(
        set=found["set"],
        clear=found["clear"],
        recursive_set=found["recursive_set"],
        recursive_clear=found["recursive_clear"],
        propagation=found["propagation"],
        bind=bind,
        recursive=recursive,
        remount=remount,
        copy_up=copy_up,
        idmap=idmap,
        data=tuple(data),
    )


def _apply(found: dict[str, int], set_name: str, clear_name: str, pair: tuple[int, int]) -> None:
    on, off = pair
    found[set_name] = (found[set_name] & ~off) | on
    found[clear_name] = (found[clear_name] & ~(on & ~ATIME_MASK)) | off
