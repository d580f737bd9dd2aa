"""Values of docker's flags: sizes, times, pairs, rates.  Pure; what does not fit is named with its flag."""

from __future__ import annotations

from pierhead.cli.flags import BadUsage
from pierhead.figures import parse_size, parse_span_ns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from pierhead.cli.flags import Options

_NANO = 1_000_000_000


def unfit(flag: str, text: str, hint: str) -> BadUsage:
    """The flag cannot have this value."""
    return BadUsage(f"--{flag} cannot be {text[:120]!r}", hint=hint)


def size_of(options: Options, flag: str) -> int:
    """Bytes; 0 where nothing is given, -1 where it says so."""
    text = options.text(flag)
    if not text:
        return 0
    if text == "-1" and flag == "memory-swap":
        return -1
    found = parse_size(text)
    if found is None or (found == 0 and flag == "memory" and text != "0"):
        raise unfit(flag, text, "write it as 64m or 2g")
    return found


def nano_cpus(options: Options) -> int:
    """Processors in billionths; 0 where nothing is given."""
    text = options.text("cpus")
    if not text:
        return 0
    try:
        found = round(float(text) * _NANO)
    except (ValueError, OverflowError):
        found = 0
    if found <= 0:
        raise unfit("cpus", text, "write it as 2 or 0.5")
    return found


def span_of(options: Options, flag: str) -> int:
    """Nanoseconds; 0 where nothing is given."""
    text = options.text(flag)
    if not text:
        return 0
    found = parse_span_ns(text)
    if found is None:
        raise unfit(flag, text, "write it as 30s or 1m30s")
    return found


def pairs(options: Options, flag: str) -> dict[str, str]:
    """``NAME=VALUE`` words as a dictionary; a name alone has the value ""."""
    found = {}
    for text in options.all(flag):
        name, _, value = text.partition("=")
        if not name:
            raise unfit(flag, text, "write it as NAME=VALUE")
        found[name] = value
    return found


def read_lines(flag: str, path: str) -> list[str]:
    """Lines of a file of variables or labels, without comments.

    Raises:
        BadUsage: it cannot be read.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise BadUsage(f"--{flag}: cannot read {path}: {reason.lower()}") from None
    return [line.lstrip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def variables(options: Options, environment: Mapping[str, str]) -> list[str]:
    """``--env-file`` and then ``--env``: a name alone has our value, or is left out where we have none."""
    entries = [line for path in options.all("env-file") for line in read_lines("env-file", path)]
    found = {}
    for entry in (*entries, *options.all("env")):
        name, equals, _ = entry.partition("=")
        if not name or (" " in name and entry in entries):
            raise BadUsage(f"--env needs NAME=VALUE or NAME, not {entry!r}")
        if equals or name in environment:
            found[name] = entry if equals else f"{name}={environment[name]}"
    return list(found.values())


def labels(options: Options) -> dict[str, str]:
    """``--label-file`` and then ``--label``."""
    entries = [line for path in options.all("label-file") for line in read_lines("label-file", path)]
    return dict(entry.partition("=")[::2] for entry in (*entries, *options.all("label")))


def device_rates(options: Options, flag: str) -> list[dict[str, Any]]:
    """``DEVICE:RATE`` words."""
    found = []
    for text in options.all(flag):
        path, _, rate = text.rpartition(":")
        count = parse_size(rate) if flag.endswith("bps") else int(rate) if rate.isdecimal() else None
        if count is None or not path.startswith("/dev/"):
            raise unfit(flag, text, "write it as /dev/sda:1mb, or a number for iops")
        found.append({"Path": path, "Rate": count})
    return found


def device_weights(options: Options, flag: str) -> list[dict[str, Any]]:
    """``DEVICE:WEIGHT`` words."""
    found = []
    for text in options.all(flag):
        path, _, weight = text.rpartition(":")
        if not weight.isdecimal() or not path.startswith("/dev/"):
            raise unfit(flag, text, "write it as /dev/sda:500")
        found.append({"Path": path, "Weight": int(weight)})
    return found


def ulimits(options: Options) -> list[dict[str, Any]]:
    """``NAME=SOFT[:HARD]`` words."""
    found = []
    for text in options.all("ulimit"):
        name, _, values = text.partition("=")
        soft, colon, hard = values.partition(":")
        try:
            numbers = int(soft), int(hard if colon else soft)
        except ValueError:
            raise unfit("ulimit", text, "write it as nofile=1024:2048") from None
        found.append({"Name": name, "Soft": numbers[0], "Hard": numbers[1]})
    return found


def restart_policy(text: str) -> dict[str, Any]:
    """``no``, ``always``, ``unless-stopped``, ``on-failure[:COUNT]``."""
    name, colon, count = text.partition(":")
    known = ("", "no", "always", "unless-stopped", "on-failure")
    if name not in known or (colon and (name != "on-failure" or not count.isdecimal())):
        raise unfit("restart", text, "it can be no, always, unless-stopped or on-failure:COUNT")
    return {"Name": name or "no", "MaximumRetryCount": int(count) if count else 0}


def split_tag(image: str) -> tuple[str, str]:
    """A name and its tag or digest; "" where it has none."""
    name, at, digest = image.partition("@")
    if at:
        return name, digest
    path, colon, tag = image.rpartition(":")
    return (path, tag) if colon and "/" not in tag else (image, "")


def filters(flag: str, texts: Iterable[str]) -> dict[str, list[str]] | None:
    """``NAME=VALUE`` words as the API wants them; None where there are none."""
    found: dict[str, list[str]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise unfit(flag, text, "write it as NAME=VALUE, as in status=exited")
        found.setdefault(name.strip().lower(), []).append(value.strip())
    return found or None


def moment_of(flag: str, text: str, now_s: float) -> str:
    """Unix time of ``10m`` (ago), a Unix time, or a date; "" where nothing is given."""
    if not text:
        return ""
    if text.replace(".", "", 1).isdecimal():
        return text
    span_ns = parse_span_ns(text)
    if span_ns is not None:
        return f"{now_s - span_ns / _NANO:.9f}"
    from datetime import datetime

    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise unfit(flag, text, "write it as 10m, 2026-01-02T15:04:05 or a Unix time") from None
    return f"{found.timestamp():.9f}"
