"""``pier bootstrap``: a Debian image without a registry."""

from __future__ import annotations

import gc
import os
import shutil
import time

from pierhead.cli.flags import Flag, Verb
from pierhead.cli.store import open_service

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call


def _bootstrap(call: Call) -> int:
    from pierhead.images.bootstrap import EXECUTION, check_packages, make_rootfs, parse_release
    from pierhead.images.exchange import import_image

    gc.enable()
    text, name = (*call.arguments, call.arguments[0])[:2]
    packages = tuple(each for words in call.options.all("include") for each in words.split(",") if each)
    check_packages(packages)
    wanted = parse_release(text).replace(
        packages=packages,
        mirror=call.options.text("mirror"),
        variant=call.options.text("variant", "minbase"),
    )
    with open_service(call) as service, service.library.lease(purpose=f"bootstrap of {text}") as lease:
        scratch = service.scratch(lease.id)
        os.makedirs(scratch, mode=0o755)
        try:
            fd = os.open(make_rootfs(wanted, scratch), os.O_RDONLY | os.O_CLOEXEC)
            try:
                comment = f"pier bootstrap {text}"
                descriptor = import_image(
                    service, fd, name, execution=EXECUTION, comment=comment, now_s=time.time()
                )
            finally:
                os.close(fd)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    call.output.print(f"{descriptor.digest}\n")
    return 0


VERBS = {
    "bootstrap": Verb(
        name="bootstrap",
        arguments="DISTRIBUTION:RELEASE [NAME]",
        least=1,
        most=2,
        about="make a Debian image without a registry",
        text="Uses mmdebstrap, or debootstrap where that is installed, and takes packages from Debian's or "
        "Ubuntu's archive. The image gets the release's name, or another one.",
        flags=(
            Flag(name="variant", value="NAME", about="how much is in it", default="minbase"),
            Flag(name="include", kind="list", value="PACKAGE,...", about="further packages"),
            Flag(
                name="mirror", value="URL", about="where packages come from", default="the program's choice"
            ),
        ),
        examples=(("bootstrap debian:trixie", "an image of that name"),),
        perform=_bootstrap,
    ),
}
