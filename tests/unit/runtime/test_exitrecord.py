"""Reading exit records."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pierhead.errors import InvalidInput, OperationFailed
from pierhead.runtime.exitrecord import ExitRecord, parse_exit_record, read_exit_record

if TYPE_CHECKING:
    from pathlib import Path

LINE = (
    b'{"pid":42,"code":null,"signal":9,"core":false,"oom":true,'
    b'"started":"2026-01-02T03:04:05.000000000Z","finished":"2026-01-02T03:04:06.000000000Z"}\n'
)


def test_a_record(tmp_path: Path) -> None:
    """Every field is there under its name."""
    (tmp_path / "exit").write_bytes(LINE)
    assert read_exit_record(str(tmp_path / "exit")) == ExitRecord(
        pid=42,
        code=None,
        signal=9,
        core=False,
        oom=True,
        started="2026-01-02T03:04:05.000000000Z",
        finished="2026-01-02T03:04:06.000000000Z",
    )


@pytest.mark.parametrize("path", ["exit", "missing/exit", "file/exit"])
def test_no_record_yet(tmp_path: Path, path: str) -> None:
    """Not an error: the process runs."""
    (tmp_path / "file").touch()
    assert read_exit_record(str(tmp_path / path)) is None


def test_a_later_field_does_no_harm() -> None:
    """A newer monitor may say more."""
    assert parse_exit_record(LINE.replace(b'"pid"', b'"usage":1,"pid"')).pid == 42


@pytest.mark.parametrize("text", [b"[]", b"{}", LINE.replace(b'"oom":true,', b"")])
def test_something_else(text: bytes) -> None:
    """The file is named."""
    with pytest.raises(OperationFailed, match="the file is not an exit record"):
        parse_exit_record(text, name="the file")


def test_half_a_record() -> None:
    """Is not taken for a whole one."""
    with pytest.raises(InvalidInput, match="is not JSON"):
        parse_exit_record(LINE[:50])
