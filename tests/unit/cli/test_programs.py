"""The programs as a whole, without containers: tables of verbs, help, versions, errors, exit statuses."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

import pierhead
from pierhead.cli import nsinit, pier, runtime
from pierhead.cli.help import Painter, program_help, verb_help
from pierhead.cli.program import Entry, Program, find_verb, help_flag, split_verb
from pierhead.cli.runtime import default_root
from pierhead.errors import InvalidInput
from pierhead.oci.runtime import OCI_VERSION

if TYPE_CHECKING:
    from pathlib import Path

    from pierhead.cli.flags import Verb

PROGRAMS = (runtime.PROGRAM, nsinit.PROGRAM, pier.PROGRAM)
MAINS = {"pier-runtime": runtime.main, "nsinit": nsinit.main, "pier": pier.main}
VERBS = [
    pytest.param(program, find_verb(program, entry.name), id=f"{program.name}-{entry.name}")
    for program in PROGRAMS
    for entry in program.entries
]

# The flags of runc 1.3.6, by verb; what its callers write has to be understood.
RUNC_FLAGS = {
    "create": "bundle b console-socket pidfd-socket pid-file no-pivot no-new-keyring preserve-fds",
    "run": "bundle b console-socket pidfd-socket pid-file no-pivot no-new-keyring preserve-fds detach d "
    "keep no-subreaper",
    "exec": "console-socket pidfd-socket cwd env e tty t user u additional-gids g process p detach d "
    "pid-file process-label apparmor no-new-privs cap c preserve-fds cgroup ignore-paused",
    "kill": "all a",
    "delete": "force f",
    "list": "format f quiet q",
    "ps": "format f",
    "events": "interval stats",
    "spec": "bundle b rootless",
    "update": "resources r blkio-weight cpu-period cpu-quota cpu-burst cpu-share cpu-rt-period "
    "cpu-rt-runtime cpuset-cpus cpuset-mems memory memory-reservation memory-swap pids-limit cpu-idle "
    "l3-cache-schema mem-bw-schema",
    "start": "",
    "state": "",
    "pause": "",
    "resume": "",
    "features": "",
}
RUNC_GLOBAL_FLAGS = "debug log log-format root systemd-cgroup rootless version v help h"


@pytest.mark.parametrize(("program", "verb"), VERBS)
def test_verbs_and_their_entries_agree(program: Program, verb: Verb) -> None:
    """A program's table says of a verb what the verb says of itself."""
    entry = next(each for each in program.entries if each.name == verb.name)
    assert entry.about == verb.about


@pytest.mark.parametrize(("program", "verb"), VERBS)
def test_flags_are_told_apart(program: Program, verb: Verb) -> None:
    """No verb has a name twice, and none takes the name of help; docker's ``run -h`` is the host's name."""
    names = [name for flag in verb.flags for name in (flag.name, flag.short) if name]
    assert len(names) == len(set(names))
    assert "help" not in names
    assert "h" not in names or help_flag(verb).short == ""


