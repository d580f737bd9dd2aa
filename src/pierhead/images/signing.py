"""Signatures of images: cosign's, made with a key of one's own.

A signature is about a small document, the payload, that names the image's digest:

    {"critical": {"identity": {"docker-reference": "registry/repository"},
                  "image": {"docker-manifest-digest": "sha256:…"},
                  "type": "cosign container image signature"},
     "optional": null}

The payload is a layer of a manifest of its own, and the layer's annotation has the signature in base64.  That
manifest lies beside the image, under the tag ``sha256-HEX.sig``, or names the image as its subject, so that
the registry lists it as a referrer.

Knows keys and documents; nothing of registries, and nothing of who must have signed what (``policy``).
Source: cosign specs/SIGNATURE_SPEC.md; containers-signature(5) for the payload.
"""

from __future__ import annotations

import base64
import binascii
import os

from pierhead import jsontext
from pierhead.digests import compute_digest
from pierhead.errors import InvalidInput, NotFound, Unavailable
from pierhead.oci.document import encode
from pierhead.oci.image import CONFIG, MANIFEST, Descriptor, Manifest
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes

PAYLOAD = "application/vnd.dev.cosign.simplesigning.v1+json"
ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
PAYLOAD_BYTES_MAX = 64 << 10
_TYPES = ("cosign container image signature", "atomic container signature")


class Payload(Value):
    """What a signature says.

    Fields:
        digest: of the image's manifest or index.
        identity: the repository it is said to be in; "" if the signer did not say.
    """

    digest: str
    identity: str


class SignedImage(Value):
    """A signature, ready to be pushed.

    Fields:
        manifest: bytes of the signature's manifest.
        contents: those that are new, by digest.
    """

    manifest: bytes
    contents: dict[str, bytes]

    @property
    def descriptor(self) -> Descriptor:
        """Of the manifest, as a registry lists it."""
        return Descriptor(
            media_type=MANIFEST,
            digest=compute_digest(self.manifest),
            size=len(self.manifest),
            artifact_type=ARTIFACT,
        )


def signature_tag(digest: str) -> str:
    """The tag under which an image's signatures lie."""
    return digest.replace(":", "-") + ".sig"


def encode_payload(payload: Payload) -> bytes:
    """The payload's bytes, as cosign writes them."""
    critical = {
        "identity": {"docker-reference": payload.identity},
        "image": {"docker-manifest-digest": payload.digest},
        "type": _TYPES[0],
    }
    return jsontext.format_compact({"critical": critical, "optional": None}).encode()


def decode_payload(raw: bytes) -> Payload:
    """The payload that the bytes are.

    Raises:
        InvalidInput: they are none, or say something about something else.
    """
    document = jsontext.parse(raw, name="signature's payload")
    try:
        critical = document["critical"]
        digest, kind = critical["image"]["docker-manifest-digest"], critical["type"]
        identity = critical["identity"]["docker-reference"]
    except (KeyError, TypeError):
        raise InvalidInput("the signature's payload lacks its critical part", code="bad-signature") from None
    if kind not in _TYPES or not isinstance(digest, str) or not isinstance(identity, str):
        raise InvalidInput("the signature's payload is not about an image", code="bad-signature")
    return Payload(digest=digest, identity=identity)


# Keys


