"""Users and groups of a process: numbers, names from the container's own files, groups, HOME, umask."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.errors import InvalidInput, PierheadError
from pierhead.oci.runtime import Capabilities, User
from tests.support.requires import requires

if TYPE_CHECKING:
    from tests.support.containers import Containers

pytestmark = requires("root")

WHO = "id -u; id -g; id -G; echo $HOME"


@pytest.mark.parametrize(
    ("user", "uid", "gid", "groups", "home"),
    [
        (User(), "0", "0", {"0"}, "/root"),
        (User(uid=1000, gid=7), "1000", "7", {"7"}, "/home/app"),
        (User(uid=5, gid=6, additional_gids=(7, 8)), "5", "6", {"6", "7", "8"}, "/"),
        ("root", "0", "0", {"0"}, "/root"),
        ("app", "1000", "1000", {"1000", "29"}, "/home/app"),
        ("1000", "1000", "1000", {"1000", "29"}, "/home/app"),
        ("app:audio", "1000", "29", {"29"}, "/home/app"),
        ("app:77", "1000", "77", {"77"}, "/home/app"),
        ("4242", "4242", "0", {"0"}, "/"),
        ("4242:4343", "4242", "4343", {"4343"}, "/"),
        ("nobody", "65534", "65534", {"65534"}, "/"),
    ],
)
def test_a_user(
    containers: Containers, user: User | str, uid: str, gid: str, groups: set[str], home: str
) -> None:
    """Ids, groups and home are as the container's passwd and group files say."""
    lines = containers.run(WHO, process={"user": user, "cwd": "/"}).lines
    assert (lines[0], lines[1], set(lines[2].split()), lines[3]) == (uid, gid, groups, home)


@pytest.mark.parametrize(
    "user",
    [
        *(
            "",
            ":",
            "root:",
            ":root",
            "app:audio:x",
            "root:root:0",
            " app",
            "app ",
            "app\n",
            "-1",
            "+0",
            "0x0",
        ),
        *("1000a", "4294967295", "4294967296", "99999999999999999999", "no-such", "root:no-such", "../root"),
    ],
)
def test_a_user_string_with_junk(containers: Containers, user: str) -> None:
    """It is refused, never read in part (CVE-2026-30892), by create and by exec."""
    with pytest.raises(PierheadError):
        containers.create("true", process={"user": user})
    container = containers.running()
    with pytest.raises(PierheadError):
        containers.exec(container, "true", user=user)


@pytest.mark.parametrize("where", ["config", "process"])
def test_additional_groups(containers: Containers, where: str) -> None:
    """By number and by name, of the configuration or of the process alone."""
    groups = (44, "audio")
    changes: dict[str, Any] = {"additional_groups": groups} if where == "config" else {}
    process = {"user": User(uid=1000, gid=1000, additional_gids=(9,))}
    if where == "process":
        process["additional_groups"] = groups  # type: ignore[assignment]
    said = containers.run("id -G", process=process, **changes)
    assert set(said.words) == {"1000", "9", "44", "29"}


def test_many_groups(containers: Containers) -> None:
    """As many as anybody has: thousands, up to the kernel's own limit."""
    gids = tuple(range(5000, 8000))
    said = containers.run("id -G | wc -w", process={"user": User(additional_gids=gids)})
    assert said.output == "3001\n"


def test_a_group_that_there_is_not(containers: Containers) -> None:
    """The error names it."""
    with pytest.raises(InvalidInput, match="no-such"):
        containers.create("true", additional_groups=("no-such",))


def test_no_group_of_the_callers_stays(containers: Containers) -> None:
    """Without additional groups there are none but the user's own."""
    container = containers.running(process={"user": User(uid=5, gid=6)})
    status = Path(f"/proc/{container.init_pid}/status").read_text()
    assert "Groups:\t \n" in status or "Groups:\t\n" in status


def test_home_stays_as_given(containers: Containers) -> None:
    """HOME of the environment wins."""
    env = ("PATH=/bin", "HOME=/elsewhere")
    assert containers.run("echo $HOME", process={"env": env}).output == "/elsewhere\n"


