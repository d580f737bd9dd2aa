"""What a server has done, as Prometheus reads it (exposition formats, text format 0.0.4)."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_PREFIX = "pierhead_engine"
_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "DELETE"))


class Metrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Requests that are being answered."""
        self.connections = 0
        """Clients that are connected."""
        self._requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._seconds: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * (len(_BUCKETS_S) + 2))

    def count_request(self, method: str, route: str, status: int, seconds: float) -> None:
        """One more request was answered; ``route`` is the pattern that it went to."""
        self._requests[method if method in _METHODS else "other", route, status] += 1
        row = self._seconds[route]
        row[bisect_left(_BUCKETS_S, seconds)] += 1
        row[-1] += seconds

    def format(self, gauges: Mapping[str, float]) -> str:
        """The text of all counters, and of these figures."""
        return "".join(f"{line}\n" for line in self._lines(gauges))

    def _lines(self, gauges: Mapping[str, float]) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests answered.")
        for (method, route, status), count in sorted(self._requests.items()):
            labels = f'{{method="{method}",route="{route}",status="{status}"}}'
            yield f"{_PREFIX}_requests_total{labels} {count}"
        yield from _head("request_seconds", "histogram", "Time to answer.")
        for route, row in sorted(self._seconds.items()):
            yield from _histogram(route, row)
        figures = {**gauges, "requests_in_flight": self.in_flight, "connections": self.connections}
        for name, figure in sorted(figures.items()):
            yield from _head(name, "gauge", f"{name.replace('_', ' ').capitalize()}.")
            yield f"{_PREFIX}_{name} {figure:g}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {_PREFIX}_{name} {text}"
    yield f"# TYPE {_PREFIX}_{name} {kind}"


def _histogram(route: str, row: list[float]) -> Iterator[str]:
    total = 0
    for most, count in zip((*(f"{each:g}" for each in _BUCKETS_S), "+Inf"), row[:-1], strict=True):
        total += int(count)
        yield f'{_PREFIX}_request_seconds_bucket{{route="{route}",le="{most}"}} {total}'
    yield f'{_PREFIX}_request_seconds_sum{{route="{route}"}} {row[-1]:.6f}'
    yield f'{_PREFIX}_request_seconds_count{{route="{route}"}} {total}'
