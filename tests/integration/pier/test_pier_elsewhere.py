"""``pier --host``: everything is asked of the engine that is named, and our own store is not touched."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Command
from tests.support.daemons import Daemon, daemon
from tests.support.pier import Pier, busybox_layer, write_image
from tests.support.registries import registry
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root", "busybox")


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """An engine that has an image called box."""
    directory = tmp_path_factory.mktemp("elsewhere")
    layout = write_image(directory / "layout", busybox_layer(directory), Cmd=["sh"], Env=["PATH=/bin"])
    Pier(directory / "data")("load", "--quiet", "--input", str(layout), "--name", "box")
    parent = f"/pierhead-far-{directory.stat().st_ino}"
    with daemon(directory, "--bridge", "none", "--cgroup-parent", parent) as it:
        yield it


class Far(Command):
    """The command, told where an engine is; its own store is empty, and stays so."""

    def __init__(self, it: Daemon, store: Path) -> None:
        super().__init__("pier", "--root", store, "--host", f"unix://{it.socket_path}")
        self.store = store

    def lines(self, *words: str) -> list[str]:
        """What it printed."""
        return self(*words).splitlines()


@pytest.fixture
def pier(elsewhere: Daemon, tmp_path: Path) -> Iterator[Far]:
    """The same; what the test made of containers and further names is gone at its end."""
    far = Far(elsewhere, tmp_path / "share")
    yield far
    for container in elsewhere.client.get("/containers/json?all=1").json():
        elsewhere.client.delete(f"/containers/{container['Id']}?force=1")
    for name in far.lines("images", "--format", "{{.Repository}}:{{.Tag}}"):
        if name != "box:latest":
            far("rmi", name)


def test_lists(pier: Far) -> None:
    """Images by tables, templates, ids and filters; how one came to be."""
    heading, row = pier.lines("images")
    assert heading.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert row.split()[:2] == ["box", "latest"]
    identity = pier("image", "inspect", "--format", "{{.Id}}", "box").strip()
    assert pier("images", "--quiet", "--no-trunc") == f"{identity}\n"
    assert (
        pier("images", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}", "b*")
        == f"box:latest {identity[7:19]}\n"
    )
    assert pier("images", "--quiet", "nothing*") == pier("images", "-q", "--filter", "dangling=true") == ""
    assert json.loads(pier("images", "--format", "json"))["Containers"] == "0"
    (step,) = [json.loads(line) for line in pier.lines("history", "--format", "json", "box")]
    assert (step["CreatedBy"], step["ID"]) == ("step 0", identity[7:19])
    assert pier("history", "--human=false", "--format", "{{.Size}}", "box").strip().isdecimal()


def test_names(pier: Far) -> None:
    """A tag more, a tag less; who uses an image keeps it."""
    pier("tag", "box", "team/box:2")
    assert "team/box:2" in pier.lines("images", "--format", "{{.Repository}}:{{.Tag}}")
    assert pier.lines("rmi", "team/box:2") == ["Untagged: team/box:2"]
    pier("run", "-d", "--name", "user", "--network", "none", "box", "sleep", "1000")
    for flags in ((), ("--force",)):
        refused = pier.result("rmi", *flags, "box")
        assert (refused.returncode, "hint: remove the container user first" in refused.stderr) == (1, True)
    missing = pier.result("rmi", "bos")
    assert missing.stderr == "pier: No such image: bos:latest\nhint: did you mean box?\n"
    assert pier("rmi", "--force", "bos") == ""


def test_archives(pier: Far, tmp_path: Path) -> None:
    """Saved, loaded, imported from files and pipes; a container's files come out."""
    archive, files = tmp_path / "box.tar", tmp_path / "files.tar"
    pier("save", "--output", str(archive), "box")
    assert pier("load", "--input", str(archive)) == "Loaded image: box:latest\n"
    pier("run", "--name", "writer", "--network", "none", "box", "sh", "-c", "echo kept > /etc/note")
    pier("container", "export", "--output", str(files), "writer")
    with tarfile.open(files) as tar:
        note = tar.extractfile("etc/note")
        assert note is not None
        assert note.read() == b"kept\n"
    pier("export", "-o", str(tmp_path / "same.tar"), "writer")
    assert (tmp_path / "same.tar").stat().st_size == files.stat().st_size
    made = pier("import", "--change", "CMD cat /etc/note", str(files), "taken:1")
    assert made.startswith("sha256:")
    assert pier("run", "--rm", "--network", "none", "taken:1") == "kept\n"
    failed = pier.result("export", "--output", str(tmp_path / "nothing.tar"), "writr")
    assert "No such container: writr\nhint: did you mean writer?" in failed.stderr
    assert not (tmp_path / "nothing.tar").exists()


def test_registries(pier: Far, tmp_path: Path) -> None:
    """Pushed, all its tags too, and pulled; nothing of it came to our own store."""
    with registry(tmp_path / "registry") as server:
        name = f"{server.address}/team/box"
        for tag in ("1", "2"):
            pier("tag", "box", f"{name}:{tag}")
        assert pier("push", "--quiet", "--all-tags", name) == f"{name}:1\n{name}:2\n"
        assert server.get("/v2/team/box/tags/list").json()["tags"] == ["1", "2"]
        pier("rmi", f"{name}:1")
        assert pier("pull", "--quiet", f"{name}:1") == f"{name}:1\n"
        assert f"{name}:1" in pier.lines("images", "--format", "{{.Repository}}:{{.Tag}}")
        failed = pier.result("pull", f"{name}:3")
        assert failed.returncode == 1
        assert "pier push --all-tags" in pier.result("push", "-a", f"{name}:1").stderr
    assert not pier.store.exists()


def test_what_is_of_our_own_store(pier: Far) -> None:
    """Verbs that an engine cannot do say which verb can."""
    assert "hint: pier system df --verbose" in pier.result("df").stderr
    assert "hint: pier image prune" in pier.result("prune").stderr
    assert "searching registries is not supported" in pier.result("search", "box").stderr


def test_networks_that_our_engine_has_not(pier: Far) -> None:
    """Those that there are are listed; others are refused in the engine's words."""
    assert pier.lines("network", "ls", "--format", "{{.Name}}") == ["host", "none"]
    assert "networks of one's own are not supported" in pier.result("network", "create", "lan").stderr
    assert pier("network", "prune", "--force") == ""
    assert pier.result("network", "rm", "host").returncode == 1
    assert "needs a --subnet" in pier.result("network", "create", "--gateway", "10.0.0.1", "lan").stderr


def test_room(pier: Far) -> None:
    """Sums by kind, and each image, container and volume with what it needs and who uses it."""
    pier("volume", "create", "kept")
    pier(
        "run",
        "--name",
        "user",
        "--network",
        "none",
        "-v",
        "kept:/data",
        "box",
        "sh",
        "-c",
        "echo x > /data/x",
    )
    told = json.loads(pier("system", "df", "--verbose", "--format", "json"))
    (image,) = [each for each in told["Images"] if each["Repository"] == "box"]
    assert (image["Containers"], image["SharedSize"]) == ("1", "0B")
    assert [each["Names"] for each in told["Containers"]] == ["user"]
    assert [(each["Name"], each["Links"]) for each in told["Volumes"]] == [("kept", "1")]
    table = pier("system", "df", "-v")
    for title in ("Images space usage:", "Containers space usage:", "Local Volumes space usage:"):
        assert f"{title}\n\n" in table
    assert "hint: --format json" in pier.result("system", "df", "-v", "--format", "{{.Type}}").stderr
    pier("rm", "user")
    pier("volume", "rm", "kept")
