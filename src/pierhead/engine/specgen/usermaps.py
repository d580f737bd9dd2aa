"""Which ids of the host a container's users are, from the setting ``userns_remap``.  Pure.

::

    default          the ranges of the user dockremap, as Docker calls it
    app, app:web     ranges of a user, and of a group of another name
    1000:1000        the same by numbers

Source: subuid(5), subgid(5); Docker's documentation, "Isolate containers with a user namespace".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.errors import InvalidInput
from pierhead.oci.runtime import IDMapping

if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT_USER = "dockremap"
_LEAST = 1000
"""With fewer ids hardly any image works: nobody is 65534, and users of packages are some hundreds."""


def plan_user_maps(
    setting: str, subuid_text: str, subgid_text: str
) -> tuple[tuple[IDMapping, ...], tuple[IDMapping, ...]]:
    """Mappings of users and of groups; both empty where nobody is mapped.

    Args:
        setting: ``userns_remap``.
        subuid_text: of /etc/subuid.
        subgid_text: of /etc/subgid.

    Raises:
        InvalidInput: the files give the user or the group no ids, or too few.
    """
    if not setting:
        return (), ()
    user, _, group = setting.partition(":")
    user = DEFAULT_USER if user == "default" else user
    return (
        _mappings(user, subuid_text, "/etc/subuid"),
        _mappings(group or user, subgid_text, "/etc/subgid"),
    )


def _mappings(name: str, text: str, path: str) -> tuple[IDMapping, ...]:
    found: list[IDMapping] = []
    begin = 0
    for first, count in _ranges(name, text):
        found.append(IDMapping(container_id=begin, host_id=first, size=count))
        begin += count
    if begin < _LEAST:
        raise InvalidInput(
            f"{path} gives {name} {begin} ids, and containers need at least {_LEAST}",
            code="too-few-ids",
            hint=f"add a line to it: {name}:100000:65536",
        )
    return tuple(found)


def _ranges(name: str, text: str) -> Iterator[tuple[int, int]]:
    """First id and count of each of the name's lines."""
    for line in text.split("\n"):
        fields = line.strip().split(":")
        if len(fields) == 3 and fields[0] == name and all(_is_number(field) for field in fields[1:]):
            first, count = int(fields[1]), int(fields[2])
            if count and first + count < 2**32 - 1:
                yield first, count


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 10


def host_owner(mappings: tuple[IDMapping, ...], number: int) -> int:
    """The host's id of one of the container's; -1 where it has none."""
    for each in mappings:
        if each.container_id <= number < each.container_id + each.size:
            return each.host_id + number - each.container_id
    return -1
