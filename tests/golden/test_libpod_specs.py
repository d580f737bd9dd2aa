"""Bodies of ``POST /libpod/containers/create``, as Podman's clients send them, to requests in Docker's words.

``libpod/NAME.json`` has the body; beside it stands ``NAME.request.json``, which ``PIERHEAD_REWRITE_GOLDEN=1``
writes anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.api.libpod.creation import read_spec, translate
from pierhead.oci.document import encode

if TYPE_CHECKING:
    from pierhead.engine.documents import Docker

SPECS = Path(__file__).parent / "libpod"
NAMES = sorted(path.stem for path in SPECS.glob("*.json") if not path.stem.endswith(".request"))


def said(value: Docker) -> dict[str, Any]:
    """The value's fields that are not what they are by themselves."""
    plain = encode(type(value)())
    return {name: each for name, each in encode(value).items() if each != plain[name]}


def request_of(spec: dict[str, Any]) -> dict[str, Any]:
    """What is made of a body."""
    made = translate(read_spec(spec))
    return {
        "name": made.name,
        "config": said(made.config),
        "host": said(made.host),
        "networking": said(made.networking),
    }


@pytest.mark.parametrize("name", NAMES)
def test_request(name: str) -> None:
    """The request is the one that was looked at and found right."""
    made = request_of(json.loads((SPECS / f"{name}.json").read_text()))
    golden = SPECS / f"{name}.request.json"
    if os.environ.get("PIERHEAD_REWRITE_GOLDEN"):
        golden.write_text(json.dumps(made, indent=2) + "\n")
    assert made == json.loads(golden.read_text())


def test_there_are_specs() -> None:
    """None of the cases is lost."""
    assert len(NAMES) >= 2
