"""Contexts: engines by names, in docker's form.  Ours are kept apart; docker's own are read as well.

    ~/.config/pierhead/contexts/current                   the name of the one in use
                                meta/ID/meta.json         its name, description and address; ID is of its name
                                tls/ID/docker/ca.pem      cert.pem, key.pem
    ~/.docker/contexts/                                   docker's: the same without ``current``

Source: docker's command line, ``docker context inspect`` and ``export``.
"""

from __future__ import annotations

import os

from pierhead.cli.engine_place import CONTEXT, DEFAULT_CONTEXT, EnginePlace
from pierhead.client.address import parse_address
from pierhead.errors import InvalidInput, NotFound
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    Document = dict[str, Any]

DOCKER_CONTEXT = "DOCKER_CONTEXT"
MATERIAL = ("ca.pem", "cert.pem", "key.pem")


class Context(Value):
    """An engine's place under a name.

    Fields:
        name: of the context.
        host: the engine's address.
        description: what somebody has said about it.
        verify: whether its certificate has to be the authority's.
        root: of the store that has it; "" as long as none has.
    """

    name: str
    host: str
    description: str = ""
    verify: bool = True
    root: str = ""

    @property
    def ours(self) -> bool:
        """Whether it is in our own store, and not in docker's."""
        return self.root == own_root()

    @property
    def metadata_path(self) -> str:
        """The directory of its document."""
        return f"{self.root}/meta/{_id_of(self.name)}"

    @property
    def tls_path(self) -> str:
        """The directory above that of its certificates."""
        return f"{self.root}/tls/{_id_of(self.name)}"

    @property
    def material(self) -> tuple[str, ...]:
        """Its certificates' files, by their names."""
        return tuple(name for name in MATERIAL if os.path.exists(f"{self.tls_path}/docker/{name}"))

    def document(self) -> Document:
        """What stands in its ``meta.json``."""
        metadata = {"Description": self.description} if self.description else {}
        endpoint = {"Host": self.host, "SkipTLSVerify": not self.verify}
        return {"Name": self.name, "Metadata": metadata, "Endpoints": {"docker": endpoint}}

    def read_material(self) -> dict[str, bytes]:
        """Its certificates."""
        found = {}
        for name in self.material:
            with open(f"{self.tls_path}/docker/{name}", "rb") as file:
                found[name] = file.read()
        return found


def own_root() -> str:
    """Where ours are."""
    return f"{os.environ.get('XDG_CONFIG_HOME') or os.path.expanduser('~/.config')}/pierhead/contexts"


def docker_root() -> str:
    """Where docker's are."""
    return f"{os.environ.get('DOCKER_CONFIG') or os.path.expanduser('~/.docker')}/contexts"


def _id_of(name: str) -> str:
    from hashlib import sha256

    return sha256(name.encode()).hexdigest()


def decode_context(document: object, *, root: str = "") -> Context:
    """The context of such a document.

    Raises:
        InvalidInput: it is no context's.
    """
    try:
        endpoint = document["Endpoints"]["docker"]  # type: ignore[index]
        return Context(
            name=str(document["Name"]),  # type: ignore[index]
            host=str(endpoint.get("Host") or ""),
            description=str((document["Metadata"] or {}).get("Description") or ""),  # type: ignore[index]
            verify=not endpoint.get("SkipTLSVerify"),
            root=root,
        )
    except (KeyError, TypeError, AttributeError):
        message = "the document is no context's"
        raise InvalidInput(message, code="bad-context", hint="docker context export makes some") from None


def _read(root: str, identity: str) -> Context:
    from pierhead.jsontext import parse

    path = f"{root}/meta/{identity}/meta.json"
    with open(path, "rb") as file:
        document = parse(file.read(), name=path)
    try:
        return decode_context(document, root=root)
    except InvalidInput:
        raise InvalidInput(f"{path} is damaged", code="bad-context", hint="remove it, or mend it") from None


def _read_all(root: str) -> Iterator[Context]:
    try:
        names = os.listdir(f"{root}/meta")
    except FileNotFoundError:
        return
    for identity in names:
        if os.path.exists(f"{root}/meta/{identity}/meta.json"):
            yield _read(root, identity)


def list_contexts() -> dict[str, Context]:
    """All by their names; ours go before docker's.

    Raises:
        InvalidInput: one is damaged.
    """
    return {each.name: each for root in (docker_root(), own_root()) for each in _read_all(root)}


def find_context(name: str) -> Context:
    """The context of this name.

    Raises:
        NotFound: there is none.
    """
    for root in (own_root(), docker_root()):
        if os.path.exists(f"{root}/meta/{_id_of(name)}/meta.json"):
            return _read(root, _id_of(name))
    from pierhead.nearest import nearest

    near = nearest(name, list(list_contexts()))
    hint = f"did you mean {near}?" if near else "pier context ls lists them"
    raise NotFound(f"context {name!r} does not exist", code="no-context", hint=hint)


def write_context(context: Context, material: Mapping[str, bytes]) -> None:
    """It is in our store, with these certificates; where that fails, what was there before still is."""
    from pierhead.jsontext import format_compact

    kept = context.replace(root=own_root())
    for name, content in material.items():
        os.makedirs(f"{kept.tls_path}/docker", mode=0o700, exist_ok=True)
        _write(f"{kept.tls_path}/docker/{name}", content)
    os.makedirs(kept.metadata_path, mode=0o700, exist_ok=True)
    _write(f"{kept.metadata_path}/meta.json", format_compact(kept.document()).encode())
    for name in kept.material:
        if name not in material:
            os.unlink(f"{kept.tls_path}/docker/{name}")


def remove_context(context: Context) -> None:
    """Nothing of it is left."""
    from shutil import rmtree

    for path in (context.metadata_path, context.tls_path):
        rmtree(path, ignore_errors=True)


def _write(path: str, content: bytes) -> None:
    beside = f"{path}.{os.getpid()}"
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(content)
    os.replace(beside, path)


def current_context() -> str:
    """The name of the one in use."""
    return os.environ.get(CONTEXT) or os.environ.get(DOCKER_CONTEXT) or kept_context()


def kept_context() -> str:
    """The name of the one that ``use_context`` has chosen; variables may name another for a while."""
    try:
        with open(f"{own_root()}/current", encoding="utf-8") as file:
            return file.read().strip() or DEFAULT_CONTEXT
    except FileNotFoundError:
        return DEFAULT_CONTEXT


def use_context(name: str) -> None:
    """It is the one in use from now on."""
    os.makedirs(own_root(), mode=0o700, exist_ok=True)
    _write(f"{own_root()}/current", f"{name}\n".encode())


def context_place(name: str) -> EnginePlace:
    """Where the context's engine is.

    Raises:
        NotFound: there is no such context.
    """
    found = find_context(name)
    tls = bool(found.material) or not found.verify  # as docker: who checks nobody still wants TLS
    address = parse_address(found.host, tls=tls)
    certificates = f"{found.tls_path}/docker" if tls and not address.path else ""
    return EnginePlace(address=address, certificates=certificates, verify=found.verify)
