"""Bad input through the library: one clear sentence, the right kind of error, and nothing left behind (the
leak fixture sees to that).
"""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from pierhead import jsontext
from pierhead.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    OperationFailed,
    PierheadError,
    Unsupported,
)
from pierhead.oci.document import decode
from pierhead.oci.runtime import (
    Capabilities,
    Memory,
    Resources,
    Spec,
)
from pierhead.oci.validate import check_spec
from pierhead.runtime import ProcessSpec, Stdio, create, list_ids, load, run
from pierhead.runtime.config import config_from_spec
from tests.support.bad_input import CASES, PROGRAMS, caps
from tests.support.bundles import merge, standard_spec
from tests.support.containers import Containers, namespaces
from tests.support.probe import PROBE
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = requires("root")


def refuse(
    containers: Containers, rootfs: Path | str, kind: type[PierheadError], words: str, **what: Any
) -> PierheadError:
    """The container is not made; the error is of the kind and its message is these words (``…`` for any)."""
    import re

    pattern = "^" + ".*".join(re.escape(part) for part in words.split("…")) + "$"
    with pytest.raises(kind, match=pattern) as caught:
        containers.start(**{"args": (PROBE,), "rootfs": str(rootfs), **what})
    assert "\n" not in caught.value.message
    assert not caught.value.message.endswith(".")
    assert list_ids(containers.root) == []
    return caught.value


# The document
# ---------------------------------------------------------------------------------------------------


def config_of(text: str, bundle: Path) -> Any:
    """The configuration of a config.json, as a caller of the library makes it."""
    spec = decode(Spec, jsontext.parse(text, name="config.json"))
    check_spec(spec)
    return config_from_spec(spec, bundle)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "config.json is not JSON: Expecting value (line 1, column 1)"),
        (
            "{",
            "config.json is not JSON: Expecting property name enclosed in double quotes (line 1, column 2)",
        ),
        ('{"a": 1}}', "config.json is not JSON: Extra data (line 1, column 9)"),
        ("[" * 100_000, "config.json is not usable JSON: nested too deeply"),
        ("1" * 5000, "config.json is not usable JSON: a number is too long"),
        ("[]", "$: expected an object, found a list"),
        ("null", "$: expected an object, found null"),
        ("{}", "$.ociVersion: is missing"),
    ],
)
def test_documents_that_are_none(text: str, words: str, tmp_path: Path) -> None:
    """What is not JSON is told with line and column, what is not a document with its path."""
    with pytest.raises(InvalidInput) as caught:
        config_of(text, tmp_path)
    assert caught.value.message == words


@pytest.mark.parametrize(
    ("changes", "path", "words"),
    [
        ({"root": {"path": 7}}, "$.root.path", "expected a string, found a whole number"),
        ({"process": {"args": "true"}}, "$.process.args", "expected a list, found a string"),
        ({"process": {"args": [1]}}, "$.process.args[0]", "expected a string, found a whole number"),
        (
            {"process": {"user": {"uid": "0"}}},
            "$.process.user.uid",
            "expected a whole number, found a string",
        ),
        ({"process": {"user": {"uid": -1}}}, "$.process.user.uid", "-1"),
        ({"process": {"terminal": "yes"}}, "$.process.terminal", "expected true or false, found a string"),
        ({"linux": {"namespaces": [{"type": "pid"}, 5]}}, "$.linux.namespaces[1]", "found a whole number"),
        (
            {"linux": {"resources": {"memory": {"limit": 1.5}}}},
            "$.linux.resources.memory.limit",
            "found a number with a fraction",
        ),
        ({"mounts": [{"type": "tmpfs"}]}, "$.mounts[0].destination", "is missing"),
        ({"linux": {"nosuch": 1}}, "$.linux.nosuch", ""),
        ({"ociVersion": "2.0.0"}, "$.ociVersion", "2.0.0"),
        ({"process": None}, "$.process", "is missing"),
        ({"root": None}, "$.root", "is missing"),
        (
            {"process": {"capabilities": {"bounding": "CAP_KILL"}}},
            "$.process.capabilities.bounding",
            "expected a list",
        ),
    ],
)
def test_documents_with_wrong_parts(changes: dict[str, Any], path: str, words: str, tmp_path: Path) -> None:
    """Wrong types, unknown and missing fields are told with their JSON path."""
    with pytest.raises(InvalidInput) as caught:
        config_of(json.dumps(merge(standard_spec(), changes)), tmp_path)
    assert caught.value.path == path
    assert caught.value.message.startswith(f"{path}: ")
    assert words in caught.value.message


