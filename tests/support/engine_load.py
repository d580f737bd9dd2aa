"""Clients that use a daemon without mercy, and know what must be true of it whenever it is killed.

Each leads one container after the other through its life.  A request that was not answered has been done or
not, never half: the client looks, and goes on from there.  At the end of a life everything is compared with
what the container must have done: its output, its exit code, how often it ran, and the events of it.
"""

from __future__ import annotations

import itertools
import json
import random
import threading
import time
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

if TYPE_CHECKING:
    from tests.support.api_server import Answer, Client

KINDS = (
    "short",
    "slow",
    "stopped",
    "retried",
    "passing",
    "joined",
    "renamed",
    "mounted",
    "committed",
    "never-started",
)
_LINES = 30
_PATIENCE_S = 60.0
_PAUSE_S = 0.02
_ABSENCE_S = 0.1
_LULL_S = 2.0
_TOLD = ("create", "start", "die", "destroy")
NEVER = "0001-01-01T00:00:00Z"
_LOOP = "i=0; while [ $i -lt {lines} ]; do echo {name} $i; i=$((i+1)); done"


@dataclass
class Life:
    """One container's, as it must become."""

    name: str
    kind: str
    code: int
    id: str = ""

    @property
    def runs(self) -> int:
        """How often it must have run."""
        return {"retried": 3, "never-started": 0}.get(self.kind, 1)

    @property
    def lines(self) -> list[str]:
        """What it must have written."""
        return [f"{self.name} {number}" for number in range(_LINES)] * self.runs

    @property
    def volume(self) -> str:
        """The volume of one that has something mounted."""
        return f"{self.name}-ram"

    def document(self, image: str) -> dict[str, Any]:
        """What is asked for."""
        script = _LOOP.format(name=self.name, lines=_LINES)
        ending = {"slow": f"sleep 0.3; exit {self.code}", "stopped": "sleep 1000"}
        host: dict[str, Any] = {"NetworkMode": "bridge" if self.kind == "joined" else "none"}
        if self.kind == "joined":
            host["PortBindings"] = {"80/tcp": [{"HostIp": "127.0.0.1"}]}
        if self.kind == "retried":
            host["RestartPolicy"] = {"Name": "on-failure", "MaximumRetryCount": 2}
        if self.kind == "passing":
            host["AutoRemove"] = True
        if self.kind == "slow":
            host["IpcMode"] = "shareable"
        if self.kind == "mounted":
            driver = {"Name": "local", "Options": {"type": "tmpfs", "device": "tmpfs", "o": "size=1m"}}
            options = {"DriverConfig": driver}
            volume = {"Type": "volume", "Source": self.volume, "Target": "/ram", "VolumeOptions": options}
            host["Mounts"] = [volume]
        script = f"{script}; {ending.get(self.kind, f'exit {self.code}')}"
        document: dict[str, Any] = {"Image": image, "Cmd": ["sh", "-c", script], "HostConfig": host}
        if self.kind in ("short", "passing"):
            document["Volumes"] = {"/kept": {}}
        return document


