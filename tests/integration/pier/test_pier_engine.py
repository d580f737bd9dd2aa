"""``pier`` with an engine that it has started itself, as people call it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Screen
from tests.support.pier import Pier, busybox_layer, greeting_layer, write_image
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root", "busybox")


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pier]:
    """Over a store with an image called box; its engine runs."""
    directory = tmp_path_factory.mktemp("pier")
    layers = busybox_layer(directory), greeting_layer("hello\n")
    layout = write_image(directory / "layout", *layers, Cmd=["cat", "/etc/motd"], Env=["PATH=/bin"])
    with Pier(directory / "p") as made:
        made("load", "--quiet", "--input", str(layout), "--name", "box")
        assert made.lines("ps", "--quiet") == []
        yield made


@pytest.fixture
def pier(serving: Pier) -> Iterator[Pier]:
    """The same; the test's containers are gone at its end."""
    yield serving
    names = serving.lines("ps", "--all", "--quiet")
    if names:
        serving("rm", "--force", *names)


def start(pier: Pier, *words: str, flags: tuple[str, ...] = (), name: str = "web") -> str:
    """The name of a container in the background."""
    pier("run", "-d", "--name", name, "--network", "none", *flags, "box", *(words or ("sleep", "1000")))
    return name


def test_a_life(pier: Pier) -> None:
    """Made, started, stopped, started again, removed; ps tells of each."""
    pier("create", "--name", "web", "--network", "none", "--label", "a=b", "box", "sleep", "1000")
    assert pier.lines("ps", "--quiet") == []
    assert pier("start", "web") == "web\n"
    assert pier("ps", "--format", '{{.Names}} {{.State}} {{.Label "a"}}') == "web running b\n"
    assert pier("pause", "web") == pier("unpause", "web") == pier("rename", "web", "db") + "web\n"
    assert pier("restart", "-t0", "db") == pier("stop", "-t", "0", "db") == "db\n"
    rows = pier.lines("ps", "--all", "--filter", "status=exited")
    assert rows[0].split() == ["CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"]
    assert "Exited (137)" in rows[1]
    assert pier("wait", "db") == "137\n"
    assert pier("rm", "db") == "db\n"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("box", "sh", "-c", "exit 7"), 7, ""),
        (("box", "no-such-program"), 127, "no-such-program"),
        (("box", "/etc/motd"), 126, "permission denied"),
        (("--pull", "never", "none"), 125, "No such image: none"),
        (("--no-such-flag", "box"), 125, "unknown flag"),
        (("--name", "x y", "box"), 125, "Invalid container name"),
    ],
)
def test_exit_statuses_of_run(pier: Pier, words: tuple[str, ...], status: int, said: str) -> None:
    """The command's own, or docker's; with --rm nothing is left whatever it was."""
    result = pier.run_result(*words)
    assert (result.returncode, said in result.stderr) == (status, True), result
    assert pier.lines("ps", "--all", "--quiet") == []


def test_an_image_for_another_platform_is_pulled(pier: Pier) -> None:
    """As one that is not here at all is."""
    pier("tag", "box", "localhost:1/box")
    result = pier.run_result("--platform", "linux/s390x", "localhost:1/box", "true")
    assert result.returncode == 125
    assert "Unable to find image 'localhost:1/box' locally" in result.stderr
    assert "connection refused" in result.stderr
    pier("rmi", "localhost:1/box")


def test_removal_by_force(pier: Pier) -> None:
    """Who wants it gone has no failure if it is gone, and hears of it; without force it is one."""
    start(pier)
    for names in (("gone",), ("web", "gone")):
        result = pier.result("rm", "--force", *names)
        assert (result.returncode, "No such container: gone" in result.stderr) == (0, True), result
    assert pier.lines("ps", "--all", "--quiet") == []
    assert pier.result("rm", "gone").returncode == 1


