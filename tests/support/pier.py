"""``pier`` for tests: called as people call it, over a store of its own, with images of busybox."""

from __future__ import annotations

import json
import os
import select
import signal
import tarfile
from typing import TYPE_CHECKING, Any, Self

from tests.support.bundles import make_rootfs
from tests.support.commands import Command
from tests.support.image_archives import archive, oci_layout, sha256, write_files

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

OTHERS = {"architecture": "s390x", "os": "linux"}


def busybox_layer(directory: Path) -> bytes:
    """A layer with busybox, uncompressed."""
    rootfs = make_rootfs(directory / "rootfs")
    path = directory / "layer.tar"
    with tarfile.open(path, "w") as tar:
        tar.add(rootfs, arcname=".")
    return path.read_bytes()


def greeting_layer(text: str) -> bytes:
    """A layer that greets, and takes a file away."""
    return archive({"etc/motd": text.encode(), "bin/.wh.vi": b""})


def write_image(directory: Path, *layers: bytes, **execution: Any) -> Path:
    """An OCI layout of one image in the directory, without a name; ``execution`` is what it runs."""
    files = oci_layout(*layers)
    index = json.loads(files["index.json"])
    manifest_name = f"blobs/sha256/{index['manifests'][0]['digest'][7:]}"
    manifest = json.loads(files.pop(manifest_name))
    config = json.loads(files.pop(f"blobs/sha256/{manifest['config']['digest'][7:]}"))
    config |= {
        "created": "2026-01-02T03:04:05Z",
        "config": execution,
        "history": [
            {"created": "2026-01-02T03:04:05Z", "created_by": f"step {n}"} for n, _ in enumerate(layers)
        ],
    }
    raw = json.dumps(config).encode()
    manifest["config"] |= {"digest": f"sha256:{sha256(raw)}", "size": len(raw)}
    text = json.dumps(manifest).encode()
    index["manifests"][0] |= {"digest": f"sha256:{sha256(text)}", "size": len(text)}
    files["index.json"] = json.dumps(index).encode()
    for data in (raw, text):
        files[f"blobs/sha256/{sha256(data)}"] = data
    return write_files(directory, files)


class Pier(Command):
    """The command over its own store.  A context manager: its engine, if one was started, has ended, and its
    containers are gone.
    """

    def __init__(self, root: Path) -> None:
        super().__init__("pier", "--root", root)
        self.root = root

    def result(self, *words: str | os.PathLike[str], **popen: Any) -> subprocess.CompletedProcess[str]:
        """The finished call; an engine that it starts has no bridge, which would outlive it."""
        popen["env"] = {"PIER_BRIDGE": "none", **popen.get("env", os.environ)}
        return super().result(*words, **popen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.engine_pid():
            names = self("ps", "--all", "--quiet", "--no-trunc").split()
            if names:
                self("rm", "--force", "--volumes", *names)
            self.stop_engine()

    def engine_pid(self) -> int:
        """Of the engine that was started; 0 where none runs."""
        try:
            return int((self.root / "run/pierd.pid").read_text())
        except FileNotFoundError:
            return 0

    def stop_engine(self) -> None:
        """It has ended; containers go on."""
        pidfd = os.pidfd_open(self.engine_pid())
        try:
            signal.pidfd_send_signal(pidfd, signal.SIGTERM)
            assert select.select([pidfd], [], [], 30)[0], "pierd does not end"
        finally:
            os.close(pidfd)

    def run(self, *words: str, **popen: Any) -> str:
        """What a container printed, of which nothing is left; it must succeed."""
        return self("run", "--rm", "--network", "none", *words, **popen)

    def run_result(self, *words: str, **popen: Any) -> subprocess.CompletedProcess[str]:
        """The finished call for a container of which nothing is left."""
        return self.result("run", "--rm", "--network", "none", *words, **popen)

    def document(self, *words: str) -> Any:
        """What it printed, as JSON."""
        return json.loads(self(*words))

    def lines(self, *words: str) -> list[str]:
        """What it printed."""
        return self(*words).splitlines()

    def left(self) -> list[str]:
        """What of containers and work is left in the store."""
        return [
            f"{name}/{entry}"
            for name in ("leases", "scratch", "content/ingest")
            if (self.root / name).is_dir()
            for entry in os.listdir(self.root / name)
        ]
