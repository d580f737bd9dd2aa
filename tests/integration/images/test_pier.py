"""``pier`` as people call it: images from a registry of ours and back, containers of them, archives."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.support.pier import Pier, busybox_layer, greeting_layer, write_image
from tests.support.registries import Registry, registry
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root", "busybox")
ENV = ["PATH=/bin", "WHO=image"]


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image of two layers, as a directory."""
    directory = tmp_path_factory.mktemp("image")
    layers = busybox_layer(directory), greeting_layer("hello\n")
    execution = {"Cmd": ["cat", "/etc/motd"], "Env": ENV, "WorkingDir": "/tmp", "User": "app"}
    return write_image(directory / "layout", *layers, **execution)


@pytest.fixture
def pier(tmp_path: Path) -> Iterator[Pier]:
    """Over an empty store."""
    with Pier(tmp_path / "store") as made:
        yield made


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Pier]:
    """Over another empty store."""
    with Pier(tmp_path / "other") as made:
        yield made


@pytest.fixture
def loaded(pier: Pier, layout: Path) -> Pier:
    """Over a store with the image, called box."""
    pier("load", "--quiet", "--input", str(layout), "--name", "box")
    return pier


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Registry]:
    """A registry."""
    with registry(tmp_path / "registry") as found:
        yield found


def test_load_and_run(loaded: Pier) -> None:
    """A container of the image runs what the image says, as whom it says, where it says."""
    assert loaded.run("box") == "hello\n"
    assert loaded.run("box", "sh", "-c", "id -un; pwd; echo $WHO") == "app\n/tmp\nimage\n"
    assert not loaded.left()


def test_flags_of_run(loaded: Pier) -> None:
    """They go before what the image says."""
    words = ("-e", "WHO=me", "-w", "/etc", "-u", "0", "--hostname", "h")
    script = "id -u; pwd; echo $WHO; hostname; cat /etc/hostname"
    assert loaded.run(*words, "box", "sh", "-c", script).split() == ["0", "/etc", "me", "h", "h"]
    assert loaded.run("--entrypoint", "echo", "box", "other") == "other\n"
    assert loaded.run_result("-i", "box", "cat", input="from outside").stdout == "from outside"
    assert loaded.run_result("box", "cat", input="from outside").stdout == ""


def test_limits_of_run(loaded: Pier) -> None:
    """Memory, processes and processors are bounded."""
    limits = ("--memory", "64m", "--pids-limit", "7", "--cpus", "0.5")
    files = "memory/memory.limit_in_bytes memory.max pids/pids.max pids.max cpu/cpu.cfs_quota_us cpu.max"
    script = f"cd /sys/fs/cgroup; cat {files} 2>/dev/null; true"
    assert loaded.run(*limits, "box", "sh", "-c", script).split()[:3] == [str(64 << 20), "7", "50000"]


def test_the_exit_status_is_the_commands(loaded: Pier) -> None:
    """Whatever it is; docker's three where it did not run: no such one, not executable, our own error."""
    assert loaded.run_result("box", "sh", "-c", "exit 7").returncode == 7
    failed = loaded.run_result("box", "no-such-program")
    assert failed.returncode == 127
    assert "no-such-program" in failed.stderr
    assert loaded.run_result("box", "/bin/no-such-program").returncode == 127
    assert loaded.run_result("box", "/etc/motd").returncode == 126
    assert loaded.run_result("--pull", "never", "none", "true").returncode == 125
    assert loaded.run_result("--no-such-flag", "box").returncode == 125
    assert not loaded.left()


def test_containers_do_not_see_each_others_files(loaded: Pier) -> None:
    """What one writes is gone with it, and the image stays as it is."""
    assert loaded.run("-u", "0", "box", "sh", "-c", "echo x > /etc/motd; cat /etc/motd") == "x\n"
    assert loaded.run("box") == "hello\n"


