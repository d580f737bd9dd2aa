"""Blobs over HTTP, as the distribution specification's conformance run asks for them, and more."""

from __future__ import annotations

import http.client
import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.registries import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.registries import Registry

ALGORITHMS = pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
DATA = os.urandom(5000)
ABSENT = digest_of(b"nobody has this")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A repository that no other test uses."""
    return f"blobs/{abs(hash(request.node.nodeid)):x}"


def check_is_there(reg: Registry, location: str, data: bytes, digest: str) -> None:
    """The blob is at its location, whole, and named as the client names it."""
    answer = reg.get(location)
    assert (answer.status, answer.body) == (200, data)
    assert answer["Docker-Content-Digest"] == digest
    assert answer["Content-Length"] == str(len(data))
    head = reg.head(location)
    assert (head.status, head.body) == (200, b"")
    assert head["Content-Length"] == str(len(data))
    assert head["Docker-Content-Digest"] == digest


def check_state(reg: Registry, location: str, size: int) -> str:
    """The upload says that so much is there; where it goes on."""
    answer = reg.get(location)
    assert (answer.status, answer["Range"]) == (204, f"0-{size - 1}")
    return answer["Location"]


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
def test_ping(reg: Registry, path: str) -> None:
    """Clients find out that this is a registry."""
    answer = reg.get(path)
    assert answer.status == 200
    assert answer["Docker-Distribution-Api-Version"] == "registry/2.0"


@ALGORITHMS
def test_what_is_not_there(reg: Registry, name: str, algorithm: str) -> None:
    """A blob that nobody sent is 404, in the protocol's words."""
    path = f"/v2/{name}/blobs/{digest_of(b'nothing like it', algorithm)}"
    answer = reg.get(path)
    assert (answer.status, answer.word) == (404, "BLOB_UNKNOWN")
    assert answer["Content-Type"].startswith("application/json")
    assert reg.head(path).status == 404
    assert reg.delete(path).status == 404


@ALGORITHMS
def test_post_only(reg: Registry, name: str, algorithm: str) -> None:
    """A blob that comes with its POST is there at once."""
    digest = digest_of(DATA, algorithm)
    answer = reg("POST", f"/v2/{name}/blobs/uploads/?digest={digest}", DATA)
    assert answer.status == 201
    assert answer["Docker-Content-Digest"] == digest
    check_is_there(reg, answer["Location"], DATA, digest)


@ALGORITHMS
def test_post_and_put(reg: Registry, name: str, algorithm: str) -> None:
    """POST begins, PUT sends and ends."""
    digest = digest_of(DATA, algorithm)
    answer = reg.finish(reg.begin(name), digest, DATA)
    assert answer.status == 201
    check_is_there(reg, answer["Location"], DATA, digest)


@ALGORITHMS
def test_one_chunk(reg: Registry, name: str, algorithm: str) -> None:
    """PATCH with a Content-Range, then PUT without a body."""
    digest = digest_of(DATA, algorithm)
    answer = reg.patch(reg.begin(name), DATA, 0)
    assert (answer.status, answer["Range"]) == (202, f"0-{len(DATA) - 1}")
    answer = reg.finish(answer["Location"], digest)
    assert answer.status == 201
    check_is_there(reg, answer["Location"], DATA, digest)


@ALGORITHMS
def test_stream(reg: Registry, name: str, algorithm: str) -> None:
    """PATCH without range and without length: the body says by itself where it ends."""
    digest = digest_of(DATA, algorithm)

    def pieces() -> Iterator[bytes]:
        for first in range(0, len(DATA), 700):
            yield DATA[first : first + 700]

    answer = reg("PATCH", reg.begin(name), pieces())
    assert answer.status == 202
    answer = reg.finish(answer["Location"], digest)
    assert answer.status == 201
    check_is_there(reg, answer["Location"], DATA, digest)


