"""Documents that clients send.  Pure.

What a class does not have is passed over, as Docker's server does: clients are newer than servers.
"""

# Annotations are read at run time: no postponed evaluation here.
from typing import Any, TypeVar

from pierhead.engine.documents import (
    ContainerConfig,
    Docker,
    HostConfig,
    NetworkingConfig,
)
from pierhead.errors import InvalidInput
from pierhead.jsontext import parse
from pierhead.oci.document import decode
from pierhead.values import Value

V = TypeVar("V", bound=Value)


class ContainerCreate(ContainerConfig):
    """The body of ``POST /containers/create``: the container's configuration, and beside it the host's."""

    host_config: HostConfig | None = None
    networking_config: NetworkingConfig | None = None

    def config(self) -> ContainerConfig:
        """The container's part alone."""
        return ContainerConfig(**{name: getattr(self, name) for name in ContainerConfig.fields})


class ExecStart(Docker):
    """The body of ``POST /exec/{id}/start``."""

    detach: bool = False
    tty: bool = False
    console_size: tuple[int, ...] = ()


def read_document(raw: bytes, content_type: str) -> dict[str, Any]:
    """The object that a body is.

    Raises:
        InvalidInput: it is none.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind and kind != "application/json":
        message = f'unsupported Content-Type header ({kind}): must be "application/json"'
        raise InvalidInput(message, code="bad-content-type")
    if not raw.strip():
        raise InvalidInput("invalid JSON: got EOF while reading request body", code="not-json")
    try:
        found = parse(raw, name="request body")
    except InvalidInput as error:
        raise InvalidInput(f"invalid JSON: {error.message}", code=error.code) from None
    if found is None:  # Go's clients send it for a document that they do not have
        return {}
    if not isinstance(found, dict):
        raise InvalidInput("invalid JSON: expected an object", code="wrong-type")
    return found


def decode_document(cls: type[V], document: dict[str, Any]) -> V:
    """The value that a client means.

    Raises:
        InvalidInput: a field has not the shape it must have; the message names it.
    """
    try:
        return decode(cls, document, unknown=[])
    except InvalidInput as error:
        message = f"invalid JSON: {error.message.removeprefix('$.')}"
        raise InvalidInput(message, code=error.code, hint=error.hint) from None