def test_read_only(loaded: Pier) -> None:
    """Nothing can be written."""
    failed = loaded.run_result("-u", "0", "--read-only", "box", "touch", "/x")
    assert failed.returncode == 1
    assert "Read-only" in failed.stderr


def test_an_id_of_several_forms(loaded: Pier, server: Registry) -> None:
    """An image that is here compressed and uncompressed has one id, and can be named by it."""
    name = f"{server.address}/box:1"
    loaded("tag", "box", name)
    loaded("push", "-q", name)
    (identity,) = loaded.lines("images", "--quiet")
    assert loaded.run(identity) == "hello\n"
    loaded("tag", identity, "third")
    refused = loaded.result("rmi", identity)
    assert "has 3 names" in refused.stderr
    gone = loaded.lines("rmi", "--force", identity)
    assert {line for line in gone if line.startswith("Untagged")} == {
        f"Untagged: {each}" for each in ("box:latest", "third:latest", name)
    }
    assert loaded.lines("images", "-q") == []


def test_whiteouts(loaded: Pier) -> None:
    """A file that a layer takes away is not there."""
    assert loaded.run_result("box", "ls", "/bin/vi").returncode == 1
    assert loaded.run("box", "ls", "/bin/cat") == "/bin/cat\n"


def test_the_host_as_an_image(pier: Pier) -> None:
    """This machine, its files as they are."""
    assert pier.run("@host", "id", "-u") == "0\n"
    failed = pier.run_result("@host")
    assert "needs a COMMAND" in failed.stderr


# Registries


def test_push_and_pull(loaded: Pier, other: Pier, server: Registry) -> None:
    """What was pushed is pulled by another store, and runs there."""
    name = f"{server.address}/team/box:1"
    loaded("tag", "box", name)
    assert loaded("push", "-q", name).strip() == name
    assert other("pull", "-q", name).strip() == name
    assert other.run(name) == "hello\n"
    again = other.result("pull", name)
    assert f"Status: Image is up to date for {name}" in again.stderr
    assert not other.left()


def test_run_pulls_what_is_missing(loaded: Pier, other: Pier, server: Registry) -> None:
    """Unless it is told not to."""
    name = f"{server.address}/box:latest"
    loaded("tag", "box", name)
    loaded("push", "-q", name)
    refused = other.run_result("--pull", "never", name)
    assert "No such image" in refused.stderr
    run = other.run_result(name)
    assert run.stdout == "hello\n"
    assert "Unable to find image" in run.stderr
    assert other.run("--pull", "never", name) == "hello\n"


def test_progress_without_a_terminal(loaded: Pier, other: Pier, server: Registry) -> None:
    """Lines of what begins and ends; standard output has the name only."""
    name = f"{server.address}/box:latest"
    loaded("tag", "box", name)
    pushed = loaded.result("push", name)
    assert len(re.findall(r"^[0-9a-f]{12}: Pushed$", pushed.stderr, re.MULTILINE)) == 3
    pulled = other.result("pull", name)
    assert pulled.stdout == f"{name}\n"
    assert f"latest: Pulling from {server.address}/box" in pulled.stderr
    assert len(re.findall(r"^[0-9a-f]{12}: Pull complete$", pulled.stderr, re.MULTILINE)) == 2
    assert "\x1b" not in pulled.stderr


def test_no_such_image(pier: Pier, server: Registry) -> None:
    """A sentence with the registry's word; nothing is left."""
    failed = pier.result("pull", f"{server.address}/nothing:here")
    assert failed.returncode == 1
    assert "nothing" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert not pier.left()


