"""``spec`` and ``features``: documents for people to edit and for programs to read."""

from __future__ import annotations

import os

from pierhead.cli.bundle import FILE_NAME
from pierhead.cli.flags import Flag, Verb
from pierhead.errors import Conflict, OperationFailed
from pierhead.jsontext import format_indented

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call

_SPEC_FLAGS = (
    Flag(name="bundle", short="b", value="DIR", about="where to write it", default="the working directory"),
    Flag(
        name="rootless",
        kind="switch",
        about="for a user without privileges: in a user namespace of their own",
    ),
    Flag(
        name="host",
        kind="switch",
        about="with the running host as the root, copy-on-write, its secrets hidden: no image is needed",
    ),
)


def _spec(call: Call) -> int:
    from pierhead.oci.default import default_spec
    from pierhead.oci.document import encode

    spec = default_spec(rootless=call.options.switch("rootless"))
    if call.options.switch("host"):
        from pierhead.runtime.hostroot import host_spec

        spec = host_spec(spec)
    path = os.path.join(call.options.text("bundle", "."), FILE_NAME)
    write_new(path, format_indented(encode(spec)))
    return 0


def write_new(path: str, text: str) -> None:
    """The file is new and holds the text.

    Raises:
        Conflict: there is one of this name.
        OperationFailed: it cannot be written.
    """
    from pierhead.linux.files import write_all

    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise Conflict(
            f"{path} exists", code="file-exists", hint="remove it first, or name another place"
        ) from None
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise OperationFailed(f"cannot write {path}: {reason}", errno=error.errno or 0) from None
    try:
        write_all(fd, text.encode())
    finally:
        os.close(fd)


def _features(call: Call) -> int:
    from pierhead.cli.features import features_document

    call.output.print(format_indented(features_document()))
    return 0


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            name="spec",
            stateless=True,
            about="write a config.json to begin with",
            text="The document runs sh in the bundle's directory rootfs, with runc's defaults; edit it into "
            "what you want.",
            flags=_SPEC_FLAGS,
            examples=(
                ("spec --bundle ./box", "for a root file system in ./box/rootfs"),
                (
                    "spec --host && pier-runtime run try",
                    "a shell that sees this machine and can change nothing of it",
                ),
            ),
            perform=_spec,
        ),
        Verb(
            name="features",
            stateless=True,
            about="print what this runtime can do, as JSON",
            text="The document is the one that the runtime specification describes (features.md).",
            perform=_features,
        ),
    )
}
