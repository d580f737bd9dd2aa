"""``pier context``: engines by names, and docker's own contexts beside them."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Command
from tests.support.docker_cli import Docker
from tests.support.requires import requires

if TYPE_CHECKING:
    from pathlib import Path

_FAR = "tcp://192.0.2.7:2376"


@pytest.fixture
def pier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command with a home of its own."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "PIER_HOST", "PIER_CONTEXT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    return Command("pier")


def _certificates(directory: Path) -> Path:
    """A directory with ca.pem, cert.pem and key.pem, which docker looks into."""
    directory.mkdir()
    key, certificate = directory / "key.pem", directory / "cert.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    out = ["-keyout", str(key), "-out", str(certificate), "-subj", "/CN=far", "-days", "2"]
    subprocess.run([*words, *out], check=True, capture_output=True, timeout=60)
    (directory / "ca.pem").write_bytes(certificate.read_bytes())
    return directory


def test_a_life(pier: Command, tmp_path: Path) -> None:
    """Made, listed, changed, inspected, used, copied, removed; the one in use only if somebody insists."""
    socket = f"unix://{tmp_path}/nobody.sock"
    assert pier("context", "create", "near", "--host", socket, "--description", "a near one") == "near\n"
    assert pier("context", "create", "copy", "--from", "near") == "copy\n"
    assert pier("context", "update", "copy", "--description", "a copy") == "copy\n"
    rows = [json.loads(line) for line in pier("context", "ls", "--format", "json").splitlines()]
    assert [(row["Name"], row["Description"]) for row in rows] == [
        ("copy", "a copy"),
        ("default", "this machine's engine"),
        ("near", "a near one"),
    ]
    assert pier("context", "use", "near") == "near\n"
    assert pier("context", "show") == "near\n"
    assert pier("context", "inspect", "-f", "{{.Name}} {{.Endpoints.docker.Host}}") == f"near {socket}\n"
    assert f"{tmp_path}/nobody.sock" in pier.result("ps").stderr
    refused = pier.result("context", "rm", "copy", "near")
    assert (refused.returncode, refused.stdout, "is in use" in refused.stderr) == (1, "copy\n", True)
    assert pier("context", "rm", "--force", "near") == "near\n"
    assert pier("context", "show") == "default\n"
    near_miss = pier.result("context", "use", "defalt")
    assert near_miss.returncode == 1
    assert "no 'hst'" in pier.result("context", "create", "x", "--docker", f"hst={_FAR}").stderr


@requires("docker", "openssl")
def test_docker_knows_them(pier: Command, tmp_path: Path) -> None:
    """Docker's contexts are used, and not changed; archives go from one to the other, with their keys."""
    docker = Docker("", tmp_path)
    del docker.words[1:]
    given = _certificates(tmp_path / "keys")
    files = ",".join(f"{name}={given}/{name}.pem" for name in ("ca", "cert", "key"))
    docker("context", "create", "far", "--description", "of docker", "--docker", f"host={_FAR},{files}")
    assert "of docker" in pier("context", "ls")
    assert pier("context", "inspect", "far", "-f", "{{json .TLSMaterial.docker}}").strip() == json.dumps(
        ["ca.pem", "cert.pem", "key.pem"], separators=(",", ":")
    )
    refused = pier.result("context", "rm", "far")
    assert (refused.returncode, "is docker's" in refused.stderr) == (1, True)

    docker("context", "export", "far", str(tmp_path / "far.dockercontext"))
    assert pier("context", "import", "taken", str(tmp_path / "far.dockercontext")) == "taken\n"
    assert "taken" in pier("context", "export", "taken", str(tmp_path / "taken.tar"))
    docker("context", "import", "back", str(tmp_path / "taken.tar"))
    told = json.loads(docker.says("context", "inspect", "back"))[0]
    assert told["Endpoints"]["docker"]["Host"] == _FAR
    assert sorted(told["TLSMaterial"]["docker"]) == ["ca.pem", "cert.pem", "key.pem"]
    assert pier("context", "import", "again", str(tmp_path / "taken.tar")) == "again\n"
    assert "no context's" in pier.result("context", "import", "bad", str(given / "ca.pem")).stderr
