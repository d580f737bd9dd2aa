"""Options of the driver syslog, and lines as its servers read them."""

from __future__ import annotations

import re

import pytest

from pierhead.engine.documents import LogConfig
from pierhead.engine.specgen.logwords import check_log_config, is_readable, log_files
from pierhead.engine.specgen.syslogwords import SyslogAddress, SyslogForm, parse_address, parse_facility
from pierhead.errors import InvalidInput
from pierhead.runtime.logs import LogEntry

OUT = LogEntry(time="2026-11-06T08:00:09.123456789Z", stream="stdout", data=b"hello\n")
ERR = OUT.replace(stream="stderr", data=b"half a li")
FORM = SyslogForm(tag="web", hostname="box", pid=7)


def test_addresses() -> None:
    """Schemes are docker's; 514 is the port where none is named."""
    assert parse_address("") == SyslogAddress()
    assert parse_address("unix:///dev/log") == SyslogAddress(scheme="unix", path="/dev/log")
    assert parse_address("unixgram:///dev/log").scheme == "unixgram"
    assert parse_address("udp://192.0.2.1") == SyslogAddress(scheme="udp", host="192.0.2.1", port=514)
    assert parse_address("tcp+tls://logs.example:6514").port == 6514
    assert parse_address("tcp://[2001:db8::1]:99") == SyslogAddress(scheme="tcp", host="2001:db8::1", port=99)


@pytest.mark.parametrize("text", ["/dev/log", "http://h", "udp://", "unix://", "tcp://h:x", "unix://h/x"])
def test_what_is_no_address(text: str) -> None:
    """Anything else is refused when the container is made."""
    with pytest.raises(InvalidInput, match="syslog-address"):
        check_log_config(LogConfig(type="syslog", config={"syslog-address": text}))


def test_facilities() -> None:
    """By name and by number; a daemon's is the usual one."""
    assert [parse_facility(each) for each in ("", "kern", "local7", "16")] == [3, 0, 23, 16]
    for text in ("24", "web", "-1"):
        with pytest.raises(InvalidInput, match="facility"):
            parse_facility(text)


def test_lines_of_rfc_3164() -> None:
    """With the host's name, and without it for this machine's own server; errors have a worse severity."""
    assert FORM.replace(format="rfc3164").message(OUT).endswith(b" box web[7]: hello\n")
    plain = FORM.message(ERR)
    assert re.fullmatch(rb"<27>Nov  [567] \d\d:\d\d:09 web\[7\]: half a li\n", plain)


def test_lines_of_rfc_5424() -> None:
    """A line has its own time, whenever it is sent; over TLS its length comes first."""
    form = FORM.replace(format="rfc5424", facility=16)
    line = b"<134>1 2026-11-06T08:00:09Z box web 7 web - hello\n"
    assert form.message(OUT) == line
    assert form.replace(counted=True).message(OUT) == b"%d %s" % (len(line), line)
    assert b" 2026-11-06T08:00:09.123456Z " in form.replace(format="rfc5424micro").message(OUT)


def test_files_beside_a_driver_that_sends_lines_on() -> None:
    """They go when they were sent; who would rather lose lines keeps as many as anybody else."""
    log = LogConfig(type="syslog", config={"cache-max-size": "1m", "cache-max-file": "3"})
    size_bytes, count = log_files(log)
    assert size_bytes == 1 << 20
    assert count > 1000
    assert log_files(log.replace(config={**log.config, "mode": "non-blocking"})) == (1 << 20, 3)
    assert log_files(LogConfig(type="json-file", config={"max-size": "10k", "max-file": "2"})) == (10240, 2)
    assert is_readable(log)
    assert not is_readable(LogConfig(type="journald", config={"cache-disabled": "true"}))
    with pytest.raises(InvalidInput, match="format"):
        check_log_config(LogConfig(type="syslog", config={"syslog-format": "x"}))
