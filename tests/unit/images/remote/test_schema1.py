"""Docker's oldest manifests, read."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead import jsontext
from pierhead.digests import compute_digest
from pierhead.errors import InvalidInput
from pierhead.images.content import ContentStore
from pierhead.images.remote.schema1 import compute_diff_id, convert, decode_schema1, payload
from pierhead.oci.image import decode_config, decode_manifest
from tests.support.image_contents import add_schema1, sign_schema1


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory) -> ContentStore:
    """An empty one."""
    return ContentStore(tmp_path_factory.mktemp("store"))


def test_the_signed_part(store: ContentStore) -> None:
    """The digest of a signed manifest is that of what was signed."""
    raw, _ = add_schema1(store, [b"a", b"b"])
    raw = raw.rstrip(b"\n")
    assert payload(sign_schema1(raw)) == raw


@pytest.mark.parametrize(
    "raw",
    [
        b"{}",
        b'{"signatures":[]}',
        b'{"signatures":[{"protected":"!"}]}',
        b'{"signatures":[{"protected":"e30"}]}',
        b'{"signatures":[{"protected":"eyJmb3JtYXRMZW5ndGgiOiA5OTksICJmb3JtYXRUYWlsIjogIiJ9"}]}',
        b"[]",
    ],
)
def test_signatures_that_say_nothing(raw: bytes) -> None:
    """Are no signatures."""
    with pytest.raises(InvalidInput, match="no usable signature"):
        payload(raw)


def test_layers_from_the_lowest(store: ContentStore) -> None:
    """Steps that changed nothing have no layer; the image's own properties are the newest step's."""
    raw, layers = add_schema1(store, [b"lower", b"upper"])
    old = decode_schema1(raw)
    assert old.digests == tuple(compute_digest(layer) for layer in layers)
    assert [layer.created_by for layer in old.layers] == ["/bin/sh -c step 0", "/bin/sh -c step 1", ""]
    assert old.image == {"architecture": "amd64", "os": "linux", "config": {"Env": ["A=1"]}}


def test_the_new_form(store: ContentStore) -> None:
    """Is always of the same bytes, and names the layers and what is in them."""
    raw, layers = add_schema1(store, [b"lower", b"upper"])
    old = decode_schema1(raw)
    sizes = {compute_digest(layer): len(layer) for layer in layers}
    diff_ids = {digest: compute_diff_id(store, digest) for digest in sizes}
    manifest, config = convert(old, sizes, diff_ids)
    assert (manifest, config) == convert(old, sizes, diff_ids)
    assert [layer.size for layer in decode_manifest(manifest).layers] == [len(layer) for layer in layers]
    assert decode_manifest(manifest).config.digest == compute_digest(config)
    assert decode_config(config).rootfs.diff_ids == (compute_digest(b"lower"), compute_digest(b"upper"))


@pytest.mark.parametrize(
    "changes",
    [
        {"schemaVersion": 2},
        {"fsLayers": []},
        {"history": []},
        {"history": [{}]},
        {"fsLayers": 3},
        {"history": [{"v1Compatibility": "3"}] * 3},
        {"history": [{"v1Compatibility": '{"container_config":[]}'}] * 3},
    ],
)
def test_other_forms_are_refused(store: ContentStore, changes: dict[str, object]) -> None:
    """With a sentence."""
    raw, _ = add_schema1(store, [b"lower", b"upper"])
    with pytest.raises(InvalidInput, match="has not the form of one"):
        decode_schema1(jsontext.format_compact({**jsontext.parse(raw), **changes}).encode())


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"plain", "is not compressed by gzip"),
        (b"", "is not compressed by gzip"),
        (b"\x1f\x8b\x08\x00broken", "is not whole"),
        (gzip.compress(b"cut short")[:-6], "is not whole"),
        (gzip.compress(b"more follows") + b"garbage", "is not whole"),
    ],
)
def test_layers_that_are_not_gzip(store: ContentStore, data: bytes, says: str) -> None:
    """Are named."""
    digest = store.write(data)
    with pytest.raises(InvalidInput, match=f"{digest} {says}"):
        compute_diff_id(store, digest)


def test_several_streams_are_one_layer(store: ContentStore) -> None:
    """As gzip -dc has it (RFC 1952 section 2.2)."""
    digest = store.write(gzip.compress(b"one") + gzip.compress(b"two"))
    assert compute_diff_id(store, digest) == compute_digest(b"onetwo")


def test_layers_that_hold_too_much(store: ContentStore) -> None:
    """Are refused before they are read to their end."""
    with pytest.raises(InvalidInput, match="holds too much") as caught:
        compute_diff_id(store, store.write(gzip.compress(bytes(2 << 20))), limit_bytes=1 << 20)
    assert caught.value.code == "too-large"


KEYS = st.sampled_from(["fsLayers", "history", "blobSum", "signatures", "protected"])
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(KEYS, inner),
    ),
    max_leaves=8,
)


@given(JSON)
def test_any_document_is_read_or_refused(document: object) -> None:
    """No shape of a document is anything but a sentence."""
    raw = json.dumps(document).encode()
    for read in (decode_schema1, payload):
        with pytest.raises(InvalidInput):
            read(raw)
