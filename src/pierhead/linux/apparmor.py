"""AppArmor: which profiles the kernel has, and how it gets one.

Source: apparmor(7), apparmor_parser(8); the kernel's Documentation/admin-guide/LSM/apparmor.rst.
"""

from __future__ import annotations

import os

from pierhead.errors import OperationFailed, Unavailable
from pierhead.linux.files import read_file
from pierhead.linux.process import run_program

_PARSER = "apparmor_parser"
_TIMEOUT_S = 30.0
_PLACES = ("/usr/sbin", "/sbin", "/usr/local/sbin")
"""Where an ordinary PATH does not look."""


def is_enabled(path: str = "/sys/module/apparmor/parameters/enabled") -> bool:
    """Whether the kernel confines by it."""
    try:
        return read_file(path).strip() == b"Y"
    except OSError:
        return False


def loaded_profiles(path: str = "/sys/kernel/security/apparmor/profiles") -> frozenset[str]:
    """Names of the kernel's profiles; none where securityfs is not mounted."""
    try:
        text = read_file(path).decode(errors="replace")
    except OSError:
        return frozenset()
    return frozenset(line.rpartition(" (")[0] for line in text.splitlines())


def load_profile(text: str) -> None:
    """The kernel has the profile, in place of one of its name.

    Raises:
        Unavailable: there is no program that compiles it.
        OperationFailed: it was refused.
    """
    path = next((each for place in _PLACES if os.access(each := f"{place}/{_PARSER}", os.X_OK)), "")
    if not path:
        hint = "install the package apparmor"
        raise Unavailable(f"{_PARSER} is not installed", code="no-apparmor-parser", hint=hint)
    words = (_PARSER, "--replace", "--skip-cache")
    try:
        code, said = run_program(words, path=path, stdin=text.encode(), timeout_s=_TIMEOUT_S)
    except TimeoutError:
        raise OperationFailed(f"{_PARSER} does not end", code="apparmor-refused") from None
    if code:
        said = said.strip().splitlines()[-1] if said.strip() else f"status {code}"
        raise OperationFailed(f"{_PARSER} refuses a profile: {said}", code="apparmor-refused")
