"""What lines are called by in logs that containers share, and the packets of the journal."""

from __future__ import annotations

from typing import Any

import pytest

from pierhead.engine.documents import ContainerConfig, HostConfig, LogConfig
from pierhead.engine.logship.journald import JournalFields, encode_fields, field_name
from pierhead.engine.logship.tags import attributes_of, format_details, tag_of
from pierhead.engine.record import Record
from pierhead.errors import InvalidInput
from pierhead.runtime.logs import LogEntry


def container(**options: str) -> Record:
    """One whose driver has these options."""
    return Record(
        id="0123456789abcdef" * 4,
        name="web",
        created_ns=1,
        image="box:1",
        image_id="sha256:" + "f" * 64,
        config=ContainerConfig(
            labels={"app": "shop", "tier": "front"}, env=("MODE=fast", "NAMELESS"), cmd=("sh", "-c", "x")
        ),
        host=HostConfig(
            log_config=LogConfig(
                type="journald", config={key.replace("_", "-"): options[key] for key in options}
            )
        ),
    )


@pytest.mark.parametrize(
    ("tag", "means"),
    [
        ("", "0123456789ab"),
        ("{{.Name}}/{{.ImageName}}", "web/box:1"),
        ('{{.ImageID}} {{.FullID | printf "%.3s"}}', "ffffffffffff 012"),
        ("{{.Command}}", "sh -c x"),
        ("app", "app"),
    ],
)
def test_tags(tag: str, means: str) -> None:
    """The option is a template over the container; without one it is the short id."""
    assert tag_of(container(tag=tag)) == means


def test_what_is_no_tag() -> None:
    """The error says which."""
    with pytest.raises(InvalidInput, match=r"failed to parse log tag '\{\{\.Nme\}\}'"):
        tag_of(container(tag="{{.Nme}}"))


def test_details() -> None:
    """As in the query of a URL, by names; a tag only where there is an option for it."""
    assert format_details(container(labels="tier,app", env="MODE")) == "MODE=fast,app=shop,tier=front "
    assert format_details(container(tag="a b&c")) == "tag=a+b%26c "
    assert format_details(container()) == " "


def test_labels_and_variables() -> None:
    """By names and by patterns; what the container has not is not told."""
    assert attributes_of(container(labels="app,none", env="MODE,NAMELESS")) == {"app": "shop", "MODE": "fast"}
    assert attributes_of(container(labels_regex="^t")) == {"tier": "front"}
    with pytest.raises(InvalidInput, match="labels-regex"):
        attributes_of(container(labels_regex="("))


def test_packets() -> None:
    """A value with a line end in it is counted."""
    assert encode_fields({"A": b"x", "B": b"y\nz"}) == b"A=x\nB\n\x03\0\0\0\0\0\0\0y\nz\n"
    assert field_name("com.example/app") == "COM_EXAMPLE_APP"
    assert field_name("_x") == "X"


def read(packet: bytes) -> dict[str, Any]:
    """Fields of a packet without counted values."""
    return dict(line.partition("=")[::2] for line in packet.decode().splitlines())


def test_fields_of_lines_and_of_parts() -> None:
    """Docker's names; the parts of a long line have one id and are counted, and only the last says so."""
    fields = JournalFields(container(labels="app"))
    whole = read(fields.packet(LogEntry(time="T", stream="stderr", data=b"x\n")))
    assert whole["MESSAGE"] == "x"
    assert whole["PRIORITY"] == "3"
    assert whole["CONTAINER_NAME"] == "web"
    assert whole["CONTAINER_ID"] == whole["SYSLOG_IDENTIFIER"] == whole["CONTAINER_TAG"] == "0123456789ab"
    assert whole["IMAGE_NAME"] == "box:1"
    assert whole["APP"] == "shop"
    assert "CONTAINER_PARTIAL_MESSAGE" not in whole
    first = read(fields.packet(LogEntry(time="T1", stream="stdout", data=b"x")))
    last = read(fields.packet(LogEntry(time="T2", stream="stdout", data=b"y\n")))
    assert (first["CONTAINER_PARTIAL_MESSAGE"], first["CONTAINER_PARTIAL_LAST"]) == ("true", "false")
    assert last["CONTAINER_PARTIAL_LAST"] == "true"
    assert "CONTAINER_PARTIAL_MESSAGE" not in last
    assert first["CONTAINER_PARTIAL_ID"] == last["CONTAINER_PARTIAL_ID"]
    assert [each["CONTAINER_PARTIAL_ORDINAL"] for each in (first, last)] == ["1", "2"]
