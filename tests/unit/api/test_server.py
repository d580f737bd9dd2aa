"""The API over HTTP, with an engine that runs nothing."""

from __future__ import annotations

import base64
import json
import socket
from typing import TYPE_CHECKING

import pytest

from pierhead.api.versions import NEWEST, OLDEST, format_version
from pierhead.engine.record import Event
from pierhead.errors import Conflict, NotModified, OperationFailed
from tests.support.api_server import Client, connect, receive_all, receive_until, served
from tests.support.fake_engine import ID, FakeAttachment, FakeEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NEW = format_version(NEWEST)


@pytest.fixture
def engine() -> FakeEngine:
    """An engine that runs nothing."""
    return FakeEngine()


@pytest.fixture
def api(engine: FakeEngine, tmp_path: Path) -> Iterator[Client]:
    """Its API."""
    with served(engine, tmp_path) as client:
        yield client


# Versions and headers


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_ping(api: Client, method: str) -> None:
    """Every command of docker's opens with it, and learns what there is."""
    answer = api(method, "/_ping")
    assert answer.status == 200
    assert answer.body == (b"OK" if method == "GET" else b"")
    wanted = {
        "Api-Version": NEW,
        "Builder-Version": "1",
        "Docker-Experimental": "false",
        "Ostype": "linux",
        "Swarm": "inactive",
        "Server": "Docker/0.1 (linux)",
        "Content-Length": "2" if method == "GET" else "0",
    }
    assert {name: answer.headers[name] for name in wanted} == wanted
    assert "no-cache" in answer.headers["Cache-Control"]


@pytest.mark.parametrize("path", ["/version", "/nothing", "/v1.51/containers/missing/json", "/v9.9/version"])
def test_every_answer_says_who_answers(api: Client, path: str) -> None:
    """Clients look for the version and the operating system in whatever they get."""
    headers = api.get(path).headers
    assert (headers["Api-Version"], headers["Ostype"]) == (NEW, "linux")
    assert headers["Server"].startswith("Docker/")
    assert headers["Docker-Experimental"] == "false"


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.99", f"client version 1.99 is too new. Maximum supported API version is {NEW}"),
        (
            "1.12",
            (
                f"client version 1.12 is too old. Minimum supported API version is {format_version(OLDEST)}"
                ", please upgrade your client to a newer version"
            ),
        ),
    ],
)
def test_versions_that_nobody_speaks(api: Client, version: str, message: str) -> None:
    """Clients know docker's two sentences."""
    answer = api.get(f"/v{version}/version")
    assert (answer.status, answer.message) == (400, message)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/nothing"), ("POST", "/info"), ("PATCH", "/version"), ("HEAD", "/info")]
)
def test_unknown_paths_and_methods(api: Client, method: str, path: str) -> None:
    """Both are 404, as docker's router answers."""
    answer = api(method, path)
    assert answer.status == 404
    if method != "HEAD":
        assert answer.message == "page not found"


# Errors


def test_errors_have_their_status_and_hint(engine: FakeEngine, api: Client) -> None:
    """Docker's sentence has a line of its own, and so has what is to be done."""
    engine.fails["create_container"] = Conflict("the name is taken", code="name-taken", hint="take another")
    answer = api.post("/containers/create", {"Image": "busybox"})
    assert answer.status == 409
    assert answer.json() == {"message": "the name is taken\nhint: take another", "code": "name-taken"}


def test_not_modified_has_no_body(engine: FakeEngine, api: Client) -> None:
    """And the connection goes on after it."""
    engine.fails["start_container"] = NotModified("it runs already")
    twice = "POST /containers/web/start HTTP/1.1\nHost: d\n\n" * 2
    found = api.raw(f"{twice}GET /_ping HTTP/1.0\n\n")
    assert found.count(b"HTTP/1.1 304 Not Modified\r\n") == 2
    assert found.endswith(b"\r\n\r\nOK")


