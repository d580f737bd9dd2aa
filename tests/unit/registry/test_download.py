"""A download, by those who read it while it comes."""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from pierhead.registry.download import Download

if TYPE_CHECKING:
    from pathlib import Path


def test_a_word_while_one_looks(tmp_path: Path) -> None:
    """Who found nothing in the file, since the download has just begun anew, hears what came meanwhile."""
    nothing: Any = None

    async def read(fd: int) -> bytes:
        download = Download(nothing, nothing, "sha256:0", "box")
        download.size, download._have, download._fd = 5, 4, fd
        with ThreadPoolExecutor(1) as threads:
            asyncio.get_running_loop().set_default_executor(threads)
            block = asyncio.ensure_future(anext(download.read(0, 4)))
            await asyncio.sleep(0)
            threads.submit(lambda: None).result()  # it has looked, and does not know yet what it saw
            os.write(fd, b"text")
            download._tell()
            return await block

    fd = os.open(tmp_path / "part", os.O_RDWR | os.O_CREAT)
    try:
        assert asyncio.run(read(fd)) == b"text"
    finally:
        os.close(fd)
