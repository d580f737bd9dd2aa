"""The daemon's log: a line for each entry on standard error, as text or as JSON.

time="2026-11-26T08:00:00.123456789Z" level=info msg="listening at unix:///run/pierhead/pierd.sock"
{"level":"info","msg":"listening at …","time":"2026-11-26T08:00:00.123456789Z"}
"""

from __future__ import annotations

import logging
import time

from pierhead.jsontext import format_compact

_LEVELS = {"WARNING": "warning", "CRITICAL": "fatal"}


class LogLine(logging.Formatter):
    """Entries as dockerd writes them, which those who collect logs know."""

    def __init__(self, *, json: bool) -> None:
        """Text, or JSON."""
        super().__init__()
        self._json = json

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        message = record.getMessage()
        if record.exc_info:
            message = f"{message}\n{self.formatException(record.exc_info)}"
        level = _LEVELS.get(record.levelname, record.levelname.lower())
        moment = _format_moment(record.created)
        if self._json:
            return format_compact({"level": level, "msg": message, "time": moment})
        return f'time="{moment}" level={level} msg={format_compact(message)}'


def _format_moment(time_s: float) -> str:
    whole = int(time_s)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole))
    return f"{text}.{int((time_s - whole) * 1e9):09}Z"


def begin_log(level: str, log_format: str) -> None:
    """What is logged from now on stands on standard error."""
    written = logging.StreamHandler()
    written.setFormatter(LogLine(json=log_format == "json"))
    logging.basicConfig(handlers=[written], force=True)
    set_level(level)


def set_level(level: str) -> None:
    """Entries of this level and above are written; asyncio's own only where they tell of trouble."""
    logging.getLogger().setLevel(level.upper())
    logging.getLogger("asyncio").setLevel(logging.WARNING)