def test_signatures(loaded: Pier, other: Pier, server: Registry, tmp_path: Path) -> None:
    """Under a policy that wants them, an image is pulled when it is signed, and not before."""
    name = f"{server.address}/team/box:1"
    loaded("tag", "box", name)
    loaded("push", "-q", name)
    key = tmp_path / "release.key"
    loaded("sign", "--generate-key", str(key))
    policy = tmp_path / "policy.toml"
    policy.write_text(f'[[rule]]\nmatch = "{server.address}/*"\nrequire = "signed"\nkeys = ["{key}.pub"]\n')
    environment = {**os.environ, "PIER_POLICY": str(policy)}
    refused = other.result("pull", name, env=environment)
    assert refused.returncode == 1
    assert f"is refused by rule 1 of {policy}" in refused.stderr
    assert "it has no signature" in refused.stderr
    loaded("sign", "--key", str(key), name)
    assert other.result("pull", "-q", name, env=environment).stdout.strip() == name
    other("rmi", name)
    loaded("push", "-q", name)
    loaded("sign", "--key", str(key), "--referrer", name)
    assert other.result("pull", "-q", name, env=environment).stdout.strip() == name
    renamed = other.result("tag", name, f"{server.address}/other:1", env=environment)
    assert "only a pull can verify a signature" in renamed.stderr


# Archives


def test_save_and_load(loaded: Pier, other: Pier, tmp_path: Path) -> None:
    """Through a pipe as through a file; names come back, but none of what is saved by its id."""
    path, nameless = tmp_path / "box.tar", tmp_path / "nameless.tar"
    identity = loaded.document("inspect", "box")[0]["Id"]
    loaded("save", "--output", str(nameless), identity)
    assert other("load", "-q", "-i", str(nameless)) == f"Loaded image ID: {identity}\n"
    loaded("save", "--output", str(path), "box")
    loaded("rmi", "box")
    assert loaded.lines("images", "-q") == []
    assert loaded("load", "-q", "-i", str(path)) == "Loaded image: box:latest\n"
    with subprocess.Popen([*loaded.words, "save", "box"], stdout=subprocess.PIPE) as saving:
        piped = other.result("load", "-q", stdin=saving.stdout)
    assert piped.stdout == "Loaded image: box:latest\n"
    assert other.run("box") == "hello\n"


def test_export_and_import(loaded: Pier, tmp_path: Path) -> None:
    """All layers in one; what a container runs is said anew."""
    path = tmp_path / "rootfs.tar"
    loaded("export", "--output", str(path), "box")
    with tarfile.open(path) as tar:
        names = tar.getnames()
    assert "etc/motd" in names
    assert "bin/vi" not in names
    loaded("import", "-c", 'CMD ["cat", "/etc/motd"]', "-c", "ENV PATH=/bin", str(path), "flat:1")
    assert loaded.run("flat:1") == "hello\n"
    assert len(loaded.document("inspect", "flat:1")[0]["RootFS"]["Layers"]) == 1


def test_export_without_holes(pier: Pier, tmp_path: Path) -> None:
    """Only where that is asked for; a file that came with holes has them in the layer, too."""
    with (tmp_path / "holes").open("wb") as file:
        file.truncate(8 << 20)
    subprocess.run(["tar", "-C", tmp_path, "-Scf", tmp_path / "in.tar", "holes"], check=True)
    pier("import", str(tmp_path / "in.tar"), "holey")
    sizes = []
    for flags in ((), ("--sparse",)):
        path = tmp_path / "out.tar"
        pier("export", *flags, "--output", str(path), "holey")
        sizes.append(path.stat().st_size)
        with tarfile.open(path) as tar:
            assert (tar.getmember("holes").size, tar.getmember("holes").issparse()) == (8 << 20, bool(flags))
    assert sizes[1] < 1 << 16 < 8 << 20 < sizes[0]


def test_frozen_images(loaded: Pier, other: Pier, server: Registry, tmp_path: Path) -> None:
    """The directory loads again; a digest that is not the tag's is refused."""
    name = f"{server.address}/box:1"
    loaded("tag", "box", name)
    loaded("push", "-q", name)
    digest = loaded.document("inspect", name)[0]["Descriptor"]["digest"]
    loaded("frozen-image", "-q", str(tmp_path / "frozen"), f"{name}@{digest}")
    found = {path.name for path in (tmp_path / "frozen").rglob("*")}
    assert {"VERSION", "json", "layer.tar", "repositories", "manifest.json"} <= found
    other("load", "-q", "-i", str(tmp_path / "frozen"))
    assert other.run(name) == "hello\n"
    wrong = f"{name}@sha256:{'0' * 64}"
    assert loaded.result("frozen-image", "-q", str(tmp_path / "none"), wrong).returncode == 1


