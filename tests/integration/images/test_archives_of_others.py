"""Archives between us and the programs that people have: what one writes, the other one reads.

Each program keeps what it keeps in a temporary directory; dockerd runs in a mount namespace of its own.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.digests import compute_digest
from pierhead.images.archive.frozen import FrozenImage, write_frozen
from pierhead.images.archive.load import load, load_archive
from pierhead.images.archive.save import (
    NamedImage,
    plan_save,
    save_archive,
    save_to_directory,
    save_to_path,
)
from pierhead.images.content import ContentStore
from pierhead.images.library import Library
from pierhead.oci.image import CONFIG, decode_manifest
from tests.support import image_archives as made
from tests.support.images import describe
from tests.support.peers import Client, daemon, find_program, inside
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.images.archive.loaded import LoadedImage

NAME = "localhost/box:latest"
LAYERS = (made.layer(**{"etc/hostname": "box"}), made.layer(**{"opt/tool": "#!/bin/sh\n"}))
DIFF_IDS = tuple(compute_digest(each) for each in LAYERS)
_QUIET = ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false", "--bridge=none"]
_PRIVATE = ["/run/docker", "/run/containerd", "/etc/docker"]


class Ours:
    """A library with one image of two gzip layers."""

    def __init__(self, root: Path) -> None:
        """It is loaded, and has a name."""
        self.root = root
        self.library = Library(root / "images.db", ContentStore(root / "content"))
        files = made.docker_save(*LAYERS, tags=[NAME], compressed=True)
        (root / "input.tar").write_bytes(made.archive(files))
        self.image = self.load(root / "input.tar")

    def load(self, path: Path) -> LoadedImage:
        """The one image of an archive or directory; what it names is named."""
        with self.library.lease() as lease:
            [image] = load(path, self.library, lease)
            self.library.set_image(NAME, image.descriptor)
        return image

    def load_pipe(self, data: bytes) -> LoadedImage:
        """The one image that comes from a pipe."""
        with self.library.lease() as lease:
            [image] = made.through_pipe(data, lambda fd: load_archive(fd, self.library, lease))
            self.library.set_image(NAME, image.descriptor)
        return image

    def save(self) -> Path:
        """The archive of the image."""
        path = self.root / "box.tar"
        save_to_path(plan_save([self.named], self.library.content), self.library.content, path)
        return path

    @property
    def named(self) -> NamedImage:
        """The image with its name."""
        return NamedImage(descriptor=self.image.descriptor, names=(NAME,))

    def diff_ids(self, image: LoadedImage) -> tuple[str, ...]:
        """Of an image in the store."""
        content = self.library.content
        manifest = decode_manifest(content.read(image.descriptor.digest, limit_bytes=1 << 20))
        document = json.loads(content.read(manifest.config.digest, limit_bytes=1 << 20))
        return tuple(document["rootfs"]["diff_ids"])


@pytest.fixture
def ours(tmp_path: Path) -> Iterator[Ours]:
    """A library with the image."""
    made_ours = Ours(tmp_path)
    with made_ours.library:
        yield made_ours


@pytest.fixture
def skopeo(tmp_path: Path) -> Client:
    """Without a policy: nothing is signed."""
    return Client(
        [find_program("skopeo"), "--insecure-policy", "--tmpdir", tmp_path], cwd=tmp_path, env={"HOME": "/"}
    )


@pytest.fixture
def podman(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """With a storage of its own, without containers; the names of its directories must be short."""
    home = tmp_path_factory.mktemp("podman")
    (home / "containers.conf").write_text('[engine]\nevents_logger = "file"\ncgroup_manager = "cgroupfs"\n')
    storage = [f"--root={home}/root", f"--runroot={home}/run", f"--tmpdir={home}/tmp", "--storage-driver=vfs"]
    yield Client(
        [find_program("podman"), *storage], env={"CONTAINERS_CONF": f"{home}/containers.conf"}, cwd=home
    )
    assert str(home) not in Path("/proc/self/mountinfo").read_text()


@pytest.fixture(scope="module")
def docker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a private daemon without images."""
    home = tmp_path_factory.mktemp("dockerd")
    arguments = [find_program("docker"), "-H", f"unix://{home}/docker.sock"]

    def ready(pid: int) -> bool:
        return Client(inside(pid, *arguments)).result("version").returncode == 0

    command = [find_program("dockerd"), "-H", f"unix://{home}/docker.sock", "--data-root", f"{home}/data"]
    command += ["--exec-root", f"{home}/exec", "--pidfile", f"{home}/pid", "--storage-driver", "vfs", *_QUIET]
    with daemon(command, log=home / "log", private=_PRIVATE, ready=ready) as pid:
        yield Client(inside(pid, *arguments))


@requires("skopeo")
@pytest.mark.parametrize("source", ["oci-archive:box.tar", f"docker-archive:box.tar:{NAME}", "oci:layout"])
def test_skopeo_reads_what_we_save(ours: Ours, skopeo: Client, source: str) -> None:
    """As either form, and as a directory, with the same layers and the same digest of the configuration."""
    ours.save()
    plan = plan_save([ours.named], ours.library.content)
    save_to_directory(plan, ours.library.content, ours.root / "layout")
    found = json.loads(skopeo("inspect", "--config", source))
    assert tuple(found["rootfs"]["diff_ids"]) == DIFF_IDS
    skopeo("copy", source, "dir:copied")
    manifest = json.loads((ours.root / "copied/manifest.json").read_text())
    ids = ours.library.content.read(ours.image.descriptor.digest, limit_bytes=1 << 20)
    assert manifest["config"]["digest"] == decode_manifest(ids).config.digest
    assert len(manifest["layers"]) == 2


