"""Log drivers and their options, by Docker's names.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead import figures
from pierhead.errors import InvalidInput

if TYPE_CHECKING:
    from pierhead.engine.documents import LogConfig

_EVERY = frozenset(("mode", "max-buffer-size", "labels", "labels-regex", "env", "env-regex", "tag"))
_FILES = frozenset(("max-size", "max-file", "compress"))
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
    "journald": _EVERY,
    "syslog": _EVERY | _SYSLOG,
    "none": _EVERY,
}
"""Options by driver."""


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
    size, count = log.config.get("max-size"), log.config.get("max-file")
    if size is not None and size != "-1":
        parse_size(size)
    if count is not None and (not count.isdecimal() or not count.isascii() or int(count) < 1):
        raise InvalidInput(f"max-file cannot be less than 1, found {count!r}", code="bad-log-option")
    if log.config.get("mode", "blocking") not in ("blocking", "non-blocking"):
        mode = log.config["mode"]
        raise InvalidInput(f"logger: logging mode not supported: {mode}", code="bad-log-option")


def parse_size(text: str) -> int:
    """Bytes of a size like ``10m``: units are powers of 1024, as Docker has them for sizes in memory.

    Raises:
        InvalidInput: it is none.
    """
    found = figures.parse_size(text)
    if found is None:
        raise InvalidInput(f"invalid size: '{text}'", code="bad-size", hint="say bytes, or 64k, 10m, 1g")
    return found
