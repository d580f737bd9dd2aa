"""An image pulled by the engine, and a person told how it comes."""

from __future__ import annotations

import os

from pierhead.cli.output import STDERR
from pierhead.errors import OperationFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.call import Call
    from pierhead.client.engine import Engine

_MOVING = ("Downloading", "Extracting", "Waiting", "Pulling fs layer")


def pull_image(call: Call, engine: Engine, image: str, *, platform: str, quiet: bool) -> None:
    """The image is the engine's.

    Raises:
        OperationFailed: it did not come; in the registry's or the engine's words.
    """
    name, tag = _split_tag(image)
    headers = _credentials(image)
    shown = _Shown(call)
    with engine.open(
        "POST", "/images/create", headers=headers, fromImage=name, tag=tag, platform=platform
    ) as reply:
        from pierhead.client.engine import split_documents

        for document in split_documents(reply.body()):
            if document.get("error"):
                raise OperationFailed(str(document["error"]), code="pull-failed")
            if not quiet:
                shown.show(document)


def _split_tag(image: str) -> tuple[str, str]:
    """A name and its tag or digest; ``latest`` where it has none."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    path, colon, tag = image.rpartition(":")
    return (path, tag) if colon and "/" not in tag else (image, "latest")


def _credentials(image: str) -> dict[str, str]:
    """``X-Registry-Auth`` as the API wants it: base64url of a document."""
    path = f"{os.environ.get('DOCKER_CONFIG') or os.path.expanduser('~/.docker')}/config.json"
    if not os.path.exists(path):
        return {}
    from base64 import urlsafe_b64encode

    from pierhead.images.reference import parse_reference
    from pierhead.images.remote.credentials import CredentialFile
    from pierhead.jsontext import format_compact

    domain = parse_reference(image).canonical().domain
    found = CredentialFile(path).find(domain)
    if found is None:
        return {}
    document = {
        "username": found.username,
        "password": found.password,
        "identitytoken": found.identity_token,
        "registrytoken": found.registry_token,
        "serveraddress": domain,
    }
    return {"X-Registry-Auth": urlsafe_b64encode(format_compact(document).encode()).decode()}


class _Shown:
    """Lines about layers: on a terminal painted over, else those that begin or end something."""

    def __init__(self, call: Call) -> None:
        self._output = call.output
        self._painted = os.isatty(STDERR) and os.environ.get("TERM") != "dumb"
        self._lines: dict[str, int] = {}

    def show(self, document: dict[str, Any]) -> None:
        """What the engine tells is shown."""
        status, layer = str(document.get("status") or ""), str(document.get("id") or "")
        progress = str(document.get("progress") or "")
        if not layer:
            self._lines.clear()
            self._output.remark(f"{status}\n")
        elif not self._painted:
            if not status.startswith(_MOVING):
                self._output.remark(f"{layer}: {status}\n")
        elif layer in self._lines:
            up = len(self._lines) - self._lines[layer]
            self._output.remark(f"\x1b[{up}A\r\x1b[2K{layer}: {status} {progress}\r\x1b[{up}B")
        else:
            self._lines[layer] = len(self._lines)
            self._output.remark(f"{layer}: {status} {progress}\n")
