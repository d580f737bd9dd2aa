"""Users and the hashes of their passwords, in a file as Apache's htpasswd makes it.

    alice:$2y$10$...        bcrypt, what ``htpasswd -B`` writes (needs the package bcrypt)
    bob:$6$...              SHA-crypt, also ``$5$``

Other forms are refused: plain text, MD5 (``$apr1$``) and unsalted SHA-1 (``{SHA}``) protect nothing.  The
file is read anew when it changes.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import os
import secrets
import threading

from pierhead.errors import InvalidInput, OperationFailed, Unsupported
from pierhead.linux.files import read_file, replace_file
from pierhead.registry.shacrypt import is_sha_crypt, sha_crypt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

_BCRYPT = ("$2a$", "$2b$", "$2y$")
_BCRYPT_BYTES_MOST = 72
_BCRYPT_COST = 10
_SHA_ROUNDS = 60_000


def _find_bcrypt() -> ModuleType | None:
    try:
        return importlib.import_module("bcrypt")
    except ImportError:
        return None


def parse_passwords(text: str, *, name: str) -> dict[str, str]:
    """Users and their passwords' hashes; ``name`` is the file's, for messages.

    Raises:
        InvalidInput: a line is none, or has a hash of a form that is refused.
        Unsupported: a hash is bcrypt's, and the package is not there.
    """
    users: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, hashed = line.strip().partition(":")
        where = f"{name}, line {number}"
        if not (user and colon and hashed):
            raise InvalidInput(f"{where} is not of the form USER:HASH", code="invalid-htpasswd")
        if hashed.startswith(_BCRYPT):
            if _find_bcrypt() is None:
                hint = "pip install bcrypt, or write the entry anew with pier registry htpasswd"
                raise Unsupported(f"{where}: a hash of bcrypt needs the package bcrypt", hint=hint)
        elif not is_sha_crypt(hashed):
            hint = "use bcrypt (htpasswd -B) or SHA-crypt"
            raise InvalidInput(
                f"{where}: the hash has an unsafe or unknown form", code="invalid-htpasswd", hint=hint
            )
        users[user] = hashed
    return users


def format_password(user: str, password: str) -> str:
    """The line for a user: bcrypt's where the package is there, else SHA-crypt's.

    Raises:
        InvalidInput: a name with a colon, or nothing.
    """
    if not user or any(character in ":\n\r" for character in user) or user.startswith("#"):
        raise InvalidInput(f"{user!r} is not a name for a user", code="invalid-user")
    raw = password.encode()
    bcrypt = _find_bcrypt()
    if bcrypt is not None and len(raw) <= _BCRYPT_BYTES_MOST:
        # htpasswd's own prefix: $2b$ is the same, and older readers do not know it.
        hashed = bcrypt.hashpw(raw, bcrypt.gensalt(_BCRYPT_COST)).decode().replace("$2b$", "$2y$", 1)
    else:
        salt = secrets.token_urlsafe(12).replace("-", ".").replace("_", "/")
        hashed = sha_crypt(raw, f"$6$rounds={_SHA_ROUNDS}${salt}")
    return f"{user}:{hashed}"


def set_password(path: str, user: str, password: str) -> None:
    """The user of the file, which is made if need be, has this password; other lines stay as they are.

    Raises:
        InvalidInput: as ``format_password``.
        OperationFailed: the file cannot be read or written.
    """
    line = format_password(user, password)
    try:
        _rewrite(path, user, [line])
    except OSError as error:
        raise _cannot("write", path, error) from error


def remove_user(path: str, user: str) -> bool:
    """The file has no such user; False: it had none.

    Raises:
        OperationFailed: the file cannot be read or written.
    """
    try:
        return _rewrite(path, user, [])
    except OSError as error:
        raise _cannot("write", path, error) from error


def _rewrite(path: str, user: str, lines: list[str]) -> bool:
    """These lines take the place of the user's; False: there was none."""
    directory, name = os.path.split(os.path.abspath(path))
    try:
        like: os.stat_result | None = os.stat(path)
        old = read_file(path).decode().splitlines()
    except FileNotFoundError:
        old, like = [], None
    kept = [line for line in old if line.strip().partition(":")[0] != user]
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        text = "".join(f"{line}\n" for line in (*kept, *lines))
        replace_file(directory_fd, name, text.encode(), durable=True, like=like)
    finally:
        os.close(directory_fd)
    return len(kept) < len(old)


def _cannot(verb: str, path: str, error: OSError) -> OperationFailed:
    reason = (error.strerror or str(error)).lower()
    return OperationFailed(f"cannot {verb} {path}: {reason}", errno=error.errno or 0)


def _matches(password: bytes, hashed: str) -> bool:
    if hashed.startswith(_BCRYPT):
        bcrypt = _find_bcrypt()
        # Longer ones are cut by other programs, and refused by newer versions of this one.
        return bcrypt is not None and bool(bcrypt.checkpw(password[:_BCRYPT_BYTES_MOST], hashed.encode()))
    return hmac.compare_digest(sha_crypt(password, hashed), hashed)


class Passwords:
    """The users of a file.  Any thread may ask; a first right answer takes a moment, by intention."""

    def __init__(self, path: str) -> None:
        """Reads the file.

        Raises:
            OperationFailed: it cannot be read.
            InvalidInput, Unsupported: as ``parse_passwords``.
        """
        self._path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, int, int] | None = None
        self._users: dict[str, str] = {}
        self._key = os.urandom(32)
        self._known: dict[str, tuple[str, bytes]] = {}
        self._stranger = format_password("stranger", secrets.token_hex(16)).partition(":")[2]
        self._read()

    def _read(self) -> dict[str, str]:
        try:
            about = os.stat(self._path)
            stamp = (about.st_mtime_ns, about.st_size, about.st_ino)
            if stamp != self._stamp:
                with open(self._path, encoding="utf-8") as file:
                    self._users = parse_passwords(file.read(), name=self._path)
                self._stamp = stamp
        except OSError as error:
            raise _cannot("read", self._path, error) from error
        return self._users

    def verify(self, user: str, password: str) -> bool:
        """Whether this is the user's password.  For strangers it takes as long as for others."""
        with self._lock:
            hashed = self._read().get(user, "")
            known = self._known.get(user)
        raw = password.encode()
        mark = hmac.digest(self._key, raw, hashlib.sha256)
        if hashed and known is not None and known[0] == hashed and hmac.compare_digest(known[1], mark):
            return True
        if not _matches(raw, hashed or self._stranger) or not hashed:
            return False
        with self._lock:
            self._known[user] = (hashed, mark)
        return True
