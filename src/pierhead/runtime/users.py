"""Users and groups by name, from a container's own /etc/passwd and /etc/group.  Pure but for two files read.

Numbers are taken strictly: a name of digits is a number, and junk around one is refused rather than read half
(CVE-2026-30892).  Source: passwd(5), group(5); runtime-spec, "POSIX-platform User".
"""

from __future__ import annotations

import os

from pierhead.errors import InvalidInput, OperationFailed
from pierhead.oci.runtime import User
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Reader = Callable[[str], str | None]
    """A file's text by its path in the container; None where there is no such file."""

_ID_MAX = 2**32 - 2
_ID_DIGITS = 10


class Account(Value):
    """A user as the container knows it."""

    user: User
    home: str


def find_account(
    find_text: Reader | None, wanted: User | str, extra_groups: tuple[int | str, ...]
) -> Account:
    """Ids, groups and home directory of a user.

    Args:
        find_text: gives the text of a file of the container's; None when its root cannot be read.
        wanted: ids, or ``user[:group]`` with names or numbers.
        extra_groups: further groups, names or numbers.

    Raises:
        InvalidInput: no such user or group.
        OperationFailed: the container's files cannot be read.
    """

    def read(path: str) -> str:
        if find_text is None:
            return ""
        try:
            return find_text(path) or ""
        except OSError as error:
            reason = os.strerror(error.errno or 0).lower()
            raise OperationFailed(
                f"cannot read the container's {path}: {reason}", errno=error.errno or 0
            ) from None

    if isinstance(wanted, User):
        account = Account(user=wanted, home=_home_of(read("/etc/passwd"), wanted.uid))
    else:
        account = _by_name(wanted, read)
    if not extra_groups:
        return account
    lines = read("/etc/group") if any(isinstance(group, str) for group in extra_groups) else ""
    ids = tuple(_group_id(group, lines) if isinstance(group, str) else group for group in extra_groups)
    merged = tuple(dict.fromkeys((*account.user.additional_gids, *ids)))
    return account.replace(user=account.user.replace(additional_gids=merged))


def _by_name(wanted: str, read: Callable[[str], str]) -> Account:
    name, colon, group = wanted.partition(":")
    passwd, groups = read("/etc/passwd"), read("/etc/group")
    uid, gid, home, login = _user_of(name, passwd)
    others: list[int] = []
    if colon:
        gid = _group_id(group, groups)
    elif login:
        others = sorted(_groups_with(login, groups) - {gid})
    # its own group among them, as initgroups(3) has it: else a set-group-ID program would be outside of that
    # group, which is one way around what a file refuses to it (CVE-2022-36109)
    return Account(user=User(uid=uid, gid=gid, additional_gids=(gid, *others)), home=home)


def _user_of(name: str, passwd: str) -> tuple[int, int, str, str]:
    number = _wanted_number(name)
    for fields in _records(passwd, 7):
        # a passwd line whose name is a number must not make that number another user
        if fields[0] == name if number is None else _number(fields[2]) == number:
            return int(fields[2]), int(fields[3]), fields[5], fields[0]
    if number is not None:
        return number, 0, "/", ""
    if name == "root":
        return 0, 0, "/root", ""
    raise InvalidInput(
        f"unable to find user {name}: no matching entries in passwd file",
        code="no-such-user",
        path="$.process.user",
    )


def _home_of(passwd: str, uid: int) -> str:
    for fields in _records(passwd, 7):
        if _number(fields[2]) == uid:
            return fields[5]
    return "/"


def _group_id(name: str, groups: str) -> int:
    number = _wanted_number(name)
    if number is not None:
        return number
    for fields in _records(groups, 3):
        if fields[0] == name:
            return int(fields[2])
    raise InvalidInput(
        f"unable to find group {name}: no matching entries in group file",
        code="no-such-group",
        path="$.process.user",
    )


def _groups_with(login: str, groups: str) -> set[int]:
    return {int(fields[2]) for fields in _records(groups, 4) if login in fields[3].split(",")}


def _records(text: str, count: int) -> Iterator[list[str]]:
    for line in text.split("\n"):
        fields = line.strip().split(":")
        if (
            len(fields) >= count
            and _number(fields[2]) is not None
            and (count < 7 or _number(fields[3]) is not None)
        ):
            yield fields


def _number(text: str) -> int | None:
    """An id, or None: a file of the container's may say anything."""
    if not (text.isascii() and text.isdecimal()) or len(text) > _ID_DIGITS:
        return None
    number = int(text)
    return number if number <= _ID_MAX else None


def _wanted_number(text: str) -> int | None:
    """The id that was asked for by its number, None for a name."""
    if text.isascii() and text.isdecimal() and _number(text) is None:
        raise InvalidInput(
            f"the id {text:.20} is greater than {_ID_MAX}", code="bad-id", path="$.process.user"
        )
    return _number(text)
