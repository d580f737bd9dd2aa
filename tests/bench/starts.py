"""Cases about time: a whole container, a process more in a running one, and the one-shot command."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

from tests.bench.library import Library
from tests.bench.measure import Comparison, Contender, interleave
from tests.bench.programs import Launcher, bare, launcher
from tests.bench.runtimes import runtimes

if TYPE_CHECKING:
    from tests.bench.workload import Workload

_INTERPRETER = {"python -IS -c pass": ("-IS", "-c", "pass"), "python -c pass": ("-c", "pass")}


def compare_starts(workload: Workload, *, rounds: int) -> list[Comparison]:
    """A full container from nothing to nothing: by the library, by bare system calls, by whole commands."""
    with ExitStack() as stack:
        programs = stack.enter_context(runtimes(workload))
        system_calls = stack.enter_context(bare(workload.bare, "run", workload.rootfs, workload.bpf))
        usual = stack.enter_context(launcher())
        contenders = [
            Contender("bare", system_calls.sample),
            Library(workload).contend_run(),
            *(runtime.contend_run(workload) for runtime in programs),
            *(_contend_interpreter(usual, name) for name in _INTERPRETER),
        ]
        samples_us = interleave(contenders, rounds=rounds)
    one_shot = [f"{runtime.name} run" for runtime in programs]
    return [
        Comparison(
            name="Start to exit of a full container, warm library",
            claim="At most 2 times the bare system calls, and faster than `crun run`.",
            reference="bare",
            samples_us={name: samples_us[name] for name in samples_us if name not in _INTERPRETER},
        ),
        Comparison(
            name="Start to exit of a full container, one command",
            claim="`pier-runtime run` is faster than `runc run`; at most the interpreter's start + 15 ms.",
            reference="python -c pass",
            samples_us={name: samples_us[name] for name in (*one_shot, *_INTERPRETER)},
        ),
    ]


def compare_execs(workload: Workload, *, rounds: int) -> list[Comparison]:
    """A process more in a running container, /bin/true, from the call to its exit status."""
    with ExitStack() as stack:
        programs = stack.enter_context(runtimes(workload))
        library = Library(workload)
        container = stack.enter_context(library.idle_container())
        system_calls = stack.enter_context(bare(workload.bare, "exec", str(container.init_pid), workload.bpf))
        contenders = [Contender("bare", system_calls.sample), library.contend_exec(container)]
        contenders += [
            runtime.contend_exec(stack.enter_context(runtime.idle_container(workload)))
            for runtime in programs
        ]
        samples_us = interleave(contenders, rounds=rounds)
    return [
        Comparison(
            name="Exec of true in a running container",
            claim="The warm library takes at most 1.5 ms more than the bare system calls.",
            reference="bare",
            samples_us=samples_us,
        )
    ]


def _contend_interpreter(usual: Launcher, name: str) -> Contender:
    return Contender(name, lambda: usual.run_us([sys.executable, *_INTERPRETER[name]]))
