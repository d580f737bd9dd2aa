"""Contexts in their store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pierhead.cli.call import Call
from pierhead.cli.contexts import (
    Context,
    context_place,
    find_context,
    kept_context,
    list_contexts,
    use_context,
    write_context,
)
from pierhead.cli.flags import Options
from pierhead.cli.output import Output
from pierhead.cli.pier_contexts import VERBS
from pierhead.errors import Conflict

if TYPE_CHECKING:
    from pathlib import Path

FAR = Context(name="far", host="tcp://192.0.2.7")


@pytest.fixture(autouse=True)
def _store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DOCKER_CONTEXT", "PIER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))


def _remove(name: str, *, force: bool = False) -> None:
    verb = VERBS["context rm"]
    options = Options(verb.flags)
    if force:
        options.add("force", "true")
    verb.perform(Call(options=options, arguments=(name,), output=Output("pier"), root=""))


def test_written_anew() -> None:
    """Certificates that the new one has not are gone; one that cannot be written takes nothing away."""
    write_context(FAR, {"ca.pem": b"a", "key.pem": b"k"})
    write_context(FAR, {"ca.pem": b"b"})
    assert find_context("far").read_material() == {"ca.pem": b"b"}
    with pytest.raises(FileNotFoundError):
        write_context(FAR, {"missing/ca.pem": b"c"})
    assert find_context("far").read_material() == {"ca.pem": b"b"}


def test_tls_without_certificates() -> None:
    """Who wants nobody checked still wants TLS, at its port."""
    write_context(FAR.replace(verify=False), {})
    place = context_place("far")
    assert (place.address.port, bool(place.certificates), place.verify) == (2376, True, False)
    write_context(FAR, {})
    place = context_place("far")
    assert (place.address.port, place.certificates) == (2375, "")


def test_removing_what_is_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own name or a variable's, it stays; the choice that is kept is not a variable's to undo."""
    for name in ("far", "near"):
        write_context(FAR.replace(name=name), {})
    use_context("near")
    monkeypatch.setenv("PIER_CONTEXT", "far")
    for name in ("far", "near"):
        with pytest.raises(Conflict, match="in use"):
            _remove(name)
    _remove("far", force=True)
    assert kept_context() == "near"
    _remove("near", force=True)
    assert (kept_context(), list_contexts()) == ("default", {})
