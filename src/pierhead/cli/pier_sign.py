"""``pier sign``: an image's signature, in its registry."""

from __future__ import annotations

import asyncio
import os

from pierhead.cli.flags import BadUsage, Flag, Verb
from pierhead.cli.output import STDERR
from pierhead.cli.store import open_service
from pierhead.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call

_PASSPHRASE = "PIER_PASSPHRASE"  # noqa: S105 - a variable's name


def _sign(call: Call) -> int:
    generated = call.options.text("generate-key")
    if generated:
        if call.arguments:
            raise BadUsage("--generate-key signs nothing", hint="the form is: sign --generate-key FILE")
        return _generate(call, generated)
    if not call.arguments or not call.options.given("key"):
        raise BadUsage("sign needs an IMAGE and --key", hint="the form is: sign --key FILE IMAGE")
    from pierhead.images.pulling import sign_image
    from pierhead.images.signing import load_private_key

    key = load_private_key(call.options.text("key"), _passphrase(call.options.text("key")))
    with open_service(call) as service:
        found = asyncio.run(
            sign_image(service, call.arguments[0], key, as_referrer=call.options.switch("referrer"))
        )
    call.output.print(f"{found}\n")
    return 0


def _generate(call: Call, path: str) -> int:
    """A pair of keys in two files, neither of which was there."""
    from pierhead.images.signing import generate_key

    private, public = generate_key(os.environ.get(_PASSPHRASE, "").encode())
    for name, text, mode in ((path, private, 0o600), (f"{path}.pub", public, 0o644)):
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        except FileExistsError:
            raise Conflict(
                f"{name} is there already, and keys are not written over", code="key-exists"
            ) from None
        with os.fdopen(fd, "wb") as file:
            file.write(text)
    call.output.print(f"{path}\n{path}.pub\n")
    return 0


def _passphrase(path: str) -> bytes:
    """Of the environment, or of whoever sits at the terminal; nothing for a key that has none."""
    if _PASSPHRASE in os.environ:
        return os.environ[_PASSPHRASE].encode()
    try:
        with open(path, "rb") as file:
            encrypted = b"ENCRYPTED" in file.read(4096)
    except OSError:
        return b""
    if not encrypted or not os.isatty(STDERR):
        return b""
    from getpass import getpass

    return getpass(f"Passphrase of {path}: ").encode()


VERBS = {
    "sign": Verb(
        name="sign",
        arguments="[IMAGE]",
        most=1,
        about="sign an image in its registry",
        text="The image is the one that the registry has under the name. Its signature lies beside it, in "
        "the form of cosign, which can verify it too. Who wants signatures says so in "
        "/etc/pierhead/policy.toml. The passphrase of an encrypted key is read from "
        f"{_PASSPHRASE}, or asked for.",
        flags=(
            Flag(name="key", short="k", value="FILE", about="the private key, in PEM"),
            Flag(
                name="referrer",
                kind="switch",
                about="have the registry list it as a referrer, instead of under a tag",
            ),
            Flag(name="generate-key", value="FILE", about="make a pair of keys, FILE and FILE.pub, instead"),
        ),
        examples=(
            ("sign --generate-key release.key", "once"),
            ("sign --key release.key registry.example.com/team/app:1", "after each push"),
        ),
        perform=_sign,
    ),
}
