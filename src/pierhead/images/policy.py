"""Which images may be used: a file of rules that says for registries and repositories who must have signed.

    # /etc/pierhead/policy.toml
    default = "accept"                          # what no rule is about

    [[rule]]
    match = "registry.example.com/production/*"
    require = "signed"                          # or "accept", "reject"
    keys = ["/etc/pierhead/keys/release.pub"]   # any one of them

Of the rules that match, the one with the longest pattern counts.  ``*`` stands for anything, also for
slashes; a pattern without one is about that very repository.  Without a file everything is accepted.

Decides nothing about signatures themselves: ``signing`` does.  Reads one file, and knows no registry.
"""

from __future__ import annotations

import os
import re

from pierhead.errors import Forbidden, InvalidInput
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

DEFAULT_PATH = "/etc/pierhead/policy.toml"
_REQUIREMENTS = ("accept", "signed", "reject")


class Rule(Value):
    """One rule.

    Fields:
        match: pattern of ``registry/repository``.
        require: ``accept``, ``signed`` or ``reject``.
        keys: absolute paths of public keys, one of which must have signed.
        number: its place in the file, from 1; 0 is the file's default.
    """

    match: str
    require: str
    keys: tuple[str, ...]
    number: int


class Policy(Value):
    """All rules of one file, the default last.

    Fields:
        path: of the file; "" where there is none.
        rules: in the file's order.
        default: what no rule is about.
    """

    path: str
    rules: tuple[Rule, ...]
    default: Rule

    def rule_for(self, repository: str) -> Rule:
        """The rule that counts for a repository, ``registry.example.com/team/app``."""
        matching = [rule for rule in self.rules if _matches(rule.match, repository)]
        return max(matching, key=lambda rule: len(rule.match), default=self.default)

    def describe(self, rule: Rule) -> str:
        """The rule in a sentence: ``rule 2 of /etc/pierhead/policy.toml (registry.example.com/*)``."""
        if rule.number == 0:
            return f"the default of {self.path}"
        return f"rule {rule.number} of {self.path} ({rule.match})"

    def refuse(self, rule: Rule, image: str, why: str) -> Forbidden:
        """The error that says which rule an image does not satisfy."""
        hint = f"have it signed (pier sign), or change {self.path}"
        return Forbidden(
            f"image {image} is refused by {self.describe(rule)}: {why}", code="image-refused", hint=hint
        )


ACCEPT_ALL = Policy(path="", rules=(), default=Rule(match="*", require="accept", keys=(), number=0))


def load_policy(path: str | os.PathLike[str] = DEFAULT_PATH) -> Policy:
    """The policy of a file; one that accepts everything where there is no file.

    Raises:
        InvalidInput: the file is not of this form.  Nothing is guessed: a typing error must not open a door.
    """
    path = os.fspath(path)
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        return ACCEPT_ALL
    from tomllib import TOMLDecodeError, loads

    try:
        document = loads(raw.decode())
    except (TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} is not TOML: {error}", code="bad-policy") from None
    return parse_policy(document, path)


def parse_policy(document: dict[str, Any], path: str) -> Policy:
    """The policy that a TOML document is; ``path`` is where it came from."""
    unknown = sorted(document.keys() - {"default", "rule"})
    if unknown:
        raise InvalidInput(f"{path} has the unknown field {unknown[0]}", code="bad-policy")
    rules = document.get("rule", [])
    if not isinstance(rules, list):
        raise InvalidInput(f"{path}: rules are written as [[rule]]", code="bad-policy")
    if document.get("default") == "signed":
        hint = 'write a rule with match = "*" and its keys'
        raise InvalidInput(f"{path}: a default has no keys to ask for", code="bad-policy", hint=hint)
    return Policy(
        path=path,
        rules=tuple(_rule(rule, number, path) for number, rule in enumerate(rules, 1)),
        default=_rule({"match": "*", "require": document.get("default", "accept")}, 0, path),
    )


def _rule(document: object, number: int, path: str) -> Rule:
    where = f"{path}, rule {number}" if number else f"{path}, default"
    if not isinstance(document, dict) or document.keys() - {"match", "require", "keys"}:
        hint = "a rule has match, require and, for signed, keys"
        raise InvalidInput(f"{where} has fields that no rule has", code="bad-policy", hint=hint)
    match, require, keys = document.get("match"), document.get("require"), document.get("keys", [])
    if not isinstance(match, str) or not match:
        hint = 'write match = "registry.example.com/*" into it'
        raise InvalidInput(f"{where} does not say what it matches", code="bad-policy", hint=hint)
    if require not in _REQUIREMENTS:
        message = f"{where} requires {require!r}, which is none of {', '.join(_REQUIREMENTS)}"
        raise InvalidInput(message, code="bad-policy")
    if not isinstance(keys, list) or not all(isinstance(key, str) and key.startswith("/") for key in keys):
        raise InvalidInput(f"{where}: keys are absolute paths of public keys", code="bad-policy")
    if (require == "signed") != bool(keys):
        raise InvalidInput(f'{where}: keys go with require = "signed"', code="bad-policy")
    return Rule(match=match, require=require, keys=tuple(keys), number=number)


def _matches(pattern: str, repository: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), repository, re.DOTALL) is not None