@pytest.mark.parametrize(("program", "verb"), VERBS)
def test_help_of_every_verb(
    program: Program, verb: Verb, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """``VERB --help`` names every flag and fits 110 columns; ``help VERB`` is the same."""
    run = MAINS[program.name]
    assert run([*verb.name.split(), "--help"]) == 0
    text = capfd.readouterr().out
    assert {flag.name for flag in verb.flags} <= set(re.findall(r"--([a-z0-9-]+)", text))
    assert max(map(len, text.splitlines())) <= 110
    assert "\x1b" not in text
    assert run(["help", *verb.name.split()]) == 0
    assert capfd.readouterr().out == text


@pytest.mark.parametrize("run", [runtime.main, nsinit.main])
@pytest.mark.parametrize("words", [[], ["--help"], ["-h"], ["help"]])
def test_help_of_a_program(run: object, words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    """Without a verb, a program prints all of them."""
    assert callable(run)
    assert run(words) == 0
    text = capfd.readouterr().out
    program = runtime.PROGRAM if run is runtime.main else nsinit.PROGRAM
    assert all(re.search(rf"^  {entry.name} ", text, re.MULTILINE) for entry in program.entries)
    assert max(map(len, text.splitlines())) <= 110


@pytest.mark.parametrize("name", sorted(RUNC_FLAGS))
def test_flags_of_runc_are_known(name: str) -> None:
    """Every flag that runc has for a verb is one of ours."""
    verb = find_verb(runtime.PROGRAM, name)
    names = {each for flag in verb.flags for each in (flag.name, flag.short)}
    assert set(RUNC_FLAGS[name].split()) <= names


def test_global_flags_of_runc_are_known() -> None:
    """Every global flag that runc has is one of ours."""
    names = {each for flag in runtime.FLAGS for each in (flag.name, flag.short)} | {"help", "h"}
    assert set(RUNC_GLOBAL_FLAGS.split()) <= names


@pytest.mark.parametrize("flag", ["--version", "-v", "-version"])
def test_version_as_go_runc_reads_it(flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The first line begins with a name and "version", the others say commit and specification."""
    assert runtime.main([flag]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert lines[0] == f"pier-runtime version {pierhead.__version__}"
    assert lines[1].startswith("commit: ")
    assert lines[2] == "spec: 1.3.0"


def test_a_mistyped_verb(capfd: pytest.CaptureFixture[str]) -> None:
    """A verb that does not exist gets the nearest one for a hint."""
    assert runtime.main(["craete"]) == 1
    assert capfd.readouterr().err == (
        "pier-runtime: unknown verb 'craete'\nhint: did you mean pier-runtime create?\n"
    )


def test_dockers_verbs_that_are_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    """It is said that there is no such thing, and what to do instead; no far-fetched verb is suggested."""
    assert pier.main(["build", "."]) == 1
    assert capfd.readouterr().err.startswith("pier: there is no pier build\nhint: images are not built here")
    assert pier.main(["swarm", "init"]) == 1
    assert capfd.readouterr().err.startswith(
        "pier: there is no pier swarm\nhint: an engine here is one machine"
    )


def test_a_group_without_a_verb(capfd: pytest.CaptureFixture[str]) -> None:
    """All that it has are named, also those that have shorter names."""
    assert pier.main(["volume"]) == 1
    assert capfd.readouterr().err == (
        "pier: volume needs a verb\nhint: pier volume create, inspect, list, ls, prune, remove or rm\n"
    )
    assert pier.main(["container"]) == 1
    assert " ls, " in capfd.readouterr().err


@pytest.mark.parametrize("width", [80, 110])
def test_help_in_a_narrow_terminal(width: int) -> None:
    """No line is longer than the terminal is wide, so that none breaks within a word; examples may be."""
    paint = Painter(colour=False, width=width)
    rows = [(entry.name, entry.about) for entry in pier.PROGRAM.entries]
    texts = [program_help("pier", "words", pier.PROGRAM.text, rows, pier.PROGRAM.flags, paint)]
    texts += [verb_help("pier", find_verb(pier.PROGRAM, name), paint) for name, _ in rows]
    for text in texts:
        told = text.partition("Examples")[0]
        assert max(len(line) for line in told.splitlines()) <= width, told


def test_a_container_that_does_not_exist(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The words that containerd's shim looks for are there; deleting it with force is no error."""
    root = ["--root", str(tmp_path)]
    for verb in ("state", "start", "kill", "delete", "pause", "resume", "ps", "events"):
        assert runtime.main([*root, verb, "none"]) == 1
        assert "does not exist" in capfd.readouterr().err
    assert runtime.main([*root, "delete", "--force", "none"]) == 0
    assert runtime.main([*root, "exec", "none", "true"]) == 255
    error = capfd.readouterr().err
    assert error.startswith("pier-runtime: exec failed: ")
    assert "container does not exist" in error


def test_errors_in_a_json_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The log's last entry has level, msg and time as go-runc reads them; both forms of a value work."""
    log = tmp_path / "log.json"
    log.write_text("before\n")
    words = ["--root", str(tmp_path / "state"), f"--log={log}", "--log-format", "json", "state", "none"]
    assert runtime.main(words) == 1
    before, line = log.read_text().splitlines()
    entry = json.loads(line)
    assert before == "before"
    assert list(entry) == ["level", "msg", "time"]
    assert entry["level"] == "error"
    assert "does not exist" in entry["msg"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", entry["time"])
    assert entry["msg"] in capfd.readouterr().err


def test_errors_in_a_text_log(tmp_path: Path) -> None:
    """A text log has the form of logrus; a file may be named with ``file:``."""
    log = tmp_path / "log"
    assert runtime.main(["--root", str(tmp_path), "--log", f"file:{log}", "start", "none"]) == 1
    assert re.fullmatch(r'time="[^"]+" level=error msg="container does not exist: [^"]+"\n', log.read_text())


def test_a_log_that_cannot_be_opened(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is done without the log that was asked for."""
    assert runtime.main(["--log", str(tmp_path / "no" / "log"), "list"]) == 1
    assert "cannot open the log" in capfd.readouterr().err


def test_contradicting_cgroup_managers(capfd: pytest.CaptureFixture[str]) -> None:
    """--systemd-cgroup and another manager do not go together."""
    assert runtime.main(["--systemd-cgroup", "--cgroup-manager", "disabled", "list"]) == 1
    assert "contradict" in capfd.readouterr().err


def test_listing_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A root that does not exist has no containers: a heading, or an empty JSON list."""
    root = ["--root", str(tmp_path / "none")]
    assert runtime.main([*root, "list"]) == 0
    assert capfd.readouterr().out.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    assert runtime.main([*root, "list", "--format=json"]) == 0
    assert capfd.readouterr().out == "[]\n"
    assert runtime.main([*root, "list", "-q"]) == 0
    assert capfd.readouterr().out == ""


def test_a_file_that_breaks_nothing_else(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A container whose state cannot be read is warned of and does not hide others."""
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "state.json").write_text("{")
    assert runtime.main(["--root", str(tmp_path), "list", "-f", "json"]) == 0
    captured = capfd.readouterr()
    assert captured.out == "[]\n"
    assert "container broken" in captured.err


def test_debugging_says_where(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """With --debug an error comes with where it was raised, without it does not."""
    assert runtime.main(["--debug", "--root", str(tmp_path), "state", "none"]) == 1
    assert "Traceback" in capfd.readouterr().err
    assert runtime.main(["--root", str(tmp_path), "state", "none"]) == 1
    assert "Traceback" not in capfd.readouterr().err


def test_where_state_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """/run for those who may write there, the user's runtime directory for others, an error without one."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1000")
    assert default_root("false") == "/run/pierhead/runtime"
    assert default_root("true") == "/run/user/1000/pierhead/runtime"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert default_root("auto", "nsinit") == "/run/user/1000/pierhead/nsinit"
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    with pytest.raises(InvalidInput, match="XDG_RUNTIME_DIR is not set"):
        default_root("auto")


def test_documents_need_no_place_for_state(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What writes or prints a document works without a session of its user's, as in cron or after su."""
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    assert runtime.main(["spec", "--rootless", "--bundle", str(tmp_path)]) == 0
    assert (tmp_path / "config.json").exists()
    assert runtime.main(["features"]) == 0
    assert nsinit.main(["config"]) == 0
    assert capfd.readouterr().err == ""


def test_init_is_not_to_be_called(capfd: pytest.CaptureFixture[str]) -> None:
    """``nsinit init`` says what it is for."""
    assert nsinit.main(["init", "anything"]) == 1
    assert "not to be called" in capfd.readouterr().err


def test_our_own_mistakes(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """A mistake of ours is an error like others, in the log too, and --debug shows its place."""
    monkeypatch.setattr("pierhead.cli.runtime.default_root", lambda _: 1 / 0)
    assert runtime.main(["list"]) == 1
    told = capfd.readouterr().err
    assert told.startswith("pier-runtime: internal error: ZeroDivisionError")
    assert "hint: this is a bug" in told
    assert runtime.main(["--debug", "list"]) == 1
    assert "Traceback" in capfd.readouterr().err


def test_a_reader_that_has_read_enough(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is said when standard output is closed early, as by head."""

    def closed(_fd: int, _data: bytes) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("pierhead.cli.output.write_all", closed)
    assert runtime.main(["features"]) == 1
    assert capfd.readouterr().err == ""


def test_verbs_of_a_group() -> None:
    """A verb may have two words; its group's name alone is none."""
    entries = (
        Entry(name="one", module="verbs_life", about=""),
        Entry(name="two x", module="verbs_life", about=""),
    )
    program = runtime.PROGRAM.replace(entries=entries)
    assert split_verb(program, ["one", "x", "y"]) == ("one", ["x", "y"])
    assert split_verb(program, ["two", "x", "y"]) == ("two x", ["y"])
    assert split_verb(program, ["two"]) == ("two", [])


def test_the_version_is_said_once() -> None:
    """The lines that go-runc reads have the versions of package and specification, each from its place."""
    told = runtime.PROGRAM.version().splitlines()
    assert told == [f"pier-runtime version {pierhead.__version__}", "commit: unknown", f"spec: {OCI_VERSION}"]