@ALGORITHMS
@pytest.mark.parametrize("last", ["patch", "put"])
@pytest.mark.parametrize("order", ["right", "wrong"])
def test_chunks(reg: Registry, name: str, algorithm: str, last: str, order: str) -> None:
    """Chunks in their order make the blob; one out of order is refused, and the upload goes on."""
    digest = digest_of(DATA, algorithm)
    location = reg.begin(name)
    if order == "wrong":
        answer = reg.patch(location, DATA[2000:4000], 2000)
        assert (answer.status, answer.word) == (416, "RANGE_INVALID")
    location = reg.patch(location, DATA[:2000], 0)["Location"]
    if order == "wrong":
        assert reg.patch(location, DATA[4000:], 4000).status == 416
        location = check_state(reg, location, 2000)
        assert reg.patch(location, DATA[:2000], 0).status == 416
        answer = reg.finish(location, digest, DATA[4000:], Content_Range=f"4000-{len(DATA) - 1}")
        assert (answer.status, answer["Range"]) == (416, "0-1999")
        location = check_state(reg, answer["Location"], 2000)
    location = reg.patch(location, DATA[2000:4000], 2000)["Location"]
    if last == "put":
        answer = reg.finish(location, digest, DATA[4000:], Content_Range=f"4000-{len(DATA) - 1}")
    else:
        answer = reg.finish(reg.patch(location, DATA[4000:], 4000)["Location"], digest)
    assert answer.status == 201
    check_is_there(reg, answer["Location"], DATA, digest)


@pytest.mark.parametrize("content_range", ["nonsense", "5-4", "0-", "-5", "0-99999999999999999999"])
def test_malformed_chunks(reg: Registry, name: str, content_range: str) -> None:
    """A chunk without a range that makes sense is refused; the upload goes on."""
    location = reg.begin(name)
    answer = reg("PATCH", location, DATA, {"Content-Range": content_range})
    assert (answer.status, answer.word) == (400, "BLOB_UPLOAD_INVALID")
    answer = reg("PATCH", location, DATA, {"Content-Range": f"0-{len(DATA)}"})
    assert (answer.status, answer.word) == (400, "SIZE_INVALID")
    assert reg.finish(location, digest_of(DATA), DATA).status == 201


def test_least_chunk(reg: Registry, name: str) -> None:
    """Clients are told how small a chunk may be."""
    assert reg("POST", f"/v2/{name}/blobs/uploads/")["OCI-Chunk-Min-Length"] == "1024"


@ALGORITHMS
def test_mount(reg: Registry, name: str, algorithm: str) -> None:
    """What one repository has, another gets without its being sent, from where it says or from anywhere."""
    digest = reg.push_blob(f"{name}/source", DATA, algorithm)
    for query in (f"mount={digest}&from={name}/source", f"mount={digest}"):
        target = f"{name}/target{len(query)}"
        answer = reg("POST", f"/v2/{target}/blobs/uploads/?{query}")
        assert answer.status == 201
        assert answer["Docker-Content-Digest"] == digest
        check_is_there(reg, answer["Location"], DATA, digest)


@ALGORITHMS
@pytest.mark.parametrize("source", ["", "&from=nobody/there", "&from=NOT/A/NAME"])
def test_mount_of_what_is_not_there(reg: Registry, name: str, algorithm: str, source: str) -> None:
    """It becomes an upload."""
    data = os.urandom(2000)
    digest = digest_of(data, algorithm)
    answer = reg("POST", f"/v2/{name}/blobs/uploads/?mount={digest}{source}")
    assert answer.status == 202
    answer = reg.finish(answer["Location"], digest, data)
    assert answer.status == 201
    check_is_there(reg, answer["Location"], data, digest)


def test_cancel(reg: Registry, name: str) -> None:
    """A cancelled upload is unknown."""
    location = reg.patch(reg.begin(name), DATA, 0)["Location"]
    assert reg.delete(location).status == 204
    for answer in (reg.get(location), reg.delete(location), reg.patch(location, DATA, 0)):
        assert (answer.status, answer.word) == (404, "BLOB_UPLOAD_UNKNOWN")


def test_an_upload_belongs_to_its_repository(reg: Registry, name: str) -> None:
    """It is not found in another."""
    location = reg.begin(name)
    assert reg.get(location.replace(name, f"{name}/other")).status == 404
    assert reg.get(location).status == 204


