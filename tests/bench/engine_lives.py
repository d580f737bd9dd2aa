"""The engine beside dockerd and Podman: what one container's user waits for, by command and over the API.

A command costs its own time as well: docker's some 30 ms.  Over the API only the engine's is left.
"""

from __future__ import annotations

import itertools
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from tests.bench.engine_peers import IMAGE
from tests.bench.measure import Comparison, Contender, interleave, timed_us
from tests.support.api_server import connect, receive_all, receive_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.bench.engine_peers import Peer

    Sample = Callable[[Peer], float]

IDLE = ("sleep", "1000")
_NUMBERS = itertools.count()
_REFERENCE = "dockerd"
_CLAIM = "At most a third of docker's, at most a quarter of Podman's."


def new_name() -> str:
    """A container's name that no other has had."""
    return f"bench-{next(_NUMBERS)}"


def document_of(*words: str, remove: bool = False) -> dict[str, Any]:
    """What ``POST /containers/create`` is sent for a container without a network."""
    host = {"NetworkMode": "none", "AutoRemove": remove}
    return {"Image": IMAGE, "Cmd": [*words], "HostConfig": host}


def compare_lives(found: Sequence[Peer], *, rounds: int) -> list[Comparison]:
    """What the commands of docker's grammar take, and the same over the API."""
    commands: list[tuple[str, Sample]] = [
        ("run --rm true, network none", lambda peer: _run_us(peer, "none")),
        ("run --rm true, network bridge", lambda peer: _run_us(peer, "bridge")),
        ("create", _create_us),
        ("start", _start_us),
        ("exec true", _exec_us),
        ("rm -f of a running one", _remove_us),
    ]
    requests: list[tuple[str, Sample]] = [
        ("run --rm true, over the API", _run_by_requests_us),
        ("create, over the API", _create_by_request_us),
        ("start, over the API", _start_by_request_us),
        ("exec true, over the API", _exec_by_requests_us),
        ("rm -f, over the API", _remove_by_request_us),
    ]
    everybody = [found[0], found[0].by_pier(), *found[1:]]
    daemons = [peer for peer in found if peer.socket_path]
    comparisons = [_compare(name, sample, everybody, rounds) for name, sample in commands]
    return comparisons + [_compare(name, sample, daemons, rounds) for name, sample in requests]


def _compare(name: str, sample: Sample, among: Sequence[Peer], rounds: int) -> Comparison:
    contenders = [Contender(peer.name, lambda peer=peer: sample(peer)) for peer in among]  # type: ignore[misc]
    samples_us = interleave(contenders, rounds=rounds, warmup=2)
    reference = _REFERENCE if _REFERENCE in samples_us else contenders[0].name
    return Comparison(name=f"Engine: {name}", claim=_CLAIM, reference=reference, samples_us=samples_us)


# By commands


def _run_us(peer: Peer, network: str) -> float:
    return peer.run_us(*peer.new("run --rm", "", "true", network=network))


@contextmanager
def _made(peer: Peer, verb: str) -> Iterator[str]:
    """A container that is there inside; ``verb`` has made it."""
    name = new_name()
    peer.ask(*peer.new(verb, name, *IDLE))
    try:
        yield name
    finally:
        peer.ask(*peer.removing, name)


def _create_us(peer: Peer) -> float:
    name = new_name()
    taken_us = peer.run_us(*peer.new("create", name, "true"))
    peer.ask(*peer.removing, name)
    return taken_us


def _start_us(peer: Peer) -> float:
    with _made(peer, "create") as name:
        return peer.run_us("start", name)


def _exec_us(peer: Peer) -> float:
    with _made(peer, "run -d") as name:
        peer.ask("exec", name, "true")
        return peer.run_us("exec", name, "true")


def _remove_us(peer: Peer) -> float:
    name = new_name()
    peer.ask(*peer.new("run -d", name, *IDLE))
    return peer.run_us(*peer.removing, name)


# Over the API


def _run_by_requests_us(peer: Peer) -> float:
    """As the command does it: whoever waits is there before the start."""

    def work() -> None:
        made = peer.post("/containers/create", document_of("true", remove=True), status=201)["Id"]
        with connect(peer.socket_path) as waiting:
            path = f"/containers/{made}/wait?condition=removed"
            waiting.sendall(f"POST {path} HTTP/1.1\r\nHost: docker\r\nContent-Length: 0\r\n\r\n".encode())
            head = receive_until(waiting, b"\r\n\r\n")
            peer.post(f"/containers/{made}/start", status=204)
            if not head.endswith(b"0\r\n\r\n"):
                receive_until(waiting, b"0\r\n\r\n")

    return timed_us(work)


def _create_by_request_us(peer: Peer) -> float:
    name = new_name()
    path = f"/containers/create?name={name}"
    taken_us = timed_us(lambda: peer.post(path, document_of("true"), status=201))
    peer.ask(*peer.removing, name)
    return taken_us


def _start_by_request_us(peer: Peer) -> float:
    with _made(peer, "create") as name:
        return timed_us(lambda: peer.post(f"/containers/{name}/start", status=204))


def _exec_by_requests_us(peer: Peer) -> float:
    """Made, run to the end of its output, looked at."""

    def work(name: str) -> None:
        wanted = {"Cmd": ["true"], "AttachStdout": True, "AttachStderr": True}
        made = peer.post(f"/containers/{name}/exec", wanted, status=201)["Id"]
        body = json.dumps({"Detach": False, "Tty": False})
        head = f"POST /exec/{made}/start HTTP/1.1\r\nHost: docker\r\nContent-Type: application/json\r\n"
        head += f"Connection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: {len(body)}\r\n\r\n"
        with connect(peer.socket_path) as stream:
            stream.sendall(f"{head}{body}".encode())
            receive_all(stream)
        assert peer.api.get(f"/exec/{made}/json").json()["ExitCode"] in (0, None)

    with _made(peer, "run -d") as name:
        work(name)
        return timed_us(lambda: work(name))


def _remove_by_request_us(peer: Peer) -> float:
    name = new_name()
    peer.ask(*peer.new("run -d", name, *IDLE))
    return timed_us(lambda: peer.api.delete(f"/containers/{name}?force=1"))
