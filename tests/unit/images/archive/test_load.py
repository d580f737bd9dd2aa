"""Archives of every form to images in the store; hostile ones are refused."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pierhead.errors import InvalidInput, NotFound, OperationFailed, PierheadError
from pierhead.images.archive.files import ArchiveFiles, Limits
from pierhead.images.archive.load import load, load_archive
from pierhead.images.content import ContentStore
from pierhead.images.library import Library
from pierhead.oci.image import LAYER, LAYER_GZIP, decode_config, decode_manifest
from tests.support import image_archives as made

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from pierhead.images.archive.loaded import LoadedImage
    from pierhead.oci.image import ImageConfig, Manifest

ONE, TWO = made.layer(one="1"), made.layer(two="2")
FORMS: dict[str, Callable[[], dict[str, bytes]]] = {
    "docker": lambda: made.docker_save(ONE, TWO, tags=["box:latest"]),
    "oci": lambda: made.oci_layout(ONE, TWO, annotations={"org.opencontainers.image.ref.name": "box:latest"}),
    "v1": lambda: made.v1_layout(ONE, TWO),
}


class Loader:
    """A library, and ways to load."""

    def __init__(self, root: Path) -> None:
        """Empty."""
        self.library = Library(root / "images.db", ContentStore(root / "content"))
        self.content = self.library.content
        self.scratch = root / "scratch"
        self.scratch.mkdir()

    def file(self, data: bytes, limits: Limits | None = None) -> LoadedImage:
        """The one image of these bytes, which are in a file."""
        path = self.scratch / "archive.tar"
        path.write_bytes(data)
        return self.path(path, limits)

    def files(
        self, files: Mapping[str, bytes | tarfile.TarInfo], limits: Limits | None = None
    ) -> LoadedImage:
        """The one image of an archive of these files, which comes from a pipe."""
        return self.bytes(made.archive(files), limits)

    def bytes(self, data: bytes, limits: Limits | None = None) -> LoadedImage:
        """The one image of these bytes, which come from a pipe."""
        with self.library.lease() as lease:
            [image] = made.through_pipe(data, lambda fd: load_archive(fd, self.library, lease, limits=limits))
            self.library.set_image("loaded", image.descriptor)
        return image

    def path(self, path: Path, limits: Limits | None = None) -> LoadedImage:
        """The one image of a file or directory."""
        with self.library.lease() as lease:
            [image] = load(path, self.library, lease, limits=limits)
            self.library.set_image("loaded", image.descriptor)
        return image

    def manifest(self, image: LoadedImage) -> Manifest:
        """Of an image in the store."""
        return decode_manifest(self.content.read(image.descriptor.digest, limit_bytes=1 << 20))

    def config(self, image: LoadedImage) -> ImageConfig:
        """Of an image in the store."""
        raw = self.content.read(self.manifest(image).config.digest, limit_bytes=1 << 20)
        return decode_config(raw)


@pytest.fixture
def loader(tmp_path: Path) -> Iterator[Loader]:
    """With nothing in it."""
    loader = Loader(tmp_path)
    with loader.library:
        yield loader


@pytest.mark.parametrize("form", FORMS)
def test_every_form(loader: Loader, form: str) -> None:
    """From a pipe, compressed, as a file in any order, and as a directory: the same image each time."""
    files = FORMS[form]()
    data = made.archive(files)
    image = loader.bytes(data)
    assert image.names == ("box:latest",)
    diff_ids = tuple(f"sha256:{made.sha256(each)}" for each in (ONE, TWO))
    assert loader.config(image).rootfs.diff_ids == diff_ids
    assert [each.digest for each in loader.manifest(image).layers] == list(diff_ids)
    assert loader.bytes(gzip.compress(data)) == image
    backwards = loader.scratch / "backwards.tar"
    backwards.write_bytes(made.archive(dict(reversed(files.items()))))
    assert loader.path(backwards) == image
    assert loader.path(made.write_files(loader.scratch / "directory", files)) == image


@pytest.mark.parametrize("form", FORMS)
def test_large_files_are_not_kept_in_memory(loader: Loader, form: str) -> None:
    """Nothing changes when everything goes through the store."""
    image = loader.files(FORMS[form](), Limits(small_bytes=0))
    assert loader.files(FORMS[form](), Limits(memory_bytes=500)) == image
    for limits in (Limits(small_bytes=0), Limits(memory_bytes=500)):
        loader.library.remove_image("loaded")
        loader.library.collect()
        assert loader.file(made.archive(FORMS[form]()), limits) == image
        assert loader.file(gzip.compress(made.archive(FORMS[form]())), limits) == image


@pytest.mark.parametrize("form", FORMS)
def test_what_no_image_has_stays_in_its_file(loader: Loader, form: str) -> None:
    """Of an archive that can be read anywhere nothing else is copied; layers that come twice are one."""
    files = {**FORMS[form](), "notes": b"n" * 5000, f"blobs/sha256/{made.sha256(b'other')}": b"other"}
    loader.file(made.archive(files), Limits(small_bytes=0))
    contents = {digest for digest, _ in loader.content.digests()}
    assert {f"sha256:{made.sha256(each)}" for each in (ONE, TWO)} <= contents
    assert not contents & {f"sha256:{made.sha256(files[name])}" for name in list(files)[-2:]}


def test_an_archive_that_does_not_begin_its_file(loader: Loader) -> None:
    """It begins where the descriptor stands."""
    path = loader.scratch / "behind"
    path.write_bytes(b"before" + made.archive(made.docker_save(ONE, TWO)))
    fd = os.open(path, os.O_RDONLY)
    os.lseek(fd, 6, os.SEEK_SET)
    with loader.library.lease() as lease:
        load_archive(fd, loader.library, lease, limits=Limits(small_bytes=0))
    os.close(fd)
    assert {f"sha256:{made.sha256(each)}" for each in (ONE, TWO)} <= {
        digest for digest, _ in loader.content.digests()
    }


def test_an_archive_that_is_cut_while_it_is_read(loader: Loader) -> None:
    """What was there when its entries were listed, and is not any more, is no layer."""
    path = loader.scratch / "cut.tar"
    files = made.docker_save(b"x" * 9000)
    path.write_bytes(made.archive(files))
    with loader.library.lease() as lease:
        fd = os.open(path, os.O_RDONLY)
        found = ArchiveFiles(lease.content, fd, Limits(small_bytes=0))
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(InvalidInput, match=r"ends at byte 2000, .*"):
            found.store(next(name for name in files if name.endswith("layer.tar")))
        os.close(fd)
    loader.library.collect(parts_kept_s=0)
    assert not list(loader.content.digests())
    assert not list(loader.content.parts())


def test_compressed_layers_stay_as_they_are(loader: Loader) -> None:
    """And are known as forms of their archives."""
    image = loader.files(made.docker_save(ONE, compressed=True))
    [layer] = loader.manifest(image).layers
    assert layer.media_type == LAYER_GZIP
    assert loader.library.compressed(f"sha256:{made.sha256(ONE)}") == (layer,)


def test_compression_that_oci_does_not_know_is_undone(loader: Loader) -> None:
    """There is no media type for it."""
    files = made.docker_save(ONE)
    files[f"{made.sha256(ONE)}/layer.tar"] = bz2.compress(ONE)
    [layer] = loader.manifest(loader.files(files)).layers
    assert (layer.media_type, layer.digest) == (LAYER, f"sha256:{made.sha256(ONE)}")


def test_several_images(loader: Loader) -> None:
    """All of an archive are loaded; names of the same image come together."""
    first, second = made.docker_save(ONE, tags=["a:1"]), made.docker_save(TWO)
    again = made.docker_save(ONE, tags=["a:2"])
    listed = [json.loads(each["manifest.json"])[0] for each in (first, second, again)]
    files = {**first, **second, "manifest.json": json.dumps(listed).encode()}
    with loader.library.lease() as lease:
        images = made.through_pipe(made.archive(files), lambda fd: load_archive(fd, loader.library, lease))
    assert [image.names for image in images] == [("a:1", "a:2"), ()]


def test_links_between_layers(loader: Loader) -> None:
    """As older Dockers write a layer that occurs twice, and hard links by tar."""
    files: dict[str, bytes | tarfile.TarInfo] = {**made.docker_save(ONE, ONE)}
    listed = json.loads(made.docker_save(ONE, ONE)["manifest.json"])
    listed[0]["Layers"] = ["x/layer.tar", "hard"]
    files["manifest.json"] = json.dumps(listed).encode()
    files["x/layer.tar"] = made.link(f"../{made.sha256(ONE)}/layer.tar")
    files["hard"] = made.link(f"{made.sha256(ONE)}/layer.tar", tarfile.LNKTYPE)
    assert len(loader.manifest(loader.files(files)).layers) == 2


def test_v1_becomes_a_configuration_of_today(loader: Loader) -> None:
    """With a history, and how the topmost layer says that it runs."""
    config = loader.config(loader.files(made.v1_layout(ONE, TWO)))
    assert (config.architecture, config.config and config.config.cmd) == ("arm64", ("sh",))
    assert [each.created_by for each in config.history] == [
        "/bin/sh -c #(nop) step 0",
        "/bin/sh -c #(nop) step 1",
    ]
    files = made.v1_layout(ONE, TWO)
    del files["repositories"]
    assert loader.files(files).names == ()


@pytest.mark.parametrize(
    ("annotations", "names", "tag"),
    [
        ({"org.opencontainers.image.ref.name": "v1"}, (), "v1"),
        (
            {"org.opencontainers.image.ref.name": "v1", "io.containerd.image.name": "docker.io/library/a:v1"},
            ("docker.io/library/a:v1",),
            "",
        ),
        ({}, (), ""),
    ],
)
def test_names_in_layouts(
    loader: Loader, annotations: dict[str, str], names: tuple[str, ...], tag: str
) -> None:
    """Whole ones and mere tags are told apart."""
    image = loader.files(made.oci_layout(ONE, annotations=annotations))
    assert (image.names, image.tag) == (names, tag)


def test_what_the_store_has_need_not_come(loader: Loader) -> None:
    """A layout may lack it; without the store it is incomplete."""
    files = made.oci_layout(ONE, TWO, without=made.sha256(ONE))
    with pytest.raises(InvalidInput, match=f"the archive lacks sha256:{made.sha256(ONE)}"):
        loader.files(files)
    loader.files(made.docker_save(ONE))
    loader.files(files)


def lie(name: str, data: bytes) -> dict[str, bytes | tarfile.TarInfo]:
    """A docker archive in which a file has another content."""
    return {**made.docker_save(ONE, TWO), name: data}


def said(**changes: object) -> dict[str, bytes | tarfile.TarInfo]:
    """A docker archive whose manifest.json says something else."""
    files = made.docker_save(ONE, TWO)
    listed = json.loads(files["manifest.json"])
    listed[0].update(changes)
    return {**files, "manifest.json": json.dumps(listed).encode()}


NAMES = [f"{made.sha256(each)}/layer.tar" for each in (ONE, TWO)]
HOSTILE: dict[str, tuple[Mapping[str, bytes | tarfile.TarInfo], str]] = {
    "nothing": ({}, "holds no image"),
    "no image": ({"a": b"a"}, "holds no image"),
    "root": ({"a": b"a", "etc": made.link("x", tarfile.DIRTYPE)}, "is a root file system"),
    "dots": (lie("../../etc/passwd", b"x"), "leads out of it"),
    "absolute": (lie("/etc/passwd", b"x"), "leads out of it"),
    "device": (
        lie("null", b"") | {"null": made.link("", tarfile.CHRTYPE)},
        "a character, which no image has",
    ),
    "layer": (lie(NAMES[0], TWO), "is not sha256"),
    "exchanged": (said(Layers=NAMES[::-1]), "is not sha256"),
    "too few": (said(Layers=NAMES[:1]), "has 2 layers, manifest.json 1"),
    "too many": (said(Layers=[*NAMES, NAMES[0]]), "has 2 layers, manifest.json 3"),
    "config": (
        said(Config="0" * 64 + ".json") | {"0" * 64 + ".json": made.config(ONE, TWO)},
        "another digest",
    ),
    "no config": (said(Config="x"), "lacks x"),
    "outside": (said(Config="../../etc/passwd"), "lacks ../../etc/passwd"),
    "type": (said(Layers="x"), "expected a list"),
    "no list": (lie("manifest.json", b"{}"), "is not a list"),
    "no JSON": (lie("manifest.json", b"["), "is not JSON"),
    "link out": ({"a/b": made.link("../../x"), **made.docker_save(ONE)}, "outside of it"),
    "absolute link": ({"a": made.link("/etc/shadow"), **made.docker_save(ONE)}, "outside of it"),
    "hard link out": ({"a": made.link("../x", tarfile.LNKTYPE), **made.docker_save(ONE)}, "outside of it"),
    "link to nothing": ({"a": made.link("b"), **made.docker_save(ONE)}, "lacks a"),
    "circle": ({"a": made.link("b"), "b": made.link("a"), **made.docker_save(ONE)}, "lacks a"),
    "blob": ({**made.oci_layout(ONE), f"blobs/sha256/{made.sha256(ONE)}": TWO}, "what came is not"),
    "version": ({**made.oci_layout(ONE), "oci-layout": b'{"imageLayoutVersion": "2"}'}, "of version '2'"),
    "no blob": (made.oci_layout(ONE, without=made.sha256(ONE)), "the archive lacks"),
    "v1 circle": (
        {"a/json": b'{"parent": "a"}', "a/layer.tar": ONE, "repositories": b'{"x": {"y": "a"}}'},
        "have no end",
    ),
    "v1 id": ({"repositories": b'{"x": {"y": "../a"}}'}, "a layer with the id"),
    "empty layout": (
        {"oci-layout": b'{"imageLayoutVersion": "1.0.0"}', "index.json": b'{"schemaVersion": 2}'},
        "holds no image: its index.json lists none",
    ),
    "empty list": ({"manifest.json": b"[]"}, "holds no image: its manifest.json lists none"),
    "v1 parents": ({"a/json": b'{"parent": ["a"]}', "b/json": b'{"parent": {}}'}, "a layer with the id"),
    "v1 type": ({"repositories": b'{"x": {"y": 3}}'}, "has no id for x:y"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives(loader: Loader, case: str) -> None:
    """Each is refused with a sentence, and no image is there."""
    files, expected = HOSTILE[case]
    with pytest.raises(PierheadError, match=expected):
        loader.files(files)
    with pytest.raises(PierheadError, match=expected):
        loader.file(made.archive(files), Limits(small_bytes=0))
    assert not loader.library.images()
    loader.library.collect()
    assert not list(loader.content.digests())


def test_a_name_twice(loader: Loader) -> None:
    """Readers that take the first would see another image than those that take the last; equal ones do."""
    first, second = made.archive(made.docker_save(ONE)), made.archive({"manifest.json": b"[]"})
    head = first.rstrip(b"\0")
    head += bytes(-len(head) % tarfile.BLOCKSIZE)
    with pytest.raises(InvalidInput, match=r"has 'manifest.json' twice"):
        loader.bytes(head + second)
    loader.bytes(head + first)
    everywhere = Limits(small_bytes=0)
    with pytest.raises(InvalidInput, match=r"has 'manifest.json' twice"):
        loader.file(head + second, everywhere)
    loader.file(head + first, everywhere)


@pytest.mark.parametrize("cut", [1, 600, 5000])
def test_truncated_archives(loader: Loader, cut: int) -> None:
    """They are refused."""
    data = made.archive(made.docker_save(ONE, TWO)).rstrip(b"\0")
    with pytest.raises(InvalidInput):
        loader.bytes(data[:-cut])
    with pytest.raises(InvalidInput):
        loader.file(data[:-cut], Limits(small_bytes=0))


def test_limits(loader: Loader) -> None:
    """Archives that are made to fill disks and memories."""
    with pytest.raises(InvalidInput, match="more than 2 entries"):
        loader.files(made.docker_save(ONE), Limits(entries=2))
    with pytest.raises(InvalidInput, match="more than the 4096 bytes"):
        loader.bytes(gzip.compress(made.archive(made.docker_save(ONE, TWO))), Limits(content_bytes=4096))
    large = made.archive(made.docker_save(bytes(2 << 20)))
    with pytest.raises(InvalidInput, match="more than the 2097152 bytes"):
        loader.file(large, Limits(content_bytes=2 << 20))


def test_links_in_directories_lead_nowhere_out(loader: Loader) -> None:
    """What lies beside the directory is not read."""
    (loader.scratch / "secret").write_bytes(ONE)
    directory = made.write_files(loader.scratch / "image", made.docker_save(ONE))
    layer = directory / f"{made.sha256(ONE)}/layer.tar"
    layer.unlink()
    layer.symlink_to("../../secret")
    with pytest.raises(InvalidInput, match="lacks"):
        loader.path(directory)
    with pytest.raises(NotFound, match="there is no file"):
        loader.path(directory / "nowhere")


def test_names_that_no_file_can_have(loader: Loader) -> None:
    """A directory's documents may say anything too."""
    for name in ("a\0b", "\ud800", "x" * 5000):
        files = said(Config=name)
        directory = made.write_files(
            loader.scratch / "image", {key: data for key, data in files.items() if isinstance(data, bytes)}
        )
        with pytest.raises(InvalidInput, match="lacks"):
            loader.path(directory)