def test_what_nobody_foresaw(engine: FakeEngine, api: Client, caplog: pytest.LogCaptureFixture) -> None:
    """A bug is an answer without details; the log has them, and other requests go on."""
    engine.fails["info"] = ZeroDivisionError("of all things")
    answer = api.get("/info")
    assert answer.status == 500
    assert "ZeroDivision" not in answer.message
    assert "of all things" in caplog.text
    assert api.get("/_ping").status == 200


# Containers


def test_create(engine: FakeEngine, api: Client) -> None:
    """Container's and host's part are told apart; what is unknown is passed over."""
    body = {
        "Image": "busybox",
        "Cmd": ["sh"],
        "Sparkle": 7,
        "HostConfig": {"Memory": 1 << 20, "Glitter": True},
        "NetworkingConfig": {"EndpointsConfig": {"bridge": {"IPAMConfig": {"IPv4Address": "172.17.0.9"}}}},
    }
    answer = api.post(f"/v{NEW}/containers/create?name=web&platform=linux/arm64", body)
    assert (answer.status, answer.json()) == (201, {"Id": ID, "Warnings": []})
    verb, given = engine.last()
    assert verb == "create_container"
    assert (given["name"], given["platform"]) == ("web", "linux/arm64")
    assert (given["config"].image, given["config"].cmd) == ("busybox", ("sh",))
    assert given["host"].memory == 1 << 20
    ipam = given["networking"].endpoints_config["bridge"].ipam_config
    assert ipam is not None
    assert ipam.ipv4_address == "172.17.0.9"


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "invalid JSON: got EOF while reading request body"),
        (b"{}", "config cannot be empty in order to create a container"),
        (b"null", "config cannot be empty in order to create a container"),
        (b"{nonsense", "invalid JSON: request body is not JSON"),
        (b'{"Image": 7}', "invalid JSON: Image: expected a string, found a whole number"),
        (b"[]", "invalid JSON: expected an object"),
    ],
)
def test_bad_bodies(api: Client, body: bytes, message: str) -> None:
    """What is wrong with a document is said of its field."""
    answer = api.post("/containers/create", body, Content_Type="application/json")
    assert answer.status == 400
    assert answer.message.startswith(message)


def test_a_body_of_another_kind(api: Client) -> None:
    """Only JSON is taken for JSON."""
    answer = api.post("/containers/create", b"{}", Content_Type="text/html")
    assert answer.status == 400
    assert answer.message == 'unsupported Content-Type header (text/html): must be "application/json"'


def test_a_page_in_a_browser(engine: FakeEngine, api: Client) -> None:
    """What a page may send without being asked is no request; programs may leave the type out."""
    body = b'{"Image": "box"}'
    for headers, status in (({"Origin": "http://evil.test"}, 400), ({}, 201)):
        with connect(api.path) as connection:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            first = f"POST /containers/create HTTP/1.1\r\nHost: d\r\nContent-Length: {len(body)}\r\n"
            connection.sendall(f"{first}{lines}\r\n".encode() + body)
            assert receive_until(connection, b"\r\n").startswith(f"HTTP/1.1 {status} ".encode())


def test_list_filters(engine: FakeEngine, api: Client) -> None:
    """Both forms of filters say the same."""
    for text in ('{"label":["a=b"]}', '{"label":{"a=b":true}}'):
        assert api.get(f"/containers/json?all=1&size=true&filters={text}").status == 200
        given = {"stopped": True, "limit": 0, "size": True, "filters": {"label": ["a=b"]}}
        assert engine.last() == ("list_containers", given)
    assert api.get("/containers/json?filters=nonsense").status == 400
    assert api.get("/containers/json?limit=few").status == 400


