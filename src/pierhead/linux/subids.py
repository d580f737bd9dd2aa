"""Subordinate ids: which ranges of users and groups an ordinary user may hand out (subuid(5), subgid(5)).

    # /etc/subuid, /etc/subgid: NAME or NUMBER of the user : first id : how many
    anna:100000:65536

A user may have several lines.
"""

from __future__ import annotations

from pierhead.errors import Unavailable

UID_FILE, GID_FILE = "/etc/subuid", "/etc/subgid"


def parse_ranges(text: str, names: tuple[str, ...]) -> tuple[tuple[int, int], ...]:
    """First ids and counts of the ranges that a user has, in the file's order.

    Args:
        text: of the file.
        names: the user's, and its number in digits.
    """
    found = []
    for line in text.splitlines():
        name, _, rest = line.strip().partition(":")
        first, _, count = rest.partition(":")
        if name in names and first.isdecimal() and count.isdecimal() and int(count):
            found.append((int(first), int(count)))
    return tuple(found)


def get_ranges(path: str, user_id: int) -> tuple[tuple[int, int], ...]:
    """The user's ranges in the file.

    Raises:
        Unavailable: it has none.
    """
    name = _name_of(user_id)
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    except FileNotFoundError:
        text = ""
    found = parse_ranges(text, (name, str(user_id)))
    if not found:
        raise Unavailable(
            f"user {name} has no subordinate ids in {path}",
            code="no-subordinate-ids",
            hint=f"as root: usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {name}",
        )
    return found


def _name_of(user_id: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:  # nobody has to stand in /etc/passwd
        return str(user_id)
