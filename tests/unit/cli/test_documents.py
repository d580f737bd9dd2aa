"""Documents that verbs read and write: bundles, processes, resources, features, configurations."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from pierhead.cli import nsinit, runtime
from pierhead.cli.bundle import load_bundle, load_process
from pierhead.cli.features import features_document, mount_options
from pierhead.cli.flags import BadUsage, parse
from pierhead.cli.nsinit_config import FLAGS as CONFIG_FLAGS
from pierhead.cli.nsinit_config import config_from_options, load_config, whole_document
from pierhead.cli.output import Output
from pierhead.cli.verbs_exec import FLAGS as EXEC_FLAGS
from pierhead.cli.verbs_exec import process_from_options
from pierhead.cli.verbs_update import FLAGS as UPDATE_FLAGS
from pierhead.cli.verbs_update import parse_bytes, resources_from_options
from pierhead.errors import InvalidInput, NotFound, Unsupported
from pierhead.oci.runtime import BlockIO, Capabilities, Cpu, Memory, Pids, Resources, User
from pierhead.runtime.config import Config, ProcessSpec, config_from_document
from pierhead.runtime.plan.mountoptions import SUPERBLOCK_FLAGS, parse_options
from pierhead.runtime.validate import check_config
from tests.support.bundles import merge, standard_spec

if TYPE_CHECKING:
    from pathlib import Path


def bundle(directory: Path, **changes: Any) -> str:
    """A bundle with a standard document and these changes; it has no root."""
    (directory / "config.json").write_text(json.dumps(merge(standard_spec(), changes)))
    return str(directory)


# Bundles ----------------------------------------------------------------------------------------------------


def test_a_bundle(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A standard document is read without a word."""
    config = load_bundle(bundle(tmp_path), Output("x"))
    assert config.rootfs == str(tmp_path / "rootfs")
    assert capfd.readouterr().err == ""


