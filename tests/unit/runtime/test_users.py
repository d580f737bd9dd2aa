"""Users and groups by name, from files that the container's own root can write."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import InvalidInput
from pierhead.linux.files import read_text_in_root
from pierhead.oci.runtime import User
from pierhead.runtime.users import find_account

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Find = Callable[..., User]

PASSWD = "root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n"
GROUP = "root:x:0:\napp:x:1001:\naudio:x:29:other,app\nvideo:x:44:app\n"


@pytest.fixture
def find(tmp_path: Path) -> Iterator[Find]:
    """Finds in files with the given texts."""
    (tmp_path / "etc").mkdir()
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)

    def search(wanted: User | str, *groups: int | str, passwd: str = PASSWD, group: str = GROUP) -> User:
        (tmp_path / "etc/passwd").write_text(passwd)
        (tmp_path / "etc/group").write_text(group)
        return find_account(lambda path: read_text_in_root(fd, path), wanted, groups).user

    yield search
    os.close(fd)


def test_names_and_numbers(find: Find) -> None:
    """A name has its groups, a number its login group, a group after the colon stands alone; the user's own
    group is always among them (CVE-2022-36109)."""
    assert find("app") == User(uid=1000, gid=1001, additional_gids=(1001, 29, 44))
    assert find("1000") == User(uid=1000, gid=1001, additional_gids=(1001, 29, 44))
    assert find("app:audio") == User(uid=1000, gid=29, additional_gids=(29,))
    assert find("app:7") == User(uid=1000, gid=7, additional_gids=(7,))
    assert find("4711") == User(uid=4711, gid=0, additional_gids=(0,))
    assert find("root", passwd="") == User(uid=0, gid=0, additional_gids=(0,))
    assert find(User(uid=5), "audio", 7) == User(uid=5, additional_gids=(29, 7))


def test_a_number_is_never_another_user(find: Find) -> None:
    """A passwd line that calls root "1000" does not make user 1000 root, nor a group (CVE-2026-30892)."""
    trap = "1000:x:0:0::/:/bin/sh\n"
    assert find("1000", passwd=trap) == User(uid=1000, gid=0, additional_gids=(0,))
    assert find("1000", passwd=trap + PASSWD).uid == 1000
    assert find("app:1000", group="1000:x:0:\n").gid == 1000


@pytest.mark.parametrize(
    "line",
    [
        "evil:x:0x0:0::/:",
        "evil:x: 0:0::/:",
        "evil:x:-1:0::/:",
        "evil:x:4294967295:0::/:",
        "evil:x::0::/:",
        "evil:x:0",
        "evil:x:" + "9" * 5000 + ":0::/:",
        "evil:x:0:1e3::/:",
        "evil:x:\u0661:0::/:",
    ],
)
def test_lines_with_junk_are_passed_over(find: Find, line: str) -> None:
    """Only whole lines with plain numbers count; the rest do not hide the others."""
    with pytest.raises(InvalidInput, match="unable to find user evil"):
        find("evil", passwd=f"{line}\n{PASSWD}")
    assert find("app", passwd=f"{line}\n{PASSWD}").uid == 1000


@pytest.mark.parametrize("end", ["\x0b", "\x0c", "\x1c", "\x85", "\u2028"])
def test_only_newlines_end_lines(find: Find, end: str) -> None:
    """What other programs take for a part of a field does not begin a line of its own here."""
    passwd = f"app:x:1000:1000:comment{end}evil:x:0:0::/:/bin/sh\n"
    with pytest.raises(InvalidInput, match="unable to find user evil"):
        find("evil", passwd=passwd)


@pytest.mark.parametrize("wanted", ["4294967295", "99999999999", "9" * 5000])
def test_numbers_that_are_no_ids(find: Find, wanted: str) -> None:
    """A number too great for an id is refused, however long it is."""
    with pytest.raises(InvalidInput, match=r"greater than 4294967294"):
        find(wanted)
