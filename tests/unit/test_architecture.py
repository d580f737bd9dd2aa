"""ARCHITECTURE.md says what the code says."""

from __future__ import annotations

import inspect
import re
import tomllib

from pierhead.runtime import handshake, wire_table
from tests.support.drawing import ANY_TIME, Packet, drawings
from tests.support.repository import ROOT

TEXT = (ROOT / "ARCHITECTURE.md").read_text()


def numbers(prefix: str) -> dict[str, int]:
    """Constants of the wire by the lower-case rest of their names."""
    return {
        name.removeprefix(prefix).lower(): value
        for name, value in vars(wire_table).items()
        if name.startswith(prefix)
    }


def drawn() -> list[Packet]:
    """Every packet that is drawn."""
    return [packet for drawing in drawings() for packet in drawing]


def test_every_message_is_drawn() -> None:
    """The drawings have every message of the wire and no other."""
    assert {packet.message for packet in drawn()} == set(numbers("MESSAGE_"))


def test_every_sync_is_drawn() -> None:
    """The drawings have everything that a process of the launch can wait for, and nothing else."""
    assert {packet.detail for packet in drawn() if packet.message == "sync"} == set(numbers("SYNC_"))


def test_directions() -> None:
    """Messages below 16 go to the helper, those from 16 to 31 come from it (wire.def groups them so)."""
    for packet in drawn():
        number = numbers("MESSAGE_")[packet.message]
        if number < 32:
            assert packet.to_python == (number >= 16), packet
        else:
            assert packet.to_python == (packet.message != "go"), packet


def test_whoever_waits_is_answered() -> None:
    """After each sync, and after ready, comes a go before the next one: nothing happens meanwhile."""
    spoken = [packet.message for packet in drawings()[0] if packet.message in ("sync", "ready", "go")]
    assert "sync" in spoken
    assert spoken[1::2] == ["go"] * (len(spoken) // 2)
    assert "go" not in spoken[::2]


def test_a_descriptor_comes_before_its_sync() -> None:
    """Whoever is asked to do something with a descriptor has it already."""
    packets = [packet for packet in drawings()[0] if packet.message in ("descriptor", "sync")]
    assert "descriptor" in {packet.message for packet in packets}
    for number, packet in enumerate(packets):
        if packet.message == "descriptor":
            assert packets[number + 1] == Packet(to_python=True, message="sync", detail=packet.detail)


def test_what_may_come_at_any_time_has_a_drawing_of_its_own() -> None:
    """Errors and times of operations have no place in the order."""
    assert not [packet for packet in drawings()[0] if packet.message in ANY_TIME]


def test_there_is_one_drawing() -> None:
    """The module that leads the dialogue does not draw it a second time, and says where it is drawn."""
    text = inspect.getdoc(handshake) or ""
    assert "ARCHITECTURE.md" in text
    assert "◀──" not in text


def test_floors_are_those_that_are_enforced() -> None:
    """The drawing of the floors has the layers of pyproject.toml, from the top down."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    section = TEXT.partition("\n## Floors\n")[2].partition("\n## ")[0]
    block = re.findall(r"^```text\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[0]
    rows = [sorted(re.findall(r"\w+", line.partition("  ")[0])) for line in block.splitlines()]
    enforced = [sorted(re.findall(r"pierhead\.(\w+)", layer)) for layer in layers]
    assert rows == enforced


def test_every_decision_record_is_listed() -> None:
    """ARCHITECTURE.md links every record of a decision."""
    records = {path.name for path in (ROOT / "docs/adr").glob("[0-9]*.md")}
    assert records
    assert records - set(re.findall(r"\]\(docs/adr/([\w.-]+)\)", TEXT)) == set()


def test_rooms_are_there() -> None:
    """Every file and folder of the table of rooms exists; a name without a folder has the one before it."""
    section = TEXT.partition("\n## Rooms\n")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE):
        folder = ""
        for name in re.findall(r"`([\w/.*]+)`", row):
            path = name if "/" in name else f"{folder}/{name}"
            folder = path.rstrip("/").rpartition("/")[0]
            top = ROOT if path.startswith("init/") else ROOT / "src/pierhead"
            if "/" not in name and "." not in name:  # files of the helper, by their names alone
                path += ".c"
            assert any(top.glob(path.rstrip("/"))), name
