"""Repositories that are copies of another registry's."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import signal
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import InvalidInput
from pierhead.registry.cache import find_upstream, parse_upstream
from pierhead.registry.settings import Upstream
from pierhead.registry.shacrypt import sha_crypt
from tests.support.peers import wait_until
from tests.support.registries import Registry, digest_of, registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def push_image(reg: Registry, name: str, tag: str, layer: bytes, **more: object) -> tuple[str, bytes]:
    """An image with one layer; returns the manifest's digest and bytes."""
    blobs = [(LAYER, b"{}"), (LAYER, layer)]
    entries = [
        {"mediaType": kind, "digest": reg.push_blob(name, data), "size": len(data)} for kind, data in blobs
    ]
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": entries[0],
        "layers": entries[1:],
        **more,
    }
    raw = json.dumps(document).encode()
    return reg.put_manifest(name, tag, raw)["Docker-Content-Digest"], raw


def copies(upstream: Registry | str, **more: object) -> dict[str, object]:
    """Settings of a registry whose repositories below ``hub/`` are the upstream's."""
    url = upstream if isinstance(upstream, str) else f"http://{upstream.address}"
    return {"upstreams": [{"prefix": "hub", "url": url}], **more}


def test_what_is_asked_for_is_fetched_and_kept(tmp_path: Path) -> None:
    """By tag and by digest; afterwards the upstream is not needed."""
    layer = os.urandom(3 << 20)
    with registry(tmp_path / "upstream") as upstream:
        digest, raw = push_image(upstream, "team/app", "1", layer)
        referring, _ = push_image(
            upstream, "team/app", "2", b"x", subject={"mediaType": MANIFEST, "digest": digest, "size": 1}
        )
        with registry(tmp_path / "cache", **copies(upstream, upstream_fresh_s=0)) as reg:
            for reference in ("1", digest):
                answer = reg.get(f"/v2/hub/team/app/manifests/{reference}")
                assert (answer.status, answer.body) == (200, raw)
                assert answer["Docker-Content-Digest"] == digest
            path = f"/v2/hub/team/app/blobs/{digest_of(layer)}"
            assert reg.head(path)["Content-Length"] == str(len(layer))
            assert reg.get(path, Range="bytes=5-1000").body == layer[5:1001]
            assert reg.get(path).body == layer
            assert reg.get("/v2/hub/team/app/tags/list").json()["tags"] == ["1", "2"]
            listed = reg.get(f"/v2/hub/team/app/referrers/{digest}").json()["manifests"]
            assert [entry["digest"] for entry in listed] == [referring]
            assert reg.get("/v2/hub/team/app/manifests/none").status == 404
            assert reg.get(f"/v2/hub/team/app/blobs/{digest_of(b'none')}").status == 404
            assert reg.get("/v2/hub/none/tags/list").status == 404
            assert reg("POST", "/v2/hub/team/app/blobs/uploads/").status == 405
            os.kill(upstream.pid, signal.SIGKILL)
            assert reg.get("/v2/hub/team/app/manifests/1").body == raw
            assert reg.get(path).body == layer
            assert reg.get("/v2/hub/team/app/tags/list").json()["tags"] == ["1"]
            assert reg.get("/v2/hub/team/other/manifests/1").status in (502, 503)
            assert reg.push_blob("own", b"ours")


def test_tags_follow_the_upstream(tmp_path: Path) -> None:
    """A tag's new meaning is seen when the old one is no longer fresh."""
    with registry(tmp_path / "upstream") as upstream:
        first, _ = push_image(upstream, "a", "latest", b"1")
        for fresh_s, follows in ((3600, False), (0, True)):
            with registry(tmp_path / f"c{fresh_s}", **copies(upstream, upstream_fresh_s=fresh_s)) as reg:
                path = "/v2/hub/a/manifests/latest"
                before = reg.head(path)["Docker-Content-Digest"]
                second, _ = push_image(upstream, "a", "latest", os.urandom(10))
                assert reg.head(path)["Docker-Content-Digest"] == (second if follows else before)
        assert before != first