def test_wait_answers_before_the_end(engine: FakeEngine, api: Client) -> None:
    """Headers come when the wait has begun: clients start the container only then."""
    with connect(api.path) as connection:
        connection.sendall(b"POST /containers/web/wait?condition=next-exit HTTP/1.1\r\nHost: d\r\n\r\n")
        head = receive_until(connection, b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        api.in_loop(engine.going_on.set)
        assert b'{"StatusCode":3}' in receive_until(connection, b"0\r\n\r\n")
    assert engine.last() == ("wait_container", {"reference": "web", "condition": "next-exit"})


def test_a_client_that_goes_ends_its_wait(engine: FakeEngine, api: Client) -> None:
    """Nothing is left of what a client waited for."""
    with connect(api.path) as connection:
        connection.sendall(b"POST /containers/web/wait HTTP/1.1\r\nHost: d\r\n\r\n")
        receive_until(connection, b"\r\n\r\n")
    while "wait" not in engine.closed:
        api.get("/_ping")


def test_logs_are_framed(engine: FakeEngine, api: Client) -> None:
    """Eight bytes before each piece, but not with a terminal; the type says so from 1.42 on."""
    answer = api.get("/containers/web/logs?stdout=1&stderr=1&tail=5&since=10.5")
    assert answer.headers["Content-Type"] == "application/vnd.docker.multiplexed-stream"
    assert answer.body == b"\x01\0\0\0\0\0\0\x04out\n\x02\0\0\0\0\0\0\x04err\n"
    query = engine.last()[1]["query"]
    assert (query.tail, query.since_ns, query.follow) == (5, 10_500_000_000, False)
    assert api.get("/v1.41/containers/web/logs?stdout=1").headers["Content-Type"].endswith("raw-stream")
    engine.terminal = True
    answer = api.get("/containers/web/logs?stdout=1")
    assert answer.headers["Content-Type"] == "application/vnd.docker.raw-stream"
    assert answer.body == b"out\nerr\n"
    assert api.get("/containers/web/logs").status == 400


def test_an_error_within_a_log_is_told_in_it(engine: FakeEngine, api: Client) -> None:
    """The headers are gone by then; stream 3 is the engine's own."""
    broken: object = OperationFailed("the file is gone")
    engine.pieces = [("stdout", b"a"), broken]  # type: ignore[list-item]
    body = api.get("/containers/web/logs?stdout=1").body
    assert body == b"\x01\0\0\0\0\0\0\x01a\x03\0\0\0\0\0\0\x11the file is gone\n"


def test_archives(engine: FakeEngine, api: Client) -> None:
    """What is known of the path stands in a header, for HEAD as for GET."""
    for method, body in (("HEAD", b""), ("GET", b"archive")):
        answer = api(method, "/containers/web/archive?path=/etc/hosts")
        assert (answer.status, answer.body) == (200, body)
        stat = json.loads(base64.b64decode(answer.headers["X-Docker-Container-Path-Stat"]))
        assert (stat["name"], stat["mode"]) == ("hosts", 420)
    assert api.get("/containers/web/archive").status == 400
    chunks = iter([b"a" * 100_000, b"b"])
    answer = api("PUT", "/containers/web/archive?path=/tmp&noOverwriteDirNonDir=true", chunks)
    assert (answer.status, answer.body) == (200, b"")
    assert engine.received == b"a" * 100_000 + b"b"
    assert engine.last()[1] == {
        "reference": "web",
        "path": "/tmp",
        "no_overwrite": True,
        "copy_owners": False,
    }


def test_who_waits_to_be_told_to_go_on(engine: FakeEngine, api: Client) -> None:
    """Expect: 100-continue is answered when the body is wanted, and not before an error."""
    head = b"PUT /containers/%b/archive?path=/ HTTP/1.1\r\nHost: d\r\n"
    head += b"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    with connect(api.path) as connection:
        connection.sendall(head % b"web")
        receive_until(connection, b"100 Continue\r\n\r\n")
        connection.sendall(b"tar")
        assert b"200 OK" in receive_until(connection, b"\r\n\r\n")
    assert engine.received == b"tar"
    with connect(api.path) as connection:
        connection.sendall(head % b"missing")
        assert receive_all(connection).startswith(b"HTTP/1.1 404 ")


# Hijacked streams

_ATTACH = "POST /v{}/containers/web/attach?stream=1&stdin=1&stdout=1&stderr=1 HTTP/1.1\r\nHost: d\r\n{}\r\n"
_UPGRADE = "Connection: Upgrade\r\nUpgrade: tcp\r\n"


@pytest.mark.parametrize(
    ("version", "upgrade", "first", "kind"),
    [
        ("1.51", _UPGRADE, b"HTTP/1.1 101 UPGRADED\r\n", b"multiplexed-stream"),
        ("1.41", _UPGRADE, b"HTTP/1.1 101 UPGRADED\r\n", b"raw-stream"),
        ("1.51", "", b"HTTP/1.1 200 OK\r\n", b"raw-stream"),
    ],
)
def test_attach_with_the_end_of_input(
    engine: FakeEngine, api: Client, version: str, upgrade: str, first: bytes, kind: bytes
) -> None:
    """A client closes its half, and the process's last words still come; then the end."""
    engine.attachment = FakeAttachment(terminal=False, says=[("stderr", b"hello\n")])
    with connect(api.path) as connection:
        # in one go: what comes after the request's head is the process's input already
        connection.sendall(_ATTACH.format(version, upgrade).encode() + b"early ")
        head, _, rest = receive_until(connection, b"hello\n").partition(b"\r\n\r\n")
        assert head.startswith(first)
        assert b"Content-Type: application/vnd.docker." + kind in head
        assert (b"Upgrade: tcp" in head) == bool(upgrade)
        assert b"Transfer-Encoding" not in head
        connection.sendall(b"late")
        connection.shutdown(socket.SHUT_WR)
        rest += receive_all(connection)
    assert bytes(engine.attachment.read) == b"early late"
    texts = unframed(rest)
    assert texts["stderr"] == b"hello\n"
    assert texts["stdout"] == b"EARLY LATE"
    while not engine.attachment.closed:
        api.get("/_ping")


def unframed(data: bytes) -> dict[str, bytes]:
    """What was sent on each stream."""
    found = {"stdout": b"", "stderr": b""}
    while data:
        name = {1: "stdout", 2: "stderr"}[data[0]]
        size = int.from_bytes(data[4:8], "big")
        found[name] += data[8 : 8 + size]
        data = data[8 + size :]
    return found


def test_attach_to_a_terminal_and_keys_that_end_it(engine: FakeEngine, api: Client) -> None:
    """One stream without frames; Ctrl-P Ctrl-Q ends the talk and is not for the process."""
    engine.attachment = FakeAttachment(terminal=True)
    with connect(api.path) as connection:
        connection.sendall(_ATTACH.format(NEW, _UPGRADE).encode())
        assert b"raw-stream" in receive_until(connection, b"\r\n\r\n")
        connection.sendall(b"ls\n\x10")
        assert receive_until(connection, b"LS\n") == b"LS\n"
        connection.sendall(b"\x11")
        assert receive_all(connection) == b""
    assert bytes(engine.attachment.read) == b"ls\n"
    assert engine.attachment.left_by_keys


@pytest.mark.parametrize(
    "path", ["/containers/web", "/exec/eee", "/libpod/containers/web", "/libpod/exec/eee"]
)
@pytest.mark.parametrize("query", ["h=65536&w=80", "h=24&w=-1", "h=24"])
def test_sizes_that_no_terminal_has(engine: FakeEngine, api: Client, path: str, query: str) -> None:
    """They are refused before the kernel would be asked."""
    assert api.post(f"{path}/resize?{query}").status == 400
    assert not engine.asked


def test_attach_to_nothing(api: Client) -> None:
    """It is an ordinary answer, after which the connection goes on."""
    text = f"POST /containers/missing/attach?stream=1 HTTP/1.1\nHost: d\n{_UPGRADE}\n".replace("\r\n", "\n")
    found = api.raw(f"{text}GET /_ping HTTP/1.0\n\n")
    assert found.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b'{"message":"No such container: missing"' in found
    assert found.endswith(b"OK")


def test_attach_with_a_broken_body(engine: FakeEngine, api: Client) -> None:
    """It is an ordinary answer, and nothing was attached that would stay so."""
    head = f"POST /containers/web/attach?stream=1 HTTP/1.1\nHost: d\n{_UPGRADE}".replace("\r\n", "\n")
    found = api.raw(f"{head}Transfer-Encoding: chunked\n\nno size\n")
    assert found.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert not engine.asked


def test_exec(engine: FakeEngine, api: Client) -> None:
    """Made, started with a document and a stream behind it, looked at."""
    made = api.post("/containers/web/exec", {"Cmd": ["cat"], "AttachStdin": True, "Tty": False})
    assert (made.status, made.json()) == (201, {"Id": "e" * 64})
    assert api.post("/containers/web/exec", {"Cmd": []}).status == 400
    body = b'{"Detach":false,"Tty":false}'
    with connect(api.path) as connection:
        head = f"POST /exec/eee/start HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n{_UPGRADE}"
        connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body + b"x")
        connection.shutdown(socket.SHUT_WR)
        head_sent, _, rest = receive_all(connection).partition(b"\r\n\r\n")
    assert head_sent.startswith(b"HTTP/1.1 101 UPGRADED\r\n")
    assert b"Api-Version: " in head_sent
    assert unframed(rest)["stdout"] == b"X"
    assert api.post("/exec/eee/start", {"Detach": True}).status == 200
    assert api.get("/exec/eee/json").json()["ExitCode"] == 0
    assert api.post("/exec/eee/resize?h=24&w=80").status == 200
    assert engine.last() == ("resize_exec", {"exec_id": "eee", "rows": 24, "columns": 80})


