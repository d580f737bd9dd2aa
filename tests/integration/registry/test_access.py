"""Who gets in: names and passwords, tokens, certificates; and what those see who watch."""

from __future__ import annotations

import base64
import datetime as dt
import http.client
import json
import ssl
import urllib.parse
from ipaddress import ip_address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pierhead.registry.shacrypt import sha_crypt
from tests.support.registries import Registry, digest_of, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RULES = """
[[rule]]
users = ["alice"]
actions = ["*"]

[[rule]]
users = ["bob"]
repositories = ["team/*"]
actions = ["pull", "push"]

[[rule]]
users = ["anonymous", "*"]
repositories = ["public/*"]
actions = ["pull"]
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Settings: two users, with rules."""
    lines = [f"{name}:{sha_crypt(name.encode(), '$6$rounds=1000$salt')}\n" for name in ("alice", "bob")]
    (tmp_path / "htpasswd").write_text("".join(lines))
    (tmp_path / "rules.toml").write_text(RULES)
    return {"htpasswd": str(tmp_path / "htpasswd"), "access_rules": str(tmp_path / "rules.toml")}


def basic(user: str, password: str = "") -> str:
    """The header of a user whose password is the name, as a rule."""
    return "Basic " + base64.b64encode(f"{user}:{password or user}".encode()).decode()


def as_user(reg: Registry, authorization: str) -> Registry:
    """The registry, asked by somebody else."""
    return Registry(reg.port, reg.pid, {"Authorization": authorization} if authorization else {})


def test_names_and_passwords(tmp_path: Path, files: dict[str, str]) -> None:
    """Users may what the rules say; strangers are asked who they are."""
    with registry(tmp_path / "root", **files) as reg:
        alice, bob = (as_user(reg, basic(name)) for name in ("alice", "bob"))
        for wrong in ("", basic("alice", "wrong"), basic("carol"), "Basic !!", "Bearer x"):
            answer = as_user(reg, wrong).get("/v2/")
            assert (answer.status, answer.word) == (401, "UNAUTHORIZED")
            assert answer["WWW-Authenticate"] == 'Basic realm="registry"'
        assert alice.get("/v2/").status == 200
        digest = alice.push_blob("public/a", b"public")
        alice.push_blob("secret/a", b"secret")
        bob.push_blob("team/a", b"team")
        for name, status in (("public/a", 200), ("team/a", 404), ("secret/a", 403)):
            assert bob.get(f"/v2/{name}/blobs/{digest}").status == status
        assert reg.get(f"/v2/public/a/blobs/{digest}").body == b"public"
        assert reg.get(f"/v2/secret/a/blobs/{digest}").status == 401
        assert bob.delete(f"/v2/team/a/blobs/{digest}").status == 403
        assert bob("POST", "/v2/public/a/blobs/uploads/").status == 403
        assert (bob.get("/v2/_catalog").status, alice.get("/v2/_catalog").status) == (403, 200)


def test_mounts_need_the_right_to_read(tmp_path: Path, files: dict[str, str]) -> None:
    """What a user may not pull is not given by way of a mount, named or found."""
    with registry(tmp_path / "root", **files) as reg:
        alice, bob = (as_user(reg, basic(name)) for name in ("alice", "bob"))
        secret, public = alice.push_blob("secret/a", b"secret"), alice.push_blob("public/a", b"public")
        uploads = "/v2/team/b/blobs/uploads/"
        assert bob("POST", f"{uploads}?mount={secret}&from=secret/a").status == 202
        assert bob("POST", f"{uploads}?mount={secret}").status == 202
        assert bob("POST", f"{uploads}?mount={public}").status == 201


def ask_token(reg: Registry, authorization: str, *scopes: str) -> str:
    """A token for the scopes."""
    query = urllib.parse.urlencode([("service", "s"), *(("scope", scope) for scope in scopes)])
    answer = as_user(reg, authorization).get(f"/token?{query}")
    assert answer.status == 200, answer.body
    document = answer.json()
    assert document["token"] == document["access_token"]
    assert document["expires_in"] == 900
    return f"Bearer {document['token']}"


