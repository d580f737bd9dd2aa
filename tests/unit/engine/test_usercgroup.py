"""Which cgroup an ordinary user's engine may divide."""

from __future__ import annotations

import pytest

from pierhead.engine.usercgroup import find_delegated

_MANAGER = "/user.slice/user-1000.slice/user@1000.service"


@pytest.mark.parametrize(
    ("own", "found"),
    [
        (f"{_MANAGER}/app.slice/pierd.service/pierd", f"{_MANAGER}/app.slice/pierd.service"),
        (f"{_MANAGER}/app.slice/run-1.scope/sub/", f"{_MANAGER}/app.slice/run-1.scope"),
        (f"{_MANAGER}/app.slice/pierd.service", ""),
        (f"{_MANAGER}/init.scope", ""),
        ("/user.slice/user-1000.slice/session-3.scope", ""),
        (f"{_MANAGER}/app.slice", ""),
        ("/", ""),
        ("", ""),
    ],
)
def test_what_was_given(own: str, found: str) -> None:
    """What stands below a unit's cgroup, and is no unit itself, is where systemd has divided what it gave."""
    assert find_delegated(own) == found