def test_blobs_of_others_are_not_given(tmp_path: Path) -> None:
    """That a blob is here does not give it to a copy whose upstream has it not."""
    with registry(tmp_path / "upstream") as upstream:
        push_image(upstream, "a", "1", b"public")
        shared = upstream.push_blob("a", b"shared")
        with registry(tmp_path / "cache", **copies(upstream)) as reg:
            secret = reg.push_blob("own", b"secret")
            reg.push_blob("own", b"shared")
            assert reg.get(f"/v2/hub/a/blobs/{secret}").status == 404
            assert reg.get(f"/v2/hub/a/blobs/{shared}").body == b"shared"


def test_an_upstream_of_ones_own(tmp_path: Path) -> None:
    """Its certificate is vouched for by authorities in a file; without them the log says what is wrong."""
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    words = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=localhost",
    ]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(words, check=True, capture_output=True)
    with registry(tmp_path / "upstream") as upstream:
        _, raw = push_image(upstream, "a", "1", b"layer")
    with registry(tmp_path / "upstream", tls_cert=str(cert), tls_key=str(key)) as upstream:
        url = f"https://localhost:{upstream.port}"
        with registry(tmp_path / "none", **copies(url)) as reg:
            assert reg.get("/v2/hub/a/manifests/1").status in (502, 503)
        assert "an upstream failed: " in (tmp_path / "none.log").read_text()
        with registry(tmp_path / "copy", **copies(url, upstream_ca=str(cert))) as reg:
            assert reg.get("/v2/hub/a/manifests/1").body == raw
    (tmp_path / "empty.pem").write_text("")
    for path in ("missing.pem", "empty.pem"):
        wrong = registry(tmp_path / f"wrong-{path}", **copies(url, upstream_ca=str(tmp_path / path)))
        with pytest.raises(AssertionError, match=f"cannot use .*{path}"), wrong:
            pass


def test_credentials(tmp_path: Path) -> None:
    """The upstream's tokens are asked for with the name in a file."""
    hashed = sha_crypt(b"secret", "$6$rounds=1000$salt")
    (tmp_path / "htpasswd").write_text(f"alice:{hashed}\n")
    token = {"htpasswd": str(tmp_path / "htpasswd"), "auth": "token"}
    with registry(tmp_path / "open") as upstream:
        _, raw = push_image(upstream, "a", "1", b"layer")
    with registry(tmp_path / "open", **token) as upstream:
        config = {"auths": {upstream.address: {"auth": "YWxpY2U6c2VjcmV0"}}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        with registry(tmp_path / "none", **copies(upstream)) as reg:
            assert reg.get("/v2/hub/a/manifests/1").status == 502
        settings = copies(upstream, upstream_credentials=str(tmp_path / "config.json"))
        with registry(tmp_path / "cache", **settings) as reg:
            assert reg.get("/v2/hub/a/manifests/1").body == raw


class SlowUpstream(http.server.ThreadingHTTPServer):
    """Gives one blob, slowly; counts how often; may give another one than it says.

    What comes after the first ``held_at`` bytes it gives when ``go_on`` is set.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, blob: bytes, *, lie: bool = False, held_at: int = 0) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.blob, self.gets, self.held_at = blob, 0, held_at or len(blob)
        self.go_on = threading.Event()
        self.path = f"/v2/a/blobs/{digest_of(b'another' if lie else blob)}"

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Answers(http.server.BaseHTTPRequestHandler):
    server: SlowUpstream

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        """The blob's size."""
        self.send_response(200 if self.path == self.server.path else 404)
        self.send_header("Content-Length", str(len(self.server.blob)))
        self.end_headers()

    def do_GET(self) -> None:
        """The blob from where it is asked for, a quarter of a megabyte at a time."""
        blob = self.server.blob
        first = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(blob) - first))
        self.end_headers()
        if self.path != self.server.path:
            return
        self.server.gets += 1
        for start in range(first, len(blob), 1 << 18):
            if start >= self.server.held_at:
                self.server.go_on.wait()
            try:
                self.wfile.write(blob[start : start + (1 << 18)])
            except OSError:
                return
            time.sleep(0.05)


@contextmanager
def slow_upstream(blob: bytes, **more: object) -> Iterator[SlowUpstream]:
    """It answers inside."""
    with SlowUpstream(blob, **more) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server
        finally:
            server.go_on.set()
            server.shutdown()
            thread.join()