@pytest.mark.parametrize(
    ("wanted", "first", "end"),
    [
        ("500-1499", 500, 1500),
        ("500-", 500, 3000),
        ("-500", 2500, 3000),
        ("2000-5000", 2000, 3000),
        (f"2000-{10**30}", 2000, 3000),
        (f"-{10**30}", 0, 3000),
    ],
)
def test_ranges(reg: Registry, name: str, wanted: str, first: int, end: int) -> None:
    """A part of a blob is sent, cut at the blob's end."""
    data = DATA[:3000]
    digest = reg.push_blob(name, data)
    answer = reg.get(f"/v2/{name}/blobs/{digest}", Range=f"bytes={wanted}")
    assert (answer.status, answer.body) == (206, data[first:end])
    assert answer["Content-Range"] == f"bytes {first}-{end - 1}/3000"
    assert answer["Content-Length"] == str(end - first)


@pytest.mark.parametrize("wanted", ["500-0", "5000-10000", "3000-", "-0", "-", "a-b"])
def test_ranges_that_are_none(reg: Registry, name: str, wanted: str) -> None:
    """They are refused with the blob's size; the connection goes on."""
    digest = reg.push_blob(name, DATA[:3000])
    answer = reg.get(f"/v2/{name}/blobs/{digest}", Range=f"bytes={wanted}")
    assert (answer.status, answer["Content-Range"]) == (416, "bytes */3000")


def test_what_is_ignored_of_ranges(reg: Registry, name: str) -> None:
    """Several ranges, other units and a range of what is not meant (If-Range) give the whole."""
    digest = reg.push_blob(name, DATA)
    path = f"/v2/{name}/blobs/{digest}"
    assert reg.get(path, Range="bytes=0-1,3-4").body == DATA
    assert reg.get(path, Range="lines=0-1").body == DATA
    assert reg.get(path, Range="bytes=0-1", If_Range='"other"').body == DATA
    assert reg.get(path, Range="bytes=0-1", If_Range=f'"{digest}"').body == DATA[:2]


def test_what_is_known_is_not_sent_again(reg: Registry, name: str) -> None:
    """However the client says that it has the blob: alone, in a list, weakly, or whatever there is."""
    digest = reg.push_blob(name, DATA)
    path = f"/v2/{name}/blobs/{digest}"
    for known in (f'"{digest}"', f'W/"{digest}"', f'"other", "{digest}"', "*"):
        answer = reg.get(path, If_None_Match=known)
        assert (answer.status, answer.body) == (304, b""), known
    assert reg.get(path, If_None_Match='"other"').body == DATA


@ALGORITHMS
@pytest.mark.parametrize("data", [b"", b"{}"])
def test_tiny_blobs(reg: Registry, name: str, algorithm: str, data: bytes) -> None:
    """Nothing is a blob too: pushed, read, removed."""
    digest = reg.push_blob(name, data, algorithm)
    path = f"/v2/{name}/blobs/{digest}"
    check_is_there(reg, path, data, digest)
    assert reg.delete(path).status == 202
    assert reg.head(path).status == 404


@ALGORITHMS
def test_other_bytes_than_announced(reg: Registry, name: str, algorithm: str) -> None:
    """Whatever way they come, they are refused, and are not there."""
    wrong = digest_of(b"something else", algorithm)
    chunked = reg.patch(reg.begin(name), DATA, 0)["Location"]
    halved = reg.patch(reg.begin(name), DATA[:2000], 0)["Location"]
    streamed = reg("PATCH", reg.begin(name), iter([DATA]))["Location"]
    for answer in (
        reg("POST", f"/v2/{name}/blobs/uploads/?digest={wrong}", DATA),
        reg.finish(reg.begin(name), wrong, DATA),
        reg.finish(chunked, wrong),
        reg.finish(halved, wrong, DATA[2000:], Content_Range=f"2000-{len(DATA) - 1}"),
        reg.finish(streamed, wrong),
    ):
        assert (answer.status, answer.word) == (400, "DIGEST_INVALID")
    assert reg.get(f"/v2/{name}/blobs/{wrong}").status == 404
    assert reg.get(f"/v2/{name}/blobs/{digest_of(DATA, algorithm)}").status == 404


