"""Launch plans as people read them."""

from __future__ import annotations

import pytest

from pierhead.cli.explain import explain, format_trace
from pierhead.cli.explain_words import _WORDS, capability_names, describe, flag_names
from pierhead.oci.numbers import CAPABILITIES
from pierhead.oci.runtime import IDMapping
from pierhead.runtime import wire_table
from pierhead.runtime.plan import launchersteps
from pierhead.runtime.plan.launchersteps import LauncherStep
from pierhead.runtime.plan.launchplan import LaunchPlan
from pierhead.runtime.wire import INIT, JOINER, STAGE, Operation, strings

ALL = (1 << len(CAPABILITIES)) - 1


def operation(name: str, *arguments: int | str | bytes, place: int = INIT, why: str = "") -> Operation:
    """One step of a plan."""
    return Operation(name=name, arguments=arguments, place=place, why=why)


def test_every_operation_has_words() -> None:
    """What the wire knows, the explanation can say; and it says nothing that the wire does not know."""
    assert set(wire_table.OPERATIONS) >= set(_WORDS)
    unspoken = set(wire_table.OPERATIONS) - set(_WORDS)
    assert unspoken <= {"io_priority", "memory_policy"}


@pytest.mark.parametrize("name", sorted(wire_table.OPERATIONS))
def test_every_operation_can_be_described(name: str) -> None:
    """Words are found for empty arguments of the right kinds, too."""
    empty: dict[str, int | str | bytes] = {"u": 0, "f": "", "s": "", "b": b""}
    arguments = [empty[kind] for kind in wire_table.OPERATIONS[name][1]]
    assert describe(operation(name, *arguments)).strip()


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (
            operation(
                "mount", "tmpfs", "shm", b"smode\x001777\0fnoswap\0", 0xE, "/dev/shm", 0, 0x80000 | 0x4000
            ),
            "mount tmpfs on /dev/shm\nMOUNT_ATTR_NOSUID|NODEV|NOEXEC MS_REC|SLAVE\n-o mode=1777,noswap",
        ),
        (
            operation("mount", "ext4", "/dev/sda1", b"", 1, "/data", 0, 0),
            "mount ext4 of /dev/sda1 on /data\nMOUNT_ATTR_RDONLY",
        ),
        (
            operation("bind", "", "/srv", "/data", wire_table.BIND_RECURSIVE, 0, 1, 0, 0x40000, ""),
            "bind /srv with all below it to /data\nMOUNT_ATTR_RDONLY MS_PRIVATE",
        ),
        (operation("unshare", 0x02000000), "unshare CLONE_NEWCGROUP"),
        (operation("setns", "init process", 0x40020000), "setns init process\nCLONE_NEWNS|NEWNET"),
        (
            operation("mknod", "/dev/null", 0o20666, 1 << 32 | 3, 0, 5),
            "mknod /dev/null c 1:3 mode 0666 owner 0:5",
        ),
        (
            operation("capabilities", 0b101, 0b101, 0),
            "capabilities\neffective and permitted: CHOWN DAC_READ_SEARCH\ninheritable: none",
        ),
        (
            operation("capabilities", 0, ALL, 0),
            "capabilities\neffective: none\npermitted: all\ninheritable: none",
        ),
        (operation("seccomp", bytes(80), 0, 0), "seccomp filter of 10 instructions"),
        (operation("seccomp", bytes(8), 0, 1), "seccomp filter of 1 instructions, with a listener"),
        (
            operation("execute", strings(["sh", "-c", "echo 'a b'"]), strings(["A=1"])),
            "execve sh -c 'echo '\\''a b'\\'''\nwith 1 variables",
        ),
        (operation("rlimit", 7, 1024, 2**64 - 1), "rlimit RLIMIT_NOFILE soft 1024 hard unlimited"),
        (
            operation("identity", 1000, 100, (5).to_bytes(4, "little"), 1),
            "identity uid 1000 gid 100\ngroups 5\nkeeping capabilities",
        ),
        (operation("umask", 0o22), "umask 0022"),
        (operation("affinity", b"\x09"), "affinity to processors 0,3"),
        (operation("sysctl", "sys/net/ipv4/ip_forward", "1"), "sysctl net/ipv4/ip_forward = 1"),
    ],
)
def test_arguments_in_words(step: Operation, words: str) -> None:
    """The kernel's numbers are said by their names."""
    assert describe(step) == words


def test_flags_without_a_name() -> None:
    """What has no name is not hidden."""
    assert flag_names(0x41, {1: "A"}, "X_") == "X_A|0x40"
    assert flag_names(0, {1: "A"}, "X_") == ""
    assert capability_names(0) == "none"


