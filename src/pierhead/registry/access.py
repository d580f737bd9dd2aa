"""Who may do what to which repositories.  Pure.

    [groups]
    builders = ["ci", "alice"]

    [[rule]]
    users = ["@builders"]               # names, @groups, "*" for whoever has a name, "anonymous" for the rest
    repositories = ["team/*"]           # * is any text, {user} the name of who asks
    actions = ["pull", "push"]          # pull, push, delete, catalog, or "*" for all four

A thing is allowed if any rule allows it.  The catalog shows all repositories: only a rule for "*" gives it.
"""

from __future__ import annotations

import fnmatch
import tomllib

from pierhead.errors import InvalidInput
from pierhead.values import Value

ACTIONS = ("pull", "push", "delete", "catalog")
ANONYMOUS = "anonymous"


class Rule(Value):
    """Allows the actions to the users in the repositories."""

    users: tuple[str, ...]
    repositories: tuple[str, ...] = ("*",)
    actions: tuple[str, ...]


class Access(Value):
    """Rules, and the groups that they name."""

    rules: tuple[Rule, ...]
    groups: dict[str, tuple[str, ...]]

    def allows(self, user: str, action: str, repository: str) -> bool:
        """Whether the user ("" without a name) may do it; ``catalog`` belongs to no repository: "" then."""
        return any(
            (action in rule.actions or "*" in rule.actions)
            and any(self._is_meant(user, name) for name in rule.users)
            and any(
                each == "*" if action == "catalog" else _matches(each, user, repository)
                for each in rule.repositories
            )
            for rule in self.rules
        )

    def _is_meant(self, user: str, name: str) -> bool:
        if not user:
            return name == ANONYMOUS
        if name.startswith("@"):
            return user in self.groups.get(name[1:], ())
        return name in ("*", user)


def _matches(pattern: str, user: str, repository: str) -> bool:
    if "{user}" in pattern and (not user or any(character in "*?[" for character in user)):
        return False
    return fnmatch.fnmatchcase(repository, pattern.replace("{user}", user))


def default_access(*, anonymous_pull: bool) -> Access:
    """Whoever has a name may do everything; others may pull, if that is wanted."""
    rules = [Rule(users=("*",), actions=("*",))]
    if anonymous_pull:
        rules.append(Rule(users=(ANONYMOUS,), actions=("pull",)))
    return Access(rules=tuple(rules), groups={})


def parse_access(text: str, *, name: str) -> Access:
    """The rules that a TOML text holds; ``name`` is the file's, for messages.

    Raises:
        InvalidInput: it is not TOML, or holds something else.
    """
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{name} is not TOML: {error}", code="not-toml") from None
    _refuse_others(document, ("groups", "rule"), name)
    groups = document.get("groups", {})
    if not isinstance(groups, dict):
        raise InvalidInput(f"{name}: groups is not a table", code="invalid-access-rules")
    members = {group: _strings(users, f"{name}: groups.{group}") for group, users in groups.items()}
    rules = tuple(
        _rule(entry, f"{name}: rule {number}", members)
        for number, entry in enumerate(document.get("rule", []), 1)
    )
    return Access(rules=rules, groups=members)


def _rule(entry: object, where: str, groups: dict[str, tuple[str, ...]]) -> Rule:
    if not isinstance(entry, dict):
        raise InvalidInput(f"{where} is not a table", code="invalid-access-rules")
    _refuse_others(entry, ("users", "repositories", "actions"), where)
    rule = Rule(
        users=_strings(entry.get("users"), f"{where}, users"),
        repositories=_strings(entry.get("repositories", ["*"]), f"{where}, repositories"),
        actions=_strings(entry.get("actions"), f"{where}, actions"),
    )
    for action in rule.actions:
        if action not in (*ACTIONS, "*"):
            hint = f"it may be {', '.join(ACTIONS)} or *"
            raise InvalidInput(f"{where}: {action!r} is no action", code="invalid-access-rules", hint=hint)
    for user in rule.users:
        if user.startswith("@") and user[1:] not in groups:
            raise InvalidInput(f"{where}: there is no group {user[1:]!r}", code="invalid-access-rules")
    return rule


def _strings(found: object, where: str) -> tuple[str, ...]:
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise InvalidInput(f"{where} is not a list of strings", code="invalid-access-rules")
    return tuple(found)


def _refuse_others(table: dict[str, object], known: tuple[str, ...], where: str) -> None:
    """A misspelt word would silently allow less, or more, than was meant."""
    for key in table:
        if key not in known:
            raise InvalidInput(f"{where} has no field {key!r}", code="invalid-access-rules")
