"""Lists as docker prints them, contexts, completion, and where the engine is."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pierhead.cli import pier
from pierhead.cli.call import Call
from pierhead.cli.engine_place import find_place
from pierhead.cli.flags import Options, parse
from pierhead.cli.output import Output
from pierhead.cli.pier_copy import split_place
from pierhead.cli.rows import show_rows
from pierhead.errors import InvalidInput

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [
    {"ID": "1", "Names": "web", "Label": lambda name: f"<{name}>"},
    {"ID": "22", "Names": "database", "Label": lambda name: f"<{name}>"},
]
HEADINGS = {"ID": "CONTAINER ID", "Names": "NAMES"}


@pytest.mark.parametrize(
    ("form", "wanted"),
    [
        ("", "CONTAINER ID   NAMES\n1              web\n22             database\n"),
        ("table {{.Names}}\\t{{.ID}}", "NAMES      CONTAINER ID\nweb        1\ndatabase   22\n"),
        ('table {{.Label "a.b"}}', "b\n<a.b>\n<a.b>\n"),
        ("{{.Names}}/{{.ID}}", "web/1\ndatabase/22\n"),
        ("json", '{"ID":"1","Names":"web"}\n{"ID":"22","Names":"database"}\n'),
    ],
)
def test_forms(form: str, wanted: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A table, a table of a template, a template, JSON."""
    show_rows(Output("pier"), form, ROWS, HEADINGS, ("ID", "Names"))
    assert capfd.readouterr().out == wanted


def place_of(*words: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    """The address that a call with these flags and variables has."""
    for name in ("PIER_HOST", "DOCKER_HOST", "PIER_CONTEXT", "DOCKER_CONTEXT", "DOCKER_CONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    flags, _ = parse(pier.FLAGS, words, literal=True)
    root = flags.text("root") or "/var/lib/pierhead"
    call = Call(options=Options(()), arguments=(), output=Output("pier"), root=root, program=flags)
    return str(find_place(call).address)


def test_where_the_engine_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flags go before variables, PIER_HOST before docker's, a context before the machine's own."""
    here = {"XDG_CONFIG_HOME": str(tmp_path)}
    far = {**here, "DOCKER_HOST": "tcp://192.0.2.7", "PIER_HOST": "unix:///x"}
    look = place_of
    assert look("-H", "unix:///y", environment=far, monkeypatch=monkeypatch) == "unix:///y"
    assert look(environment=far, monkeypatch=monkeypatch) == "unix:///x"
    assert look("--root", "/r", environment=far, monkeypatch=monkeypatch) == "unix:///r/run/pierd.sock"
    far["PIER_HOST"] = ""
    assert look(environment=far, monkeypatch=monkeypatch) == "tcp://192.0.2.7:2375"
    assert pier.main(["context", "create", "lab", "--host", "tcp://192.0.2.9:99"]) == 0
    assert pier.main(["context", "use", "lab"]) == 0
    assert look(environment=here, monkeypatch=monkeypatch) == "tcp://192.0.2.9:99"
    assert pier.main(["context", "rm", "lab"]) == 1
    assert pier.main(["context", "rm", "--force", "lab"]) == 0
    with pytest.raises(InvalidInput, match="too long"):
        look("--root", "/r" * 60, environment=here, monkeypatch=monkeypatch)


def test_further_names() -> None:
    """Every further name is of a verb that there is."""
    names = {entry.name for entry in pier.PROGRAM.entries}
    assert set(pier.PROGRAM.aliases.values()) <= names
    assert not set(pier.PROGRAM.aliases) & names


def test_places_of_copies() -> None:
    """A path that begins with a dot or a slash is ours, whatever colons it has."""
    assert split_place("web:/etc") == ("web", "/etc")
    assert split_place("./a:b") == ("", "./a:b")
    assert split_place("-") == ("", "-")
    assert split_place("plain") == ("", "plain")
