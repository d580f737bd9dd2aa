"""What can stand in the place of a word that is being typed."""

from __future__ import annotations

import pytest

from pierhead.cli.completing import CONTAINER, CONTEXT, IMAGE, NETWORK, VOLUME, Wanted, find_wanted
from pierhead.cli.pier import PROGRAM
from pierhead.cli.program import find_verb


def wanted(line: str) -> Wanted:
    """For a line that ends in what is begun; a blank at the end begins a word."""
    return find_wanted(PROGRAM, line.split(" "))


def words(line: str) -> set[str]:
    """The words alone."""
    return {word for word, _ in wanted(line).words}


def test_verbs() -> None:
    """First words with their meanings, groups among them; then a group's, and flags of the program before."""
    assert {"run", "ps", "volume", "system"} <= words("")
    assert dict(wanted("").words)["ps"] == find_verb(PROGRAM, "ps").about
    assert {"create", "ls", "prune"} <= words("volume ")
    assert {"ls", "inspect", "run"} <= words("container ")
    assert {"--root", "--host", "--help"} <= words("--")
    assert "run" in words("--root /x -H unix:///y ")
    assert words("nonsense ") == set()


def test_flags() -> None:
    """A verb's own; their values where those are known; a command's words are its own."""
    assert {"--filter", "--format", "--help"} <= words("ps --f")
    assert words("run --pull ") == {"missing", "always", "never"}
    assert "--pull=never" in words("run --pull=n")
    assert "--detach" in words("run --name x -")
    assert words("exec web sh -") == set()
    assert "--detach" in words("exec -")
    assert {"host", "none"} <= words("run --network ")
    assert wanted("run --env-file ").files
    assert wanted("ps -a --last ") == wanted("ps -an ") == Wanted()


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        ("rm a ", (CONTAINER,)),
        ("run --rm ", (IMAGE,)),
        ("run -it --name web -e A=1 ", (IMAGE,)),
        ("image rm ", (IMAGE,)),
        ("container stop -t 3 ", (CONTAINER,)),
        ("exec -it ", (CONTAINER,)),
        ("volume rm ", (VOLUME,)),
        ("network inspect ", (NETWORK,)),
        ("inspect ", (CONTAINER, IMAGE, VOLUME, NETWORK)),
        ("context use ", (CONTEXT,)),
        ("--context ", (CONTEXT,)),
        ("cp ", (CONTAINER,)),
        ("run --volumes-from ", (CONTAINER,)),
        ("logs web ", ()),
        ("run box ", ()),
    ],
)
def test_names(line: str, kinds: tuple[str, ...]) -> None:
    """Of what the verb or the flag is about."""
    assert wanted(line).kinds == kinds


def test_every_verb() -> None:
    """Something is known of each verb's first argument, or it takes none."""
    for entry in PROGRAM.entries:
        found = wanted(f"{entry.name} ")
        known = found.kinds or found.words or found.files
        assert known or find_verb(PROGRAM, entry.name).most == 0, entry.name
