"""Tokens: ours are known again, others are not."""

from __future__ import annotations

import base64
import json
import stat
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from pierhead.errors import InvalidInput
from pierhead.registry.tokens import Grant, Tokens, load_key, parse_scope

if TYPE_CHECKING:
    from pathlib import Path

NOW_S = 1_700_000_000
GRANTS = (Grant(type="repository", name="a/b", actions=("pull", "push")),)
KEY = ec.generate_private_key(ec.SECP256R1())
TOKENS = Tokens(KEY, "registry.example", 900)


def test_a_token_says_what_it_was_given_for() -> None:
    """User and grants come back, within its time."""
    token = TOKENS.issue("alice", GRANTS, NOW_S)
    for now_s in (NOW_S - 30, NOW_S, NOW_S + 899):
        assert TOKENS.verify(token, now_s) == ("alice", GRANTS)
    for now_s in (NOW_S - 100, NOW_S + 900, NOW_S + 10_000):
        with pytest.raises(InvalidInput, match="not valid at this time"):
            TOKENS.verify(token, now_s)


def changed(token: str, part: int, **fields: object) -> str:
    """The token with other fields in one of its parts, its signature as it was."""
    parts = token.split(".")
    document = json.loads(base64.urlsafe_b64decode(parts[part] + "=="))
    raw = json.dumps({**document, **fields}).encode()
    parts[part] = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return ".".join(parts)


def test_others_tokens() -> None:
    """Another key's, another registry's, changed ones, without signature, and what is none."""
    token = TOKENS.issue("alice", GRANTS, NOW_S)
    header, claims, signature = token.split(".")
    others = (
        Tokens(ec.generate_private_key(ec.SECP256R1()), "registry.example").issue("alice", GRANTS, NOW_S),
        Tokens(KEY, "other.example").issue("alice", GRANTS, NOW_S),
        changed(token, 1, sub="root"),
        changed(token, 0, alg="none"),
        changed(token, 0, alg="HS256"),
        f"{header}.{claims}.",
        f"{header}.{claims}",
        f"{header}.{claims}.{signature[:-4]}",
        *("", ".", "..", "a.b.c", "é.é.é", "..." * 1000),
    )
    for other in others:
        with pytest.raises(InvalidInput, match="is not this registry's"):
            TOKENS.verify(other, NOW_S)


def test_scopes() -> None:
    """What clients ask for: type, name (with a port perhaps), actions."""
    assert parse_scope("repository:a/b:pull,push,pull") == Grant(
        type="repository", name="a/b", actions=("pull", "push")
    )
    assert parse_scope("repository:host:5000/a:*") == Grant(
        type="repository", name="host:5000/a", actions=("*",)
    )
    assert parse_scope("repository(plugin):a:pull") == Grant(type="repository", name="a", actions=("pull",))
    for text in ("", "repository", "repository:a", "repository::pull", "repository:a:"):
        assert parse_scope(text) is None


def test_keys(tmp_path: Path) -> None:
    """A key is made once, for its owner's eyes, and read again."""
    path = tmp_path / "key.pem"
    first = load_key(str(path))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_key(str(path)).private_numbers() == first.private_numbers()
    path.write_text("nothing")
    with pytest.raises(InvalidInput, match="does not hold a private key"):
        load_key(str(path))
