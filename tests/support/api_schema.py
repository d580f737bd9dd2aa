"""Docker's own description of its API (a Swagger 2.0 document), as a judge of answers.

    description().check("GET", "/containers/json", 200, answer.json())

``PIERHEAD_VECTORS`` names the directory that has ``engine-api.yaml``.  The description says less of null
than is true: Go writes it for every empty list or object.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import pytest

VARIABLE = "PIERHEAD_VECTORS"
_POINTERS = ("MemorySwappiness", "OomKillDisable")
"""Fields that are null where nobody chose, in Docker's own answers too."""


class Description:
    """What each endpoint answers."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self.version = str(document["info"]["version"])

    def endpoints(self) -> list[tuple[str, str]]:
        """Methods and paths."""
        return [
            (method.upper(), path)
            for path, methods in self._document["paths"].items()
            for method in methods
            if method in ("get", "post", "put", "delete", "head")
        ]

    def check(self, method: str, path: str, status: int, answer: Any) -> None:
        """The answer is what the description says of this endpoint and status.

        Raises:
            AssertionError: it is not, or nothing is said of the status.
        """
        responses = self._document["paths"][path][method.lower()]["responses"]
        response = responses.get(status, responses.get(str(status)))
        assert response is not None, f"{method} {path} never answers {status}"
        if "schema" in response:
            self.judge(response["schema"], answer, f"{method} {path}")

    def check_definition(self, name: str, document: Any) -> None:
        """The document is what the description calls so."""
        self.judge({"$ref": f"#/definitions/{name}"}, document, name)

    def judge(self, schema: dict[str, Any], document: Any, what: str) -> None:
        """The document fits the schema."""
        from jsonschema import Draft4Validator

        whole = {**schema, "definitions": self._definitions}
        errors = [
            f"{what}: {'.'.join(map(str, error.absolute_path))}: {error.message[:200]}"
            for error in Draft4Validator(_nullable(whole)).iter_errors(document)
        ]
        assert not errors, "\n".join(errors)

    @functools.cached_property
    def _definitions(self) -> dict[str, Any]:
        found: dict[str, Any] = _nullable(self._document["definitions"])
        return found

    def example(self, name: str) -> Any:
        """A document of this definition, made of the description's own examples."""
        return _example(self._document["definitions"], {"$ref": f"#/definitions/{name}"}, ())


def _nullable(schema: Any) -> Any:
    """Types with null beside them, where Go writes it: lists, objects and what says so."""
    if isinstance(schema, list):
        return [_nullable(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {name: _nullable(each) for name, each in schema.items() if name not in ("example", "examples")}
    for name in _POINTERS:
        if isinstance(changed.get(name), dict):
            changed[name] = _nullable({**changed[name], "x-nullable": True})
    kind = changed.get("type")
    if isinstance(kind, str) and (kind in ("array", "object") or schema.get("x-nullable")):
        changed["type"] = [kind, "null"]
        if "enum" in changed:
            changed["enum"] = [*changed["enum"], None]
    return changed


def _example(definitions: dict[str, Any], schema: dict[str, Any], seen: tuple[str, ...]) -> Any:
    if "example" in schema:
        example = schema["example"]
        whole = schema.get("type") == "integer" and isinstance(example, str)  # some stand in quotes
        return int(example or 0) if whole else example
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return None if name in seen else _example(definitions, definitions[name], (*seen, name))
    if "allOf" in schema:
        found: dict[str, Any] = {}
        for part in schema["allOf"]:
            found.update(_example(definitions, part, seen) or {})
        return found
    if "properties" in schema:
        return {name: _example(definitions, each, seen) for name, each in schema["properties"].items()}
    if schema.get("enum"):
        return schema["enum"][0]
    plain = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}
    return plain.get(schema.get("type", ""))


@functools.cache
def description() -> Description:
    """The description; skips the test where it is not at hand."""
    directory = os.environ.get(VARIABLE, "")
    path = Path(directory) / "engine-api.yaml"
    if not directory or not path.is_file():
        pytest.skip(f"{VARIABLE} names no directory with engine-api.yaml")
    yaml = pytest.importorskip("yaml")
    pytest.importorskip("jsonschema")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    return Description(yaml.load(path.read_text(), loader))
