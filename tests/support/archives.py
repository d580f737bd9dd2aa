"""Image archives for other people's engines, made from a directory (no registry is reachable in tests).

The form is ``docker save``'s, which docker, containerd (ctr) and Podman all load:

    manifest.json        [{"Config": …, "RepoTags": […], "Layers": […]}]
    DIGEST.json          the image's configuration: platform, diff ids, default command
    DIGEST.tar           its one layer
"""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def tar_directory(directory: Path) -> bytes:
    """An uncompressed tar of everything in ``directory``, owners and modes kept, times set to the epoch."""

    def without_time(member: tarfile.TarInfo) -> tarfile.TarInfo:
        member.mtime = 0
        return member

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for entry in sorted(directory.iterdir()):
            tar.add(entry, arcname=entry.name, filter=without_time)
    return buffer.getvalue()


def make_image_archive(archive: Path, rootfs: Path, *, name: str = "localhost/box:latest") -> Path:
    """``archive`` is a loadable image ``name`` whose one layer is ``rootfs`` and whose command is ``sh``."""
    layer = tar_directory(rootfs)
    layer_digest = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": _ARCHITECTURES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Cmd": ["sh"],
            },
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_digest}"]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "busybox-static"}],
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": [f"{layer_digest}.tar"]}]
    with tarfile.open(archive, "w") as tar:
        for member_name, content in (
            (f"{layer_digest}.tar", layer),
            (config_name, config),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(member_name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return archive
