"""The tables of the reference grammar's own project, row by row (``PIERHEAD_VECTORS``)."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest

from pierhead.digests import is_digest
from pierhead.errors import InvalidInput
from pierhead.images import reference as grammar
from pierhead.images.reference import (
    Reference,
    is_identifier,
    matches,
    parse_any,
    parse_exact,
    parse_reference,
)

OTHERWISE = ("validname@sha512:",)
"""Rows that are refused there and not here: SHA-512 is a digest algorithm of image-spec 1.1."""


def vectors() -> Path:
    """The folder of the tables; skips the test where there is none."""
    found = Path(os.environ.get("PIERHEAD_VECTORS") or "/nonexistent") / "vectors/reference"
    if not found.is_dir():
        pytest.skip("needs PIERHEAD_VECTORS, a folder with vectors/reference")
    return found


def tables(file: str, test: str) -> list[Any]:
    """The rows of a test's tables."""
    document = json.loads((vectors() / file).read_text())
    found = [row for table in document["tables"] if table["test"] == test for row in table["rows"]]
    assert found
    return [_evaluate(row) for row in found]


def _evaluate(item: Any) -> Any:
    """Go's expressions in the tables as what they give; names of fields without their wrapping."""
    if isinstance(item, list):
        return [_evaluate(each) for each in item]
    if not isinstance(item, dict):
        return item
    if item.get("$op") == "+":
        return _evaluate(item["l"]) + _evaluate(item["r"])
    if item.get("$call") == "strings.Repeat":
        text, count = item["args"]
        return text * count
    return {re.sub(r"^\{'\$id': '(.*)'\}$", r"\1", key): _evaluate(value) for key, value in item.items()}


def refused(parse: Any, text: str) -> bool:
    """Whether it is."""
    try:
        parse(text)
    except InvalidInput:
        return True
    return False


@pytest.mark.parametrize("test", ["TestReferenceParse", "TestSerialization"])
def test_exact_references(test: str) -> None:
    """Domain, name, tag and digest are found where they are; the rest is refused."""
    for row in tables("reference.json", test):
        if "key" in row:
            continue  # not a row: how the test logs
        text = row.get("input", "")
        if "err" in row and not text.startswith(OTHERWISE):
            assert refused(parse_exact, text), row
        else:
            found = parse_exact(text)
            assert str(found) == text
            assert found.domain == row.get("domain", found.domain if "name" in row else ""), row
            assert found.name == (row.get("repository") or row.get("name") or found.name), row
            assert found.tag == row.get("tag", ""), row
            assert found.digest == row.get("digest", found.digest), row


def test_names_alone() -> None:
    """What is not a name and nothing else is refused as one."""
    for row in tables("reference.json", "TestWithNameFailure"):
        text = row["input"]
        assert refused(parse_exact, text) or ":" in text.rpartition("/")[2], row
    for row in tables("reference.json", "TestDomainAndPath"):
        found = parse_exact(row["input"])
        assert (found.domain, found.path) == (row["domain"], row["path"])


def test_canonical_names() -> None:
    """What is no canonical name means something else as a familiar one."""
    for row in tables("reference.json", "TestParseNamed"):
        exact = parse_exact(row["input"])
        assert (exact == parse_reference(row["input"])) is ("err" not in row), row
        if "err" not in row:
            assert (exact.domain, exact.path) == (row["domain"], row["path"])


@pytest.mark.parametrize("test", ["TestWithTag", "TestWithDigest"])
def test_parts_are_put_together(test: str) -> None:
    """Name, tag and digest in this order."""
    for row in tables("reference.json", test):
        named = parse_exact(row["name"])
        whole = Reference(
            domain=named.domain, path=named.path, tag=row.get("tag", ""), digest=row.get("digest", "")
        )
        assert str(whole) == row["combined"]


def test_familiar_names() -> None:
    """Names that people type: these are understood and those are not."""
    document = json.loads((vectors() / "normalize.json").read_text())
    rows = {table["var"]: _evaluate(table["rows"]) for table in document["tables"]}
    assert not [text for text in rows["validRepoNames"] if refused(parse_reference, text)]
    assert not [text for text in rows["invalidRepoNames"] if not refused(parse_reference, text)]
    assert not [text for text in rows["validRepositoryNames"] if refused(parse_reference, text)]
    assert not [text for text in rows["invalidRepositoryNames"] if not refused(parse_reference, text)]
    for row in tables("normalize.json", "TestNormalizedSplitHostname"):
        found = parse_reference(row["input"])
        assert (found.domain, found.path) == (row["domain"], row["path"])


def test_any_reference() -> None:
    """Names, digests and identifiers come out in their whole form."""
    for row in tables("normalize.json", "TestParseAnyReference"):
        assert str(parse_any(row["Reference"])) == row["Equivalent"]
    for row in tables("normalize.json", "TestParseDockerRef"):
        assert str(parse_reference(row["input"]).canonical()) == row["expected"], row["name"]


def test_matching() -> None:
    """Patterns match what they match there."""
    for row in tables("normalize.json", "TestMatch"):
        assert matches(parse_reference(row["reference"]), row["pattern"]) is row["expected"], row


def test_expressions() -> None:
    """The expressions that the grammar is made of match what they match there."""
    domain = re.compile(grammar._DOMAIN)
    expressions = {
        "TestDomainRegexp": domain.fullmatch,
        "TestFullNameRegexp": grammar._NAME.fullmatch,
        "TestReferenceRegexp": grammar._REFERENCE.fullmatch,
    }
    for test, expression in expressions.items():
        for row in tables("regexp.json", test):
            match = expression(row["input"])
            assert (match is not None) is row["match"], row
            if match is not None and row.get("subs") and test == "TestFullNameRegexp":
                assert [each or "" for each in match.groups()] == row["subs"]
            if match is not None and row.get("subs") and test == "TestReferenceRegexp":
                found = parse_exact(row["input"])
                assert [found.name, found.tag, found.digest] == row["subs"]
                assert not found.digest or is_digest(found.digest)
    for row in tables("regexp.json", "TestIdentifierRegexp"):
        assert is_identifier(row["input"]) is row["match"]