def test_streams(pier: Pier) -> None:
    """Output and errors stay apart, input comes whole and ends, and much of both does not stand still."""
    result = pier.run_result("-i", "box", "sh", "-c", "cat; echo bad >&2", input="x" * 300_000)
    assert (len(result.stdout), result.stderr) == (300_000, "bad\n")
    assert pier.run_result("box", "cat", input="unseen").stdout == ""


def test_exec(pier: Pier) -> None:
    """In the container, with a status, input, variables, a directory."""
    start(pier)
    assert pier("exec", "-e", "A=1", "-w", "/etc", "web", "sh", "-c", "echo $A; pwd") == "1\n/etc\n"
    assert pier.result("exec", "-i", "web", "cat", input="typed").stdout == "typed"
    assert pier.result("exec", "web", "sh", "-c", "exit 9").returncode == 9
    assert pier.result("exec", "web", "no-such-program").returncode in (126, 127)


def test_logs(pier: Pier) -> None:
    """Both streams, the last lines, with times, and those to come until the end."""
    start(pier, "sh", "-c", "echo one; echo two >&2; until test -e /go; do sleep 0.05; done; echo three")
    with pier.start("logs", "--follow", "web") as following:
        assert following.stdout is not None
        assert following.stdout.readline() == "one\n"
        pier("exec", "web", "touch", "/go")
        assert following.communicate(timeout=60) == ("three\n", "two\n")
    assert pier("logs", "-n1", "web") == "three\n"
    assert pier("logs", "--tail", "1", "--timestamps", "web").startswith("20")
    assert pier("logs", "--until", "1h", "web") == ""


def test_inspections(pier: Pier) -> None:
    """Of containers before images, by templates, by kind; what is not there is an error after the rest."""
    start(pier, flags=("--label", "a=b"))
    assert pier("inspect", "-f", "{{.State.Status}} {{json .Config.Labels}}", "web") == 'running {"a":"b"}\n'
    assert pier("container", "inspect", "-f", "{{.Name}}", "web") == "/web\n"
    assert pier("image", "inspect", "-f", "{{json .Config.Cmd}}", "box") == '["cat","/etc/motd"]\n'
    result = pier.result("inspect", "web", "nothing")
    assert (result.returncode, len(json.loads(result.stdout))) == (1, 1)
    assert "No such object: nothing" in result.stderr
    assert "hint" not in result.stderr
    assert "hint: did you mean web?" in pier.result("inspect", "weeb").stderr


def test_looks(pier: Pier) -> None:
    """Processes, figures, changes, events, the engine."""
    start(pier, "sh", "-c", "touch /tmp/made; sleep 1000", flags=("--user", "0"))
    assert "sleep 1000" in pier("top", "web")
    row = json.loads(pier("stats", "--no-stream", "--format", "json", "web"))
    assert (row["Name"], row["CPUPerc"][-1]) == ("web", "%")
    pier("kill", "web")
    assert pier("wait", "web") == "137\n"
    events = pier.lines(
        "events", "--since", "10m", "--until", "0s", "--filter", "container=web", "--format", "{{.Action}}"
    )
    assert [event for event in events if event in ("create", "start", "die")][-3:] == [
        "create",
        "start",
        "die",
    ]
    assert pier("info", "--format", "{{.OSType}}") == "linux\n"
    assert pier("version", "--format", "{{.Client.ApiVersion}}").startswith("1.")


def test_limits_change(pier: Pier) -> None:
    """What update says is what inspect shows."""
    start(pier, flags=("--memory", "64m", "--restart", "no"))
    assert pier("update", "--memory", "32m", "--memory-swap", "64m", "web") == "web\n"
    assert pier("inspect", "-f", "{{.HostConfig.Memory}}", "web") == f"{32 << 20}\n"