def test_the_environment_is_the_given_one_alone(
    containers: Containers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of the caller's; values of any bytes; of two of one name the later, as execve passes both."""
    monkeypatch.setenv("PIERHEAD_SECRET", "x")
    env = ("PATH=/bin", "EMPTY=", "ODD=a=b c\nd", "HOME=/", "NAME=\udcff")
    said = containers.run(args=("/bin/busybox", "env"), process={"env": env})
    assert said.lines == ["PATH=/bin", "EMPTY=", "ODD=a=b c", "d", "HOME=/", "NAME=\ufffd"]


@pytest.mark.parametrize(("umask", "mode"), [(None, "644"), (0o077, "600"), (0, "666"), (0o777, "0")])
def test_umask(containers: Containers, umask: int | None, mode: str) -> None:
    """0022 unless the user says otherwise."""
    process = {"user": User(umask=umask)}
    assert (
        containers.run("touch /tmp/x; stat -c %a /tmp/x", process=process, copy_on_write=True).output
        == f"{mode}\n"
    )


def test_umask_of_the_configuration(containers: Containers) -> None:
    """It holds where the user names none, for exec too."""
    container = containers.running(umask=0o027)
    assert containers.exec(container, "umask").output == "0027\n"
    assert containers.exec(container, "umask", user=User(umask=0o002)).output == "0002\n"


def test_a_link_for_a_passwd_file_stays_inside(containers: Containers) -> None:
    """/etc/passwd as a link to the host's is looked up in the container's root."""
    rootfs = containers.own_rootfs()
    (rootfs / "etc/passwd").unlink()
    (rootfs / "etc/passwd").symlink_to("/../../../../etc/other")
    (rootfs / "etc/other").write_text("inside:x:77:78::/in:/bin/sh\n")
    said = containers.run(WHO, rootfs=str(rootfs), process={"user": "inside"})
    assert said.lines == ["77", "78", "78", "/in"]


@pytest.mark.parametrize("kind", ["missing", "fifo", "directory", "device", "garbage"])
def test_a_passwd_file_that_is_none(containers: Containers, kind: str) -> None:
    """A user by number starts all the same, and nothing blocks; a name is not found."""
    rootfs = containers.own_rootfs()
    passwd = rootfs / "etc/passwd"
    passwd.unlink()
    if kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "directory":
        passwd.mkdir()
    elif kind == "device":
        os.mknod(passwd, 0o020666, os.makedev(1, 5))
    elif kind == "garbage":
        passwd.write_bytes(b"\xff\0:::\nroot\n:x:\nbad:x:y:z:::\n" * 100)
    container = containers.running(rootfs=str(rootfs), process={"user": "5"})
    assert "\nUid:\t5\t5\t5\t5\n" in Path(f"/proc/{container.init_pid}/status").read_text()
    with pytest.raises(PierheadError, match="bad"):
        containers.create("true", rootfs=str(rootfs), process={"user": "bad"})


# The working directory


def test_a_working_directory_is_made(containers: Containers) -> None:
    """With all its parents, where it is missing."""
    said = containers.run("pwd", process={"cwd": "/not/there/yet"}, copy_on_write=True)
    assert said.output == "/not/there/yet\n"


def test_a_working_directory_of_the_users_alone(containers: Containers) -> None:
    """A directory that root may not enter (without its capabilities) is entered with the user's rights."""
    rootfs = containers.own_rootfs()
    (rootfs / "home/app").chmod(0o700)
    said = containers.run(
        "pwd",
        rootfs=str(rootfs),
        process={"user": "app", "cwd": "/home/app"},
        capabilities=Capabilities(),
    )
    assert said.output == "/home/app\n"


def test_a_working_directory_that_is_denied(containers: Containers) -> None:
    """A user may start in a directory that only root may enter, as with runc, and reads nothing there."""
    rootfs = containers.own_rootfs()
    (rootfs / "closed").mkdir(mode=0o700)
    said = containers.run(
        "pwd; ls /closed 2>&1", rootfs=str(rootfs), process={"user": "app", "cwd": "/closed"}
    )
    assert said.lines[0] == "/closed"
    assert "ermission denied" in said.output


@pytest.mark.parametrize("cwd", ["/etc/passwd", "/etc/passwd/x"])
def test_a_working_directory_that_is_a_file(containers: Containers, cwd: str) -> None:
    """The error names it."""
    with pytest.raises(PierheadError, match=r"/etc/passwd.*not a directory"):
        containers.create("true", process={"cwd": cwd})


@pytest.mark.parametrize("cwd", ["relative", ""])
def test_a_working_directory_is_absolute(containers: Containers, cwd: str) -> None:
    """Anything else is refused with its path."""
    with pytest.raises(InvalidInput, match="cwd"):
        containers.create("true", process={"cwd": cwd})
