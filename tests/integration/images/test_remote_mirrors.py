"""Mirrors, proxies, certificates: how a registry is reached."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from pierhead.digests import compute_digest
from pierhead.errors import Forbidden, InvalidInput, NotFound, Unavailable
from pierhead.images.content import ContentStore
from pierhead.images.reference import parse_reference
from pierhead.images.remote.hosts import Hosts, Proxies, parse_hosts
from pierhead.images.remote.transfer import Pulled, pull
from tests.support.image_contents import AMD64, add_image, random_bytes
from tests.support.misbehaving import MisbehavingRegistry, answers, drops, gives, redirects
from tests.support.transfers import connected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TABLE = """
[registry."registry.lan"]
host = "{origin}"
[[registry."registry.lan".mirror]]
host = "{mirror}"
prefix = "copies"
{options}
"""
VERIFIED = """
[registry."registry.lan"]
host = "{address}"
insecure = false
ca = "{ca}"
"""
LAYERS = [random_bytes(300_000, 1), random_bytes(1000, 2)]


class Scene:
    """A registry called registry.lan, reached as its table says, and a mirror of it."""

    def __init__(self, path: Path) -> None:
        self.there = ContentStore(path / "there")
        self.here = ContentStore(path / "here")
        self.image = add_image(self.there, LAYERS)
        self.mirror = MisbehavingRegistry(self.there)
        self.origin = MisbehavingRegistry(self.there)

    def pull(self, arrange: Callable[[], object], *, options: str = "") -> Pulled:
        """Pulls the image after the servers were told how to misbehave."""

        async def run() -> Pulled:
            async with self.mirror as mirror, self.origin as origin:
                arrange()
                mirror.tags["copies/team/app:1"] = origin.tags["team/app:1"] = self.image.digest
                text = TABLE.format(origin=origin.address, mirror=mirror.address, options=options)
                async with connected(Hosts(parse_hosts(text))) as client:
                    return await pull(
                        client, self.here, parse_reference("registry.lan/team/app:1"), platforms=(AMD64,)
                    )

        return asyncio.run(run())

    def is_whole(self) -> bool:
        """Whether all of the image is here."""
        return dict(self.here.digests()) == dict(self.there.digests())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A fresh one."""
    return Scene(tmp_path)


def test_a_mirror_is_asked_first(scene: Scene) -> None:
    """It knows the repository by another name, is told whose it is, and the registry is left in peace."""
    assert scene.pull(lambda: None).answered_by == scene.mirror.address
    assert scene.is_whole()
    assert not scene.origin.seen
    paths = [each.path for each in scene.mirror.seen if each.path != "/v2/"]
    assert all(path.startswith("/v2/copies/team/app/") and path.endswith("ns=registry.lan") for path in paths)


def test_a_mirror_for_contents_only(scene: Scene) -> None:
    """What a tag means the registry says; the rest comes from the mirror."""
    assert scene.pull(lambda: None, options="resolve = false").answered_by == scene.origin.address
    assert scene.is_whole()
    assert [each.method for each in scene.origin.seen if each.path != "/v2/"] == ["HEAD"]


@pytest.mark.parametrize(
    "act", [answers(404), answers(403), answers(503), answers(429), drops(), gives(b"something else")]
)
def test_a_mirror_that_does_not_serve(scene: Scene, act: object) -> None:
    """Whatever is wrong with it, the registry has the image."""

    def arrange() -> None:
        for method in ("GET", "HEAD"):
            scene.mirror.fault(method, "copies/", act, times=99)  # type: ignore[arg-type]

    assert scene.pull(arrange).answered_by == scene.origin.address
    assert scene.is_whole()
    assert len(scene.mirror.seen) <= 7, "it is left alone, and not asked patiently"


def test_a_mirror_that_breaks_off(scene: Scene) -> None:
    """What it gave counts, and the registry goes on."""
    scene.pull(lambda: scene.mirror.fault("GET", "/blobs/", drops(1000), times=99))
    assert scene.is_whole()
    ranges = {each.headers.get("Range") for each in scene.origin.seen}
    assert "bytes=1000-299999" in ranges


def test_a_mirror_that_lies(scene: Scene) -> None:
    """What is of the right size and wrong all the same is fetched from the registry."""
    wrong = gives(random_bytes(len(LAYERS[0]), 3))
    scene.pull(lambda: scene.mirror.fault("GET", compute_digest(LAYERS[0]), wrong, times=99))
    assert scene.is_whole()
    assert scene.origin.count("GET", "/blobs/") == 1


def test_what_nobody_has(scene: Scene) -> None:
    """The registry's word is the error; the mirror's is noted on it."""
    scene.there.remove(scene.image.digest)
    with pytest.raises(NotFound, match=r"the registry registry\.lan did not give the manifest 1") as caught:
        scene.pull(lambda: None)
    assert any("the mirror 127.0.0.1" in note for note in caught.value.__notes__)


