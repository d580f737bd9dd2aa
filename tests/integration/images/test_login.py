"""``pier login`` and whoever sits at its terminal."""

from __future__ import annotations

import json
import termios
from typing import TYPE_CHECKING

import pytest

from pierhead.registry.shacrypt import sha_crypt
from tests.support.commands import Command, Screen
from tests.support.registries import Registry, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ECHO = termios.ECHO
LFLAG = 3
INTERRUPT, END = "\x03", "\x04"


@pytest.fixture(params=["basic", "token"])
def guarded(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Registry]:
    """A registry that lets alice in."""
    users = tmp_path / "users"
    users.write_text(f"alice:{sha_crypt(b'secret', '$6$rounds=1000$salt')}\n")
    with registry(tmp_path / "registry", htpasswd=str(users), auth=request.param) as running:
        yield running


def login(home: Path, *words: str) -> Screen:
    """``pier login`` on a terminal, by a person whose home this is."""
    return Screen(["env", f"HOME={home}", *Command("pier").words, "login", *words], columns=200)


def echoes(screen: Screen) -> bool:
    """Whether the terminal shows what is typed."""
    return bool(screen.attributes()[LFLAG] & ECHO)


def kept(home: Path) -> object:
    """What the file of credentials has."""
    path = home / ".docker/config.json"
    return json.loads(path.read_text())["auths"] if path.exists() else {}


def test_name_and_password(guarded: Registry, tmp_path: Path) -> None:
    """Are asked for; the password is not shown, and both are kept when the registry has let them in."""
    with login(tmp_path, guarded.address) as screen:
        screen.wait_for("Username: ")
        assert echoes(screen)
        screen.type("alice\n")
        screen.wait_for("Password: ")
        assert not echoes(screen)
        screen.type("secret\n")
        shown = screen.wait_for("Login Succeeded")
        assert "secret" not in shown
        assert screen.wait() == 0
        assert screen.attributes() == screen.before
    assert kept(tmp_path) == {guarded.address: {"auth": "YWxpY2U6c2VjcmV0"}}
    assert (tmp_path / ".docker/config.json").stat().st_mode & 0o777 == 0o600


def test_a_wrong_password(guarded: Registry, tmp_path: Path) -> None:
    """Is said to be wrong, whichever way the registry asks, and not kept."""
    with login(tmp_path, "--username", "alice", guarded.address) as screen:
        screen.wait_for("Password: ")
        screen.type("guess\n")
        message = f"the registry {guarded.address} does not let alice in with this password"
        screen.wait_for(message)
        screen.wait_for("check the name and the password")
        assert screen.wait() == 1
    assert kept(tmp_path) == {}


@pytest.mark.parametrize(("key", "status"), [(INTERRUPT, 130), (END, 1)])
def test_who_thinks_better_of_it(tmp_path: Path, key: str, status: int) -> None:
    """Gets the terminal back as it was, with the cursor in a line of its own, and nothing is kept."""
    with login(tmp_path, "--username", "alice", "127.0.0.1:9") as screen:
        screen.wait_for("Password: ")
        assert not echoes(screen)
        screen.type(key)
        screen.wait_for("\n")
        if key == END:
            screen.wait_for("a password is needed, and none was given")
        assert screen.wait() == status
        assert screen.attributes() == screen.before
    assert kept(tmp_path) == {}


@pytest.mark.parametrize("typed", [END, "\n"])
def test_no_name(tmp_path: Path, typed: str) -> None:
    """Is said before a password is asked for."""
    with login(tmp_path, "127.0.0.1:9") as screen:
        screen.wait_for("Username: ")
        screen.type(typed)
        screen.wait_for("a user's name is needed, and none was given")
        screen.wait_for("give it with --username")
        assert screen.wait() == 1


def test_an_empty_password(tmp_path: Path) -> None:
    """From standard input is none, and without a terminal nothing is asked for."""
    pier = Command("pier")
    answer = pier.result("login", "-u", "alice", "--password-stdin", "127.0.0.1:9", input="\n")
    assert answer.returncode == 1
    assert "there is no password on standard input" in answer.stderr
    answer = pier.result("login", "-u", "alice", "127.0.0.1:9", input="")
    assert answer.returncode == 1
    assert "there is no terminal to ask for a password" in answer.stderr
    assert "hint: --password-stdin" in answer.stderr


def test_the_password_of_a_users_file(tmp_path: Path) -> None:
    """Is asked for in the same way."""
    words = [*Command("pier").words, "registry", "htpasswd", str(tmp_path / "users"), "bob"]
    with Screen(words, columns=200) as screen:
        screen.wait_for("Password of bob: ")
        assert not echoes(screen)
        screen.type(END)
        screen.wait_for("a password is needed, and none was given")
        assert screen.wait() == 1
    assert not (tmp_path / "users").exists()
    with Screen(words, columns=200) as screen:
        screen.wait_for("Password of bob: ")
        screen.type("secret\n")
        assert screen.wait() == 0
    assert (tmp_path / "users").read_text().startswith("bob:$")


def test_nobody_in_particular(guarded: Registry, tmp_path: Path) -> None:
    """Does not log in: tokens that anybody gets prove nothing, and the name that was kept stays."""
    with login(tmp_path, guarded.address) as screen:
        screen.wait_for("Username: ")
        screen.type("\n")
        assert screen.wait() == 1
    answer = Command("pier").result("login", "-u", "", "--password-stdin", guarded.address, input="x\n")
    assert answer.returncode == 1
    assert kept(tmp_path) == {}
