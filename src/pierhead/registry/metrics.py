"""What a registry has done, as Prometheus reads it.

Source: Prometheus, "Exposition formats", text format 0.0.4.
"""

from __future__ import annotations

from collections import defaultdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one process."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Requests that are being answered."""
        self._requests: defaultdict[tuple[str, str, int], int] = defaultdict(int)
        self._seconds: defaultdict[str, list[float]] = defaultdict(lambda: [0.0] * (len(_BUCKETS_S) + 2))
        self._bytes: defaultdict[str, int] = defaultdict(int)
        self._events: defaultdict[str, int] = defaultdict(int)

    def count_request(
        self, method: str, place: str, status: int, *, seconds: float, received_bytes: int, sent_bytes: int
    ) -> None:
        """One more request of this kind was answered."""
        self._requests[method, place, status] += 1
        row = self._seconds[place]
        row[next((n for n, most in enumerate(_BUCKETS_S) if seconds <= most), len(_BUCKETS_S))] += 1
        row[-1] += seconds
        self._bytes["received"] += received_bytes
        self._bytes["sent"] += sent_bytes

    def count(self, event: str, number: int = 1) -> None:
        """An event has happened: its name is a metric's, without ``pierhead_registry_`` and ``_total``."""
        self._events[event] += number

    def format(self, gauges: dict[str, float]) -> str:
        """The text of all counters, and of these figures."""
        return "".join(f"{line}\n" for line in self._lines(gauges))

    def _lines(self, gauges: dict[str, float]) -> Iterator[str]:
        yield from _head("requests_total", "counter", "Requests answered.")
        for (method, place, status), count in sorted(self._requests.items()):
            labels = _labels(method=method, place=place, status=str(status))
            yield f"pierhead_registry_requests_total{labels} {count}"
        yield from _head("request_seconds", "histogram", "Time to answer.")
        for place, row in sorted(self._seconds.items()):
            yield from _histogram(place, row)
        yield from _head("body_bytes_total", "counter", "Bytes of bodies.")
        for direction, count in sorted(self._bytes.items()):
            yield f"pierhead_registry_body_bytes_total{_labels(direction=direction)} {count}"
        for event, count in sorted(self._events.items()):
            yield from _head(f"{event}_total", "counter", f"{event.replace('_', ' ').capitalize()}.")
            yield f"pierhead_registry_{event}_total {count}"
        for name, figure in sorted({**gauges, "requests_in_flight": self.in_flight}.items()):
            yield from _head(name, "gauge", f"{name.replace('_', ' ').capitalize()}.")
            yield f"pierhead_registry_{name} {figure:g}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP pierhead_registry_{name} {text}"
    yield f"# TYPE pierhead_registry_{name} {kind}"


def _histogram(place: str, row: list[float]) -> Iterator[str]:
    total = 0
    for most, count in zip((*(f"{each:g}" for each in _BUCKETS_S), "+Inf"), row[:-1], strict=True):
        total += int(count)
        yield f"pierhead_registry_request_seconds_bucket{_labels(place=place, le=most)} {total}"
    yield f"pierhead_registry_request_seconds_sum{_labels(place=place)} {row[-1]:.6f}"
    yield f"pierhead_registry_request_seconds_count{_labels(place=place)} {total}"


def _labels(**labels: str) -> str:
    return "{" + ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items()) + "}"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