# What there is


def test_lists(loaded: Pier) -> None:
    """images, history and inspect agree about names, ids and layers."""
    loaded("tag", "box", "registry.example.com/team/box:2")
    heading, *rows = loaded.lines("images")
    assert heading.split() == ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    assert {tuple(row.split()[:2]) for row in rows} == {
        ("box", "latest"),
        ("registry.example.com/team/box", "2"),
    }
    (document,) = loaded.document("inspect", "box")
    assert loaded.lines("images", "-q", "--no-trunc") == [document["Id"]]
    assert document["Config"]["Env"] == ENV
    assert set(document["RepoTags"]) == {"box:latest", "registry.example.com/team/box:2"}
    assert set(document["GraphDriver"]["Data"]) == set(document["RootFS"]["Layers"])
    history = loaded.lines("history", "box")
    assert [line.split()[5] for line in history[1:]] == ["1", "0"]
    one = json.loads(loaded.lines("images", "--format", "json", "box")[0])
    assert (one["Repository"], one["Platforms"]) == ("box", ["linux/amd64"])


def test_by_id(loaded: Pier) -> None:
    """An id's beginning means the image; rmi of one with several names wants to be sure."""
    identity = loaded.lines("images", "-q")[0]
    assert loaded.run(identity) == "hello\n"
    loaded("tag", identity, "second")
    refused = loaded.result("rmi", identity)
    assert "has 2 names" in refused.stderr
    gone = loaded("rmi", "--force", identity)
    assert "Untagged: box:latest\nUntagged: second:latest\nDeleted: sha256:" in gone
    assert loaded.lines("images", "-q") == []


def test_space(loaded: Pier) -> None:
    """Df says what each byte is for; prune removes what it says, and rmi leaves nothing of an image."""
    table = loaded("df")
    assert re.search(r"^Contents +4 ", table, re.MULTILINE)
    assert re.search(r"^Unpacked layers +2 ", table, re.MULTILINE)
    assert "the image docker.io/library/box:latest" in loaded("df", "-v")
    planned = loaded("prune", "--all", "--dry-run")
    assert planned.count("would remove") == 6
    assert planned.splitlines()[0] == "would untag box:latest"
    assert loaded.lines("images", "-q")
    assert "Untagged: box:latest" in loaded("prune", "--all")
    assert re.search(r"^Contents +0 ", loaded("df"), re.MULTILINE)
    blobs = [path for path in (loaded.root / "content/blobs").rglob("*") if path.is_file()]
    assert not blobs


def test_prune_as_scripts_call_it(loaded: Pier) -> None:
    """With -f, which docker asks for: what no image needs goes, images stay."""
    loaded("tag", "box", "second")
    kept = loaded("df")
    assert loaded("prune", "-f").startswith("Total reclaimed space: 0")
    assert loaded("df") == kept
    assert "Untagged: second:latest" in loaded("prune", "-af")
    assert loaded.lines("images", "-q") == []


def test_filters(loaded: Pier) -> None:
    """As docker's, also with -a; what is no filter is told those that there are."""
    loaded("tag", "box", "registry.example.com/team/box:2")
    for text, names in (
        ("reference=box", ["box"]),
        ("reference=*.com/*/*", ["registry.example.com/team/box"]),
        ("dangling=true", []),
        ("before=box", []),
        ("label=none", []),
    ):
        rows = loaded.lines("images", "-a", "--filter", text)[1:]
        assert [row.split()[0] for row in rows] == names, text
    both = loaded.lines("images", "box", "--filter", "reference=*.com/*/*")[1:]
    assert len(both) == 2, "a pattern is a reference too, and any of them will do"
    failed = loaded.result("images", "--filter", "colour=red")
    assert "there is no filter 'colour'" in failed.stderr
    assert "hint: filters are before, dangling, label, reference, since" in failed.stderr
    assert "there is no image none" in loaded.result("images", "--filter", "since=none").stderr


