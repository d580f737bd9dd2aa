"""Names of containers, and references to them."""

from __future__ import annotations

import random

import pytest

from pierhead.engine.naming import check_name, choose_name, resolve
from pierhead.errors import Conflict, InvalidInput, NotFound

IDS = ("ab" * 32, "abcd" * 16, "12" * 32)
NAMES = {"web": IDS[0], "ab": IDS[2]}


@pytest.mark.parametrize("name", ["web", "a1", "A_b.c-d", "0x", "a" * 255])
def test_names(name: str) -> None:
    """Letters, digits, and three signs after the first."""
    check_name(name)


@pytest.mark.parametrize("name", ["", "a", "-a", ".a", "a b", "a/b", "ä1", "a" * 256])
def test_what_is_no_name(name: str) -> None:
    """Clients know these words."""
    with pytest.raises(InvalidInput, match=r"Invalid container name \(.*only \[a-zA-Z0-9\]"):
        check_name(name)


def test_a_hint_that_helps() -> None:
    """What is said beside Docker's words is what is wrong with this name."""
    for name, hint in (("a", "at least two"), ("a/b", ""), ("a" * 256, "at most 255")):
        with pytest.raises(InvalidInput) as caught:
            check_name(name)
        assert caught.value.hint.startswith(hint)
        assert bool(caught.value.hint) == bool(hint)


def test_references() -> None:
    """An id, a name with or without a slash, the beginning of an id; names go before beginnings."""
    for reference, meant in (
        (IDS[1], IDS[1]),
        ("web", IDS[0]),
        ("/web", IDS[0]),
        ("abc", IDS[1]),
        ("ab", IDS[2]),
        ("1", IDS[2]),
    ):
        assert resolve(reference, IDS, NAMES) == meant


def test_references_that_mean_nothing_or_too_much() -> None:
    """Clients know these words."""
    for reference in ("", "x", "we", "f" * 64):
        with pytest.raises(NotFound, match=f"^No such container: {reference}$"):
            resolve(reference, IDS, NAMES)
    with pytest.raises(InvalidInput, match="multiple IDs found with provided prefix: a"):
        resolve("a", IDS, NAMES)


def test_chosen_names_are_free_and_names() -> None:
    """Also when many are taken; when all are it says so."""
    dice, taken = random.Random(1), set[str]()
    for _ in range(2000):
        name = choose_name(taken, dice)
        check_name(name)
        assert name not in taken
        taken.add(name)

    class Everything(set[str]):
        def __contains__(self, name: object) -> bool:
            return True

    with pytest.raises(Conflict, match="every name"):
        choose_name(Everything(), dice)