@requires("skopeo")
@pytest.mark.parametrize(
    "target", ["oci-archive:out:v1", f"docker-archive:out:{NAME}", "oci:out:v1", "docker-archive:out"]
)
def test_we_load_what_skopeo_writes(ours: Ours, skopeo: Client, target: str) -> None:
    """Files of both forms and directories, from files and pipes."""
    ours.save()
    skopeo("copy", "oci-archive:box.tar", target)
    image = ours.load(ours.root / "out")
    assert ours.diff_ids(image) == DIFF_IDS
    assert (image.names, image.tag) in {((NAME,), ""), ((), "v1"), ((), "")}
    if not target.startswith("oci:"):
        assert ours.load_pipe((ours.root / "out").read_bytes()) == image


@requires("root", "podman")
def test_podman_loads_what_we_save(ours: Ours, podman: Client) -> None:
    """With its name, from a file and through a pipe."""
    ours.save()
    assert NAME in podman("load", "-i", str(ours.root / "box.tar"))
    found = json.loads(podman("image", "inspect", NAME))[0]
    assert tuple(found["RootFS"]["Layers"]) == DIFF_IDS


@requires("root", "podman")
@pytest.mark.parametrize("form", ["docker-archive", "oci-archive", "oci-dir"])
def test_we_load_what_podman_saves(ours: Ours, podman: Client, form: str) -> None:
    """In each of its forms, with the name."""
    podman("load", "-i", str(ours.save()))
    out = ours.root / "out"
    podman("save", "--format", form, "-o", str(out), NAME)
    image = ours.load(out)
    assert ours.diff_ids(image) == DIFF_IDS
    assert image.names == (NAME,)


@requires("root", "podman", "tar")
def test_podman_loads_frozen_images(ours: Ours, podman: Client) -> None:
    """As an archive of the directory."""
    content = ours.library.content
    frozen = FrozenImage(repository="localhost/box", tag="latest", descriptor=ours.image.descriptor)
    write_frozen([frozen], content, ours.root / "frozen")
    Client(["tar", "-C", ours.root / "frozen", "-cf", ours.root / "frozen.tar", "."])()
    assert NAME in podman("load", "-i", str(ours.root / "frozen.tar"))


@requires("root", "dockerd", "docker", "containerd")
def test_docker_both_ways(ours: Ours, docker: Client) -> None:
    """It loads what we save and freeze, and we load what it saves: the same image id, layers and name."""
    config = decode_manifest(
        ours.library.content.read(ours.image.descriptor.digest, limit_bytes=1 << 20)
    ).config
    assert config.media_type == CONFIG
    frozen = FrozenImage(repository="localhost/box", tag="frozen", descriptor=ours.image.descriptor)
    write_frozen([frozen], ours.library.content, ours.root / "frozen")
    Client(["tar", "-C", ours.root / "frozen", "-cf", ours.root / "frozen.tar", "."])()
    for path, tag in ((ours.save(), "latest"), (ours.root / "frozen.tar", "frozen")):
        docker("load", "-i", str(path))
        found = json.loads(docker("image", "inspect", f"localhost/box:{tag}"))[0]
        assert (found["Id"], tuple(found["RootFS"]["Layers"])) == (config.digest, DIFF_IDS)
    docker("save", "-o", str(ours.root / "saved.tar"), NAME)
    image = ours.load(ours.root / "saved.tar")
    assert (image.names, ours.diff_ids(image)) == ((NAME,), DIFF_IDS)
    assert ours.load_pipe((ours.root / "saved.tar").read_bytes()) == image


@requires("root", "dockerd", "docker", "containerd", "tar")
def test_docker_reads_the_first_form(ours: Ours, docker: Client) -> None:
    """The layers' own documents are enough: nothing of manifest.json is needed."""
    frozen = FrozenImage(repository="localhost/first", tag="form", descriptor=ours.image.descriptor)
    write_frozen([frozen], ours.library.content, ours.root / "frozen")
    (ours.root / "frozen/manifest.json").unlink()
    Client(["tar", "-C", ours.root / "frozen", "-cf", ours.root / "frozen.tar", "."])()
    docker("load", "-i", str(ours.root / "frozen.tar"))
    found = json.loads(docker("image", "inspect", "localhost/first:form"))[0]
    assert tuple(found["RootFS"]["Layers"]) == DIFF_IDS
    assert ours.diff_ids(ours.load(ours.root / "frozen.tar")) == DIFF_IDS


@requires("skopeo")
def test_several_platforms(ours: Ours, skopeo: Client) -> None:
    """An archive with an index is read by a program that chooses among its platforms."""
    content = ours.library.content
    pieces: list[bytes] = []
    index = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [
                {
                    "mediaType": ours.image.descriptor.media_type,
                    "digest": ours.image.descriptor.digest,
                    "size": ours.image.descriptor.size,
                    "platform": {"os": "linux", "architecture": "amd64"},
                }
            ],
        }
    ).encode()
    content.write(index)
    descriptor = describe(index, "application/vnd.oci.image.index.v1+json")
    plan = plan_save([NamedImage(descriptor=descriptor, names=(NAME,))], content)
    save_archive(plan, content, lambda data: pieces.append(bytes(data)))
    (ours.root / "index.tar").write_bytes(b"".join(pieces))
    words = ("--override-arch", "amd64", "--override-os", "linux", "inspect", "--config")
    assert json.loads(skopeo(*words, "oci-archive:index.tar"))["architecture"] == "amd64"
