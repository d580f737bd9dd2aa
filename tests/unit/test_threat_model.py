"""THREAT_MODEL.md names tests that exist, and every test of an attack is named there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "THREAT_MODEL.md").read_text()
SECURITY = "tests/integration/security"

# What every container should have, and not what somebody attacks.
NO_ATTACKS = {
    "test_the_default_filter_allows",
    "test_names_of_parameters_may_have_slashes",
    "test_volumes_are_the_only_further_mounts",
}


def names_below(directory: str) -> set[str]:
    """Names of all test functions below a directory."""
    paths = (ROOT / directory).rglob("test_*.py")
    return {name for path in paths for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)}


def test_named_tests_exist() -> None:
    """Whoever looks for a named test finds it."""
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    assert named
    assert named - names_below("tests/integration") == set()


def test_named_files_exist() -> None:
    """The same for files."""
    named = re.findall(r"`((?:tests|init)/[\w/.]+)`", TEXT)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_every_attack_is_named() -> None:
    """A test of an attack tells of a threat, and the page has all of them."""
    named = set(re.findall(r"`(test_\w+)`", TEXT))
    attacks = names_below(SECURITY)
    assert attacks > NO_ATTACKS
    assert attacks - named - NO_ATTACKS == set()