def test_what_cannot_be_read(loader: Loader) -> None:
    """A sentence says so."""
    fd = os.open(loader.scratch, os.O_RDONLY)
    with (
        loader.library.lease() as lease,
        pytest.raises(OperationFailed, match="cannot read the content: is a"),
    ):
        load_archive(fd, loader.library, lease)
    os.close(fd)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a list of things to do", "this is not a tar archive"),
        (b"a list of things to do\n" * 100, "this is not a tar archive"),
        (gzip.compress(b"text" * 1000), "this is not a tar archive"),
        (b"", "the archive holds no image: it is empty"),
        (made.archive({"a": b"1"}), "the archive holds no image: it has neither index.json nor"),
        (made.archive({"index.json": b"x" * 600})[:800], "the archive ends at byte"),
    ],
    ids=["short text", "text", "compressed text", "nothing", "no image", "cut short"],
)
def test_what_is_no_image(loader: Loader, data: bytes, message: str) -> None:
    """It is called what it is, and a file is named; where it comes through a pipe there is no name."""
    path = loader.scratch / "file"
    path.write_bytes(data)
    with pytest.raises(InvalidInput) as caught:
        loader.path(path)
    assert caught.value.message.startswith(f"cannot read {path}: {message}")
    with pytest.raises(InvalidInput) as caught:
        loader.bytes(data)
    assert caught.value.message.startswith(message)


