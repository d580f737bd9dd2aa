"""Images to archives: whole, deterministic, and readable as both forms."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.digests import compute_digest
from pierhead.errors import Conflict, InvalidInput, NotFound, OperationFailed
from pierhead.images.archive.load import load
from pierhead.images.archive.save import (
    NamedImage,
    hold,
    plan_save,
    save_archive,
    save_to_directory,
    save_to_fd,
    save_to_path,
)
from pierhead.images.content import ContentStore
from pierhead.images.library import Library
from pierhead.oci.image import INDEX, Platform
from tests.support import image_archives as made
from tests.support.images import make_image, make_index, put_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.images.archive.save import Choose, SavePlan
    from pierhead.images.walk import Presence
    from pierhead.oci.image import Descriptor

ONE, TWO, THREE = made.layer(one="1"), made.layer(two="2"), made.layer(three="3")


@pytest.fixture
def library(tmp_path: Path) -> Iterator[Library]:
    """An empty one."""
    with Library(tmp_path / "images.db", ContentStore(tmp_path / "content")) as made_library:
        yield made_library


@pytest.fixture
def index(library: Library) -> Descriptor:
    """An image for three platforms."""
    put = put_in(library.content)
    layers = {"amd64": ONE, "arm64": TWO, "riscv64": THREE}
    return make_index(put, [make_image(put, [layers[name]], architecture=name) for name in layers])


def written(plan: SavePlan, content: ContentStore) -> bytes:
    """The archive."""
    pieces: list[bytes] = []
    save_archive(plan, content, lambda data: pieces.append(bytes(data)))
    return b"".join(pieces)


def files(archive: bytes) -> dict[str, bytes]:
    """What an archive has, by another reader."""
    found = {}
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        for member in tar:
            assert (member.mtime, member.uid, member.uname) == (0, 0, "")
            content = tar.extractfile(member)
            if content is not None:
                found[member.name] = content.read()
    return found


def is_for(*architectures: str) -> Choose:
    """Whether a platform is one of these."""

    def choose(presence: Presence) -> bool:
        return presence.platform is not None and presence.platform.architecture in architectures

    return choose


def test_both_forms(library: Library) -> None:
    """What docker load needs names blobs of the layout, and every blob is what its name says."""
    image = make_image(put_in(library.content), [ONE, TWO])
    plan = plan_save([NamedImage(descriptor=image, names=("box:2", "box:1"))], library.content)
    found = files(written(plan, library.content))
    assert list(found)[:3] == ["oci-layout", "index.json", "manifest.json"]
    [saved] = json.loads(found["manifest.json"])
    assert saved["RepoTags"] == ["box:1", "box:2"]
    assert [found[name] for name in saved["Layers"]] == [ONE, TWO]
    assert json.loads(found[saved["Config"]])["architecture"] == "amd64"
    listed = json.loads(found["index.json"])["manifests"]
    assert [each["annotations"]["org.opencontainers.image.ref.name"] for each in listed] == ["1", "2"]
    assert {each["digest"] for each in listed} == {image.digest}
    blobs = {name: data for name, data in found.items() if name.startswith("blobs/")}
    assert len(blobs) == 4
    assert all(name.endswith(compute_digest(data)[7:]) for name, data in blobs.items())


def test_the_same_bytes_each_time(library: Library, tmp_path: Path) -> None:
    """To a stream, a pipe and a file; and what is loaded is what was saved."""
    image = NamedImage(descriptor=make_image(put_in(library.content), [ONE]), names=("box:latest",))
    plan = plan_save([image], library.content)
    archive = written(plan, library.content)
    assert len(archive) > plan.size_bytes
    save_to_path(plan, library.content, tmp_path / "box.tar")
    assert (tmp_path / "box.tar").read_bytes() == archive
    reading, writing = os.pipe()
    save_to_fd(plan, library.content, writing)
    os.close(writing)
    with open(reading, "rb") as pipe:
        assert pipe.read() == archive
    with library.lease() as lease:
        [loaded] = load(tmp_path / "box.tar", library, lease)
    assert (loaded.descriptor.digest, loaded.names) == (image.descriptor.digest, image.names)


def test_an_index_is_kept_whole(library: Library, index: Descriptor) -> None:
    """Its bytes are those that were received; each platform is something that docker load can have."""
    plan = plan_save([NamedImage(descriptor=index, names=("box:1",))], library.content)
    found = files(written(plan, library.content))
    assert compute_digest(found[f"blobs/sha256/{index.digest[7:]}"]) == index.digest
    saved = json.loads(found["manifest.json"])
    assert [each["RepoTags"] for each in saved] == [["box:1"], None, None]
    assert {found[each["Layers"][0]] for each in saved} == {ONE, TWO, THREE}


def test_the_platform_that_docker_gets(library: Library, index: Descriptor) -> None:
    """It knows one image of a name: the preferred one, or else the first."""
    image = NamedImage(descriptor=index, names=("box:1",))
    for wanted, layer in (("arm64", TWO), ("riscv64", THREE), ("s390x", ONE)):
        plan = plan_save([image], library.content, prefer=Platform(os="linux", architecture=wanted).__eq__)
        found = files(written(plan, library.content))
        [named] = [each for each in json.loads(found["manifest.json"]) if each["RepoTags"]]
        assert found[named["Layers"][0]] == layer


def test_attestations_go_with_what_they_are_about(library: Library) -> None:
    """One about a platform that is not saved is not saved either."""
    put = put_in(library.content)
    images = [make_image(put, [layer], architecture=name) for layer, name in ((ONE, "a"), (TWO, "b"))]
    about = make_image(put, [THREE], architecture="unknown")
    index = json.loads(library.content.read(make_index(put, [*images, about]).digest, limit_bytes=1 << 20))
    index["manifests"][2]["annotations"] = {"vnd.docker.reference.digest": images[1].digest}
    image = NamedImage(descriptor=put(json.dumps(index).encode(), INDEX))
    for chosen, digests in (
        (is_for("a", "unknown"), {images[0].digest}),
        (is_for("b", "unknown"), {images[1].digest, about.digest}),
    ):
        plan = plan_save([image], library.content, choose=chosen)
        saved = {digest for digest, _ in plan.blobs} & {each.digest for each in (*images, about)}
        assert saved == digests


def test_a_single_image_of_another_platform(library: Library) -> None:
    """It is not what was wanted; one that is incomplete is called that."""
    image = NamedImage(descriptor=make_image(put_in(library.content), [ONE]), names=("box",))
    with pytest.raises(NotFound, match="box has none of the wanted platforms"):
        plan_save([image], library.content, choose=is_for("arm64"))
    assert plan_save([image], library.content, choose=is_for("amd64")).blobs
    library.content.remove(f"sha256:{made.sha256(ONE)}")
    with pytest.raises(Conflict, match="is not here"):
        plan_save([image], library.content, choose=lambda each: each.state == "whole")


def test_a_missing_platform(library: Library, index: Descriptor, tmp_path: Path) -> None:
    """It is named with the content that is missing, and nothing has been written."""
    library.content.remove(f"sha256:{made.sha256(TWO)}")
    with pytest.raises(Conflict, match=f"cannot save box: sha256:{made.sha256(TWO)} of its linux/arm64"):
        plan_save([NamedImage(descriptor=index, names=("box",))], library.content)
    library.content.remove(index.digest)
    with pytest.raises(Conflict, match=f"cannot save {index.digest}: {index.digest} is not here"):
        plan_save([NamedImage(descriptor=index)], library.content)


def test_some_platforms(library: Library, index: Descriptor, tmp_path: Path) -> None:
    """Several make an index of their own, one stands for itself; what is not wanted may be missing."""
    library.content.remove(f"sha256:{made.sha256(TWO)}")
    image = NamedImage(descriptor=index, names=("box",))
    plan = plan_save([image], library.content, choose=is_for("amd64", "riscv64"))
    save_to_path(plan, library.content, tmp_path / "two.tar")
    with library.lease() as lease:
        [two] = load(tmp_path / "two.tar", library, lease)
    assert [each.state for each in library.presences(two.descriptor)] == ["whole", "whole"]
    plan = plan_save([image], library.content, choose=is_for("riscv64"))
    save_to_path(plan, library.content, tmp_path / "one.tar")
    with library.lease() as lease:
        [one] = load(tmp_path / "one.tar", library, lease)
    assert one.descriptor.digest == library.presences(index)[2].descriptor.digest
    with pytest.raises(NotFound, match="box has none of the wanted platforms"):
        plan_save([image], library.content, choose=is_for("s390x"))
    everything = plan_save([image], library.content, choose=lambda each: each.state == "whole")
    assert everything.blobs == plan_save([image], library.content, choose=is_for("amd64", "riscv64")).blobs


def test_a_damaged_content(library: Library, tmp_path: Path) -> None:
    """It is noticed while it is written, and no file takes the place of an older one."""
    image = make_image(put_in(library.content), [ONE])
    plan = plan_save([NamedImage(descriptor=image)], library.content)
    Path(library.content.path(f"sha256:{made.sha256(ONE)}")).write_bytes(ONE[:-1] + b"!")
    (tmp_path / "box.tar").write_bytes(b"old")
    with pytest.raises(InvalidInput, match="is damaged"):
        save_to_path(plan, library.content, tmp_path / "box.tar")
    assert (tmp_path / "box.tar").read_bytes() == b"old"
    assert not list(tmp_path.glob("*.part"))


def test_where_nothing_can_be_written(library: Library, tmp_path: Path) -> None:
    """A closed pipe and a missing directory are sentences."""
    image = make_image(put_in(library.content), [ONE])
    plan = plan_save([NamedImage(descriptor=image)], library.content)
    reading, writing = os.pipe()
    os.close(reading)
    with pytest.raises(OperationFailed, match="cannot write the archive: broken pipe"):
        save_to_fd(plan, library.content, writing)
    os.close(writing)
    with pytest.raises(OperationFailed, match=r"cannot write .*: no such file"):
        save_to_path(plan, library.content, tmp_path / "nowhere/box.tar")


def test_a_directory(library: Library, index: Descriptor, tmp_path: Path) -> None:
    """It is the same layout."""
    plan = plan_save([NamedImage(descriptor=index, names=("box:1",))], library.content)
    save_to_directory(plan, library.content, tmp_path / "layout")
    with library.lease() as lease:
        [image] = load(tmp_path / "layout", library, lease)
    assert (image.descriptor.digest, image.names) == (index.digest, ("box:1",))
    archived = files(written(plan, library.content))
    found = {
        str(path.relative_to(tmp_path / "layout")): path.read_bytes()
        for path in (tmp_path / "layout").rglob("*")
        if path.is_file()
    }
    assert found == archived


def test_what_is_saved_is_held(library: Library) -> None:
    """A collection that comes meanwhile takes nothing of it."""
    image = make_image(put_in(library.content), [ONE])
    with library.lease(purpose="save") as lease:
        held = hold([NamedImage(descriptor=image)], lease)
        library.collect()
        written(plan_save(held, library.content), library.content)


def test_what_is_no_image_of_archives(library: Library) -> None:
    """Artifacts are in the layout, and not in what docker load reads."""
    image = make_image(put_in(library.content), [b"{}"])
    raw = library.content.read(image.digest, limit_bytes=1 << 20)
    text = raw.replace(b"application/vnd.oci.image.layer.v1.tar", b"application/vnd.in-toto+json")
    library.content.write(text)
    artifact = image.replace(digest=compute_digest(text), size=len(text))
    plan = plan_save([NamedImage(descriptor=artifact, names=("box:sbom",))], library.content)
    assert plan.documents["manifest.json"] == b"[]"
    assert artifact.digest in dict(plan.blobs)
