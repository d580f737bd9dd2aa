"""Names of snapshots, and the parameters of their overlays."""

from __future__ import annotations

from pathlib import Path

import pytest

from pierhead.errors import InvalidInput, NotFound, Unsupported
from pierhead.images.snapshotindex import SnapshotIndex
from pierhead.images.snapshots import Mount, _overlay_options, check_name

OVERLAY = Mount(lower=("/l2", "/l1"), upper="/up", work="/work")


@pytest.mark.parametrize("name", ["a", "0", "sha256:" + "0" * 64, "box@host/1.2_3+4-5", "x" * 255])
def test_names(name: str) -> None:
    """Chain ids and what people call things are names."""
    check_name(name)


@pytest.mark.parametrize("name", ["", "x" * 256, "../a", "/a", "a\0", "a\n", "é", "'; DROP TABLE"])
def test_other_text(name: str) -> None:
    """Anything else is refused, and shown shortened."""
    with pytest.raises(InvalidInput, match="cannot be a snapshot's key") as caught:
        check_name(name, "key")
    assert len(caught.value.message) < 130


def test_layers_one_by_one() -> None:
    """From Linux 6.5 on each layer is a parameter, the topmost first; upper gets nothing but files."""
    options = _overlay_options(OVERLAY, one_by_one=True)
    assert options[:3] == [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")]
    assert options[3:] == [
        ("lowerdir+", "/l2"),
        ("lowerdir+", "/l1"),
        ("upperdir", "/up"),
        ("workdir", "/work"),
    ]


def test_layers_in_one_value() -> None:
    """Before that they share one, as long as they fit."""
    read = OVERLAY.replace(upper="", work="", readonly=True)
    assert _overlay_options(read, one_by_one=False)[3:] == [("lowerdir", "/l2:/l1")]
    many = read.replace(lower=tuple(f"/proc/self/fd/{number}" for number in range(10, 30)))
    with pytest.raises(Unsupported, match="an overlay of 20 layers needs Linux"):
        _overlay_options(many, one_by_one=False)


def test_layers_of_what_has_gone(tmp_path: Path) -> None:
    """Who asks for the layers of a snapshot that somebody removes just then is told that there is none."""
    index = SnapshotIndex(str(tmp_path))
    try:
        index.add("here", "active", "", lambda directory: Path(directory, "fs").mkdir())
        assert len(index.layers("here")) == 1
        index.remove("here")
        with pytest.raises(NotFound, match="there is no snapshot here"):
            index.layers("here")
    finally:
        index.close()


def test_leftovers_that_cannot_be_removed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What cannot be removed of what nobody has a name for is in the log, and the index is opened."""
    root = tmp_path / "snapshots"
    root.mkdir()
    (root / "removed-0123456789ab").write_text("no directory")
    (root / "0123456789ac").mkdir()
    SnapshotIndex(root).close()
    left = root / "removed-0123456789ab"
    assert [path for path in root.iterdir() if path.name != "index.db"] == [left]
    said = f"what is left in {left} cannot be removed: [Errno 20] Not a directory: '{left}'"
    assert [record.getMessage() for record in caplog.records] == [said]