def test_unknown_fields_are_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A field that nobody knows is a warning with its path: the specification forbids to refuse it."""
    load_bundle(bundle(tmp_path, process={"colour": 1}, linux={"x y": {}}), Output("x"))
    told = capfd.readouterr().err.splitlines()
    assert [line.partition("the field ")[2] for line in told] == [
        "$.process.colour is unknown and ignored",
        '$.linux["x y"] is unknown and ignored',
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "expected an object"),
        ('{"ociVersion": 1}', "$.ociVersion: expected a string"),
        ('{"ociVersion": "1.2.0"}', "$.root: is missing"),
        ('{"ociVersion": "2.0.0", "root": {"path": "r"}}', "$.ociVersion"),
        (
            '{"ociVersion": "1.0.0", "root": {"path": "r"}, "process": {"cwd": "x", "args": ["a"]}}',
            "$.process.cwd",
        ),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_bad_documents(
    text: str | bytes, words: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A document that is wrong is one sentence with the place, exit status 1, and no state."""
    (tmp_path / "config.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    state = tmp_path / "state"
    for verb in ("run", "create"):
        assert runtime.main(["--root", str(state), verb, "--bundle", str(tmp_path), "box"]) == 1
        told = capfd.readouterr().err
        assert words in told
        assert told.count("\n") == 1
    assert not state.exists()


def test_no_bundle(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A directory without config.json gets a hint how to make one."""
    assert runtime.main(["run", "--bundle", str(tmp_path), "box"]) == 1
    assert "config.json: no such file\nhint: make one with `pier-runtime spec`" in capfd.readouterr().err
    with pytest.raises(InvalidInput, match="cannot be read: is a directory"):
        load_process(str(tmp_path), Output("x"))


@pytest.mark.parametrize("identity", ["", "..", "a/b", "a b", "x" * 1025])
def test_bad_ids(identity: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """An id that cannot name a directory is refused before anything is done."""
    bundle(tmp_path)
    (tmp_path / "rootfs").mkdir()
    root = tmp_path / "state"
    assert runtime.main(["--root", str(root), "run", "--bundle", str(tmp_path), identity]) == 1
    assert re.search(r"\bcontainer('s)? id\b", capfd.readouterr().err)
    assert not root.exists()


def test_terminals_and_console_sockets(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A terminal that nobody would hold, and a console socket of no use, are refused."""
    with_terminal = ["--bundle", bundle(tmp_path, process={"terminal": True}), "box"]
    assert runtime.main(["create", *with_terminal]) == 1
    assert "needs a console socket" in capfd.readouterr().err
    assert runtime.main(["run", "--console-socket", "/x", *with_terminal]) == 1
    assert "only with a detached process" in capfd.readouterr().err
    bundle(tmp_path)
    assert runtime.main(["run", "-d", "--console-socket", "/x", *with_terminal]) == 1
    assert "only with a process with a terminal" in capfd.readouterr().err


def test_a_process_document(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Exec --process reads the process of a config.json, and tells of unknown fields."""
    path = tmp_path / "process.json"
    path.write_text(json.dumps({"args": ["id"], "cwd": "/tmp", "user": {"uid": 5, "gid": 6}, "x": 1}))
    process = load_process(str(path), Output("x"))
    assert (process.args, process.cwd, process.user) == (("id",), "/tmp", User(uid=5, gid=6))
    assert "$.x" in capfd.readouterr().err
    with pytest.raises(NotFound):
        load_process(str(tmp_path / "none"), Output("x"))


# exec -------------------------------------------------------------------------------------------------------

CONFIG = Config(
    rootfs="/r",
    capabilities=Capabilities(bounding=("CAP_KILL",), effective=("CAP_KILL",), permitted=("CAP_KILL",)),
    process=ProcessSpec(
        args=("init",), env=("A=1",), cwd="/w", user=User(uid=7, gid=8, additional_gids=(9,)), terminal=True
    ),
)


def execute(*words: str, config: Config = CONFIG) -> ProcessSpec:
    """The process that ``exec`` with these flags runs."""
    options, _ = parse(EXEC_FLAGS, words, literal=True)
    return process_from_options(config, ("ls",), options)


def test_exec_has_what_the_container_has() -> None:
    """Without flags it is the container's first process with another command and no terminal."""
    assert execute() == ProcessSpec(
        args=("ls",), env=("A=1",), cwd="/w", user=User(uid=7, gid=8, additional_gids=(9,))
    )


def test_exec_flags() -> None:
    """Every flag changes its own property and adds where it says "beside"."""
    process = execute(
        "-t", "-e", "B=2", "--cwd", "/x", "--apparmor=p", "--process-label=l", "--no-new-privs=false"
    )
    assert process.terminal
    assert process.env == ("A=1", "B=2")
    assert process.cwd == "/x"
    assert (process.apparmor_profile, process.process_label) == ("p", "l")
    assert process.no_new_privileges is False
    assert execute("-g", "5", "-g", "audio").additional_groups == (5, "audio")


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("5", User(uid=5, gid=8, additional_gids=(9,))),
        ("5:6", User(uid=5, gid=6, additional_gids=(9,))),
        ("app", "app"),
        ("app:audio", "app:audio"),
        ("5:audio", "5:audio"),
        ("5x", "5x"),
        ("-5", "-5"),
    ],
)
def test_exec_users(text: str, user: User | str) -> None:
    """Numbers alone leave the groups; anything else is for the library to look up or to refuse."""
    assert execute("--user", text).user == user


def test_exec_capabilities() -> None:
    """Capabilities are added to three sets, to the ambient one only where there are inheritable ones."""
    added = execute("-c", "net_admin", "--cap", "CAP_KILL").capabilities
    assert added is not None
    assert added.bounding == ("CAP_KILL", "CAP_NET_ADMIN", "CAP_KILL")
    assert added.ambient == ()
    with_inheritable = CONFIG.replace(capabilities=CONFIG.capabilities.replace(inheritable=("CAP_KILL",)))
    more = execute("-c", "CAP_CHOWN", config=with_inheritable).capabilities
    assert more is not None
    assert more.ambient == ("CAP_CHOWN",)


@pytest.mark.parametrize("words", [("-e", "novalue"), ("-e", "=x"), ("--cap", "CAP_NOPE")])
def test_exec_refuses(words: tuple[str, ...]) -> None:
    """Values that mean nothing are refused."""
    with pytest.raises(InvalidInput):
        execute(*words)


# update -----------------------------------------------------------------------------------------------------


def resources(*words: str) -> Resources:
    """The limits that ``update`` with these flags sets."""
    return resources_from_options(parse(UPDATE_FLAGS, words, literal=False)[0])


def test_limits_by_flags() -> None:
    """Each flag sets its own field, and what is not given stays None."""
    assert resources("--memory", "64m", "--memory-swap=-1") == Resources(
        memory=Memory(limit=1 << 26, swap=-1)
    )
    assert resources("--pids-limit", "5", "--blkio-weight", "100") == Resources(
        pids=Pids(limit=5), block_io=BlockIO(weight=100)
    )
    cpu = resources(
        "--cpu-quota=-1", "--cpu-period=5", "--cpu-share=7", "--cpuset-cpus=0-1", "--cpu-idle=0"
    ).cpu
    assert cpu == Cpu(quota=-1, period=5, shares=7, cpus="0-1", idle=0)


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ((), BadUsage),
        (("--memory", "much"), InvalidInput),
        (("--l3-cache-schema", "L3:0=f"), Unsupported),
        (("--blkio-weight", "5"), InvalidInput),
    ],
)
def test_limits_that_are_refused(words: tuple[str, ...], error: type[Exception]) -> None:
    """Nothing to change, and values that no machine can have, are errors."""
    with pytest.raises(error):
        resources(*words)


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("--memory=much", "--memory: expected bytes like 67108864 or 64m, found 'much'"),
        ("--memory-swap=x", "--memory-swap: expected bytes"),
        ("--cpuset-cpus=x", "--cpuset-cpus: expected"),
        ("--cpuset-mems=1-", "--cpuset-mems: expected"),
        ("--cpu-idle=7", "--cpu-idle: expected 0 or 1, found 7"),
        ("--blkio-weight=5", "--blkio-weight: "),
    ],
)
def test_a_flag_is_named_that_does_not_fit(word: str, told: str) -> None:
    """What a flag gave is told of by the flag and not by the place in a document that nobody wrote."""
    with pytest.raises(InvalidInput) as caught:
        resources(word)
    assert caught.value.message.startswith(told)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0),
        ("67108864", 1 << 26),
        ("64m", 1 << 26),
        ("64MB", 1 << 26),
        ("1.5g", 3 << 29),
        ("2K", 2048),
        ("-1", -1),
    ],
)
def test_bytes(text: str, count: int) -> None:
    """Bytes as people write them; a K is 1024."""
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "m", "-2", "1.m", "1e3", "0x10", "1 2", "1mm", "٣"])
def test_what_is_not_bytes(text: str) -> None:
    """Anything else is refused, not guessed."""
    with pytest.raises(InvalidInput, match="expected bytes"):
        parse_bytes(text)


