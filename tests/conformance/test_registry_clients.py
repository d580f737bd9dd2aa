"""Other people's clients push to our registry and pull from it: skopeo, Podman, dockerd, containerd, dxf.

Each keeps what it has in a temporary directory.  What comes back has to be what was sent.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pierhead.registry.shacrypt import sha_crypt
from tests.support.archives import make_image_archive
from tests.support.bundles import make_rootfs
from tests.support.peers import Client, daemon, find_program, inside
from tests.support.registries import Registry, registry
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "busybox")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image archive of busybox."""
    home = tmp_path_factory.mktemp("image")
    return make_image_archive(home / "box.tar", make_rootfs(home / "rootfs"), name="localhost/box:latest")


@pytest.fixture(scope="module", params=["open", "basic", "token"])
def reg(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry for everybody, or for alice who shows a password or gets tokens for it."""
    home = tmp_path_factory.mktemp("registry")
    settings = {}
    if request.param != "open":
        (home / "htpasswd").write_text(f"alice:{sha_crypt(b'secret', '$6$rounds=1000$salt')}\n")
        settings = {"htpasswd": str(home / "htpasswd"), "auth": request.param}
    with registry(home / "root", **settings) as running:
        running.headers["kind"] = request.param
        yield running


def has_users(reg: Registry) -> bool:
    """Whether one has to log in."""
    return reg.headers["kind"] != "open"


@requires("skopeo")
def test_skopeo(reg: Registry, archive: Path, tmp_path: Path) -> None:
    """Copies an image there and back with equal digests, inspects, lists and deletes it."""
    image = f"docker://{reg.address}/skopeo/box:1"
    who = ["--creds=alice:secret"] if has_users(reg) else []
    to = [f"--dest-{each[2:]}" for each in who]
    of = [f"--src-{each[2:]}" for each in who]
    skopeo = Client([find_program("skopeo"), "--insecure-policy"])
    skopeo("copy", "--dest-tls-verify=false", *to, f"docker-archive:{archive}", image)
    skopeo("copy", "--src-tls-verify=false", *of, image, f"oci:{tmp_path}/layout:1")
    told = json.loads(skopeo("inspect", "--tls-verify=false", *who, image))
    raw = skopeo("inspect", "--raw", "--tls-verify=false", *who, image)
    assert json.loads(raw)["config"]["digest"].startswith("sha256:")
    assert told["RepoTags"] == ["1"]
    index = json.loads((tmp_path / "layout/index.json").read_text())
    assert len(index["manifests"]) == 1
    again = f"docker://{reg.address}/skopeo/copy:1"
    skopeo("copy", "--src-tls-verify=false", "--dest-tls-verify=false", *of, *to, image, again)
    assert json.loads(skopeo("inspect", "--tls-verify=false", *who, again))["Digest"] == told["Digest"]
    skopeo("delete", "--tls-verify=false", *who, image)
    assert skopeo.result("inspect", "--tls-verify=false", *who, image).returncode != 0
    if has_users(reg):
        refused = skopeo.result("inspect", "--tls-verify=false", "--creds=alice:wrong", again)
        assert refused.returncode != 0


@requires("podman")
def test_podman(reg: Registry, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Pushes an image and pulls the same one."""
    home = tmp_path_factory.mktemp("pod")  # short: Podman's runroot has at most 50 characters
    storage = [f"--root={home}/root", f"--runroot={home}/run", f"--tmpdir={home}/tmp"]
    (home / "auth.json").write_text("{}")
    env = {"REGISTRY_AUTH_FILE": f"{home}/auth.json"}
    podman = Client([find_program("podman"), *storage, "--storage-driver=vfs"], env=env)
    podman("load", "-i", os.fspath(archive))
    if has_users(reg):
        podman("login", "--tls-verify=false", "-u", "alice", "-p", "secret", reg.address)
    image = f"{reg.address}/podman/box:1"
    podman("push", "--tls-verify=false", "localhost/box:latest", image)
    pushed = podman("image", "inspect", "--format", "{{.Id}}", "localhost/box:latest").strip()
    podman("rmi", "-f", pushed)
    podman("pull", "--tls-verify=false", image)
    assert podman("image", "inspect", "--format", "{{.Id}}", image).strip() == pushed
    listed = podman("search", "--tls-verify=false", "--list-tags", f"{reg.address}/podman/box")
    assert listed.split()[-1] == "1"
    podman("rmi", "-f", pushed)


@requires("dockerd", "docker", "containerd")
def test_docker(reg: Registry, archive: Path, tmp_path: Path) -> None:
    """Pushes an image, the second name without sending it again, and pulls the same one."""
    quiet = ["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"]
    words = [find_program("docker"), "--config", f"{tmp_path}/config", "-H", f"unix://{tmp_path}/docker.sock"]
    command = [find_program("dockerd"), "-H", f"unix://{tmp_path}/docker.sock", "--bridge=none", *quiet]
    command += ["--data-root", f"{tmp_path}/data", "--exec-root", f"{tmp_path}/exec"]
    command += ["--pidfile", f"{tmp_path}/pid", "--storage-driver", "vfs"]

    def ready(pid: int) -> bool:
        return Client(inside(pid, *words)).result("version").returncode == 0

    private = ["/run/docker", "/run/containerd", "/etc/docker"]
    with daemon(command, log=tmp_path / "log", private=private, ready=ready) as pid:
        docker = Client(inside(pid, *words))
        docker("load", "-i", os.fspath(archive))
        if has_users(reg):
            docker("login", "-u", "alice", "--password-stdin", reg.address, stdin="secret")
        first, second = (f"{reg.address}/docker/{name}:1" for name in ("one", "two"))
        for image in (first, second):
            docker("tag", "localhost/box:latest", image)
        assert "Pushed" in docker("push", first)
        assert "Mounted from docker/one" in docker("push", second)
        pushed = docker("image", "inspect", "--format", "{{.Id}}", first)
        docker("rmi", "localhost/box:latest", first, second)
        docker("pull", second)
        assert docker("image", "inspect", "--format", "{{.Id}}", second) == pushed


@requires("containerd", "ctr")
def test_containerd(reg: Registry, archive: Path, tmp_path: Path) -> None:
    """Pushes an image and pulls the same one; tokens it asks for with a form."""
    config = f"""
version = 2
root = "{tmp_path}/root"
state = "{tmp_path}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{tmp_path}/containerd.sock"
[ttrpc]
  address = "{tmp_path}/containerd.sock.ttrpc"
[plugins."io.containerd.internal.v1.opt"]
  path = "{tmp_path}/opt"
"""
    (tmp_path / "config.toml").write_text(config)
    words = [find_program("ctr"), "-a", f"{tmp_path}/containerd.sock", "-n", "tests"]

    def ready(pid: int) -> bool:
        return Client(inside(pid, *words)).result("version").returncode == 0

    command = [find_program("containerd"), "-c", f"{tmp_path}/config.toml"]
    image = f"{reg.address}/ctr/box:1"
    who = ["--user", "alice:secret"] if has_users(reg) else []
    with daemon(command, log=tmp_path / "log", private=["/run/containerd"], ready=ready) as pid:
        ctr = Client(inside(pid, *words))
        ctr("images", "import", os.fspath(archive))
        ctr("images", "tag", "localhost/box:latest", image)
        ctr("images", "push", "--plain-http", *who, image)
        assert image in ctr("images", "ls", "-q")
        ctr("images", "rm", "--sync", "localhost/box:latest", image)
        assert image not in ctr("images", "ls", "-q")
        ctr("images", "pull", "--plain-http", "--snapshotter", "native", *who, image)
        assert image in ctr("images", "ls", "-q")


@requires("python:dxf")
def test_dxf(tmp_path: Path) -> None:
    """A client written in Python pushes and pulls blobs, sets, lists and deletes aliases."""
    dxf = pytest.importorskip("dxf")
    with (
        registry(tmp_path / "root") as reg,
        dxf.DXF(reg.address, "dxf/things", insecure=True) as client,
    ):
        digest = client.push_blob(__file__)
        assert b"".join(client.pull_blob(digest)) == Path(__file__).read_bytes()
        client.set_alias("alias", digest)
        assert client.get_alias("alias") == [digest]
        assert client.list_aliases() == ["alias"]
        client.del_alias("alias")
        assert client.list_aliases() == []


@requires("buildah")
def test_buildah(reg: Registry, archive: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Commits a changed image straight into the registry and pulls it."""
    home = tmp_path_factory.mktemp("bld")
    storage = [f"--root={home}/root", f"--runroot={home}/run", "--storage-driver=vfs"]
    who = ["--creds=alice:secret"] if has_users(reg) else []
    buildah = Client([find_program("buildah"), *storage])
    image = f"docker://{reg.address}/buildah/box:1"
    buildah("pull", f"docker-archive:{archive}")
    container = buildah("from", "localhost/box:latest").strip()
    buildah("config", "--label", "changed=yes", container)
    buildah("commit", "--tls-verify=false", *who, "--format=oci", container, image)
    pulled = buildah("pull", "--tls-verify=false", *who, image).strip()
    assert (
        json.loads(buildah("inspect", "--type=image", pulled))["OCIv1"]["config"]["Labels"]["changed"]
        == "yes"
    )
    buildah("rm", "-a")
