"""Processes that each do something with a container at the same moment.

    with Workers(3) as workers:
        workers.at_once(root, name, "start", "start", "kill")   # ["ok", "Conflict not-created", "ok"]

What a verb does stands in ``VERBS``.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pierhead.errors import PierheadError
from pierhead.oci.runtime import Memory, Pids, Resources
from pierhead.runtime import Config, ProcessSpec, Stdio, create, load
from tests.support.containers import ENV, SLEEP

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

_PATIENCE_S = 60.0


def exec_to_the_end(root: str, name: str) -> None:
    """A process has joined and has ended; nobody else could take its status, without which a pid namespace
    does not end.
    """
    process = load(root, name).exec(ProcessSpec(args=SLEEP, env=ENV), stdio=Stdio.null())
    process.wait(_PATIENCE_S)
    process.close()


VERBS: dict[str, Callable[[str, str, str], object]] = {
    "create": lambda root, name, rootfs: create(
        root, name, Config(rootfs=rootfs, process=ProcessSpec(args=SLEEP, env=ENV)), stdio=Stdio.null()
    ).close(),
    "start": lambda root, name, _: load(root, name).start(),
    "kill": lambda root, name, _: load(root, name).kill(9),
    "delete": lambda root, name, _: load(root, name).delete(),
    "delete by force": lambda root, name, _: load(root, name).delete(force=True),
    "pause": lambda root, name, _: load(root, name).pause(),
    "resume": lambda root, name, _: load(root, name).resume(),
    "exec": lambda root, name, _: exec_to_the_end(root, name),
    "limit processes": lambda root, name, _: load(root, name).update(Resources(pids=Pids(limit=77))),
    "limit memory": lambda root, name, _: load(root, name).update(Resources(memory=Memory(limit=77 << 20))),
}


def outcome(verb: str, root: str, name: str, rootfs: str) -> str:
    """The verb's end in words: "ok", or the error's kind and code, or all of an error that is not ours."""
    try:
        VERBS[verb](root, name, rootfs)
    except PierheadError as error:
        return f"{type(error).__name__} {error.code}"
    except Exception as error:  # noqa: BLE001 - what a verb may not raise is what the test is to see
        return f"raw: {error!r}"
    return "ok"


class Workers:
    """Processes with everything loaded; use as a context manager."""

    def __init__(self, count: int, rootfs: str) -> None:
        """Args: rootfs is of the containers that they create."""
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", __name__, rootfs],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
            )
            for _ in range(count)
        ]
        for process in self._processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            with process:
                assert process.stdin is not None
                process.stdin.close()
                process.wait(60)

    def at_once(self, root: str, name: str, *verbs: str) -> list[str]:
        """Each verb is done by a process of its own, all at the same time; how each ended."""
        chosen = self._processes[: len(verbs)]
        for process, verb in zip(chosen, verbs, strict=True):
            assert process.stdin is not None
            process.stdin.write(f"{root}\t{name}\t{verb}\n")
        for process in chosen:
            assert process.stdin is not None
            process.stdin.flush()
        return [process.stdout.readline().strip() for process in chosen if process.stdout is not None]


if __name__ == "__main__":
    print("ready", flush=True)
    for line in sys.stdin:
        where, which, what = line.rstrip("\n").split("\t")
        print(outcome(what, where, which, sys.argv[1]), flush=True)
