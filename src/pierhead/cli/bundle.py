"""From a bundle's config.json to the library's configuration, with a word about everything odd in it."""

from __future__ import annotations

import os

from pierhead.errors import InvalidInput, NotFound
from pierhead.jsontext import parse
from pierhead.linux.files import read_file
from pierhead.oci.document import decode
from pierhead.oci.runtime import Process, Spec
from pierhead.oci.validate import check_process, check_spec
from pierhead.runtime.config import Config, ProcessSpec, config_from_spec, process_from_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.output import Output

FILE_NAME = "config.json"


def load_bundle(bundle: str, output: Output) -> Config:
    """The configuration that the bundle describes.

    Args:
        bundle: its directory.
        output: is told of fields that are unknown or ignored.

    Raises:
        NotFound: there is no config.json.
        InvalidInput: it is not a document that describes a container.
    """
    path = os.path.join(bundle, FILE_NAME)
    unknown: list[str] = []
    spec = decode(Spec, load_document(path, "make one with `pier-runtime spec`"), unknown=unknown)
    tell_unknown(unknown, path, output)
    for warning in check_spec(spec):
        output.warn(warning)
    return config_from_spec(spec, bundle)


def load_process(path: str, output: Output) -> ProcessSpec:
    """The process that a file describes, for ``exec --process``."""
    unknown: list[str] = []
    process = decode(Process, load_document(path), unknown=unknown)
    tell_unknown(unknown, path, output)
    for warning in check_process(process):
        output.warn(warning)
    return process_from_spec(process)


def load_document(path: str, hint: str = "") -> Any:
    """What a JSON file holds; ``-`` is standard input.

    Raises:
        NotFound: there is no such file.
        InvalidInput: it is not JSON, or cannot be read.
    """
    if path == "-":
        from pierhead.linux.files import read_all

        return parse(read_all(0), name="standard input")
    try:
        text = read_file(path)
    except FileNotFoundError:
        raise NotFound(f"{path}: no such file", code="file-not-found", hint=hint) from None
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        raise InvalidInput(f"{path} cannot be read: {reason}", code="file-unreadable") from None
    return parse(text, name=path)


def tell_unknown(paths: list[str], document: str, output: Output) -> None:
    """The caller knows which fields mean nothing to us: an OCI runtime must not refuse them (config.md)."""
    for path in paths:
        output.warn(f"{document}: the field {path} is unknown and ignored")