# Ids ------------------------------------------------------------------------------------------------------
# ------

BAD_IDS = ("", ".", "..", "a/b", "/", "a b", "ä", "a\0", "a\nb", "x" * 1025, "../state", "a:b")


@pytest.mark.parametrize("container_id", BAD_IDS)
def test_ids_that_no_container_can_have(
    containers: Containers, probe_rootfs: Path, container_id: str
) -> None:
    """An id is made of few characters, and is refused before anything is made of it."""
    config = containers.config(args=(PROBE,), rootfs=str(probe_rootfs))
    with pytest.raises(InvalidInput, match=r"id") as caught:
        create(containers.root, container_id, config)
    assert caught.value.code == "invalid-id"
    assert not os.path.exists(containers.root)
    with pytest.raises(InvalidInput):
        load(containers.root, container_id)


def test_an_id_that_is_taken(containers: Containers, probe_rootfs: Path) -> None:
    """The second container of an id is refused; the first does not notice."""
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    config = containers.config(args=(PROBE,), rootfs=str(probe_rootfs))
    with pytest.raises(Conflict, match="container with given ID already exists") as caught:
        create(containers.root, container.id, config)
    assert caught.value.code == "container-exists"
    assert container.status == "running"


def test_a_container_that_is_not_there(containers: Containers) -> None:
    """Callers of runtimes know the words."""
    with pytest.raises(NotFound, match="container does not exist") as caught:
        load(containers.root, "none")
    assert caught.value.code == "container-not-found"


@pytest.mark.parametrize("text", ["{junk", "{}", "[]", '{"id": "x", "cgroup": 5, "host_links": []}', ""])
def test_a_state_file_with_junk(
    containers: Containers, probe_rootfs: Path, tmp_path: Path, text: str
) -> None:
    """A state file that is none is told by its path."""
    directory = tmp_path / "other/x"
    directory.mkdir(parents=True)
    (directory / "state.json").write_text(text)
    with pytest.raises(InvalidInput, match=r"other/x/state\.json|\$"):
        load(str(tmp_path / "other"), "x")
    (directory / "state.json").unlink()


# The root of state directories
# ----------------------------------------------------------------------------------


def test_a_root_that_is_no_directory(containers: Containers, probe_rootfs: Path, tmp_path: Path) -> None:
    """A file in the place of the states' root is named."""
    (tmp_path / "file").write_text("")
    config = containers.config(args=(PROBE,), rootfs=str(probe_rootfs))
    for act in (lambda: list_ids(tmp_path / "file"), lambda: run(tmp_path / "file", "x", config)):
        with pytest.raises(InvalidInput, match="/file: "):
            act()


def test_a_root_that_is_something_else(containers: Containers, probe_rootfs: Path, tmp_path: Path) -> None:
    """Whoever names a directory of other things for a root loses nothing of it: neither by listing nor by
    creating a container whose id is a name in there.
    """
    home = tmp_path / "home"
    for mode in (0o700, 0o711, 0o755):
        directory = home / f"documents-{mode:o}"
        directory.mkdir(parents=True)
        (directory / "thesis").write_text("years of work")
        directory.chmod(mode)
        (home / f"empty-{mode:o}").mkdir()
    before = sorted(str(path) for path in home.rglob("*"))
    assert list_ids(str(home)) == []
    config = containers.config(args=(PROBE,), rootfs=str(probe_rootfs))
    for path in home.iterdir():
        with pytest.raises(Conflict):
            create(str(home), path.name, config)
    assert sorted(str(path) for path in home.rglob("*")) == before