class Load:
    """Clients in threads, from ``begin`` to ``finish``."""

    def __init__(self, client: Client, image: str, *, seed: int, clients: int = 6) -> None:
        self.failures: list[str] = []
        self.lives = 0
        self.answered = self.unanswered = 0
        self._client = client
        self._image = image
        self._numbers = itertools.count()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._work, args=(random.Random(f"{seed}.{number}"),))
            for number in range(clients)
        ]

    def begin(self) -> None:
        """They work."""
        for thread in self._threads:
            thread.start()

    def await_answers(self, count: int) -> None:
        """So many more requests were answered, or nobody asks anything that is answered soon."""
        wanted, deadline_s = self.answered + count, time.monotonic() + _LULL_S
        while self.answered < wanted and time.monotonic() < deadline_s:
            time.sleep(0.002)

    def finish(self) -> None:
        """Each has led its last container to its end."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, chance: random.Random) -> None:
        while not self._stop.is_set() and not self.failures:
            number = next(self._numbers)
            kind = KINDS[number % len(KINDS)]
            life = Life(f"life-{number}", kind, 0 if kind == "never-started" else chance.randrange(1, 100))
            try:
                self._lead(life, chance)
                self.lives += 1
            except Exception as error:  # noqa: BLE001 - the test's thread tells of it
                self.failures.append(f"{life}: {type(error).__name__}: {error}")

    # A life

    def _lead(self, life: Life, chance: random.Random) -> None:
        self._create(life)
        if life.kind == "renamed":
            self._rename(life)
        if life.kind != "never-started":
            self._start(life)
        if life.kind == "stopped" and chance.random() < 0.8:
            self._exec(life)
        if life.kind == "stopped":
            self._stop_it(life)
        if life.kind == "passing":
            self._await(life, lambda state: state is None)
        elif life.kind != "never-started":
            self._await(life, lambda state: state is not None and state["Status"] == "exited")
            self._check_end(life)
        if life.kind == "committed":
            self._commit(life)
        if life.kind != "passing":
            self._remove(life)
        if life.kind == "mounted":
            self._ask_until("DELETE", f"/volumes/{life.volume}", 204)
        self._check_events(life)

    def _ask(self, method: str, path: str, body: Any = None) -> Answer | None:
        """The answer, or None where there is none: nobody knows whether it was done."""
        try:
            answer = self._client(method, path, body)
            if b"Content-Length" not in answer.headers.as_bytes() and method == "GET" and "/json" in path:
                answer.json()  # whole
        except (OSError, HTTPException, ValueError):
            self.unanswered += 1
            time.sleep(_ABSENCE_S)
            return None
        self.answered += 1
        assert answer.status < 500, f"{method} {path}: {answer.status} {answer.body!r}"
        return answer

    def _insist(self, method: str, path: str) -> Answer:
        """The answer, when there is one; for what changes nothing."""
        deadline_s = time.monotonic() + _PATIENCE_S
        while time.monotonic() < deadline_s:
            if (answer := self._ask(method, path)) is not None:
                return answer
        raise AssertionError(f"{method} {path} is never answered")

    def _inspect(self, life: Life) -> dict[str, Any] | None:
        answer = self._insist("GET", f"/containers/{life.id or life.name}/json")
        if answer.status == 404:
            return None
        assert answer.status == 200, answer.body
        found: dict[str, Any] = answer.json()
        if life.id:
            assert found["Id"] == life.id, "another container has the name"
        return found

    def _create(self, life: Life) -> None:
        while True:
            answer = self._ask("POST", f"/containers/create?name={life.name}", life.document(self._image))
            if answer is not None:
                assert answer.status == 201, answer.body
                life.id = answer.json()["Id"]
                return
            if (found := self._inspect(life)) is not None:
                life.id = found["Id"]
                return

    def _start(self, life: Life) -> None:
        while True:
            answer = self._ask("POST", f"/containers/{life.id}/start")
            if answer is not None:
                assert answer.status == 204, answer.body
                return
            found = self._inspect(life)
            if found is None:
                assert life.kind == "passing", "it is lost"
                return
            if found["State"]["StartedAt"] != NEVER:
                return

    def _exec(self, life: Life) -> None:
        wanted = {"Cmd": ["echo", "further"], "AttachStdout": True}
        made = self._ask("POST", f"/containers/{life.id}/exec", wanted)
        if made is None or made.status == 409:
            return
        assert made.status == 201, made.body
        answer = self._ask("POST", f"/exec/{made.json()['Id']}/start", {"Detach": False})
        if answer is not None and answer.status == 200:
            assert b"\1\0\0\0\0\0\0\10further\n".startswith(answer.body), answer.body

    def _stop_it(self, life: Life) -> None:
        self._await_line(life, life.lines[-1])
        life.code = 137
        while True:
            answer = self._ask("POST", f"/containers/{life.id}/stop?t=0")
            if answer is not None:
                assert answer.status in (204, 304), answer.body
                return

    def _rename(self, life: Life) -> None:
        wanted = f"{life.name}-renamed"
        while (found := self._inspect(life)) is not None and found["Name"] != f"/{wanted}":
            answer = self._ask("POST", f"/containers/{life.id}/rename?name={wanted}")
            assert answer is None or answer.status == 204, answer.body
        assert found is not None, "it is lost"
        assert self._insist("GET", f"/containers/{life.name}/json").status == 404
        assert [_in_short(event) for event in self.events(life.id)].count("rename") == 1

    def _commit(self, life: Life) -> None:
        """It is an image, which has what the container has; asked for twice it is two, one without a name."""
        while (answer := self._ask("POST", f"/commit?container={life.id}&repo={life.name}")) is None:
            pass
        assert answer.status == 201, answer.body
        shown = self._insist("GET", f"/images/{life.name}/json")
        assert (shown.status, shown.json()["Id"]) == (200, answer.json()["Id"])
        self._ask_until("DELETE", f"/images/{life.name}", 200)

    def _ask_until(self, method: str, path: str, status: int) -> None:
        """It was done: somebody said so, or nobody did and it has gone meanwhile."""
        asked = 0
        while True:
            answer = self._ask(method, path)
            asked += 1
            if answer is not None:
                assert answer.status == status or (asked > 1 and answer.status == 404), answer.body
                return

    def _remove(self, life: Life) -> None:
        self._ask_until("DELETE", f"/containers/{life.id}?v=1&force=1", 204)

    # What must be true

    def _await(self, life: Life, reached: Any) -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while True:
            found = self._inspect(life)
            assert found is not None or life.kind == "passing", "it is lost"
            if reached(found["State"] if found else None):
                return
            assert time.monotonic() < deadline_s, f"it does not go on: {found and found['State']}"
            time.sleep(_PAUSE_S)

    def output(self, name: str) -> list[str]:
        """Lines that stand in the container's log."""
        while True:
            answer = self._insist("GET", f"/containers/{name}/logs?stdout=1&stderr=1")
            assert answer.status == 200, answer.body
            if (lines := _lines(answer.body)) is not None:
                return lines

    def _await_line(self, life: Life, line: str) -> None:
        deadline_s = time.monotonic() + _PATIENCE_S
        while line not in self.output(life.id):
            assert time.monotonic() < deadline_s, f"it never wrote {line}"
            time.sleep(_PAUSE_S)

    def _check_end(self, life: Life) -> None:
        found = self._inspect(life)
        assert found is not None, "it is lost"
        assert found["State"]["ExitCode"] == life.code, found["State"]
        assert found["RestartCount"] == life.runs - 1, found["RestartCount"]
        for _ in range(3):  # a log that is read while the daemon is killed ends early
            if (lines := self.output(life.id)) == life.lines:
                return
        raise AssertionError(f"{len(lines)} lines of {len(life.lines)}: {lines}")

    def _check_events(self, life: Life) -> None:
        """In their order, each once, with its code."""
        wanted = ["create", *["start", f"die {life.code}"] * life.runs, "destroy"]
        told: list[str] = []
        for _ in range(5):  # as above
            told = [
                f"die {event['Actor']['Attributes']['exitCode']}"
                if event["Action"] == "die"
                else event["Action"]
                for event in self.events(life.id)
                if event["Action"] in ("create", "start", "die", "destroy")
            ]
            if told == wanted:
                return
        raise AssertionError(f"events {told} instead of {wanted}")

    def events(self, container_id: str) -> list[dict[str, Any]]:
        """What the journal has of a container."""
        query = {"since": 1, "until": time.time(), "filters": json.dumps({"container": [container_id]})}
        answer = self._insist("GET", f"/events?{urlencode(query)}")
        assert answer.status == 200, answer.body
        lines = answer.body.splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]


def _in_short(event: dict[str, Any]) -> str:
    action = str(event["Action"])
    return f"die {event['Actor']['Attributes']['exitCode']}" if action == "die" else action


def _lines(stream: bytes) -> list[str] | None:
    """Lines of a multiplexed stream; None if it ends in the midst of something."""
    found = b""
    while stream:
        size = int.from_bytes(stream[4:8], "big")
        if len(stream) < 8 + size:
            return None
        found += stream[8 : 8 + size]
        stream = stream[8 + size :]
    return found.decode().splitlines()