def test_files_come_out(pier: Pier, tmp_path: Path) -> None:
    """A file, a file by another name, a tree's contents, an archive."""
    start(pier)
    pier("cp", "--quiet", "web:/etc/motd", str(tmp_path))
    pier("cp", "--quiet", "web:/etc/motd", str(tmp_path / "other"))
    assert (tmp_path / "motd").read_text() == (tmp_path / "other").read_text() == "hello\n"
    pier("cp", "--quiet", "web:/etc/.", str(tmp_path / "etc"))
    assert (tmp_path / "etc/motd").exists()
    with (tmp_path / "a.tar").open("wb") as file:
        subprocess.run([*pier.words, "cp", "web:/etc/motd", "-"], stdout=file, check=True)
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getnames() == ["motd"]
    failed = pier.result("cp", "web:/nothing", str(tmp_path))
    assert (failed.returncode, "/nothing" in failed.stderr) == (1, True)


def test_files_go_in(pier: Pier, tmp_path: Path) -> None:
    """A tree by its name or another, its contents, a file, an archive; diff tells of them."""
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree/file").write_text("inside")
    start(pier, flags=("--user", "0"))
    pier("cp", "--quiet", str(tmp_path / "tree"), "web:/")
    pier("cp", "--quiet", str(tmp_path / "tree"), "web:/other")
    pier("cp", "--quiet", f"{tmp_path}/tree/.", "web:/tmp")
    pier("cp", "--quiet", str(tmp_path / "tree/file"), "web:/etc/name")
    said = pier("exec", "web", "cat", "/tree/file", "/other/file", "/tmp/file", "/etc/name")
    assert said == "inside" * 4
    assert {"A /tree/file", "A /etc/name"} <= set(pier.lines("diff", "web"))


def test_volumes(pier: Pier) -> None:
    """Made, filled, listed, inspected, in use, removed."""
    assert pier("volume", "create", "--label", "a=b", "kept") == "kept\n"
    start(pier, "sh", "-c", "echo stays > /data/x", flags=("-v", "kept:/data", "--user", "0"))
    assert pier("wait", "web") == "0\n"
    assert pier.run("-v", "kept:/data:ro", "box", "cat", "/data/x") == "stays\n"
    assert pier("volume", "ls", "--format", "{{.Name}} {{.Driver}}") == "kept local\n"
    assert pier("volume", "inspect", "--format", "{{json .Labels}}", "kept") == '{"a":"b"}\n'
    used = pier.result("volume", "rm", "kept")
    assert (used.returncode, "in use" in used.stderr) == (1, True)
    pier("rm", "web")
    assert pier("volume", "prune", "--all", "--force").startswith("Deleted Volumes:\nkept\n")


def test_images_in_use_stay(pier: Pier, tmp_path: Path) -> None:
    """Who uses an image keeps it from rmi and prune; a container's files go before an image's."""
    pier("tag", "box", "spare")
    start(pier, name="spare")
    refused = pier.result("rmi", "--force", "box", "spare")
    assert refused.stdout == "Untagged: box:latest\n"
    assert "image is being used by running container" in refused.stderr
    pier("tag", "spare", "box")
    assert "Untagged" not in pier("prune", "--all", "--force")
    pier("exec", "--user", "0", "spare", "sh", "-c", "echo mine > /etc/motd")
    for verb in (("export",), ("container", "export")):
        pier(*verb, "--output", str(tmp_path / "files.tar"), "spare")
        with tarfile.open(tmp_path / "files.tar") as tar:
            assert tar.getmember("etc/motd").size == len("mine\n")
    pier("rm", "--force", "spare")
    assert pier("rmi", "spare") == "Untagged: spare:latest\n"


def test_near_misses(pier: Pier) -> None:
    """A name that is almost right is suggested; all the others are done."""
    start(pier, name="database")
    result = pier.result("kill", "databse", "database")
    assert (result.returncode, result.stdout) == (1, "database\n")
    assert "No such container: databse\nhint: did you mean database?" in result.stderr


