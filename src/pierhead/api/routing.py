"""Which route a path leads to.  Pure.

/v1.51/images/registry.example.com/team/app/json
 version      {name}: one part or more        rest
"""

from __future__ import annotations

import re

from pierhead.errors import NotFound
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from pierhead.api.call import Call
    from pierhead.api.replies import Hijack, Reply, Socket, Stream

    Answer = Reply | Stream | Hijack | Socket
    Perform = Callable[[Call], Awaitable[Answer]]

_VERSION = re.compile(r"/v([0-9.]+)(/.*)").fullmatch
_HOLE = re.compile(r"\{(\w+)\}")
_SEVERAL_PARTS = ("name",)
"""Names of images have slashes; ids have none."""


class Route(Value):
    """One line of the table.

    Fields:
        method: of HTTP.
        pattern: ``/containers/{id}/json``.
        perform: answers.
        writes: whether it changes anything, or lets the client reach into a container.
    """

    method: str
    pattern: str
    perform: Perform
    writes: bool


class Table:
    """All routes."""

    def __init__(self, routes: Iterable[Route]) -> None:
        """The first route that fits counts."""
        self._plain: dict[tuple[str, str], Route] = {}
        self._holed: dict[tuple[str, str], list[tuple[Callable[[str], re.Match[str] | None], Route]]] = {}
        for route in routes:
            if "{" in route.pattern:
                key = (route.method, _first_part(route.pattern))
                self._holed.setdefault(key, []).append((_compile(route.pattern), route))
            else:
                self._plain[route.method, route.pattern] = route

    def find(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        """The route, and what stands in the holes of its pattern.

        Raises:
            NotFound: there is none; also for a method that does not go with the path, as Docker answers.
        """
        route = self._plain.get((method, path))
        if route is not None:
            return route, {}
        for match, route in self._holed.get((method, _first_part(path)), ()):
            found = match(path)
            if found is not None:
                return route, found.groupdict()
        raise NotFound("page not found", code="no-such-route")


def split_version(path: str) -> tuple[str, str]:
    """The version that the path begins with, "" for none, and the rest."""
    found = _VERSION(path)
    return (found[1], found[2]) if found else ("", path)


def _first_part(path: str) -> str:
    return path[1:].partition("/")[0]


def _compile(pattern: str) -> Callable[[str], re.Match[str] | None]:
    pieces = _HOLE.split(pattern)
    for index in range(1, len(pieces), 2):
        name = pieces[index]
        pieces[index] = f"(?P<{name}>{'.+' if name in _SEVERAL_PARTS else '[^/]+'})"
        pieces[index - 1] = re.escape(pieces[index - 1])
    pieces[-1] = re.escape(pieces[-1])
    return re.compile("".join(pieces)).fullmatch
