"""Image references: the shared grammar, familiar names, and their way back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import InvalidInput
from pierhead.images.reference import (
    Reference,
    is_domain,
    is_identifier,
    is_repository,
    is_tag,
    matches,
    parse_any,
    parse_exact,
    parse_reference,
)

DIGEST = "sha256:" + "0123456789abcdef" * 4

LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
DOMAINS = st.one_of(
    st.just("docker.io"),
    st.just("localhost"),
    st.builds("{}.{}".format, LABELS, LABELS),
    st.builds("{}:{}".format, LABELS, st.integers(1, 65535)),
    st.just("[fd00::1]:5000"),
).filter(lambda domain: domain != "index.docker.io")
COMPONENTS = st.from_regex(r"[a-z0-9]{1,6}((\.|_|__|-{1,3})[a-z0-9]{1,6}){0,2}", fullmatch=True)
PATHS = st.lists(COMPONENTS, min_size=1, max_size=4).map("/".join)
TAGS = st.one_of(st.just(""), st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}", fullmatch=True))


@st.composite
def references(draw: st.DrawFn) -> Reference:
    """Whole references; a single component on Docker Hub cannot be named but in ``library``."""
    domain, path = draw(DOMAINS), draw(PATHS)
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return Reference(domain=domain, path=path, tag=draw(TAGS), digest=draw(st.sampled_from(["", DIGEST])))


@given(references())
def test_forms_lead_back(reference: Reference) -> None:
    """The whole and the familiar form are both understood as the reference they were made of."""
    assert parse_reference(str(reference)) == reference
    assert parse_exact(str(reference)) == reference
    assert parse_reference(reference.familiar()) == reference
    assert len(reference.familiar()) <= len(str(reference))


@given(st.one_of(st.text(max_size=80), st.from_regex(r"[a-zA-Z0-9./:@_\[\]-]{0,80}")))
def test_any_text_is_understood_or_refused(text: str) -> None:
    """Nothing but a sentence comes of wrong text; what is right stays so when it is written out."""
    try:
        reference = parse_reference(text)
    except InvalidInput:
        return
    assert parse_reference(str(reference)) == reference
    assert is_domain(reference.domain)
    assert is_repository(reference.path)
    assert not reference.tag or is_tag(reference.tag)


@pytest.mark.parametrize(
    ("text", "whole", "familiar"),
    [
        ("busybox", "docker.io/library/busybox", "busybox"),
        ("me/app:1", "docker.io/me/app:1", "me/app:1"),
        ("index.docker.io/busybox", "docker.io/library/busybox", "busybox"),
        ("localhost/app", "localhost/app", "localhost/app"),
        ("LAN/app", "LAN/app", "LAN/app"),
        ("h:5000/app:1@" + DIGEST, "h:5000/app:1@" + DIGEST, "h:5000/app:1@" + DIGEST),
        ("docker.io/example.com/app", "docker.io/example.com/app", "docker.io/example.com/app"),
        ("docker.io/library/" + "a" * 64, "docker.io/library/" + "a" * 64, "library/" + "a" * 64),
    ],
)
def test_familiar_names(text: str, whole: str, familiar: str) -> None:
    """Short names are Docker Hub's, and never so short that they mean something else."""
    reference = parse_reference(text)
    assert str(reference) == whole
    assert reference.familiar() == familiar


def test_what_a_registry_is_asked_for() -> None:
    """The digest wins over the tag, and latest is what nobody wrote."""
    assert parse_reference("a").identifier == "latest"
    assert parse_reference("a:1").identifier == "1"
    assert parse_reference("a:1@" + DIGEST).identifier == DIGEST
    assert str(parse_reference("a:1@" + DIGEST).canonical()) == "docker.io/library/a@" + DIGEST
    assert str(parse_reference("a").canonical()) == "docker.io/library/a:latest"


def test_identifiers_are_not_names() -> None:
    """64 hexadecimal digits are an image, not a repository."""
    identifier = DIGEST.partition(":")[2]
    assert is_identifier(identifier)
    with pytest.raises(InvalidInput, match="is an image's identifier and not a name"):
        parse_reference(identifier)
    assert parse_any(identifier) == parse_any(DIGEST) == DIGEST
    assert parse_any("busybox") == parse_reference("busybox")


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "an image's name is empty", ""),
        ("https://example.com/app", "is no image name", "leave out the scheme"),
        ("me/App:1", "is no image name", "repositories are in lower case: me/app:1"),
        ("example.com/" + "a" * 256, "longer than 255 characters", ""),
        ("a" * 5000, "is no image name", ""),
        ("app@sha256:" + "0" * 40, "is not a digest", "64"),
        ("app:" + "t" * 129, "is no image name", ""),
    ],
)
def test_what_is_wrong_is_said(text: str, message: str, hint: str) -> None:
    """A sentence names the text; a hint says what to do where that is known."""
    with pytest.raises(InvalidInput, match=message) as caught:
        parse_reference(text)
    assert hint in caught.value.hint
    assert len(caught.value.message) < 300


@pytest.mark.parametrize(
    ("text", "pattern", "expected"),
    [
        ("a/b/c", "a/*", False),
        ("a/b", "a/?", True),
        ("a/b", "a/[^b]", False),
        ("a/c:1", "a/[^b]:*", True),
        ("a/b", r"a/\b", True),
        ("a.b/c", "a?b/c", True),
        ("busybox", "docker.io/library/*", True),
    ],
)
def test_patterns(text: str, pattern: str, expected: bool) -> None:  # noqa: FBT001 - a table's column
    """Stars end at slashes; sets and backslashes are as in path.Match of Go."""
    assert matches(parse_reference(text), pattern) is expected


@pytest.mark.parametrize("pattern", ["a[", "a[]", "a[^]", "a\\", "[z-a]"])
def test_broken_patterns_are_refused(pattern: str) -> None:
    """An open bracket is not a literal one."""
    with pytest.raises(InvalidInput, match="the pattern"):
        matches(parse_reference("a"), pattern)


@given(st.text(alphabet="ab*?[]^-\\/&|~.", max_size=12))
def test_no_pattern_breaks_the_matching(pattern: str) -> None:
    """Whatever the pattern, the answer is yes, no, or that it is broken."""
    try:
        found = matches(parse_reference("a/b"), pattern)
    except InvalidInput:
        return
    assert found is True or pattern not in ("a/b", "*/*", "docker.io/a/b")