def test_many_clients_share_one_download(tmp_path: Path) -> None:
    """All get it while it comes, from one request to the upstream; parts of it too."""
    blob = os.urandom(4 << 20)
    with slow_upstream(blob) as upstream, registry(tmp_path / "cache", **copies(upstream.url)) as reg:
        path = f"/v2/hub{upstream.path.removeprefix('/v2')}"
        with ThreadPoolExecutor(12) as clients:
            wholes = [clients.submit(reg.get, path) for _ in range(10)]
            parts = [clients.submit(reg.get, path, Range=f"bytes={n}-{n + 99}") for n in (0, 4_000_000)]
            assert all(each.result().body == blob for each in wholes)
            assert [each.result().body for each in parts] == [blob[:100], blob[4_000_000:4_000_100]]
        assert upstream.gets == 1
        assert reg.get(path).body == blob
        assert upstream.gets == 1


def test_a_lie_is_not_finished(tmp_path: Path) -> None:
    """Of a blob that is not what its digest says no client gets the last byte, and nothing is kept."""
    blob = os.urandom(1 << 20)
    with slow_upstream(blob, lie=True) as upstream, registry(tmp_path / "c", **copies(upstream.url)) as reg:
        path = f"/v2/hub{upstream.path.removeprefix('/v2')}"
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            reg.get(path)
        assert not list((tmp_path / "c/content/blobs/sha256").iterdir())


def test_a_download_outlives_client_and_server(tmp_path: Path) -> None:
    """It goes on when its client leaves, and where it was when the registry was killed."""
    blob = os.urandom(4 << 20)
    hexadecimal = hashlib.sha256(blob).hexdigest()
    part = tmp_path / f"cache/content/ingest/sha256-{hexadecimal}.part"
    with slow_upstream(blob, held_at=3 << 20) as upstream:
        path = f"/v2/hub{upstream.path.removeprefix('/v2')}"
        with registry(tmp_path / "cache", **copies(upstream.url)) as reg:
            connection = http.client.HTTPConnection("127.0.0.1", reg.port, timeout=60)
            connection.request("GET", path)
            assert connection.getresponse().read(1000) == blob[:1000]
            connection.close()
            wait_until(lambda: part.stat().st_size > 2 << 20, what="half of the download")
            os.kill(reg.pid, signal.SIGKILL)
        kept = part.stat().st_size
        upstream.go_on.set()
        with registry(tmp_path / "cache", **copies(upstream.url)) as reg:
            assert reg.get(path).body == blob
        assert kept >= 2 << 20
        assert upstream.gets == 2


def test_stopping_in_a_download(tmp_path: Path) -> None:
    """A registry that is told to stop does not wait for an upstream that drags on."""
    with slow_upstream(os.urandom(4 << 20), held_at=1 << 20) as upstream:
        with registry(tmp_path / "cache", **copies(upstream.url, stop_s=0.2)) as reg:
            path = f"/v2/hub{upstream.path.removeprefix('/v2')}"
            connection = http.client.HTTPConnection("127.0.0.1", reg.port, timeout=60)
            connection.request("GET", path)
            assert connection.getresponse().read(1)
        connection.close()
        assert not upstream.go_on.is_set()


def test_which_upstream() -> None:
    """The longest prefix counts, at the ends of a name's parts; without one a repository is our own."""
    hub, team = Upstream(prefix="hub", url="https://a"), Upstream(prefix="hub/team/", url="https://b")
    kept, every = Upstream(prefix="x", url="https://c", keep_prefix=True), Upstream(url="https://d")
    assert find_upstream((hub, team), "hub/library/box") == (hub, "library/box")
    assert find_upstream((hub, team), "hub/team/box") == (team, "box")
    assert find_upstream((hub, team), "hubs/box") is None
    assert find_upstream((hub,), "hub") is None
    assert find_upstream((hub, kept, every), "x/y") == (kept, "x/y")
    assert find_upstream((hub, every), "y") == (every, "y")


def test_urls() -> None:
    """An upstream's URL has a host, and perhaps a path before its names."""
    endpoint = parse_upstream("https://registry.example:5000/team/")
    assert (endpoint.address, endpoint.schemes, endpoint.prefix) == (
        "registry.example:5000",
        ("https",),
        "team",
    )
    for url in (
        "",
        "registry.example",
        "ftp://a",
        "https://",
        "https://u:p@a",
        "https://a/UP",
        "https://a?x",
    ):
        with pytest.raises(InvalidInput):
            parse_upstream(url)