def test_all_tags(loaded: Pier, server: Registry) -> None:
    """Every tag of one repository goes; a tag beside it contradicts."""
    name = f"{server.address}/team/box"
    for tag in ("1", "2"):
        loaded("tag", "box", f"{name}:{tag}")
    loaded("tag", "box", f"{name}er:3")
    assert loaded("push", "-q", "--all-tags", name).split() == [f"{name}:1", f"{name}:2"]
    assert server.get("/v2/team/box/tags/list").json()["tags"] == ["1", "2"]
    assert server.get("/v2/team/boxer/tags/list").status == 404
    assert "a tag contradicts --all-tags" in loaded.result("push", "-a", f"{name}:1").stderr
    assert "there is no image of none" in loaded.result("push", "-a", "none").stderr


def test_words_of_refusals(loaded: Pier) -> None:
    """What was not found is an error with its hint, a verb's group names its verbs, a file goes to a flag."""
    failed = loaded.result("rmi", "none", "box")
    assert failed.returncode == 1
    assert failed.stdout.startswith("Untagged: box:latest\n")
    assert failed.stderr == "pier: there is no image none\nhint: pull it: pier pull none\n"
    failed = loaded.result("registry")
    assert "hint: pier registry gc, htpasswd or serve" in failed.stderr
    failed = loaded.result("load", "box.tar")
    assert "hint: name the archive with --input FILE" in failed.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "UPPER"), "is no image name"),
        (("run", "--pull", "never", "none"), "No such image: none"),
        (("run", "--memory", "lots", "box"), "--memory cannot be 'lots'"),
        (("run", "--cpus", "0", "box"), "--cpus cannot be '0'"),
        (("run", "-v", "not/whole:/x", "box"), "--volume cannot be"),
        (("run", "-e", "=x", "box"), "--env needs"),
        (
            ("run", "--platform", "linux/s390x", "--pull", "never", "box"),
            "there is nothing for linux/s390x here",
        ),
        (("tag", "box", "a@sha256:" + "0" * 64), "names a digest"),
        (("load", "-i", "/nowhere"), "there is no file /nowhere"),
        (("import", "-c", "FROM x", "/dev/null", "x"), "'FROM' is no change of an image"),
        (("import", "/dev/null", "x"), "cannot read /dev/null: there is nothing in the archive"),
        (("import", "/etc/passwd", "x"), "cannot read /etc/passwd: this is not a tar archive"),
        (("import", "/etc/passwd", "UPPER"), "pier: 'UPPER' is no image name"),
        (("import", "/nowhere", "x"), "there is no file /nowhere"),
        (("load", "-i", "/etc/passwd"), "cannot read /etc/passwd: this is not a tar archive"),
        (("load", "-i", "/dev/null"), "cannot read /dev/null: the archive holds no image: it is empty"),
        (("save", "-o", "/nowhere/x.tar", "box"), "/nowhere/x.tar"),
        (("push", "none"), "there is no image none"),
        (("bootstrap", "windows:11"), "is not a release"),
        (("sign", "box"), "sign needs an IMAGE and --key"),
        (("registry", "serve", "--listen", "x"), "--listen cannot be 'x'"),
        (("registry",), "registry needs a verb"),
        (("registry", "server"), "unknown verb 'registry server'"),
    ],
)
def test_what_cannot_be(loaded: Pier, words: tuple[str, ...], message: str) -> None:
    """One sentence, docker's status, nothing left."""
    failed = loaded.result(*words)
    assert failed.returncode == (125 if words[0] == "run" else 1)
    assert message in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "internal error" not in failed.stderr
    assert not loaded.left()
