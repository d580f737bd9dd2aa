"""Contexts as docker's command line exports and imports them.

    meta.json             Context.document()
    tls/docker/ca.pem     cert.pem, key.pem

Pure.
"""

from __future__ import annotations

import io
import tarfile
import zipfile

from pierhead.cli.contexts import MATERIAL, Context, decode_context
from pierhead.errors import InvalidInput
from pierhead.jsontext import format_compact, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_META, _TLS = "meta.json", "tls/docker"
_FILE_BYTES_MAX = 1 << 20


def encode_archive(context: Context, material: Mapping[str, bytes]) -> bytes:
    """The context as an archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        _add(tar, _META, format_compact(context.document()).encode(), 0o644)
        for directory in ("tls", _TLS) if material else ():
            member = tarfile.TarInfo(directory)
            member.type, member.mode = tarfile.DIRTYPE, 0o700
            tar.addfile(member)
        for name, content in material.items():
            _add(tar, f"{_TLS}/{name}", content, 0o600)
    return buffer.getvalue()


def _add(tar: tarfile.TarFile, name: str, content: bytes, mode: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), mode
    tar.addfile(member, io.BytesIO(content))


def decode_archive(data: bytes) -> tuple[Context, dict[str, bytes]]:
    """The archive's context and its certificates.

    Raises:
        InvalidInput: it is no context's.
    """
    files = _read_zip(data) if data.startswith(b"PK") else _read_tar(data)
    if _META not in files:
        raise _strange(f"it has no {_META}")
    context = decode_context(parse(files[_META], name=_META))
    return context, {name: files[f"{_TLS}/{name}"] for name in MATERIAL if f"{_TLS}/{name}" in files}


def _read_tar(data: bytes) -> dict[str, bytes]:
    found = {}
    # What docker writes ends with its last file: neither that one's padding nor the archive's end is there.
    whole = data + bytes(2 * tarfile.BLOCKSIZE + -len(data) % tarfile.BLOCKSIZE)
    try:
        with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
            for member in tar:
                file = tar.extractfile(member) if member.isreg() else None
                if file is not None:
                    found[member.name.removeprefix("./")] = file.read(_FILE_BYTES_MAX)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _strange(str(error)) from None
    return found


def _read_zip(data: bytes) -> dict[str, bytes]:
    found = {}
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    found[name] = file.read(_FILE_BYTES_MAX)
    except (zipfile.BadZipFile, OSError) as error:
        raise _strange(str(error)) from None
    return found


def _strange(why: str) -> InvalidInput:
    hint = "docker context export and pier context export make such files"
    return InvalidInput(f"the archive is no context's: {why}", code="bad-context", hint=hint)
