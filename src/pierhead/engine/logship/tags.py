"""What a line of output is called by in a log that it shares with others.  Pure.

Source: docker's documentation, "Customize log driver output"; moby, daemon/logger/loginfo.go.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote_plus

from pierhead.engine.naming import SHORT_LENGTH
from pierhead.errors import InvalidInput
from pierhead.templates.gotemplate import format_template

if TYPE_CHECKING:
    from pierhead.engine.record import Record

USUAL_TAG = "{{.ID}}"
DAEMON_NAME = "pierhead"


def tag_of(record: Record) -> str:
    """The tag that the container's driver is to write.

    Raises:
        InvalidInput: its option is no template, or asks for what there is not.
    """
    template = record.host.log_config.config.get("tag") or USUAL_TAG
    command = (*_words(record.config.entrypoint), *_words(record.config.cmd))
    image_id = record.image_id
    fields = {
        "ID": record.id[:SHORT_LENGTH],
        "FullID": record.id,
        "Name": record.name,
        "ImageID": image_id.removeprefix("sha256:")[:SHORT_LENGTH],
        "ImageFullID": image_id,
        "ImageName": record.image,
        "Command": " ".join(command),
        "DaemonName": DAEMON_NAME,
    }
    try:
        return format_template(template, fields)
    except InvalidInput as error:
        raise InvalidInput(
            f"failed to parse log tag {template!r}: {error.message}", code="bad-log-option", hint=error.hint
        ) from None


def _words(command: tuple[str, ...] | str | None) -> tuple[str, ...]:
    return (command,) if isinstance(command, str) else command or ()


def attributes_of(record: Record) -> dict[str, str]:
    """Labels and variables of the container that its driver's options ask for.

    Raises:
        InvalidInput: a pattern is none.
    """
    options = record.host.log_config.config
    variables = dict(each.partition("=")[::2] for each in record.config.env if "=" in each)
    return _chosen(record.config.labels, options, "labels") | _chosen(variables, options, "env")


def format_details(record: Record) -> str:
    """What ``docker logs --details`` has before each line: the attributes, and the tag if there is an option
    for it, as they stand in the query of a URL; a blank ends them.

    Raises:
        InvalidInput: an option is wrong.
    """
    found = attributes_of(record)
    if record.host.log_config.config.get("tag"):
        found["tag"] = tag_of(record)
    return ",".join(f"{quote_plus(name)}={quote_plus(found[name])}" for name in sorted(found)) + " "


def _chosen(known: dict[str, str], options: dict[str, str], option: str) -> dict[str, str]:
    names = [name for name in options.get(option, "").split(",") if name]
    found = {name: known[name] for name in names if name in known}
    pattern = options.get(f"{option}-regex", "")
    if pattern:
        try:
            wanted = re.compile(pattern)
        except re.error as error:
            message = f"the log opt {option}-regex is no pattern: {error}"
            raise InvalidInput(message, code="bad-log-option") from None
        found |= {name: value for name, value in known.items() if wanted.search(name)}
    return found