def generate_key(passphrase: bytes = b"") -> tuple[bytes, bytes]:
    """A new pair of keys (ECDSA on P-256) as PEM texts: the private one, encrypted if there is a passphrase,
    and the public one.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    protection: serialization.KeySerializationEncryption = (
        serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    )
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, public


def load_private_key(path: str, passphrase: bytes = b"") -> PrivateKeyTypes:
    """The private key in a PEM file.

    Raises:
        NotFound, InvalidInput: no such file; not a key, a wrong passphrase, or a form that is not read here.
    """
    _need_cryptography()
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    text = _read(path)
    if b"SIGSTORE PRIVATE KEY" in text or b"COSIGN PRIVATE KEY" in text:
        hint = "make one with pier sign --generate-key; signatures of either verify with the other's program"
        raise InvalidInput(f"the key {path} is in cosign's own encrypted form", code="bad-key", hint=hint)
    try:
        return load_pem_private_key(text, passphrase or None)
    except TypeError as error:
        raise InvalidInput(f"the key {path}: {str(error).lower()}", code="bad-passphrase") from None
    except ValueError:
        what = "the passphrase is wrong, or it is not a private key in PEM"
        raise InvalidInput(f"the key {path} cannot be read: {what}", code="bad-key") from None


def load_public_key(path: str) -> PublicKeyTypes:
    """The public key in a PEM file.

    Raises:
        NotFound, InvalidInput: no such file; not a public key.
    """
    _need_cryptography()
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        return load_pem_public_key(_read(path))
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidInput(f"the key {path} is not a public key in PEM", code="bad-key") from None


def _read(path: str) -> bytes:
    try:
        with open(os.fspath(path), "rb") as file:
            return file.read(PAYLOAD_BYTES_MAX)
    except FileNotFoundError:
        raise NotFound(f"there is no key {path}", code="key-not-found") from None


def _need_cryptography() -> None:
    try:
        import cryptography  # noqa: F401 - to say what is missing before anything else is imported of it
    except ImportError:
        hint = "pip install 'pierhead[images]'"
        raise Unavailable(
            "signatures need the Python package cryptography", code="cryptography-missing", hint=hint
        ) from None


# Signing and verifying


def sign_bytes(key: PrivateKeyTypes, data: bytes) -> bytes:
    """A signature of the bytes: ECDSA or RSA (PKCS #1 v1.5) with SHA-256, or Ed25519."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    if isinstance(key, ec.EllipticCurvePrivateKey):
        return key.sign(data, ec.ECDSA(hashes.SHA256()))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    raise InvalidInput("the key is of a kind that signs no images: use ECDSA, Ed25519 or RSA", code="bad-key")


def is_signed_by(key: PublicKeyTypes, data: bytes, signature: bytes) -> bool:
    """Whether the signature of the bytes was made with the key's private half."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(hashes.SHA256()))
        elif isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
        elif isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), hashes.SHA256())
        else:
            return False
    except InvalidSignature:
        return False
    return True


def sign_image(
    key: PrivateKeyTypes,
    subject: Descriptor,
    identity: str,
    *,
    as_referrer: bool,
    others: tuple[Descriptor, ...] = (),
) -> SignedImage:
    """A signature of the image, in the form in which registries keep it.

    Args:
        key: private.
        subject: the image's manifest or index.
        identity: the repository without a tag, ``registry.example.com/team/app``.
        as_referrer: whether the manifest names the image as its subject.
        others: layers of signatures that are there already, which share the manifest.
    """
    payload = encode_payload(Payload(digest=subject.digest, identity=identity))
    signature = base64.b64encode(sign_bytes(key, payload)).decode()
    layer = Descriptor(
        media_type=PAYLOAD,
        digest=compute_digest(payload),
        size=len(payload),
        annotations={SIGNATURE: signature},
    )
    layers = (*(other for other in others if other.digest != layer.digest), layer)
    config = _signature_config([each.digest for each in layers])
    manifest = Manifest(
        schema_version=2,
        media_type=MANIFEST,
        artifact_type=ARTIFACT if as_referrer else "",
        config=Descriptor(media_type=CONFIG, digest=compute_digest(config), size=len(config)),
        layers=layers,
        subject=subject.replace(annotations={}, platform=None) if as_referrer else None,
    )
    raw = jsontext.format_compact(encode(manifest)).encode()
    return SignedImage(manifest=raw, contents={layer.digest: payload, manifest.config.digest: config})


def _signature_config(payload_digests: list[str]) -> bytes:
    """Registries and programs that know only images see one, with the payloads for its layers."""
    document = {
        "architecture": "",
        "os": "",
        "config": {},
        "rootfs": {"type": "layers", "diff_ids": payload_digests},
    }
    return jsontext.format_compact(document).encode()


def signatures_in(manifest: Manifest) -> list[tuple[Descriptor, bytes]]:
    """The payloads of a signature's manifest, each with its signature; what is malformed is passed over."""
    found = []
    for layer in manifest.layers:
        if layer.media_type != PAYLOAD or layer.size > PAYLOAD_BYTES_MAX:
            continue
        try:
            found.append((layer, base64.b64decode(layer.annotations.get(SIGNATURE, ""), validate=True)))
        except binascii.Error:
            continue
    return found


def verify_payload(
    key: PublicKeyTypes, payload: bytes, signature: bytes, *, digest: str, repository: str
) -> bool:
    """Whether the payload is signed by the key and about this image in this repository.

    A signer who names no repository, as cosign can, vouches for the content wherever it is.
    """
    if not is_signed_by(key, payload, signature):
        return False
    try:
        said = decode_payload(payload)
    except InvalidInput:
        return False
    identity = said.identity
    if identity.startswith("index.docker.io/"):  # what Docker's registry was called, and is by cosign
        identity = identity.removeprefix("index.")
    return said.digest == digest and identity in ("", repository)