PLAN = LaunchPlan(
    operations=(
        operation("open_tree", "tree 0", "/srv", 1, "", 0, place=STAGE, why="the host's rights are needed"),
        operation("unshare", 0x80, place=JOINER, why="a time namespace is made before the clone"),
        operation("session", why="a"),
        operation("mask", "/proc/kcore", why="it tells of the machine " * 4),
        operation("mask", "/proc/keys", why="it tells of the machine " * 4),
        operation("find_executable", "x" * 200, strings(["/bin"]), why="b"),
        operation("execute", strings(["true"]), b"", why="the program"),
    ),
    clone_flags=0x20020000,
    joiner=True,
    uid_mappings=(IDMapping(container_id=0, host_id=100000, size=65536),),
)


@pytest.mark.parametrize("width", [90, 110, 160])
def test_a_table_fits_its_width(width: int) -> None:
    """No line is longer than the terminal is wide, whatever is in the cells."""
    lines = explain(PLAN, "a container", width=width).splitlines()
    assert max(map(len, lines)) <= width


def test_a_table_in_order() -> None:
    """Operations have their numbers; the clone stands where it happens; repeated cells are not repeated."""
    text = explain(PLAN, "a container")
    lines = text.splitlines()
    assert lines[0] == "a container: 0 steps of the launcher, 7 operations of pier-init"
    starts = [line.split()[:3] for line in lines if line[:2].strip(" ·").isdecimal() or line[:1] == "·"]
    assert [words[0] for words in starts] == ["1", "2", "·", "3", "4", "5", "6", "7"]
    assert [words[1] for words in starts] == [
        "stage",
        "joiner",
        "joiner",
        "init",
        "init",
        "init",
        "init",
        "init",
    ]
    assert "CLONE_NEWNS|NEWPID" in text
    assert "uids 0=100000+65536" in text
    keys = next(line for line in lines if "/proc/keys" in line)
    assert keys.split()[-2:] == ["″", "″"]


def launcher_step(moment: int, what: str) -> LauncherStep:
    """One step of the launcher."""
    return LauncherStep(
        moment=moment, what=what, why="it is needed", manual="OCI runtime-spec, linux.resources.x"
    )


STEPS = (
    launcher_step(launchersteps.BEGIN, "begin"),
    launcher_step(wire_table.SYNC_MAPS, "maps"),
    launcher_step(wire_table.SYNC_HOOKS, "hooks"),
    launcher_step(wire_table.SYNC_SECCOMP, "agent"),
    launcher_step(launchersteps.NOTED, "noted"),
    launcher_step(launchersteps.END, "end"),
)


@pytest.mark.parametrize("gate", [False, True])
def test_the_launcher_has_its_place(*, gate: bool) -> None:
    """What it does stands after the operation that waits for it; the note comes when all is ready."""
    plan = LaunchPlan(
        operations=(
            operation("sync", wire_table.SYNC_MAPS),
            operation("sync", wire_table.SYNC_HOOKS),
            operation("seccomp", bytes(8), 0, 1),
            *((operation("ready"), operation("gate", "gate")) if gate else ()),
            operation("execute", strings(["true"]), b""),
        )
    )
    text = explain(plan, "a container", STEPS)
    table = text.splitlines()[text.splitlines().index("") + 1 :]
    what = [line.split()[2] for line in table if line.split()[1:2] in (["launcher"], ["init"])]
    end = ["tell", "noted", "wait", "execve", "end"] if gate else ["execve", "noted", "end"]
    assert what == ["begin", "wait", "maps", "wait", "hooks", "seccomp", "agent", *end]
    assert "OCI resources.x" in text


def test_colours_change_nothing_else() -> None:
    """With the colours taken out, the table is the same."""
    import re

    coloured = explain(PLAN, "a container", STEPS, colour=True)
    plain = re.sub(r"\x1b\[\d+m", "", coloured)
    assert coloured != plain
    assert [line.rstrip() for line in plain.splitlines()] == explain(PLAN, "a container", STEPS).splitlines()


def test_no_page_of_newer_manuals() -> None:
    """man(1) finds what is named: pages of section 2const are not in the distributions of today."""
    pages = {entry[3] for entry in wire_table.OPERATIONS.values()}
    assert not [page for page in pages if "const" in page]


def test_a_trace_and_its_sum() -> None:
    """Every operation has its time, the longest bar is the longest time, and the sum is said."""
    text = format_trace(PLAN, {0: 1_000, 1: 500, 3: 4_500}, 10_000)
    lines = text.splitlines()
    assert len(lines) == 1 + 7 + 2
    assert "1.0 µs" in lines[1]
    assert lines[4].count("▇") == 16
    assert lines[1].count("▇") == 4
    assert "µs" not in lines[3]
    assert "3 operations together 6.0 µs" in lines[-2]
    assert "10.0 µs" in lines[-1]
    assert max(map(len, lines[:-1])) <= 110