def test_a_terminal(pier: Pier) -> None:
    """Its size is ours and follows it, keys are keys, and ours is as before when the keys to detach come."""
    words = [*pier.words, "run", "-it", "--name", "web", "--network", "none", "box", "sh"]
    with Screen(words, rows=31, columns=97) as screen:
        screen.wait_for("#")
        screen.type("stty size\n")
        screen.wait_for("31 97")
        screen.resize(32, 98)
        screen.type("until stty size | grep '32 [9]8'; do :; done\n")
        screen.wait_for("32 98")
        screen.type("\x10\x11")
        assert screen.wait() == 0
        assert screen.attributes() == screen.before
    assert pier("ps", "--format", "{{.Names}}") == "web\n"
    with Screen([*pier.words, "attach", "web"]) as screen:
        screen.type("\nexit 5\n")
        assert screen.wait() == 5
        assert screen.attributes() == screen.before


def test_signals_are_passed_on(pier: Pier) -> None:
    """SIGTERM of pier is the container's; it ends as it wants."""
    words = (
        "--rm",
        "--network",
        "none",
        "box",
        "sh",
        "-c",
        "trap 'exit 3' TERM; echo ready; sleep 30 & wait",
    )
    with pier.start("run", *words) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 3


def test_start_and_attach(pier: Pier) -> None:
    """A container that has ended is started again, and its output and status are ours."""
    pier("create", "--name", "web", "--network", "none", "box", "sh", "-c", "echo again; exit 4")
    for _ in range(2):
        result = pier.result("start", "--attach", "web")
        assert (result.stdout, result.returncode) == ("again\n", 4)


def test_start_and_attach_to_what_runs(pier: Pier) -> None:
    """It is joined as it is, and its status is ours."""
    start(pier, "sh", "-c", "trap 'echo bye; exit 4' TERM; while :; do echo here; sleep 0.05; done")
    with pier.start("start", "--attach", "web") as joined:
        assert joined.stdout is not None
        assert joined.stdout.readline() == "here\n"
        pier("kill", "--signal", "TERM", "web")
        assert "bye" in joined.stdout.read().splitlines()
        assert joined.wait(30) == 4


def test_start_without_a_terminal(pier: Pier) -> None:
    """A container that wants one is not started before that is said."""
    pier("create", "-it", "--name", "web", "--network", "none", "box", "sh")
    refused = pier.result("start", "-ai", "web")
    assert (refused.returncode, "not a TTY" in refused.stderr) == (1, True)
    assert pier("ps", "--all", "--format", "{{.State}}") == "created\n"


def test_callers_start_one_engine(tmp_path: Path) -> None:
    """Several calls at once are served by one engine; it is not there before, and its log is a file."""
    with Pier(tmp_path / "e") as own:
        environment = {**os.environ, "PIER_BRIDGE": "none"}
        calls = [own.start("ps", "--quiet", env=environment) for _ in range(4)]
        assert [call.wait(60) for call in calls] == [0] * 4
        for call in calls:
            for stream in (call.stdin, call.stdout, call.stderr):
                assert stream is not None
                stream.close()
        log = (own.root / "run/pierd.log").read_text()
        assert log.count("is ready at") == 1


def test_an_idle_engine_ends(tmp_path: Path) -> None:
    """It was started for one call, and ends by itself; the next call starts another."""
    environment = {**os.environ, "PIER_IDLE_TIMEOUT": "1"}
    with Pier(tmp_path / "e") as own:
        for _ in range(2):
            assert own("ps", "--quiet", env=environment) == ""
            while own.engine_pid():
                time.sleep(0.05)


def test_an_engine_that_cannot_start(tmp_path: Path) -> None:
    """Why is said in one sentence, with its log's name."""
    own = Pier(tmp_path / "e")
    own.root.mkdir()
    (own.root / "engine.db").mkdir()
    failed = own.result("ps")
    assert failed.returncode == 1
    assert failed.stderr.startswith("pier: cannot start pierd: ")
    assert f"hint: see {own.root}/run/pierd.log" in failed.stderr
