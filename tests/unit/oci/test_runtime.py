"""The OCI documents."""

from __future__ import annotations

import json
from pathlib import Path

from pierhead.oci import runtime
from pierhead.oci.document import decode, encode, json_name
from pierhead.oci.runtime import Spec, State
from pierhead.values import Value

EVERY_FIELD = json.loads(Path(__file__).with_name("every_field.json").read_text())


def names_in(document: object) -> set[str]:
    """All keys of a JSON document, at any depth."""
    if isinstance(document, dict):
        return set(document).union(*map(names_in, document.values()))
    return set().union(*map(names_in, document)) if isinstance(document, list) else set()


def test_every_field_is_known() -> None:
    """The specification's every field for Linux is read, under its exact name."""
    spec = decode(Spec, EVERY_FIELD)
    assert spec.process is not None
    assert spec.process.io_priority == runtime.IOPriority(class_="IOPRIO_CLASS_IDLE", priority=4)
    assert spec.linux is not None
    assert spec.linux.resources is not None
    assert spec.linux.resources.memory is not None
    assert spec.linux.resources.memory.disable_oom_killer is False
    assert spec.linux.net_devices["ens4"] == runtime.NetDevice()


def test_every_field_is_written() -> None:
    """Writing gives the same document, but for fields that hold their default."""
    written = encode(decode(Spec, EVERY_FIELD))
    assert names_in(EVERY_FIELD) == names_in(written)
    assert decode(Spec, written) == decode(Spec, EVERY_FIELD)


def test_no_field_is_missing_from_the_example() -> None:
    """The example holds every field of every class, so the tests above cover them all."""
    shown = names_in(EVERY_FIELD)
    for name, cls in vars(runtime).items():
        if isinstance(cls, type) and issubclass(cls, Value) and cls is not State:
            missing = [field for field in cls.fields if json_name(cls, field) not in shown]
            assert not missing, name


def test_ids_of_the_user_are_always_written() -> None:
    """Programs that edit config.json expect process.user.uid to be there."""
    spec = Spec(oci_version="1.3.0", process=runtime.Process(cwd="/"))
    assert encode(spec)["process"]["user"] == {"uid": 0, "gid": 0}


def test_state() -> None:
    """The state document is that of runtime.md."""
    state = State(oci_version="1.3.0", id="c1", status="running", pid=42, bundle="/b", annotations={"k": "v"})
    document = {
        "ociVersion": "1.3.0",
        "id": "c1",
        "status": "running",
        "pid": 42,
        "bundle": "/b",
        "annotations": {"k": "v"},
    }
    assert encode(state) == document
    assert decode(State, document) == state