# Root file system and program
# ------------------------------------------------------------------------------------


def test_root_file_systems(containers: Containers, probe_rootfs: Path, tmp_path: Path) -> None:
    """A rootfs that is missing, a file, a loop of links or a relative path."""
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (
        ("none", "no such file or directory"),
        ("file", "not a directory"),
        ("loop", "too many levels of symbolic links"),
    ):
        error = refuse(containers, tmp_path / name, NotFound, f"rootfs {tmp_path}/{name}: {reason}")
        assert error.code == "rootfs-missing"
    for path in ("relative", ""):
        refuse(containers, path, InvalidInput, f"$.rootfs: expected an absolute path, found {path!r}")
    refuse(containers, "/a\0b", InvalidInput, "$.rootfs: contains a NUL character")


@pytest.mark.parametrize(("program", "kind", "words"), PROGRAMS)
@pytest.mark.parametrize("how", ["create", "exec"])
def test_programs(
    containers: Containers, probe_rootfs: Path, program: str, kind: type[PierheadError], words: str, how: str
) -> None:
    """A program that is missing, not executable, of no format or without its interpreter, in create and
    exec.
    """
    (probe_rootfs / "plain").write_text("x")
    (probe_rootfs / "bin").mkdir()
    (probe_rootfs / "bin/plain").write_text("x")
    (probe_rootfs / "dangling").symlink_to("nowhere")
    for name, text in (("garbage", "garbage"), ("script", "#!/no/such/interpreter\n")):
        (probe_rootfs / name).write_text(text)
        (probe_rootfs / name).chmod(0o755)
    if how == "create":
        refuse(containers, probe_rootfs, kind, words, args=(program,))
        return
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    with pytest.raises(kind) as caught:
        container.exec(ProcessSpec(args=(program,)), stdio=Stdio.null())
    assert caught.value.message.startswith(words.replace("$.process", "$").split("…")[0])


def test_programs_that_fail_at_start(containers: Containers, probe_rootfs: Path) -> None:
    """What only execve finds out, start says, and the container has stopped."""
    (probe_rootfs / "garbage").write_text("garbage")
    (probe_rootfs / "garbage").chmod(0o755)
    container = containers.create(args=("/garbage",), rootfs=str(probe_rootfs))
    with pytest.raises(OperationFailed, match='exec: "/garbage": exec format error'):
        container.start()
    container.wait(60)
    assert container.status == "stopped"


# Everything else
# -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_bad_configurations(containers: Containers, probe_rootfs: Path, name: str) -> None:
    """Each is refused with its one sentence."""
    kind, words, what = CASES[name]
    refuse(containers, probe_rootfs, kind, words, **what)


def test_a_capability_that_the_caller_has_not_got(containers: Containers, probe_rootfs: Path) -> None:
    """Who cannot give a capability is told which."""
    with open("/proc/self/status", encoding="ascii") as status:
        own = next(int(line.split()[1], 16) for line in status if line.startswith("CapBnd"))
    if own >> 24 & 1:
        pytest.skip("needs a machine that lacks CAP_SYS_RESOURCE")
    words = "unable to apply caps: operation not permitted: CAP_SYS_RESOURCE cannot be given, …"
    refuse(containers, probe_rootfs, OperationFailed, words, **caps("CAP_SYS_RESOURCE"))


def test_too_little_memory(containers: Containers, probe_rootfs: Path) -> None:
    """A limit in which not even the launch fits is named."""
    limit = Resources(memory=Memory(limit=4096))
    try:
        container = containers.start(args=(PROBE,), rootfs=str(probe_rootfs), resources=limit)
    except OperationFailed as error:
        assert "4096 bytes" in error.hint  # noqa: PT017 - it may be enough for a launch
    else:
        container.wait(60)


