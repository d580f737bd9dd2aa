"""Random archives of few names and many tricks: nothing outside changes, and both forms mean the same."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pierhead.errors import PierheadError
from pierhead.images.tarlayer.entry import Entry
from tests.support.requires import requires
from tests.support.tars import pack
from tests.support.unpacking import describe, unpack

if TYPE_CHECKING:
    from pierhead.images.unpack import Whiteouts

pytestmark = [requires("root", "python:isal", "python:backports.zstd"), pytest.mark.timeout(400)]

RANDOM = settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
TRICKS = ("a", "b", "c", "..", ".", "", ".wh.a", ".wh.b", ".wh..wh..opq", "outside", "secret")
NAMES = st.lists(st.sampled_from(TRICKS), min_size=1, max_size=4).map("/".join)
TARGETS = st.one_of(
    NAMES, st.sampled_from(("/", "..", "../outside", "/../outside", "a/../../outside", "a", "b"))
)
KINDS = st.sampled_from(
    ("file", "file", "directory", "directory", "symlink", "symlink", "hardlink", "fifo", "character", "block")
)
HOSTILE = st.builds(
    lambda name, kind, target, mode: (
        Entry(
            name=name.encode() or b"x",
            kind=kind,
            linkname=target.encode() if kind in ("symlink", "hardlink") else b"",
            mode=mode,
        ),
        b"data" if kind == "file" else b"",
    ),
    NAMES,
    KINDS,
    TARGETS,
    st.sampled_from((0o777, 0o000, 0o4755)),
)


@RANDOM
@given(
    lower=st.lists(HOSTILE, max_size=6),
    layer=st.lists(HOSTILE, max_size=12),
    form=st.sampled_from(("overlay", "overlay-user", "apply")),
)
def test_nothing_outside_changes(
    tmp_path: Path, lower: list[tuple[Entry, bytes]], layer: list[tuple[Entry, bytes]], form: Whiteouts
) -> None:
    """Whatever the archives say, one over the other; all that is ever raised is a sentence."""
    top = Path(tempfile.mkdtemp(dir=tmp_path))
    (top / "outside").mkdir()
    (top / "outside/secret").write_text("secret")
    before = describe(top / "outside")
    for archive in (lower, layer):
        try:
            unpack(pack(*archive), top / "root", whiteouts=form)
        except PierheadError as error:
            assert error.message  # noqa: PT017 - any sentence will do
    assert describe(top / "outside") == before
    assert sorted(os.listdir(top)) == ["outside", "root"]
    shutil.rmtree(top)


PLAIN_NAMES = st.lists(st.sampled_from(("a", "b", "c")), min_size=1, max_size=3).map("/".join)


@st.composite
def layers(draw: st.DrawFn) -> list[Entry | tuple[Entry, bytes]]:
    """A layer as a builder writes one: every directory before what is in it, and each name once."""
    kinds: dict[str, str] = {}
    for name in sorted(draw(st.lists(PLAIN_NAMES, max_size=8))):
        parts = name.split("/")
        above = ["/".join(parts[:count]) for count in range(1, len(parts))]
        if all(kinds.setdefault(each, "directory") == "directory" for each in above):
            kinds.setdefault(name, draw(st.sampled_from(("file", "directory", "symlink", "whiteout"))))
    content = draw(st.binary(min_size=1, max_size=3))
    entries: list[Entry | tuple[Entry, bytes]] = []
    for name, kind in sorted(kinds.items()):
        path = name.encode()
        if kind == "directory":
            entries.append(Entry(name=path, kind="directory", mode=0o755))
            if draw(st.integers(0, 3)) == 0:
                entries.append(Entry(name=path + b"/.wh..wh..opq"))
        elif kind == "whiteout":
            parent, _, last = path.rpartition(b"/")
            entries.append(Entry(name=(parent + b"/" if parent else b"") + b".wh." + last))
        elif kind == "symlink":
            entries.append(Entry(name=path, kind="symlink", linkname=b"nowhere"))
        else:
            entries.append((Entry(name=path), content))
    return entries


def seen(root: Path) -> dict[str, object]:
    """Names, and what tells them from one another."""
    return {name: (about[0], about[6]) for name, about in describe(root).items() if name != "."}


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(below=layers(), above=layers(), top=layers())
def test_overlaid_and_applied_layers_are_the_same(
    tmp_path: Path,
    below: list[Entry | tuple[Entry, bytes]],
    above: list[Entry | tuple[Entry, bytes]],
    top: list[Entry | tuple[Entry, bytes]],
) -> None:
    """Three layers applied one after the other show what the kernel's overlay of the three shows."""
    place = Path(tempfile.mkdtemp(dir=tmp_path))
    for number, layer in enumerate((below, above, top)):
        unpack(pack(*layer), place / "applied", whiteouts="apply")
        unpack(pack(*layer), place / str(number), whiteouts="overlay")
    (place / "merged").mkdir()
    options = f"lowerdir={place}/2:{place}/1:{place}/0"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(place / "merged")], check=True)
    try:
        assert seen(place / "applied") == seen(place / "merged")
    finally:
        subprocess.run(["umount", str(place / "merged")], check=True)
    shutil.rmtree(place)