def test_tokens(tmp_path: Path, files: dict[str, str]) -> None:
    """A client is told where to get a token, gets one for what it may do, and is let in with it."""
    with registry(tmp_path / "root", auth="token", token_service="s", **files) as reg:
        path = "/v2/team/a/blobs/uploads/"
        answer = reg("POST", path)
        realm = f'Bearer realm="http://127.0.0.1:{reg.port}/token",service="s"'
        assert answer.status == 401
        assert answer["WWW-Authenticate"] == f'{realm},scope="repository:team/a:pull,push"'
        assert reg.get("/v2/")["WWW-Authenticate"] == realm
        assert as_user(reg, basic("bob")).get("/v2/").status == 401
        pull = ask_token(reg, basic("bob"), "repository:team/a:pull")
        push = ask_token(reg, basic("bob"), "repository:team/a:pull,push,delete repository:secret:pull")
        assert as_user(reg, pull).get("/v2/").status == 200
        answer = as_user(reg, pull)("POST", path)
        assert answer.status == 401
        assert answer["WWW-Authenticate"].endswith('error="insufficient_scope"')
        digest = as_user(reg, push).push_blob("team/a", b"x")
        assert as_user(reg, pull).get(f"/v2/team/a/blobs/{digest}").body == b"x"
        for method, name in (("DELETE", "team/a"), ("GET", "secret"), ("GET", "team/b")):
            assert as_user(reg, push)(method, f"/v2/{name}/blobs/{digest}").status == 401
        anonymous = ask_token(reg, "", "repository:public/x:pull,push")
        assert as_user(reg, anonymous).get(f"/v2/public/x/blobs/{digest}").status == 404
        catalog = ask_token(reg, basic("alice"), "registry:catalog:*")
        assert as_user(reg, catalog).get("/v2/_catalog").status == 200
        assert as_user(reg, basic("bob", "wrong")).get("/token").status == 401
        assert as_user(reg, f"{push}x").get("/v2/").status == 401


FORM = "application/x-www-form-urlencoded"


def test_forms_that_are_none(tmp_path: Path, files: dict[str, str]) -> None:
    """They are refused in a sentence, whatever is wrong with them."""
    with registry(tmp_path / "root", **files, auth="token") as reg:
        for kind, form, status in (
            ("multipart/form-data; boundary=x", b"--x\r\nno form", 400),
            (FORM, b"grant_type=password&username=\xff\xfe", 400),
            (FORM, b"&".join([b"a=b"] * 200), 400),
            (FORM, b"scope=" + b"x" * 100_000, 413),
        ):
            answer = reg("POST", "/token", form, {"Content-Type": kind})
            assert (answer.status, answer.word) == (status, "UNSUPPORTED")


def test_tokens_by_form(tmp_path: Path, files: dict[str, str]) -> None:
    """Containerd asks with a form (OAuth 2); a token outlives the server that gave it."""
    fields = {"grant_type": "password", "service": "s", "username": "bob", "password": "bob"}
    form = urllib.parse.urlencode({**fields, "scope": "repository:team/a:push"}).encode()
    kind = {"Content-Type": FORM}
    settings = {**files, "auth": "token", "token_service": "s"}
    with registry(tmp_path / "root", **settings) as reg:
        answer = reg("POST", "/token", form, kind)
        assert answer.status == 200
        token = answer.json()["access_token"]
        assert reg("POST", "/token", b"grant_type=refresh_token", kind).status == 400
        assert reg("POST", "/token", form.replace(b"=bob", b"=eve"), kind).status == 401
        assert reg("PUT", "/token").status == 405
    with registry(tmp_path / "root", **settings) as reg:
        assert as_user(reg, f"Bearer {token}")("POST", "/v2/team/a/blobs/uploads/").status == 202


