"""Which runtime a name means."""

from __future__ import annotations

import pytest

from pierhead.engine.runtimes import find_runtime
from pierhead.engine.settings import RuntimeProgram, Settings
from pierhead.errors import InvalidInput

CRUN = RuntimeProgram(path="/usr/bin/crun")
SETTINGS = Settings(data_root="/d", exec_root="/e", runtimes={"crun": CRUN}, default_runtime="crun")


@pytest.mark.parametrize("name", ["", "pierhead", "io.containerd.runc.v2"])
def test_names_of_the_library(name: str) -> None:
    """Also where another one is the default."""
    assert find_runtime(name, SETTINGS) is None


def test_names_of_programs() -> None:
    """Those of the settings, and no others: who asks for runc is not given something else."""
    assert find_runtime("crun", SETTINGS) is CRUN
    with pytest.raises(InvalidInput, match=r"^unknown or invalid runtime name: runc$") as caught:
        find_runtime("runc", SETTINGS)
    assert caught.value.hint == "choose one of pierhead, crun"
