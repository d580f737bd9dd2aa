"""Users and hashes of passwords."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import InvalidInput, OperationFailed
from pierhead.registry.passwords import Passwords, format_password, parse_passwords, remove_user, set_password
from pierhead.registry.shacrypt import is_sha_crypt, sha_crypt
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path


@requires("openssl")
@pytest.mark.parametrize("kind", ["5", "6"])
@pytest.mark.parametrize("length", [1, 15, 16, 31, 32, 33, 63, 64, 65, 200])
def test_it_is_what_others_compute(kind: str, length: int) -> None:
    """OpenSSL comes to the same hashes, of passwords of all lengths."""
    password, salt = "pä55 Wort"[:9] * 30, "a.b/Cd9"
    password = password[:length]
    command = [str(shutil.which("openssl")), "passwd", f"-{kind}", "-salt", salt, "-stdin"]
    told = subprocess.run(
        command, input=f"{password}\n".encode(), capture_output=True, check=True, timeout=60
    )
    hashed = told.stdout.decode().strip()
    assert is_sha_crypt(hashed)
    assert sha_crypt(password.encode(), hashed) == hashed


def test_lines() -> None:
    """What is written is read again; comments and empty lines are none."""
    line = format_password("alice", "secret")
    assert list(parse_passwords(f"# users\n\n{line}\n", name="f")) == ["alice"]
    for user in ("", "a:b", "a\nb", "#a"):
        with pytest.raises(InvalidInput, match="is not a name"):
            format_password(user, "x")


@pytest.mark.parametrize(
    "line", ["alice", "alice:", ":x", "alice:plain", "alice:$apr1$x$y", "alice:{SHA}W6ph5Mm5Pz8GgiULbPg="]
)
def test_unsafe_hashes(line: str) -> None:
    """Hashes that protect nothing are refused, with the line's number."""
    with pytest.raises(InvalidInput, match="f, line 2"):
        parse_passwords(f"\n{line}\n", name="f")


def test_verifying(tmp_path: Path) -> None:
    """The right password of a known user, and no other; changes of the file count."""
    path = tmp_path / "htpasswd"
    short = sha_crypt(b"secret", "$6$rounds=1000$salt")
    path.write_text(f"alice:{short}\n")
    passwords = Passwords(str(path))
    for _ in range(2):
        assert passwords.verify("alice", "secret")
        assert not passwords.verify("alice", "Secret")
        assert not passwords.verify("bob", "secret")
        assert not passwords.verify("", "")
    path.write_text(f"bob:{short}\nalice:{sha_crypt(b'new', '$5$rounds=1000$salt')}\n")
    assert passwords.verify("bob", "secret")
    assert not passwords.verify("alice", "secret")
    assert passwords.verify("alice", "new")
    os.unlink(path)


def test_making_users(tmp_path: Path) -> None:
    """Users are added, changed and removed; everything else in the file stays, and so do its rights."""
    path = tmp_path / "users"
    set_password(str(path), "alice", "one")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(f"# ours\n{path.read_text()}")
    path.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(path, 4711, 4712)
    before = path.stat()
    usual = os.umask(0o077)
    try:
        set_password(str(path), "bob", "two")
        set_password(str(path), "alice", "three")
    finally:
        os.umask(usual)
    after = path.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    passwords = Passwords(str(path))
    assert passwords.verify("alice", "three")
    assert passwords.verify("bob", "two")
    assert not passwords.verify("alice", "one")
    assert (remove_user(str(path), "bob"), remove_user(str(path), "bob")) == (True, False)
    assert path.read_text().startswith("# ours\nalice:")
    with pytest.raises(OperationFailed, match="cannot write"):
        set_password(str(tmp_path / "none/users"), "x", "y")


@requires("python:bcrypt")
def test_bcrypt(tmp_path: Path) -> None:
    """What htpasswd -B writes is understood; new entries are of the same form."""
    known = "alice:$2y$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"
    path = tmp_path / "htpasswd"
    line = format_password("bob", "hunter2")
    assert line.startswith("bob:$2y$10$")
    path.write_text(f"{known}\n{line}\n")
    passwords = Passwords(str(path))
    assert passwords.verify("alice", "U*U")
    assert not passwords.verify("alice", "U*V")
    assert passwords.verify("bob", "hunter2")
    assert not passwords.verify("bob", "hunter2" * 20)