class Authority:
    """Certificates for tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tests' authority")])
        basic_constraints = x509.BasicConstraints(ca=True, path_length=None)
        self.ca = self._write("ca", self._sign(self.name, self.key, basic_constraints), self.key)[0]

    def issue(self, name: str) -> tuple[str, str]:
        """Files of a certificate for 127.0.0.1 and of its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        return self._write(name, self._sign(subject, key, address), key)

    def _sign(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, extension: x509.ExtensionType
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateBuilder(
            self.name, subject, key.public_key(), x509.random_serial_number(), now, now + dt.timedelta(1)
        )
        return builder.add_extension(extension, critical=False).sign(self.key, hashes.SHA256())

    def _write(self, name: str, cert: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> tuple[str, str]:
        paths = self.folder / f"{name}.pem", self.folder / f"{name}-key.pem"
        paths[0].write_bytes(cert.public_bytes(serialization.Encoding.PEM))
        form = serialization.PrivateFormat.PKCS8
        paths[1].write_bytes(
            key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
        )
        return str(paths[0]), str(paths[1])


def over_tls(port: int, context: ssl.SSLContext, *requests: tuple[str, str, bytes]) -> Iterator[bytes]:
    """Bodies of the answers to requests over one connection."""
    connection = http.client.HTTPSConnection("127.0.0.1", port, context=context, timeout=60)
    try:
        for method, path, body in requests:
            connection.request(method, path, body)
            yield connection.getresponse().read()
    finally:
        connection.close()


def test_tls(tmp_path: Path) -> None:
    """Blobs come through TLS as they are; with an authority for clients, only its own get in."""
    authority = Authority(tmp_path)
    cert, key = authority.issue("server")
    data = bytes(range(256)) * 8000
    digest = digest_of(data)
    requests = (
        ("POST", f"/v2/a/blobs/uploads/?digest={digest}", data),
        ("GET", f"/v2/a/blobs/{digest}", b""),
    )
    for ca in ("", authority.ca):
        with registry(tmp_path / f"root{bool(ca)}", tls_cert=cert, tls_key=key, tls_client_ca=ca) as reg:
            context = ssl.create_default_context(cafile=authority.ca)
            if ca:
                with pytest.raises((ssl.SSLError, ConnectionError)):
                    list(over_tls(reg.port, context, *requests))
                context.load_cert_chain(*authority.issue("client"))
            assert list(over_tls(reg.port, context, *requests)) == [b"", data]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tls_cert": "x"}, "both a certificate and a key"),
        ({"tls_cert": "/nowhere", "tls_key": "/nowhere"}, "cannot use /nowhere"),
        ({"htpasswd": "/nowhere"}, "cannot read /nowhere"),
        ({"anonymous_pull": True}, "need a file of users"),
        ({"auth": "magic", "htpasswd": "x"}, "'magic' is no way"),
        ({"host": "192.0.2.1"}, "cannot listen at 192.0.2.1"),
    ],
)
def test_settings_that_do_not_go(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    """The registry does not start, and says why in a sentence."""
    starting = registry(tmp_path / "root", **settings)
    with pytest.raises(AssertionError, match=message):
        starting.__enter__()


def test_read_only(tmp_path: Path) -> None:
    """What is there can be read, and nothing be changed."""
    with registry(tmp_path / "root") as reg:
        digest = reg.push_blob("a", b"x")
    with registry(tmp_path / "root", read_only=True) as reg:
        assert reg.get(f"/v2/a/blobs/{digest}").body == b"x"
        answer = reg.delete(f"/v2/a/blobs/{digest}")
        assert (answer.status, answer["Allow"]) == (405, "GET, HEAD")
        assert reg("POST", "/v2/a/blobs/uploads/").status == 405


def test_watching(tmp_path: Path) -> None:
    """Figures and states are beside the rest, or at a place of their own; each request has its line."""
    log = tmp_path / "access.log"
    with registry(tmp_path / "root", access_log=str(log), access_log_format="json") as reg:
        digest = reg.push_blob("a", b"x" * 1000)
        reg.get(f"/v2/a/blobs/{digest}", Range="bytes=0-99")
        reg.get("/v2/a/manifests/none")
        assert (reg.get("/healthz").body, reg.get("/readyz").body) == (b"ok\n", b"ok\n")
        figures = reg.get("/metrics")
        assert figures["Content-Type"].startswith("text/plain; version=0.0.4")
        lines = figures.body.decode().splitlines()
        assert 'pierhead_registry_requests_total{method="GET",place="blob",status="206"} 1' in lines
        assert "pierhead_registry_blobs 1" in lines
        assert "pierhead_registry_requests_in_flight 1" in lines
    entries = [json.loads(line) for line in log.read_text().splitlines()]
    assert [entry["status"] for entry in entries] == [202, 201, 206, 404, 200, 200, 200]
    assert (entries[1]["received_bytes"], entries[2]["sent_bytes"]) == (1000, 100)
    with registry(tmp_path / "other", metrics_port=0) as reg:
        assert reg.get("/metrics").status == 404