def test_a_directory_without_an_image(loader: Loader) -> None:
    """It is named."""
    with pytest.raises(InvalidInput) as caught:
        loader.path(loader.scratch)
    assert caught.value.message.startswith(f"the directory {loader.scratch} holds no image: it has neither")


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    changes=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 3000),
)
def test_changed_archives(loader: Loader, form: str, changes: list[tuple[int, int]], cut: int) -> None:
    """Whatever bytes are changed, an archive is loaded whole or refused with a sentence."""
    data = bytearray(made.archive(FORMS[form]()))
    del data[len(data) - cut :]
    for place, value in changes:
        data[place % len(data)] = value
    with suppress(PierheadError):
        image = loader.bytes(bytes(data))
        assert [each.state for each in loader.library.presences(image.descriptor)] == ["whole"]


WORDS = st.sampled_from(
    [
        "Config",
        "RepoTags",
        "Layers",
        "parent",
        "manifests",
        "digest",
        "size",
        "a",
        "a/json",
        "layer.tar",
        "..",
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-1, 1 << 70) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    name=st.sampled_from(["manifest.json", "repositories", "index.json", "a/json", "oci-layout"]),
    document=JSON,
    layer=JSON,
)
def test_documents_of_any_shape(loader: Loader, name: str, document: object, layer: object) -> None:
    """A document that is JSON, and nothing that it ought to be, is refused with a sentence."""
    files = {
        "oci-layout": b'{"imageLayoutVersion": "1.0.0"}',
        "a/json": json.dumps(layer).encode(),
        "a/layer.tar": ONE,
        name: json.dumps(document).encode(),
    }
    with loader.library.lease() as lease, suppress(PierheadError):
        made.through_pipe(made.archive(files), lambda fd: load_archive(fd, loader.library, lease))
