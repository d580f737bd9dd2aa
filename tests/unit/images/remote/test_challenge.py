"""The header in which a server says what it wants to know."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.images.remote.challenge import Challenge, parse_challenges

TOKENS = st.from_regex(r"[A-Za-z0-9_-]{1,8}", fullmatch=True)


def challenge(scheme: str, **parameters: str) -> Challenge:
    """One with these parameters."""
    return Challenge(scheme=scheme, parameters=tuple(parameters.items()))


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", ()),
        ("Basic", (challenge("basic"),)),
        (
            'Bearer realm="https://a/token",service="b",scope="repository:c/d:pull,push"',
            (challenge("bearer", realm="https://a/token", service="b", scope="repository:c/d:pull,push"),),
        ),
        (
            'Basic realm="a, b", Bearer realm="c" , error = invalid_token',
            (challenge("basic", realm="a, b"), challenge("bearer", realm="c", error="invalid_token")),
        ),
        (r'BASIC Realm="a \"b\" \\"', (challenge("basic", realm='a "b" \\'),)),
        ("Negotiate YWJj=, Basic realm=x", (challenge("negotiate"), challenge("basic", realm="x"))),
        (",, Basic realm=x ,,", (challenge("basic", realm="x"),)),
        ('Bearer realm="open', (challenge("bearer", realm="open"),)),
        ("Basic, Bearer realm=x", (challenge("basic"), challenge("bearer", realm="x"))),
    ],
)
def test_challenges(header: str, expected: tuple[Challenge, ...]) -> None:
    """One or several, with words or quoted text; names in any case."""
    assert parse_challenges(header) == expected


@given(
    st.lists(
        st.tuples(TOKENS, st.dictionaries(TOKENS.map(str.lower), st.text(max_size=10), min_size=1)),
        max_size=3,
    )
)
def test_what_is_written_is_read(items: list[tuple[str, dict[str, str]]]) -> None:
    """Whatever stands between the quotes."""
    parts = []
    for scheme, parameters in items:
        quoted = [
            '{}="{}"'.format(name, value.replace("\\", "\\\\").replace('"', '\\"'))
            for name, value in parameters.items()
        ]
        parts.append(f"{scheme} {', '.join(quoted)}")
    expected = tuple(challenge(scheme.lower(), **parameters) for scheme, parameters in items)
    assert parse_challenges(", ".join(parts)) == expected


@given(st.text(max_size=60))
def test_anything_is_read_to_its_end(header: str) -> None:
    """A server cannot break the reader, nor keep it busy."""
    assert len(parse_challenges(header)) <= len(header)


def test_a_parameter_by_its_name() -> None:
    """What is missing has a default."""
    assert challenge("bearer", realm="x").get("realm") == "x"
    assert challenge("bearer").get("realm", "y") == "y"
