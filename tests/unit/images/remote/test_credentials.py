"""Who we are to registries: docker's file and the programs that keep passwords."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import pytest

from pierhead.errors import InvalidInput, OperationFailed
from pierhead.images.remote.credentials import CredentialFile, Credentials, default_paths, find_credentials

HELPER = """#!/bin/sh
# keeps each secret in a file, as the protocol of docker-credential-helpers has it
echo "chatter" >&2
store=$(dirname "$0")/secrets
mkdir -p "$store"
text=$(cat)
url=$(echo "$text" | sed 's/.*"ServerURL":"\\([^"]*\\)".*/\\1/')
file=$store/$(echo "$url" | tr /: __)
case $1 in
get) [ -e "$file" ] && cat "$file" || { echo "credentials not found in native keychain"; exit 1; } ;;
store) echo "$text" >"$file" ;;
erase) rm "$file" ;;
esac
"""


def encoded(pair: str) -> str:
    """As docker writes name and password."""
    return base64.b64encode(pair.encode()).decode()


def written(tmp_path: Path, document: dict[str, Any]) -> CredentialFile:
    """A file of this content."""
    (tmp_path / "config.json").write_text(json.dumps(document))
    return CredentialFile(str(tmp_path / "config.json"))


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program that keeps secrets, found by its name."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "docker-credential-box").write_text(HELPER)
    (programs / "docker-credential-box").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    return programs


def test_names_and_passwords(tmp_path: Path) -> None:
    """Docker Hub's entry has a name of its own; old entries have schemes; passwords may have colons."""
    file = written(
        tmp_path,
        {
            "auths": {
                "https://index.docker.io/v1/": {"auth": encoded("me:a:b")},
                "https://old.example.com/v2/": {"username": "u", "password": "p"},
                "token.example.com": {"auth": encoded("me:"), "identitytoken": "refresh"},
                "empty.example.com": {},
            }
        },
    )
    assert file.find("docker.io", "library/busybox") == Credentials(username="me", password="a:b")
    assert file.find("old.example.com") == Credentials(username="u", password="p")
    assert file.find("token.example.com") == Credentials(username="me", identity_token="refresh")
    assert file.find("empty.example.com") is None
    assert file.find("other.example.com") is None


def test_the_narrowest_entry_is_taken(tmp_path: Path) -> None:
    """An entry may be for a namespace or a repository."""
    auths = {"r.lan": {"auth": encoded("all:x")}, "r.lan/team": {"auth": encoded("team:x")}}
    file = written(tmp_path, {"auths": auths})
    assert [
        found.username
        for path in ("team/app", "team", "teams/app", "")
        if (found := file.find("r.lan", path))
    ] == ["team", "team", "all", "all"]


def test_storing_keeps_what_others_wrote(tmp_path: Path) -> None:
    """Log in, log out; the file is nobody else's to read, and a link stays a link."""
    target = tmp_path / "elsewhere.json"
    target.write_text(json.dumps({"psFormat": "table", "auths": {"a.lan": {"auth": encoded("a:a")}}}))
    (tmp_path / "config.json").symlink_to(target)
    file = CredentialFile(str(tmp_path / "config.json"))
    file.store("docker.io", Credentials(username="me", password="secret"))
    file.store("b.lan", Credentials(username="me", identity_token="refresh"))
    document = json.loads(target.read_text())
    assert document["psFormat"] == "table"
    assert document["auths"]["https://index.docker.io/v1/"] == {"auth": encoded("me:secret")}
    assert target.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "config.json").is_symlink()
    assert file.find("b.lan") == Credentials(username="me", identity_token="refresh")
    assert file.remove("docker.io")
    assert not file.remove("docker.io")
    assert sorted(json.loads(target.read_text())["auths"]) == ["a.lan", "b.lan"]


def test_the_folder_is_made(tmp_path: Path) -> None:
    """The first login makes what is missing."""
    file = CredentialFile(str(tmp_path / "new/config.json"))
    assert file.find("a.lan") is None
    file.store("a.lan", Credentials(username="a", password="b"))
    assert file.find("a.lan") == Credentials(username="a", password="b")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is not a JSON object"),
        ('{"auths":{"a.lan":{"auth":"!"}}}', "the entry of a.lan is damaged"),
        ('{"auths":{"a.lan":{"auth":"YQ=="}}}', "the entry of a.lan is damaged"),
        ('{"credsStore":"../sh"}', "is no helper's name"),
    ],
)
def test_damaged_files_are_left_alone(tmp_path: Path, text: str, message: str) -> None:
    """Nothing is guessed, and nothing is written over them."""
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(InvalidInput, match=message):
        CredentialFile(str(tmp_path / "config.json")).find("a.lan")
    assert (tmp_path / "config.json").read_text() == text


def test_helpers_keep_secrets(tmp_path: Path, helper: Path) -> None:
    """Stored, found and erased by the program; the file has only the registry's name."""
    file = written(tmp_path, {"credsStore": "box"})
    assert file.find("a.lan") is None
    file.store("a.lan", Credentials(username="me", password="x" * 9000))
    assert json.loads(Path(file.path).read_text()) == {"credsStore": "box", "auths": {"a.lan": {}}}
    assert file.find("a.lan") == Credentials(username="me", password="x" * 9000)
    file.store("a.lan", Credentials(identity_token="refresh"))
    assert file.find("a.lan") == Credentials(identity_token="refresh")
    assert file.remove("a.lan")
    assert file.find("a.lan") is None


def test_a_helper_for_one_registry(tmp_path: Path, helper: Path) -> None:
    """What it does not know nobody knows; others are in the file."""
    auths = {"a.lan": {"auth": encoded("file:x")}, "b.lan": {"auth": encoded("file:x")}}
    file = written(tmp_path, {"credHelpers": {"a.lan": "box"}, "auths": auths})
    assert file.find("a.lan") is None
    assert file.find("b.lan") == Credentials(username="file", password="x")


def test_helpers_that_fail_are_told(tmp_path: Path, helper: Path) -> None:
    """With what they said, or that they are missing."""
    (helper / "docker-credential-box").write_text("#!/bin/sh\necho the box is locked; exit 1\n")
    with pytest.raises(OperationFailed, match="docker-credential-box failed: the box is locked"):
        written(tmp_path, {"credsStore": "box"}).find("a.lan")
    with pytest.raises(OperationFailed, match="cannot start the credential helper docker-credential-none"):
        written(tmp_path, {"credsStore": "none"}).find("a.lan")


def test_several_files(tmp_path: Path) -> None:
    """The first that knows somebody; docker's, then Podman's."""
    first = CredentialFile(str(tmp_path / "none.json"))
    second = written(tmp_path, {"auths": {"a.lan": {"auth": encoded("me:x")}}})
    found = find_credentials([first, second], "a.lan")
    assert found is not None
    assert found.username == "me"
    assert find_credentials([first, second], "b.lan") is None
    environment = {"HOME": "/h", "XDG_RUNTIME_DIR": "/r"}
    assert default_paths(environment) == ("/h/.docker/config.json", "/r/containers/auth.json")
    assert default_paths({"DOCKER_CONFIG": "/d", "REGISTRY_AUTH_FILE": "/f"}) == ("/d/config.json", "/f")


def test_secrets_are_not_printed() -> None:
    """A log of them shows the name only."""
    shown = repr(Credentials(username="me", password="secret", identity_token="secret"))
    assert shown == "Credentials(username='me')"
