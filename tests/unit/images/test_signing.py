"""Signatures of images."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519

from pierhead.digests import compute_digest
from pierhead.errors import InvalidInput, NotFound
from pierhead.images import signing
from pierhead.oci.image import MANIFEST, Descriptor, decode_config, decode_manifest

if TYPE_CHECKING:
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

SUBJECT = Descriptor(media_type=MANIFEST, digest="sha256:" + "a" * 64, size=100)
REPOSITORY = "registry.example.com/team/app"
KEYS: dict[str, PrivateKeyTypes] = {
    "ecdsa": ec.generate_private_key(ec.SECP256R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "rsa": rsa.generate_private_key(65537, 2048),
}


@pytest.mark.parametrize("kind", sorted(KEYS))
@pytest.mark.parametrize("as_referrer", [False, True])
def test_a_signature_verifies(kind: str, *, as_referrer: bool) -> None:
    """With the right key, for the right image in the right repository, and for nothing else."""
    key = KEYS[kind]
    signed = signing.sign_image(key, SUBJECT, REPOSITORY, as_referrer=as_referrer)
    manifest = decode_manifest(signed.manifest)
    assert (manifest.subject == SUBJECT) == as_referrer
    ((layer, signature),) = signing.signatures_in(manifest)
    payload = signed.contents[layer.digest]

    def verifies(
        *, key: PrivateKeyTypes = key, digest: str = SUBJECT.digest, where: str = REPOSITORY
    ) -> bool:
        public = key.public_key()
        return signing.verify_payload(public, payload, signature, digest=digest, repository=where)

    assert verifies()
    assert not verifies(key=ec.generate_private_key(ec.SECP256R1()))
    assert not verifies(digest="sha256:" + "b" * 64)
    assert not verifies(where="registry.example.com/team/other")
    assert not signing.is_signed_by(key.public_key(), payload + b" ", signature)


def test_the_form_is_that_of_an_image() -> None:
    """Every content is there under its digest; the configuration is one that registries take."""
    signed = signing.sign_image(KEYS["ecdsa"], SUBJECT, REPOSITORY, as_referrer=False)
    manifest = decode_manifest(signed.manifest)
    for descriptor in (manifest.config, *manifest.layers):
        content = signed.contents[descriptor.digest]
        assert compute_digest(content) == descriptor.digest
        assert len(content) == descriptor.size
    assert decode_config(signed.contents[manifest.config.digest]).rootfs.diff_ids == (
        manifest.layers[0].digest,
    )
    payload = json.loads(signed.contents[manifest.layers[0].digest])
    assert payload["critical"]["identity"] == {"docker-reference": REPOSITORY}
    assert payload["critical"]["image"] == {"docker-manifest-digest": SUBJECT.digest}
    assert payload["critical"]["type"] == "cosign container image signature"


def test_the_tag() -> None:
    """Where cosign looks."""
    assert signing.signature_tag(SUBJECT.digest) == "sha256-" + "a" * 64 + ".sig"


@pytest.mark.parametrize(
    ("identity", "repository", "good"),
    [
        ("", REPOSITORY, True),
        ("index.docker.io/library/busybox", "docker.io/library/busybox", True),
        ("registry.example.com/team/app2", REPOSITORY, False),
    ],
)
def test_identities(identity: str, repository: str, *, good: bool) -> None:
    """A signer may name no repository; Docker's registry has two names."""
    payload = signing.encode_payload(signing.Payload(digest=SUBJECT.digest, identity=identity))
    key = KEYS["ecdsa"]
    signature = signing.sign_bytes(key, payload)
    verified = signing.verify_payload(
        key.public_key(), payload, signature, digest=SUBJECT.digest, repository=repository
    )
    assert verified == good


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{}",
        b"[]",
        b'{"critical": 1}',
        signing.encode_payload(signing.Payload(digest="x", identity="y"))[:-1],
    ],
)
def test_payloads_that_are_none(payload: bytes) -> None:
    """However well they are signed."""
    key = KEYS["ed25519"]
    with pytest.raises(InvalidInput):
        signing.decode_payload(payload)
    signature = signing.sign_bytes(key, payload)
    assert not signing.verify_payload(key.public_key(), payload, signature, digest="x", repository="y")


def test_what_is_no_signature_is_passed_over() -> None:
    """Layers of other types, and base64 that is none."""
    layers = [
        Descriptor(media_type="text/plain", digest=SUBJECT.digest, size=1),
        Descriptor(
            media_type=signing.PAYLOAD, digest=SUBJECT.digest, size=1, annotations={signing.SIGNATURE: "?"}
        ),
        Descriptor(
            media_type=signing.PAYLOAD,
            digest=SUBJECT.digest,
            size=1 << 30,
            annotations={signing.SIGNATURE: ""},
        ),
    ]
    signed = signing.sign_image(KEYS["ecdsa"], SUBJECT, REPOSITORY, as_referrer=False)
    manifest = decode_manifest(signed.manifest).replace(layers=tuple(layers))
    assert signing.signatures_in(manifest) == []


@pytest.mark.parametrize("passphrase", [b"", b"secret"])
def test_keys_in_files(tmp_path: Path, passphrase: bytes) -> None:
    """A pair that was made here is read again."""
    private, public = signing.generate_key(passphrase)
    (tmp_path / "key").write_bytes(private)
    (tmp_path / "key.pub").write_bytes(public)
    signature = signing.sign_bytes(signing.load_private_key(str(tmp_path / "key"), passphrase), b"data")
    assert signing.is_signed_by(signing.load_public_key(str(tmp_path / "key.pub")), b"data", signature)


def test_keys_that_cannot_be_read(tmp_path: Path) -> None:
    """Each has its sentence."""
    private, _ = signing.generate_key(b"secret")
    path = tmp_path / "key"
    path.write_bytes(private)
    with pytest.raises(InvalidInput, match="password was not given"):
        signing.load_private_key(str(path))
    with pytest.raises(InvalidInput, match="the passphrase is wrong"):
        signing.load_private_key(str(path), b"wrong")
    with pytest.raises(InvalidInput, match="is not a public key"):
        signing.load_public_key(str(path))
    with pytest.raises(NotFound, match="there is no key"):
        signing.load_public_key(str(tmp_path / "none"))
    path.write_text("-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\n")
    with pytest.raises(InvalidInput, match="cosign's own encrypted form"):
        signing.load_private_key(str(path))


def test_keys_of_other_kinds() -> None:
    """A key for agreeing on secrets signs nothing, and verifies nothing."""
    key = x25519.X25519PrivateKey.generate()
    with pytest.raises(InvalidInput, match="signs no images"):
        signing.sign_bytes(key, b"data")
    assert not signing.is_signed_by(key.public_key(), b"data", b"signature")