def test_proxies(scene: Scene) -> None:
    """A server is asked for through the proxy, by its own name."""
    hosts = Hosts(parse_hosts('[registry."registry.test"]\nplain-http = true\n'))

    async def run() -> None:
        async with scene.origin as proxy:
            proxy.tags["team/app:1"] = scene.image.digest
            proxies = Proxies(http=f"http://{proxy.address}")
            async with connected(hosts, proxies=proxies) as client:
                reference = parse_reference("registry.test/team/app:1")
                await pull(client, scene.here, reference, platforms=(AMD64,))

    asyncio.run(run())
    assert scene.is_whole()
    assert {each.headers["Host"] for each in scene.origin.seen} == {"registry.test"}


# Certificates


def _make_certificate(folder: Path, name: str, issuer: Path | None = None) -> Path:
    """A certificate for 127.0.0.1 and its key, in one file; of itself, or of an authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    by, by_key = subject, key
    if issuer is not None:
        by = x509.load_pem_x509_certificate(issuer.read_bytes()).subject
        loaded = serialization.load_pem_private_key(issuer.read_bytes(), None)
        assert isinstance(loaded, ec.EllipticCurvePrivateKey)
        by_key = loaded
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(by)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .sign(by_key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(certificate.public_bytes(pem) + private)
    return path


@pytest.fixture
def certificates(tmp_path: Path) -> dict[str, Path]:
    """An authority, a server's and a client's of it."""
    ca = _make_certificate(tmp_path, "ca")
    return {"ca": ca, **{name: _make_certificate(tmp_path, name, ca) for name in ("server", "client")}}


def _pull_with_tls(
    scene: Scene, certificates: dict[str, Path], table: str, *, wants_client: bool = False
) -> None:
    """Pulls from a registry whose certificate is of the authority."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates["server"])
    if wants_client:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(certificates["ca"])

    async def run() -> None:
        async with MisbehavingRegistry(scene.there, context) as registry:
            registry.tags["team/app:1"] = scene.image.digest
            text = f'[registry."registry.lan"]\nhost = "{registry.address}"\n{table}'
            async with connected(Hosts(parse_hosts(text))) as client:
                reference = parse_reference("registry.lan/team/app:1")
                await pull(client, scene.here, reference, platforms=(AMD64,))

    asyncio.run(run())


def test_certificates(scene: Scene, certificates: dict[str, Path]) -> None:
    """One whose authority is known is right, and one that nobody vouches for is not."""
    with pytest.raises(Forbidden, match=r"its certificate is not right \(") as caught:
        _pull_with_tls(scene, certificates, "insecure = false\n")
    assert 'as ca of "registry.lan"' in caught.value.hint
    _pull_with_tls(scene, certificates, f'insecure = false\nca = "{certificates["ca"]}"\n')
    assert scene.is_whole()


def test_insecure_registries(scene: Scene, certificates: dict[str, Path]) -> None:
    """May have any certificate."""
    _pull_with_tls(scene, certificates, "insecure = true\n")
    assert scene.is_whole()


def test_clients_with_certificates(scene: Scene, certificates: dict[str, Path]) -> None:
    """A registry that wants to know who asks is told by a certificate."""
    verified = f'insecure = false\nca = "{certificates["ca"]}"\n'
    client = f'client-certificate = "{certificates["client"]}"\nclient-key = "{certificates["client"]}"\n'
    with pytest.raises(Unavailable, match="did not give the manifest"):
        _pull_with_tls(scene, certificates, verified, wants_client=True)
    _pull_with_tls(scene, certificates, verified + client, wants_client=True)
    assert scene.is_whole()


def test_missing_certificates(scene: Scene, certificates: dict[str, Path]) -> None:
    """A file that cannot be read is named before anything is sent."""
    with pytest.raises(InvalidInput, match=r"the certificates for the registry registry\.lan cannot be read"):
        _pull_with_tls(scene, certificates, 'insecure = false\nca = "/nonexistent/ca.pem"\n')


def test_no_way_down_from_tls(scene: Scene, certificates: dict[str, Path]) -> None:
    """A registry that is verified cannot send us to plain text."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates["server"])

    async def run() -> None:
        async with MisbehavingRegistry(scene.there, context) as registry, scene.origin as plain:
            registry.tags["team/app:1"] = scene.image.digest
            registry.fault("GET", "/blobs/", redirects(f"http://{plain.address}"), times=9)
            text = VERIFIED.format(address=registry.address, ca=certificates["ca"])
            async with connected(Hosts(parse_hosts(text))) as client:
                reference = parse_reference("registry.lan/team/app:1")
                await pull(client, scene.here, reference, platforms=(AMD64,))

    with pytest.raises(InvalidInput, match=r"it sends us to 127\.0\.0\.1 without TLS"):
        asyncio.run(run())
    assert not scene.origin.seen
