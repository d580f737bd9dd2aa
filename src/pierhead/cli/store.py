"""The image service that a call of ``pier`` works with, and the flags that several verbs share."""

from __future__ import annotations

import os

from pierhead.cli.flags import Flag
from pierhead.errors import InvalidInput
from pierhead.images.platforms import parse_platform
from pierhead.images.policy import DEFAULT_PATH
from pierhead.images.service import ImageService
from pierhead.images.sharing import SHARINGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call
    from pierhead.images.sharing import Sharing
    from pierhead.oci.image import Platform

POLICY = "PIER_POLICY"
"""The variable that names another file of rules than the machine's."""

SHARE_FILES = "PIER_SHARE_FILES"
"""The variable that says how layers share equal files."""

FORMAT = Flag(
    name="format", value="FORMAT", about="of the output", default="table", choices=("table", "json")
)
PLATFORM = Flag(
    name="platform",
    value="OS/ARCH[/VARIANT]",
    about="which of an image's platforms",
    default="this machine's",
)


def open_service(call: Call) -> ImageService:
    """The service over the call's root; a context manager.

    Raises:
        InvalidInput: a variable has a value that it cannot have.
        Unsupported: the root's file system cannot share files as the variable says.
    """
    return ImageService(
        call.root, share_files=_chosen_sharing(), policy_path=os.environ.get(POLICY, DEFAULT_PATH)
    )


def _chosen_sharing() -> Sharing:
    text = os.environ.get(SHARE_FILES) or "none"
    for sharing in SHARINGS:
        if sharing == text:
            return sharing
    hint = f"it is {', '.join(SHARINGS[:-1])} or {SHARINGS[-1]}"
    raise InvalidInput(f"{SHARE_FILES} cannot be {text[:80]!r}", code="invalid-sharing", hint=hint)


def wanted_platform(call: Call) -> Platform | None:
    """The platform that the call names; None for this machine's.

    Raises:
        InvalidInput: it names none.
    """
    text = call.options.text("platform")
    return parse_platform(text) if text else None
