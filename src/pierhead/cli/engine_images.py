"""Images of an engine elsewhere, which pulls, pushes, reads and writes them; a person is told how."""

from __future__ import annotations

import os

from pierhead.cli.output import STDERR, write_all
from pierhead.cli.words import split_tag
from pierhead.client.engine import split_documents
from pierhead.errors import OperationFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from pierhead.cli.call import Call
    from pierhead.client.engine import Engine, Reply

_READ_BYTES = 1 << 16
_MOVING = ("Downloading", "Extracting", "Waiting", "Pulling fs layer")


def pull_image(call: Call, engine: Engine, image: str, *, platform: str, quiet: bool) -> None:
    """The image is the engine's.

    Raises:
        OperationFailed: it did not come; in the registry's or the engine's words.
    """
    name, tag = split_tag(image)
    query: dict[str, Any] = {"fromImage": name, "tag": tag or "latest", "platform": platform}
    _follow(call, engine.open("POST", "/images/create", headers=_credentials(image), **query), quiet=quiet)


def pull_tags(call: Call, engine: Engine, repository: str, *, quiet: bool) -> None:
    """All images of the repository are the engine's.

    Raises:
        OperationFailed: as of ``pull_image``.
    """
    headers = _credentials(repository)
    reply = engine.open("POST", "/images/create", headers=headers, fromImage=repository)
    _follow(call, reply, quiet=quiet)


def push_image(call: Call, engine: Engine, image: str, *, quiet: bool) -> None:
    """The engine has sent the image to its registry.

    Raises:
        OperationFailed: it could not; in the registry's or the engine's words.
    """
    name, tag = split_tag(image)
    headers = _credentials(image) or {"X-Registry-Auth": "e30="}  # {}: the header must be there
    query = {"tag": tag or "latest"}  # none would be all tags
    _follow(call, engine.open("POST", f"/images/{name}/push", headers=headers, **query), quiet=quiet)


def tags_of(engine: Engine, repository: str) -> list[str]:
    """All names with tags that the engine has of a repository."""
    found = engine.get("/images/json", filters={"reference": [repository]})
    names = [name for each in found for name in each.get("RepoTags") or ()]
    return sorted(name for name in names if split_tag(name)[0] == repository)


def load_images(call: Call, engine: Engine, archive_fd: int, *, quiet: bool) -> None:
    """The archive's images are the engine's; their names are printed."""
    reply = engine.open("POST", "/images/load", _read(archive_fd), quiet=quiet)
    for line in _follow(call, reply, quiet=quiet):
        call.output.print(line)


def import_image(
    call: Call, engine: Engine, archive_fd: int, name: str, *, changes: Iterable[str], message: str
) -> None:
    """The archive's files are an image of the engine; its id is printed."""
    repository, tag = split_tag(name)
    query: dict[str, Any] = {
        "repo": repository,
        "tag": tag,
        "message": message,
        "platform": call.options.text("platform"),
    }
    body, lines = _read(archive_fd), list(changes)
    with engine.open("POST", "/images/create", body, fromSrc="-", changes=lines, **query) as reply:
        for document in split_documents(reply.body()):
            _raise_error(document)
            call.output.print(f"{document.get('status')}\n")


def save_images(engine: Engine, names: Iterable[str], target_fd: int, *, platform: str) -> None:
    """The images are in the archive."""
    with engine.open("GET", "/images/get", names=list(names), platform=platform) as reply:
        for piece in reply.body():
            write_all(target_fd, piece)


def _read(fd: int) -> Iterator[bytes]:
    while data := os.read(fd, _READ_BYTES):
        yield data


def _follow(call: Call, reply: Reply, *, quiet: bool) -> list[str]:
    """What the engine tells of its work is shown; the lines that it says at the end.

    Raises:
        OperationFailed: the work failed.
    """
    shown, lines = _Shown(call), []
    with reply:
        for document in split_documents(reply.body()):
            _raise_error(document)
            if document.get("stream"):
                lines.append(str(document["stream"]))
            elif not quiet and document.get("status"):
                shown.show(document)
    return lines


def _raise_error(document: dict[str, Any]) -> None:
    if document.get("error"):
        raise OperationFailed(str(document["error"]), code="engine-refused")


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
