"""Which images may be used."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pierhead.errors import InvalidInput
from pierhead.images.policy import ACCEPT_ALL, Policy, load_policy

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """
default = "reject"

[[rule]]
match = "registry.example.com/*"
require = "accept"

[[rule]]
match = "registry.example.com/production/*"
require = "signed"
keys = ["/keys/one.pub", "/keys/two.pub"]

[[rule]]
match = "docker.io/library/busybox"
require = "accept"
"""


@pytest.fixture
def policy(tmp_path: Path) -> Policy:
    """Of the text above."""
    path = tmp_path / "policy.toml"
    path.write_text(TEXT)
    return load_policy(path)


@pytest.mark.parametrize(
    ("repository", "require", "number"),
    [
        ("registry.example.com/app", "accept", 1),
        ("registry.example.com/production/app", "signed", 2),
        ("registry.example.com/production/team/app", "signed", 2),
        ("registry.example.com.evil.org/app", "reject", 0),
        ("docker.io/library/busybox", "accept", 3),
        ("docker.io/library/busybox2", "reject", 0),
        ("docker.io/library/debian", "reject", 0),
    ],
)
def test_the_longest_pattern_counts(policy: Policy, repository: str, require: str, number: int) -> None:
    """Whatever the order; what no rule is about has the default."""
    rule = policy.rule_for(repository)
    assert (rule.require, rule.number) == (require, number)


def test_a_refusal_names_the_rule(policy: Policy) -> None:
    """By number, file and pattern."""
    rule = policy.rule_for("registry.example.com/production/app")
    error = policy.refuse(rule, "registry.example.com/production/app:1", "nobody signed it")
    wanted = (
        f"image registry.example.com/production/app:1 is refused by rule 2 of {policy.path} "
        "(registry.example.com/production/*): nobody signed it"
    )
    assert error.message == wanted
    default = policy.refuse(policy.rule_for("elsewhere.org/x"), "x", "it rejects everything")
    assert f"refused by the default of {policy.path}" in default.message


def test_without_a_file(tmp_path: Path) -> None:
    """Everything is accepted."""
    assert load_policy(tmp_path / "none.toml") == ACCEPT_ALL
    assert ACCEPT_ALL.rule_for("any.org/thing").require == "accept"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("default = ", "is not TOML"),
        ('defualt = "reject"', "unknown field defualt"),
        ('default = "signed"', "a default has no keys"),
        ('default = "maybe"', "requires 'maybe', which is none of accept, signed, reject"),
        ('rule = "x"', r"written as \[\[rule\]\]"),
        ('[[rule]]\nrequire = "accept"', "rule 1 does not say what it matches"),
        ('[[rule]]\nmatch = "*"\nrequire = "signed"', "keys go with require"),
        ('[[rule]]\nmatch = "*"\nrequire = "accept"\nkeys = ["/k"]', "keys go with require"),
        ('[[rule]]\nmatch = "*"\nrequire = "signed"\nkeys = ["k.pub"]', "absolute paths"),
        ('[[rule]]\nmatch = "*"\nrequire = "signed"\nkey = ["/k"]', "fields that no rule has"),
    ],
)
def test_a_file_of_another_form(tmp_path: Path, text: str, message: str) -> None:
    """Is refused with its place: nothing is guessed."""
    path = tmp_path / "policy.toml"
    path.write_text(text)
    with pytest.raises(InvalidInput, match=message):
        load_policy(path)


def test_a_rule_without_a_match(tmp_path: Path) -> None:
    """The line that it lacks is shown."""
    path = tmp_path / "policy.toml"
    path.write_text('[[rule]]\nrequire = "accept"')
    with pytest.raises(InvalidInput) as caught:
        load_policy(path)
    assert caught.value.hint == 'write match = "registry.example.com/*" into it'
