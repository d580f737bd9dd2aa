"""Log drivers and their options, by Docker's names.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead import figures
from pierhead.engine.specgen.syslogwords import FORMATS, parse_address, parse_facility
from pierhead.errors import InvalidInput

if TYPE_CHECKING:
    from pierhead.engine.documents import LogConfig

_EVERY = frozenset(("mode", "max-buffer-size", "labels", "labels-regex", "env", "env-regex", "tag"))
_FILES = frozenset(("max-size", "max-file", "compress"))
_CACHE = frozenset(("cache-disabled", "cache-max-size", "cache-max-file", "cache-compress"))
_SYSLOG = frozenset(
    (
        "syslog-address",
        "syslog-facility",
        "syslog-format",
        "syslog-tls-ca-cert",
        "syslog-tls-cert",
        "syslog-tls-key",
        "syslog-tls-skip-verify",
    )
)

DRIVERS = {
    "json-file": _EVERY | _FILES,
    "local": _EVERY | _FILES,
    "journald": _EVERY | _CACHE,
    "syslog": _EVERY | _CACHE | _SYSLOG,
    "none": _EVERY,
}
"""Options by driver."""

_SHIPPED = frozenset(("journald", "syslog"))
_CACHE_BYTES, _CACHE_FILES = 20 << 20, 5
"""Of the files beside a driver that sends lines on: docker's numbers."""
_UNBOUNDED_FILES = 1_000_000


def check_log_config(log: LogConfig) -> None:
    """There is such a driver, and it has such options.

    Raises:
        InvalidInput: with Docker's sentence.
    """
    if log.type not in DRIVERS:
        raise InvalidInput(
            f"logger: no log driver named '{log.type}' is registered",
            code="no-such-log-driver",
            hint=f"there are {', '.join(DRIVERS)}",
        )
    for name in log.config:
        if name not in DRIVERS[log.type]:
            raise InvalidInput(f"unknown log opt '{name}' for {log.type} log driver", code="bad-log-option")
    for prefix in ("", "cache-"):
        size, count = log.config.get(f"{prefix}max-size"), log.config.get(f"{prefix}max-file")
        if size is not None and size != "-1":
            parse_size(size)
        if count is not None and (not count.isdecimal() or not count.isascii() or int(count) < 1):
            message = f"{prefix}max-file cannot be less than 1, found {count!r}"
            raise InvalidInput(message, code="bad-log-option")
    if log.type == "syslog":
        _check_syslog(log.config)
    if log.config.get("mode", "blocking") not in ("blocking", "non-blocking"):
        mode = log.config["mode"]
        raise InvalidInput(f"logger: logging mode not supported: {mode}", code="bad-log-option")


def _check_syslog(options: dict[str, str]) -> None:
    parse_address(options.get("syslog-address", ""))
    parse_facility(options.get("syslog-facility", ""))
    wanted = options.get("syslog-format", "")
    if wanted not in FORMATS:
        raise InvalidInput(
            f"Invalid syslog format: {wanted}", code="bad-log-option", hint=f"one of {', '.join(FORMATS[1:])}"
        )


def is_shipped(log: LogConfig) -> bool:
    """Whether somebody sends on what is written to the files."""
    return log.type in _SHIPPED


def is_readable(log: LogConfig) -> bool:
    """Whether output can be read again."""
    if is_shipped(log):
        return log.config.get("cache-disabled", "false").lower() not in ("true", "1", "t")
    return log.type != "none"


def kept_files(log: LogConfig) -> int:
    """How many files of output are kept, with the newest."""
    if is_shipped(log):
        return int(log.config.get("cache-max-file", _CACHE_FILES))
    return int(log.config.get("max-file", "1"))


def log_files(log: LogConfig) -> tuple[int, int]:
    """How large a file becomes, 0 for any size, and how many the writer keeps.

    Where lines are sent on, files go when they have been sent; a container that would rather lose lines than
    keep them (``mode=non-blocking``) keeps as many as anybody else.
    """
    size = log.config.get("cache-max-size" if is_shipped(log) else "max-size", "")
    size_bytes = 0 if size in ("", "-1") else parse_size(size)
    if not is_shipped(log):
        return size_bytes, kept_files(log)
    blocks = log.config.get("mode", "blocking") == "blocking"
    return size_bytes or _CACHE_BYTES, _UNBOUNDED_FILES if blocks else max(2, kept_files(log))


def parse_size(text: str) -> int:
    """Bytes of a size like ``10m``: units are powers of 1024, as Docker has them for sizes in memory.

    Raises:
        InvalidInput: it is none.
    """
    found = figures.parse_size(text)
    if found is None:
        raise InvalidInput(f"invalid size: '{text}'", code="bad-size", hint="say bytes, or 64k, 10m, 1g")
    return found
