"""An engine in another process, which a test kills.

with another_engine(engines, "await start(engine, 'true', name='web')"):
    ...
"""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.engines import Engines

_PROGRAM = """
import asyncio, sys
sys.path[:0] = {path!r}
from pierhead.engine.engine import Engine
from pierhead.engine.settings import BridgeSettings, RuntimeProgram, Settings
from tests.support.engines import *
from pierhead.engine.documents import RestartPolicy

async def main():
    async with Engine({settings!r}) as engine:
{work}
        print("ready", flush=True)
        await asyncio.sleep(1000)

asyncio.run(main())
"""


@contextmanager
def another_engine(engines: Engines, work: str) -> Iterator[subprocess.Popen[str]]:
    """An engine in a process of its own that has done the work; it is killed at the end."""
    indented = "".join(f"        {line}\n" for line in work.splitlines())
    text = _PROGRAM.format(path=sys.path, settings=engines.settings, work=indented)
    with subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            yield process
        finally:
            process.kill()
