"""Launches a further process in a container by its runtime program: the launcher's side of exec.

Its monitor tells this process of its end, and writes no record: its state directory is one that is removed as
soon as the process runs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import nullcontext

from pierhead.oci.document import encode
from pierhead.runtime import launcher
from pierhead.runtime.handshake import Handshake
from pierhead.runtime.process import Process
from pierhead.runtime.programs.document import process_of
from pierhead.runtime.programs.launching import Launch
from pierhead.runtime.programs.program import write_document
from pierhead.runtime.programs.terminal import ConsoleSocket
from pierhead.runtime.recipe import resolve_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.runtime.config import Config, ProcessSpec
    from pierhead.runtime.launcher import Request
    from pierhead.runtime.programs.program import Program


def join(
    program: Program, container_id: str, config: Config, wanted: ProcessSpec, request: Request
) -> Process:
    """The process runs.

    Raises:
        InvalidInput: it cannot be what it is asked to be.
        OperationFailed: the program failed; the message has its words.
    """
    from pierhead.runtime.validate import check_process_spec

    check_process_spec(wanted)
    launcher.check_request(request)
    _, process = resolve_first(config.replace(process=wanted))
    directory = tempfile.mkdtemp(prefix="exec-", dir=program.bundle)
    try:
        write_document(f"{directory}/process.json", encode(process_of(process)))
        launch = Launch(program, directory, request)
        try:
            return _launch(launch, directory, container_id, config, request)
        finally:
            launch.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _launch(launch: Launch, directory: str, container_id: str, config: Config, request: Request) -> Process:
    launch.header |= {"id": container_id, "state": "state directory", "exit_name": "exit"}
    launch.given["state directory"] = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    launch.opened.append(launch.given["state directory"])
    words = launch.words("exec", "--detach", "--process", f"{directory}/process.json", container_id)
    with ConsoleSocket(directory) if request.terminal else nullcontext() as console, Handshake() as handshake:
        launch.perform(handshake, config, words)
        if console is not None:
            console.hand_on(launch.keeper_fd)
        handshake.commit()
        return Process(
            handshake.init_pid,
            handshake.init_pidfd,
            stage_pid=handshake.stage_pid,
            control=handshake.detach(),
            read_record=None,
            attach_path="",
            monitor_pid=0,
            is_child=False,
        )