def test_a_command_that_cannot_be_started_says_so_on_its_stream(engine: FakeEngine, api: Client) -> None:
    """Clients look for it there, and ask for the exit code afterwards."""
    engine.fails["start_exec"] = OperationFailed("no such program: foo")
    with connect(api.path) as connection:
        head = f"POST /exec/eee/start HTTP/1.1\r\nHost: d\r\n{_UPGRADE}Content-Length: 2\r\n\r\n"
        connection.sendall(head.encode() + b"{}")
        found = receive_all(connection)
    assert found.startswith(b"HTTP/1.1 101 ")
    assert unframed(found.partition(b"\r\n\r\n")[2])["stderr"] == b"no such program: foo\r\n"


def test_attach_over_a_web_socket(engine: FakeEngine, api: Client) -> None:
    """RFC 6455's own example of a key; masked frames in, plain ones out."""
    engine.attachment = FakeAttachment(terminal=False, says=[("stdout", b"hi")])
    head = (
        "GET /containers/web/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n"
    )
    with connect(api.path) as connection:
        connection.sendall(head.encode())
        answer = receive_until(connection, b"\x82\x02hi")
        assert b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n" in answer
        masked = bytes(letter ^ mask for letter, mask in zip(b"abc", b"\x01\x02\x03", strict=True))
        connection.sendall(b"\x82\x83\x01\x02\x03\x04" + masked)
        assert receive_until(connection, b"ABC") == b"\x82\x03ABC"
        connection.sendall(b"\x88\x80\0\0\0\0")
        assert receive_all(connection) == b"\x88\x02\x03\xe8"


