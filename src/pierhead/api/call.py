"""One request, for the route that answers it."""

from __future__ import annotations

from typing import TypeVar

from pierhead.api import queries
from pierhead.api.bodies import decode_document, read_document
from pierhead.api.older_answers import shape
from pierhead.api.replies import reply_json
from pierhead.errors import InvalidInput
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.api.connection import Body
    from pierhead.api.head import Head
    from pierhead.api.ports import Backend
    from pierhead.api.replies import Reply
    from pierhead.api.versions import Version

V = TypeVar("V", bound=Value)


class Call:
    """What a route is told.

    Attributes:
        head: of the request.
        body: what comes after it.
        backend: the engine.
        version: which the client speaks.
        names: what stands in the path: ``id``, ``name``.
    """

    def __init__(
        self, head: Head, body: Body, backend: Backend, version: Version, names: dict[str, str]
    ) -> None:
        """Nothing has been read of the body."""
        self.head = head
        self.body = body
        self.backend = backend
        self.version = version
        self.names = names

    @property
    def reference(self) -> str:
        """The object's id or name, which stands in the path."""
        return self.names.get("id") or self.names.get("name", "")

    def text(self, name: str, default: str = "") -> str:
        """The query's text."""
        return queries.text(self.head.query, name, default)

    def all(self, name: str) -> list[str]:
        """All of the query's texts."""
        return list(self.head.query.get(name, ()))

    def boolean(self, name: str, *, default: bool = False) -> bool:
        """The query's word for true or false."""
        return queries.boolean(self.head.query, name, default=default)

    def number(self, name: str) -> int | None:
        """The query's number; None where there is none."""
        return queries.number(self.head.query, name)

    def filters(self) -> dict[str, list[str]]:
        """The query's filters."""
        return queries.filters(self.head.query)

    def platform(self) -> str:
        """The query's platform."""
        return queries.platform(self.head.query)

    def credentials(self) -> dict[str, Any]:
        """Those for a registry."""
        return queries.credentials(self.head.headers.get("x-registry-auth", ""))

    async def document(self, *, optional: bool = False) -> dict[str, Any]:
        """The body's object; empty where nothing was sent and nothing must be."""
        raw = await self.body.whole()
        if optional and not raw.strip():
            return {}
        kind = self.head.headers.get("content-type", "")
        if not kind and "origin" in self.head.headers:
            # any page in a browser can send such a body to a port of this machine without asking anybody (the
            # Fetch standard, "CORS-safelisted request-header"); JSON by its name it cannot
            message = 'unsupported Content-Type header (): must be "application/json"'
            raise InvalidInput(message, code="bad-content-type")
        return read_document(raw, kind)

    async def decoded(self, cls: type[V], *, optional: bool = False) -> V:
        """The value that the body means."""
        return decode_document(cls, await self.document(optional=optional))

    def reply(self, kind: str, document: object, status: int = 200) -> Reply:
        """The document in the shape of the client's version."""
        return reply_json(shape(kind, self.version, document), status)