@pytest.mark.parametrize("digest", ["sha256:baddigeststring", "md5:" + "0" * 32, "sha256:" + "A" * 64])
def test_what_is_no_digest(reg: Registry, name: str, digest: str) -> None:
    """It is refused everywhere."""
    answers = [reg.get(f"/v2/{name}/blobs/{digest}"), reg.delete(f"/v2/{name}/blobs/{digest}")]
    answers += [reg.finish(reg.begin(name), digest, DATA), reg("PUT", reg.begin(name), DATA)]
    answers += [reg("POST", f"/v2/{name}/blobs/uploads/?{key}={digest}") for key in ("digest", "mount")]
    assert {(answer.status, answer.word) for answer in answers} == {(400, "DIGEST_INVALID")}


@pytest.mark.parametrize("bad", ["UPPER", "a//b", "-a", "a/", "a..b", "a___b", "x" * 256, "a%20b"])
def test_names_that_are_none(reg: Registry, bad: str) -> None:
    """Repositories are called what the specification allows."""
    answer = reg("POST", f"/v2/{bad}/blobs/uploads/")
    assert (answer.status, answer.word) == (400, "NAME_INVALID")


def test_what_does_not_exist(reg: Registry, name: str) -> None:
    """Unknown paths and methods are answered in the standard form."""
    for path in ("/", "/v1/", "/v2/x", f"/v2/{name}/nothing/here"):
        assert (reg.get(path).status, reg.get(path).word) == (404, "UNSUPPORTED")
    answer = reg("PUT", f"/v2/{name}/blobs/{ABSENT}")
    assert (answer.status, answer.word, answer["Allow"]) == (405, "UNSUPPORTED", "GET, HEAD, DELETE")


def test_deleting(reg: Registry, name: str) -> None:
    """A deleted blob is gone from its repository, and from no other."""
    digest = reg.push_blob(name, DATA)
    reg("POST", f"/v2/{name}/other/blobs/uploads/?mount={digest}&from={name}")
    assert reg.delete(f"/v2/{name}/blobs/{digest}").status == 202
    assert reg.head(f"/v2/{name}/blobs/{digest}").status == 404
    check_is_there(reg, f"/v2/{name}/other/blobs/{digest}", DATA, digest)


def test_expecting_to_be_told_to_go_on(reg: Registry, name: str) -> None:
    """A client that waits is told to send, or why it should not."""
    location = reg.begin(name)
    digest = digest_of(DATA)
    head = f"PUT {location}?digest={digest} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", reg.port), timeout=60) as client:
        client.sendall(f"{head}Content-Length: {len(DATA)}\r\n\r\n".encode())
        assert client.recv(100).startswith(b"HTTP/1.1 100 Continue\r\n\r\n")
        client.sendall(DATA)
        assert client.recv(1000).startswith(b"HTTP/1.1 201 ")
    with socket.create_connection(("127.0.0.1", reg.port), timeout=60) as client:
        client.sendall(f"{head}Content-Length: {len(DATA)}\r\n\r\n".encode())
        told = client.recv(1000)
        assert told.startswith(b"HTTP/1.1 404 ")
        assert b"connection: close" in told.lower()


def test_many_requests_on_one_connection(reg: Registry, name: str) -> None:
    """Errors, ranges and bodies leave a connection in order."""
    digest = reg.push_blob(name, DATA)
    connection = http.client.HTTPConnection("127.0.0.1", reg.port, timeout=60)
    try:
        for _ in range(3):
            for wanted, status in (("bytes=1-3", 206), ("bytes=9999-", 416), ("", 200)):
                connection.request("GET", f"/v2/{name}/blobs/{digest}", headers={"Range": wanted})
                response = connection.getresponse()
                response.read()
                assert response.status == status
            connection.request("HEAD", f"/v2/{name}/blobs/{ABSENT}")
            assert connection.getresponse().read() == b""
            connection.request("POST", f"/v2/{name}/blobs/uploads/?digest={ABSENT}", DATA)
            response = connection.getresponse()
            assert (response.status, response.read()[:20]) == (400, b'{"errors":[{"code":"')
    finally:
        connection.close()
