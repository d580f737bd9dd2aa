"""The image service that a call of ``pier`` works with, and the flags that several verbs share."""

from __future__ import annotations

import os

from pierhead.cli.flags import Flag
from pierhead.images.platforms import parse_platform
from pierhead.images.policy import DEFAULT_PATH
from pierhead.images.service import ImageService

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call
    from pierhead.oci.image import Platform

POLICY = "PIER_POLICY"
"""The variable that names another file of rules than the machine's."""

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
    """The service over the call's root; a context manager."""
    return ImageService(call.root, policy_path=os.environ.get(POLICY, DEFAULT_PATH))


def wanted_platform(call: Call) -> Platform | None:
    """The platform that the call names; None for this machine's.

    Raises:
        InvalidInput: it names none.
    """
    text = call.options.text("platform")
    return parse_platform(text) if text else None