# features ---------------------------------------------------------------------------------------------------


def test_features_are_json(capfd: pytest.CaptureFixture[str]) -> None:
    """The document is printed; it has what containerd and Kubernetes look for."""
    assert runtime.main(["features"]) == 0
    document = json.loads(capfd.readouterr().out)
    assert document == features_document()
    assert {"rro", "rbind", "ro", "idmap"} <= set(document["mountOptions"])
    assert document["linux"]["mountExtensions"]["idmap"]["enabled"] is True
    assert set(document["linux"]["namespaces"]) >= {"time", "cgroup", "user"}
    assert document["ociVersionMin"] == "1.0.0"


@pytest.mark.parametrize("option", mount_options())
def test_mount_options_are_honest(option: str) -> None:
    """Every option that is listed is understood, and not passed to a file system as its own."""
    assert parse_options((option,)).data == ((option,) if option in SUPERBLOCK_FLAGS - {"async"} else ())


# spec and nsinit config -------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], ["--rootless"], ["--host"]])
def test_spec(words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What spec writes is a document that run accepts; a file that is there is kept."""
    assert runtime.main(["spec", *words, "--bundle", str(tmp_path)]) == 0
    config = load_bundle(str(tmp_path), Output("x"))
    assert config.copy_on_write is ("--host" in words)
    assert capfd.readouterr().err == ""
    (tmp_path / "config.json").write_text("mine")
    assert runtime.main(["spec", *words, "--bundle", str(tmp_path)]) == 1
    assert "exists" in capfd.readouterr().err
    assert (tmp_path / "config.json").read_text() == "mine"


def configure(*words: str) -> Config:
    """The configuration that ``nsinit config`` with these flags makes."""
    return config_from_options(parse(CONFIG_FLAGS, words, literal=True)[0])


@pytest.mark.parametrize(
    "words", [[], ["--brief"], ["--host"], ["--memory", "64m", "--bind", "/srv:/data:ro"]]
)
def test_configurations_can_be_read_again(
    words: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What config prints or writes denotes the configuration it was made from."""
    assert nsinit.main(["config", *words, "sh", "-c", "true"]) == 0
    printed = json.loads(capfd.readouterr().out)
    wanted = configure(*words).replace(process=ProcessSpec(args=("sh", "-c", "true")))
    assert config_from_document(printed) == wanted
    path = tmp_path / "container.json"
    assert nsinit.main(["config", *words, "--file", str(path), "sh", "-c", "true"]) == 0
    assert json.loads(path.read_text()) == printed
    assert nsinit.main(["config", "--file", str(path)]) == 1
    read = load_config(str(path))
    assert read == wanted.replace(rootfs=str(tmp_path) if wanted.rootfs == "." else "/")
    check_config(read)


def test_a_standard_configuration_shows_what_there_is() -> None:
    """Without --brief every field with a value is there to be edited."""
    document = whole_document(configure())
    assert {"mounts", "capabilities", "seccomp", "namespaces", "mask_paths", "resources"} <= set(document)


def test_configuration_flags() -> None:
    """Each flag changes its own part of the configuration."""
    config = configure(
        *("--rootfs", "/r", "--readonly", "--hostname", "h", "--user", "app", "--cwd", "/w", "--env", "A=1"),
        *("--cap-drop", "chown", "--cap-add", "sys_time", "--seccomp", "unconfined", "--new-privs"),
        *("--tmpfs", "/t:size=1m", "--cpu-share", "5", "--pids-limit", "7", "--cgroup-parent", "/p"),
        *("--parent-death-signal", "KILL", "--share", "pid", "--map-uids", "100000:65536"),
        *("--bridge", "pier0", "--address", "10.0.0.2/24", "--gateway", "10.0.0.1", "--mtu", "1400"),
    )
    assert (config.rootfs, config.readonlyfs, config.hostname) == ("/r", True, "h")
    assert config.process is not None
    assert (config.process.user, config.process.cwd, config.process.env[-1]) == ("app", "/w", "A=1")
    assert "CAP_SYS_TIME" in config.capabilities.bounding
    assert "CAP_CHOWN" not in config.capabilities.bounding
    assert (config.seccomp, config.no_new_privileges, config.parent_death_signal) == ("unconfined", False, 9)
    assert config.mounts[-1].options == ("size=1m",)
    assert config.resources.pids == Pids(limit=7)
    assert {item.type for item in config.namespaces} == {"mount", "uts", "ipc", "network", "cgroup", "user"}
    assert config.uid_mappings == config.gid_mappings
    assert (config.networks[-1].name, config.networks[-1].bridge, config.networks[-1].mtu) == (
        "eth0",
        "pier0",
        1400,
    )
    check_config(config)


@pytest.mark.parametrize(
    "words",
    [
        ("--bind", "/srv"),
        ("--share", "mount"),
        ("--map-uids", "many"),
        ("--address", "10.0.0.2/24"),
        ("--share", "network", "--bridge", "pier0"),
        ("--host", "--rootfs", "/"),
        ("--env", "x"),
    ],
)
def test_configuration_flags_that_are_refused(words: tuple[str, ...]) -> None:
    """Values that mean nothing, and flags that exclude each other, are bad usage."""
    with pytest.raises(BadUsage):
        configure(*words)


def test_an_oci_document_is_told_apart(tmp_path: Path) -> None:
    """Whoever gives nsinit an OCI document learns which program takes it."""
    bundle(tmp_path)
    with pytest.raises(InvalidInput, match="is an OCI document") as caught:
        load_config(str(tmp_path / "config.json"))
    assert "pier-runtime run" in caught.value.hint
