"""What a layer takes away from those below it, in an archive's words and in overlayfs's.

    in an archive                in an overlay's upper directory
    DIR/.wh.NAME                 DIR/NAME is a character device 0:0
    DIR/.wh..wh..opq             DIR has the attribute trusted.overlay.opaque = y, or user.overlay.opaque
                                 where it is mounted with userxattr
    .wh..wh.NAME                 nothing: aufs kept its own affairs there (.wh..wh.plnk, .wh..wh.aufs), and
                                 layers of Docker's first years have them

Sources: image-spec layer.md, "Whiteouts"; Linux Documentation/filesystems/overlayfs.rst.  Pure.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.images.tarlayer.entry import shown

PREFIX = b".wh."
OPAQUE = b".wh..wh..opq"
_OWN = b".wh..wh."
DEVICE = (0, 0)
OVERLAY_XATTRS = (b"trusted.overlay.", b"user.overlay.")
"""What overlayfs itself writes; from an archive it could lead into other directories (redirect, metacopy)."""


def opaque_xattr(*, user: bool) -> str:
    """The attribute of a directory that hides what lies below it."""
    return "user.overlay.opaque" if user else "trusted.overlay.opaque"


def belongs_to_aufs(path: bytes) -> bool:
    """Whether the path is of aufs's own affairs: it is at the top and no whiteout."""
    return path.startswith(_OWN) and path != OPAQUE


def hidden_name(component: bytes) -> bytes:
    """What the last component of an entry's name hides; b"" stands for everything in its directory.

    Args:
        component: begins with ``.wh.``.

    Raises:
        InvalidInput: it hides nothing that can be there.
    """
    if component == OPAQUE:
        return b""
    name = component[len(PREFIX) :]
    if name in (b"", b".", b"..") or name.startswith(PREFIX):
        hint = "names that begin with .wh. say in a layer what is deleted"
        raise InvalidInput(f"{shown(component)} is no valid whiteout", code="invalid-whiteout", hint=hint)
    return name