# Events, images, the rest


def test_events_begin_at_once(engine: FakeEngine, api: Client) -> None:
    """Headers come before anything has happened."""
    with connect(api.path) as connection:
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        assert b"application/json" in receive_until(connection, b"\r\n\r\n")
    while "events" not in engine.closed:
        api.get("/_ping")


def test_events_of_no_time(api: Client) -> None:
    """A time that ends before it begins is a mistake, and not one without events."""
    answer = api.get("/events?since=10&until=5")
    assert answer.status == 400
    assert answer.message == "`since` time (10) cannot be after `until` time (5)"


def test_events_have_their_fields_of_old(engine: FakeEngine, api: Client) -> None:
    """Below 1.52 status, id and from stand beside the new ones."""
    engine.happened = [
        Event(
            kind="container", action="die", actor=ID, attributes={"image": "busybox"}, time_ns=3_000_000_001
        )
    ]
    answer = api.get("/events?since=1&until=4&filters={}")
    assert answer.json() == {
        "status": "die",
        "id": ID,
        "from": "busybox",
        "Type": "container",
        "Action": "die",
        "Actor": {"ID": ID, "Attributes": {"image": "busybox"}},
        "scope": "local",
        "time": 3,
        "timeNano": 3_000_000_001,
    }
    answer = api.get("/events?until=4", Accept="application/json-seq")
    assert answer.headers["Content-Type"] == "application/json-seq"
    assert answer.body.startswith(b"\x1e{")


