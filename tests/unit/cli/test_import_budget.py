"""The commands that engines call for every container load little.

A whole container takes less time than ``import json``.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pierhead
from tests.support.bundles import standard_spec

SOURCE = Path(pierhead.__file__).parents[1]
FORBIDDEN = frozenset(
    (
        "argparse",
        "asyncio",
        "contextlib",
        "ctypes",
        "dataclasses",
        "enum",
        "functools",
        "inspect",
        "json",
        "pathlib",
        "pickle",
        "random",
        "re",
        "shutil",
        "signal",
        "socket",
        "sqlite3",
        "subprocess",
        "tempfile",
        "threading",
        "traceback",
        "typing",
    )
)
# What a path may load, ours and the interpreter's own together.
MOST = {"run": 72, "create": 72, "start": 68, "state": 68, "kill": 69, "delete": 68}
_LINE = re.compile(r"^import time:\s+\d+ \|\s+\d+ \|\s+(\S+)$", re.MULTILINE)


def loaded_by(*words: str) -> set[str]:
    """The modules that a call of pier-runtime loads."""
    path = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); "
    code = path + "from pierhead.cli.runtime import main; main(sys.argv[1:])"
    command = [sys.executable, "-IS", "-X", "importtime", "-c", code, *words]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    return set(_LINE.findall(told))


@pytest.mark.parametrize("verb", sorted(MOST))
def test_what_a_verb_loads(verb: str, tmp_path: Path) -> None:
    """None of the modules that cost more than a container, and no more of ours than a cap."""
    words = [
        "--root",
        str(tmp_path / "state"),
        verb,
        *(["--bundle", _bundle(tmp_path)] if verb in ("run", "create") else []),
    ]
    loaded = loaded_by(*words, "missing")
    assert "pierhead.cli.runtime" in loaded
    assert not {name.partition(".")[0] for name in loaded} & FORBIDDEN
    startup = loaded_by_nothing()
    assert len(loaded - startup) <= MOST[verb], sorted(loaded - startup)


def loaded_by_nothing() -> set[str]:
    """What the interpreter loads by itself."""
    command = [sys.executable, "-IS", "-X", "importtime", "-c", "pass"]
    return set(_LINE.findall(subprocess.run(command, capture_output=True, text=True, check=True).stderr))


def _bundle(directory: Path) -> str:
    """A bundle that can be read to the end, and then has no root."""
    bundle = directory / "bundle"
    bundle.mkdir()
    (bundle / "config.json").write_text(json.dumps(standard_spec(rootfs="nothing")))
    return str(bundle)


@pytest.mark.parametrize("words", [("run", "--rm", "box", "true"), ("ps",), ("exec", "web", "true")])
def test_what_pier_loads(words: tuple[str, ...]) -> None:
    """What asks the engine loads none of what costs more than a container either."""
    path = f"import sys; sys.path.insert(0, {str(SOURCE)!r}); "
    code = path + "from pierhead.cli.pier import main; main(sys.argv[1:])"
    command = [sys.executable, "-IS", "-X", "importtime", "-c", code, "--host", "unix:///nowhere/s", *words]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stderr
    loaded = set(_LINE.findall(told))
    assert "pierhead.client.engine" in loaded
    assert not {name.partition(".")[0] for name in loaded} & FORBIDDEN
