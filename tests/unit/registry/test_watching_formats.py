"""Lines of the access log, and Prometheus' text."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import InvalidInput
from pierhead.registry.accesslog import AccessEntry, AccessLog, format_entry
from pierhead.registry.metrics import Metrics

if TYPE_CHECKING:
    from pathlib import Path

ENTRY = AccessEntry(
    time_s=0.0,
    client="127.0.0.1",
    user="",
    method="GET",
    path="/v2/a b\n/x",
    status=200,
    received_bytes=1,
    sent_bytes=2,
    seconds=0.00423,
    agent='"x"',
)


def test_text() -> None:
    """One line, whatever a client sent."""
    line = format_entry(ENTRY, "text")
    assert line == "1970-01-01T00:00:00Z 127.0.0.1 - GET /v2/a\ufffdb\ufffd/x 200 received=1 sent=2 4.2 ms\n"


def test_json() -> None:
    """The same for machines."""
    line = format_entry(ENTRY, "json")
    assert line.count("\n") == 1
    assert json.loads(line)["path"] == "/v2/a b\n/x"
    assert json.loads(line)["ms"] == 4.23


def test_rotation(tmp_path: Path) -> None:
    """After its file was renamed, lines go to a new one."""
    path = tmp_path / "log"
    with AccessLog(str(path)) as log:
        log.write(ENTRY)
        path.rename(tmp_path / "old")
        log.reopen()
        log.write(ENTRY)
        log.write(ENTRY)
    assert [(tmp_path / name).read_text().count("\n") for name in ("old", "log")] == [1, 2]
    with pytest.raises(InvalidInput, match="is no format"):
        AccessLog(str(path), "xml")


def test_metrics() -> None:
    """Each metric has its type, each histogram adds up, labels are escaped."""
    metrics = Metrics()
    for seconds in (0.001, 0.2, 100.0):
        metrics.count_request("GET", 'b"\n', 200, seconds=seconds, received_bytes=1, sent_bytes=10)
    metrics.count("collections", 3)
    lines = metrics.format({"uploads": 4}).splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    label = r'[a-z]+="(?:[^"\\]|\\.)*"'
    form = re.compile(rf"pierhead_registry_[a-z_]+(\{{{label}(,{label})*\}})? [0-9.+e]+")
    assert all(form.fullmatch(line) for line in samples)
    declared = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(declared) == len(set(declared))
    assert {re.sub(r"_(bucket|sum|count)?$", "", re.match(r"\w+", line)[0]) for line in samples} <= {  # type: ignore[index]
        re.sub(r"_$", "", name) for name in declared
    }
    assert 'pierhead_registry_requests_total{method="GET",place="b\\"\\n",status="200"} 3' in lines
    counts = [int(line.split()[1]) for line in samples if "_bucket" in line]
    assert counts == sorted(counts)
    assert (counts[0], counts[-2], counts[-1]) == (1, 2, 3)
    assert 'pierhead_registry_body_bytes_total{direction="sent"} 30' in lines
    assert "pierhead_registry_collections_total 3" in lines
    assert "pierhead_registry_uploads 4" in lines
