"""What the one-shot command line loads before it starts a container."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import pierhead

# Each of these alone costs as much as a whole container or more.
COSTLY = {
    "argparse",
    "asyncio",
    "collections",
    "contextlib",
    "ctypes",
    "dataclasses",
    "enum",
    "functools",
    "inspect",
    "json",
    "pathlib",
    "re",
    "socket",
    "subprocess",
    "typing",
}

# The whole way of a document: read, decode, check, configure, write.  Nothing loads one of them lazily.
WAY = """
import sys
sys.path.insert(0, {source!r})
from pierhead import jsontext
from pierhead.oci import default, document, runtime, validate
from pierhead.runtime import config, validate as config_validate
text = jsontext.format_compact(document.encode(default.default_spec()))
spec = document.decode(runtime.Spec, jsontext.parse(text), unknown=[])
validate.check_spec(spec)
configuration = config.config_from_spec(spec, "/bundle")
config_validate.check_config(configuration)
again = config.config_from_document(config.config_to_document(configuration))
assert again == configuration
print(*sorted(sys.modules))
"""


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """Names of the modules that a bare interpreter holds at the end of the way."""
    source = str(Path(pierhead.__file__).parents[1])
    command = [sys.executable, "-ISX", "importtime", "-c", WAY.format(source=source)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    return imported.union(done.stdout.split())


def test_no_costly_module(loaded: set[str]) -> None:
    """Reading, checking and configuring a document loads none of the costly modules."""
    assert not COSTLY & loaded


def test_nothing_unforeseen(loaded: set[str]) -> None:
    """Besides the interpreter's own modules there are only ours and the C scanner of JSON."""
    ours = {name for name in loaded if name.partition(".")[0] == "pierhead"}
    bare = subprocess.run(
        [sys.executable, "-ISc", "import os, sys; print(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert loaded - ours - set(bare.stdout.split()) <= {"__future__", "_json", "imported package"}
