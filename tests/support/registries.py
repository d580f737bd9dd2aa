"""Registries for tests: ours in a process of its own, and a client that speaks plain HTTP to any of them.

with registry(tmp_path / "root") as it:
it.get("/v2/").status
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.support.repository import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_END_S = 60.0
_PROGRAM = """
import json, sys
from pierhead.errors import PierheadError
from pierhead.registry.serve import run
from pierhead.registry.settings import Settings, Upstream
given = json.loads(sys.argv[1])
given["upstreams"] = tuple(Upstream(**each) for each in given.get("upstreams", ()))
try:
    run(Settings(**given), ready=lambda port: print(port, flush=True))
except PierheadError as error:
    sys.exit(error.message)
"""


@dataclass
class Answer:
    """What a registry answered."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    def __getitem__(self, header: str) -> str:
        value = self.headers[header]
        assert value is not None, f"there is no {header} among\n{self.headers}"
        return str(value)

    def json(self) -> Any:
        """The body's document."""
        return json.loads(self.body)

    @property
    def word(self) -> str:
        """The protocol's word for the error."""
        return str(self.json()["errors"][0]["code"])


@dataclass
class Registry:
    """A registry at a port of this machine, and requests to it."""

    port: int
    pid: int = 0
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.port}"

    def __call__(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Answer:
        """One request over a connection of its own; a body that can be iterated is sent without a length."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        if path.startswith("http"):
            parts = urlsplit(path)
            path = parts.path + (f"?{parts.query}" if parts.query else "")
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            response = connection.getresponse()
            return Answer(response.status, response.headers, response.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        """GET, with headers written with ``_`` for ``-``."""
        return self("GET", path, headers=_named(headers))

    def head(self, path: str) -> Answer:
        """HEAD."""
        return self("HEAD", path)

    def delete(self, path: str) -> Answer:
        """DELETE."""
        return self("DELETE", path)

    def begin(self, name: str, query: str = "") -> str:
        """An upload has begun; its location."""
        answer = self("POST", f"/v2/{name}/blobs/uploads/{query}")
        assert answer.status == 202, answer.body
        return answer["Location"]

    def patch(self, location: str, chunk: bytes, first: int) -> Answer:
        """A chunk is sent that says where it begins."""
        headers = {
            "Content-Range": f"{first}-{first + len(chunk) - 1}",
            "Content-Type": "application/octet-stream",
        }
        return self("PATCH", location, chunk, headers)

    def finish(self, location: str, digest: str, chunk: bytes = b"", **headers: str) -> Answer:
        """The upload ends, with a last chunk or none."""
        joint = "&" if "?" in location else "?"
        return self("PUT", f"{location}{joint}digest={digest}", chunk, _named(headers))

    def push_blob(self, name: str, data: bytes, algorithm: str = "sha256") -> str:
        """The repository has the blob; its digest."""
        digest = digest_of(data, algorithm)
        answer = self.finish(self.begin(name), digest, data)
        assert answer.status == 201, answer.body
        return digest

    def put_manifest(
        self, name: str, reference: str, document: dict[str, Any] | bytes, media_type: str = ""
    ) -> Answer:
        """A manifest is put."""
        raw = document if isinstance(document, bytes) else json.dumps(document).encode()
        declared = media_type or json.loads(raw).get("mediaType", "")
        headers = {"Content-Type": declared} if declared else {}
        return self("PUT", f"/v2/{name}/manifests/{reference}", raw, headers)


def _named(headers: dict[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    """The digest, by a way that is not ours."""
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


@contextmanager
def registry(root: Path, **settings: Any) -> Iterator[Registry]:
    """Our registry runs inside, in a process of its own; told to stop at the end, unless it was killed."""
    words = [sys.executable, "-c", _PROGRAM, json.dumps({"root": str(root), "port": 0, **settings})]
    log = root.parent / f"{root.name}.log"
    with log.open("a") as output:
        process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=output,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the registry did not start:\n{log.read_text()}"
        yield Registry(int(line), process.pid)
    finally:
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGTERM)
        status = process.wait(_END_S)
        if process.stdout is not None:
            process.stdout.close()
    assert status in (0, -signal.SIGKILL), f"the registry ended with {status}:\n{log.read_text()}"
    assert "Traceback" not in log.read_text(), log.read_text()