def test_console_sockets(containers: Containers, probe_rootfs: Path) -> None:
    """A console that is closed, no socket, not open, or given without need."""
    ours, theirs = socket.socketpair()
    ours.close()
    with theirs, open("/dev/null") as null:
        terminal = {"process": {"terminal": True}}
        cases: tuple[tuple[int, type[PierheadError], str, dict[str, Any]], ...] = (
            (
                theirs.fileno(),
                OperationFailed,
                "cannot hand the terminal to the console socket: broken pipe",
                terminal,
            ),
            (null.fileno(), OperationFailed, "cannot hand the terminal …non-socket", terminal),
            (9999, InvalidInput, "descriptor 9999, which the process is to have, is not open", terminal),
            (theirs.fileno(), InvalidInput, "a console socket is given for a process without a terminal", {}),
        )
        for console, kind, words, more in cases:
            refuse(containers, probe_rootfs, kind, words, options={"console": console}, **more)


def test_exec(containers: Containers, probe_rootfs: Path) -> None:
    """Bad processes for a container that runs; it runs on."""
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    cases: tuple[tuple[type[PierheadError], str, dict[str, Any], dict[str, Any]], ...] = (
        (InvalidInput, r"\$\.args: is empty", {"args": ()}, {}),
        (InvalidInput, r"\$\.cwd: expected an absolute path", {"cwd": "x"}, {}),
        (InvalidInput, r"\$\.env\[0\]: expected NAME=value", {"env": ("x",)}, {}),
        (InvalidInput, "unable to find user none", {"user": "none"}, {}),
        (
            InvalidInput,
            "CAP_KILL is not in permitted",
            {"capabilities": Capabilities(effective=("CAP_KILL",))},
            {},
        ),
        (InvalidInput, "nobody to get its other end", {"terminal": True}, {}),
        (InvalidInput, "invalid container id", {}, {"exec_id": "a/b"}),
        (NotFound, "there is no cgroup .*/none", {}, {"cgroup": "none"}),
        (InvalidInput, "descriptor 9999", {}, {"preserve_fds": (9999,)}),
    )
    for kind, words, process, options in cases:
        with pytest.raises(kind, match=words):
            container.exec(ProcessSpec(**{"args": (PROBE,), **process}), stdio=Stdio.null(), **options)
    assert container.status == "running"


def test_verbs_at_the_wrong_time(containers: Containers, probe_rootfs: Path) -> None:
    """What the present status does not allow is a conflict with callers' known words."""
    container = containers.start(args=(PROBE, "sleep=0"), rootfs=str(probe_rootfs))
    with pytest.raises(Conflict, match="running"):
        container.start()
    with pytest.raises(Conflict, match="not paused"):
        container.resume()
    with pytest.raises(Conflict, match="not stopped"):
        container.delete()
    with pytest.raises(InvalidInput, match="no signal 99"):
        container.kill(99)
    with pytest.raises(InvalidInput, match="memory"):
        container.update(Resources(memory=Memory(limit=-7)))
    container.kill(9)
    container.wait(60)
    for act in (
        container.start,
        container.pause,
        lambda: container.kill(15),
        lambda: container.update(Resources()),
    ):
        with pytest.raises(Conflict):
            act()
    with pytest.raises(Conflict, match="container not running"):
        container.exec(ProcessSpec(args=(PROBE,)), stdio=Stdio.null())


def test_what_the_kernel_lacks(
    containers: Containers, probe_rootfs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A namespace that this kernel does not have is named."""
    monkeypatch.setattr("pierhead.linux.facts.namespace_types", lambda: frozenset(("mount", "pid")))
    what = {"namespaces": namespaces("mount", "pid", "uts"), "networks": ()}
    refuse(
        containers,
        probe_rootfs,
        Unsupported,
        "$.linux.namespaces[2]: this kernel has no uts namespaces",
        **what,
    )
