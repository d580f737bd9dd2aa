"""Rules of access."""

from __future__ import annotations

import pytest

from pierhead.errors import InvalidInput
from pierhead.registry.access import default_access, parse_access

RULES = """
[groups]
builders = ["ci", "alice"]

[[rule]]
users = ["@builders"]
repositories = ["team/*", "tools"]
actions = ["pull", "push"]

[[rule]]
users = ["*"]
repositories = ["home/{user}/*"]
actions = ["*"]

[[rule]]
users = ["anonymous", "*"]
repositories = ["public/*"]
actions = ["pull"]

[[rule]]
users = ["root"]
actions = ["*"]
"""


@pytest.mark.parametrize(
    ("user", "action", "repository", "allowed"),
    [
        ("alice", "push", "team/a/b", True),
        ("alice", "delete", "team/a", False),
        ("alice", "pull", "teams", False),
        ("ci", "push", "tools", True),
        ("bob", "push", "tools", False),
        ("bob", "delete", "home/bob/x", True),
        ("bob", "pull", "home/alice/x", False),
        ("*", "pull", "home/bob/x", False),
        ("", "pull", "home//x", False),
        ("", "pull", "public/x", True),
        ("bob", "pull", "public/x", True),
        ("", "push", "public/x", False),
        ("anonymous", "push", "home/anonymous/x", True),
        ("root", "catalog", "", True),
        ("alice", "catalog", "", False),
        ("root", "delete", "anything", True),
    ],
)
def test_rules(user: str, action: str, repository: str, allowed: bool) -> None:  # noqa: FBT001 - a column
    """What any rule allows is allowed, and nothing else."""
    assert parse_access(RULES, name="rules").allows(user, action, repository) == allowed


def test_without_rules() -> None:
    """Whoever has a name may everything; others nothing, or pull."""
    closed, open_ = (default_access(anonymous_pull=each) for each in (False, True))
    assert closed.allows("alice", "delete", "x")
    assert not closed.allows("", "pull", "x")
    assert open_.allows("", "pull", "x")
    assert not open_.allows("", "push", "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "is not TOML"),
        ("[[rule]]\nusers=['a']\nactions=['read']", "'read' is no action"),
        ("[[rule]]\nusers='a'\nactions=['pull']", "rule 1, users is not a list of strings"),
        ("[[rule]]\nusers=['a']", "rule 1, actions is not a list of strings"),
        ("[[rule]]\nusers=['@a']\nactions=['pull']", "there is no group 'a'"),
        ("[[rule]]\nuser=['a']\nactions=['pull']", "rule 1 has no field 'user'"),
        ("rules = 1", "has no field 'rules'"),
        ("groups = 1", "groups is not a table"),
        ("rule = [1]", "rule 1 is not a table"),
    ],
)
def test_what_is_no_rule(text: str, message: str) -> None:
    """A mistake is named: it would silently allow less, or more."""
    with pytest.raises(InvalidInput, match=message):
        parse_access(text, name="rules")
