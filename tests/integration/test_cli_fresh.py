"""Bad documents through the programs, each in an interpreter that has loaded nothing yet.

Within pytest the json module is loaded, and CPython's scanner finds its error's class there.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Command, Runtime
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root", "busybox")

# A text, and what is said of it after its name.
BROKEN = [
    ('{"ociVersion":"1.0.0",}', "line 1, column 2"),  # 22 or 23, as Python's versions count
    ("{", "line 1, column 2"),
    ('{"a" 1}', "line 1, column 6"),
    ("[1 2]", "line 1, column 4"),
    ('"\\x"', "line 1, column 2"),
    ('"a', "line 1, column 1"),
]


@pytest.fixture
def runtime(tmp_path: Path, shared_rootfs: Path) -> Iterator[Runtime]:
    """The program, with a state root of the test's own."""
    with Runtime(tmp_path, shared_rootfs) as runtime:
        yield runtime


@pytest.mark.parametrize(("text", "where"), BROKEN)
def test_a_bundle_that_is_not_json(runtime: Runtime, tmp_path: Path, text: str, where: str) -> None:
    """A slip of the pen is one sentence with line and column, and no internal error."""
    (tmp_path / "config.json").write_text(text)
    result = runtime.result("run", "--bundle", tmp_path, runtime.id())
    assert result.returncode == 1
    assert "config.json is not JSON: " in result.stderr
    assert where in result.stderr
    assert result.stderr.count("\n") == 1


def test_other_documents_that_are_not_json(runtime: Runtime, tmp_path: Path) -> None:
    """The same for processes and resources of a running container, and for nsinit's configurations."""
    (tmp_path / "broken.json").write_text("{")
    name = runtime.running()
    for result in (
        runtime.result("exec", "--process", tmp_path / "broken.json", name),
        runtime.result("update", "--resources", "-", name, input="{"),
        Command("nsinit").result("exec", "--config", tmp_path / "broken.json", "true", cwd=tmp_path),
    ):
        assert result.returncode != 0
        assert "is not JSON: " in result.stderr
        assert "internal error" not in result.stderr


@pytest.mark.parametrize("text", ['{"id": "bad",', "7", '{"id": "bad"}', "[]", '"id"'])
def test_a_broken_state_hides_no_other(runtime: Runtime, text: str) -> None:
    """What cannot be read is told of, and the others are listed."""
    name = runtime.running()
    short, long = runtime.root / "bad", runtime.root / ("x" * 200 + "~" + "0" * 32)
    for directory in (short, long):
        directory.mkdir(mode=0o711)
        (directory / "state.json").write_text(text)
    result = runtime.result("list", "--format", "json")
    assert result.returncode == 0, result.stderr
    assert [each["id"] for each in json.loads(result.stdout)] == [name]
    assert "container bad: " in result.stderr
    assert "internal error" not in result.stderr
    for directory in (short, long):
        (directory / "state.json").unlink()
        directory.rmdir()
