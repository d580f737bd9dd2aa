"""Archives of images in every form, made by Python's own tarfile."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

T = TypeVar("T")


def layer(**files: str) -> bytes:
    """A layer with these files."""
    return archive({name: text.encode() for name, text in files.items()})


def archive(files: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """A tar archive with these files, in this order; anything else but files as tarfile knows it."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            if isinstance(content, tarfile.TarInfo):
                content.name = name
                tar.addfile(content)
            else:
                member = tarfile.TarInfo(name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def link(target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    """A link in an archive."""
    member = tarfile.TarInfo()
    member.type = kind
    member.linkname = target
    return member


def sha256(data: bytes) -> str:
    """In hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def config(*layers: bytes, **more: object) -> bytes:
    """A configuration of an image with these uncompressed layers."""
    diff_ids = [f"sha256:{sha256(each)}" for each in layers]
    document = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    return json.dumps({**document, **more}).encode()


def docker_save(*layers: bytes, tags: list[str] | None = None, compressed: bool = False) -> dict[str, bytes]:
    """Files of the form 1.2, manifest.json last as Docker has it."""
    raw = config(*layers)
    names = [f"{sha256(each)}/layer.tar" for each in layers]
    stored = [gzip.compress(each, mtime=0) if compressed else each for each in layers]
    name = f"{sha256(raw)}.json"
    listed = [{"Config": name, "RepoTags": tags, "Layers": names}]
    return {
        **dict(zip(names, stored, strict=True)),
        name: raw,
        "manifest.json": json.dumps(listed).encode(),
    }


def v1_layout(*layers: bytes, name: str = "box", tag: str = "latest") -> dict[str, bytes]:
    """Files of the first form."""
    files: dict[str, bytes] = {}
    parent = ""
    for number, each in enumerate(layers):
        own = sha256(f"{number}".encode())
        document: dict[str, object] = {"id": own, "created": f"2020-01-0{number + 1}T00:00:00Z"}
        if parent:
            document["parent"] = parent
        document["container_config"] = {"Cmd": ["/bin/sh", "-c", f"#(nop) step {number}"]}
        if number == len(layers) - 1:
            document.update(architecture="arm64", os="linux", config={"Cmd": ["sh"]})
        files[f"{own}/VERSION"] = b"1.0"
        files[f"{own}/json"] = json.dumps(document).encode()
        files[f"{own}/layer.tar"] = each
        parent = own
    files["repositories"] = json.dumps({name: {tag: parent}}).encode()
    return files


def oci_layout(
    *layers: bytes, annotations: Mapping[str, str] | None = None, without: str = ""
) -> dict[str, bytes]:
    """Files of an OCI layout with one image of these layers."""
    raw = config(*layers)
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": _descriptor(raw, "config.v1+json"),
        "layers": [_descriptor(each, "layer.v1.tar") for each in layers],
    }
    text = json.dumps(manifest).encode()
    listed = {**_descriptor(text, "manifest.v1+json"), "annotations": dict(annotations or {})}
    files = {f"blobs/sha256/{sha256(each)}": each for each in (*layers, raw, text)}
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [listed]}).encode()
    files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    files.pop(f"blobs/sha256/{without}", None)
    return files


def _descriptor(data: bytes, media_type: str) -> dict[str, object]:
    return {
        "mediaType": f"application/vnd.oci.image.{media_type}",
        "digest": f"sha256:{sha256(data)}",
        "size": len(data),
    }


def write_files(directory: Path, files: Mapping[str, bytes]) -> Path:
    """The files are in the directory."""
    for name, data in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return directory


def through_pipe(data: bytes, take: Callable[[int], T]) -> T:
    """What ``take`` makes of a pipe's reading end from which these bytes come."""
    ready_fd, told_fd = os.pipe()

    def write() -> None:
        with open(told_fd, "wb") as pipe:
            try:
                pipe.write(data)
            except BrokenPipeError:
                return

    writer = threading.Thread(target=write)
    writer.start()
    try:
        return take(ready_fd)
    finally:
        os.close(ready_fd)
        writer.join()
