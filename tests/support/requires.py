"""What a test needs of the machine: a test whose need is not met is skipped, and the skip names the need.

    pytestmark = requires("root")

    @requires("root", "podman")
    def test_something() -> None: ...

A need is one of the machine's properties below, ``python:NAME`` for a Python package, or else the name of a
program on PATH.  Packages and programs can be installed: where CI is ``true`` in the environment, it is an
error that they are missing, and not a skip.

    root                the tests run as user 0 with the right to make cgroups and mounts
    cgroup-v1           a hierarchy of cgroup v1 with controllers is mounted (hybrid counts)
    cgroup-v2           cgroup2 has all the controllers there are
    NAME-controller     the cgroup controller (memory, cpu, io, …) is usable in some hierarchy
    apparmor            AppArmor is enabled
    systemd             systemd is running as the service manager
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from pathlib import Path

import pytest

from pierhead.linux.apparmor import is_enabled
from pierhead.linux.cgroupfs import Hierarchies, discover


@functools.cache
def _hierarchies() -> Hierarchies:
    return discover()


def _is_met(need: str) -> bool:
    if need == "root":
        return os.geteuid() == 0
    if need == "apparmor":
        return is_enabled()
    if need == "systemd":
        return Path("/run/systemd/system").is_dir()
    if need == "cgroup-v1":
        return _hierarchies().mode in ("v1", "hybrid")
    if need == "cgroup-v2":
        return _hierarchies().mode == "v2"
    if need.endswith("-controller"):
        return _hierarchies().find(need.removesuffix("-controller")) is not None
    if need.startswith("python:"):
        return importlib.util.find_spec(need.removeprefix("python:")) is not None
    return shutil.which(need) is not None


def _is_property(need: str) -> bool:
    """Whether the need is of a kind that nobody can install."""
    return need in ("root", "systemd", "apparmor", "cgroup-v1", "cgroup-v2") or need.endswith("-controller")


def requires(*needs: str) -> pytest.MarkDecorator:
    """A mark that skips the test unless the machine has all of ``needs``."""
    missing = [need for need in needs if not _is_met(need)]
    packages = [need for need in missing if not _is_property(need)]
    if packages and len(packages) == len(missing) and os.environ.get("CI") == "true":
        pytest.fail(f"CI must have {', '.join(packages)} installed", pytrace=False)
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")