def test_pull(engine: FakeEngine, api: Client) -> None:
    """Name, tag and who asks; progress comes in lines."""
    sent = base64.urlsafe_b64encode(b'{"username":"me","password":"\xc3\xbf?>"}').decode().rstrip("=")
    answer = api.post("/images/create?fromImage=team/app&tag=v1", X_Registry_Auth=sent)
    assert answer.body == b'{"status":"Pulling"}\r\n{"status":"Done"}\r\n'
    given = engine.last()[1]
    assert given["reference"] == "team/app:v1"
    assert given["credentials"] == {"username": "me", "password": "ÿ?>"}
    for name, all_tags in (("a:1", False), ("a@sha256:0", False), ("host:5000/a", True), ("a", True)):
        api.post(f"/images/create?fromImage={name}")
        assert engine.last()[1]["all_tags"] == all_tags
    assert api.post("/images/create?fromImage=a", X_Registry_Auth="%%%").status == 400
    assert api.post("/images/create?fromSrc=http://example.com/x.tar").status == 501
    assert api.post("/images/create?fromSrc=-&repo=mine&changes=CMD+a&changes=USER+b", b"tar").status == 200
    assert engine.received == b"tar"
    assert engine.last()[1]["changes"] == ["CMD a", "USER b"]


def test_names_of_images_have_slashes(engine: FakeEngine, api: Client) -> None:
    """The last part of the path is the verb, whatever the name is made of."""
    name = "registry.example.com:5000/team/app"
    api.get(f"/images/{name}/json?platform=%7B%22os%22%3A%22linux%22%2C%22architecture%22%3A%22arm64%22%7D")
    assert engine.last() == ("inspect_image", {"reference": name, "platform": "linux/arm64"})
    api.post(f"/images/{name}/push?tag=v1")
    assert engine.last()[1]["reference"] == f"{name}:v1"
    api("DELETE", f"/images/{name.replace('/', '%2F')}?force=1")
    assert engine.last()[1]["reference"] == name
    assert api.get(f"/images/get?names={name}&names=b").body == b"images"
    assert engine.last()[1]["references"] == [name, "b"]


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/nodes", 503, "This node is not a swarm manager."),
        ("POST", "/services/create", 503, "This node is not a swarm manager."),
        ("POST", "/swarm/leave", 503, "This node is not part of a swarm"),
        ("POST", "/swarm/init", 501, "swarm mode is not supported by this engine"),
        ("POST", "/networks/create", 501, "networks of one's own are not supported by this engine"),
        ("POST", "/build", 501, "building images is not supported by this engine"),
        ("POST", "/session", 501, "building images is not supported by this engine"),
        ("GET", "/images/search?term=a", 501, "searching registries is not supported by this engine"),
        ("GET", "/plugins/x/json", 404, 'plugin "x" not found'),
    ],
)
def test_what_is_absent_says_so(api: Client, method: str, path: str, status: int, message: str) -> None:
    """One sentence for each, in docker's words where it has them."""
    answer = api(method, f"/v{NEW}{path}")
    assert answer.status == status
    assert answer.message.startswith(message)


def test_a_large_body_that_nobody_wants(api: Client) -> None:
    """Its sender still reads the answer."""
    answer = api.post("/build", iter([b"x" * 65536] * 64))
    assert answer.status == 501


def test_silence(engine: FakeEngine, tmp_path: Path) -> None:
    """Whoever says nothing for long is hung up on, at the beginning and between requests; who waits for an
    answer is not.
    """
    with (
        served(engine, tmp_path, silence_s=2) as api,
        connect(api.path) as third,
        connect(api.path) as second,
        connect(api.path) as first,
    ):
        third.sendall(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        second.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        assert receive_all(second).endswith(b"OK")
        assert receive_all(first) == b""
        assert b"200 OK" in receive_until(third, b"\r\n\r\n")
        third.settimeout(0.5)
        with pytest.raises(TimeoutError):
            third.recv(1)
