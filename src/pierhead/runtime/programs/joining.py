"""Launches a further process in a container by its runtime program: the launcher's side of exec.

Its monitor tells this process of its end.  Where nobody wants a record, its state directory is one that is
removed as soon as the process runs.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import nullcontext

from pierhead.oci.document import encode
from pierhead.runtime import launcher
from pierhead.runtime.handshake import Handshake
from pierhead.runtime.launcher import Launched
from pierhead.runtime.programs.document import process_of
from pierhead.runtime.programs.launching import Launch
from pierhead.runtime.programs.program import write_document
from pierhead.runtime.programs.terminal import ConsoleSocket
from pierhead.runtime.recipe import resolve_first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.runtime.config import Config, ProcessSpec
    from pierhead.runtime.joining import Joining
    from pierhead.runtime.launcher import Request
    from pierhead.runtime.process import Process
    from pierhead.runtime.programs.program import Program


def join(
    program: Program,
    joining: Joining,
    config: Config,
    wanted: ProcessSpec,
    request: Request,
    *,
    exec_id: str,
) -> Process:
    """The process runs.

    Args:
        program: the container's, as ``joining`` and ``config`` are.
        joining: names files of processes with an exit record.
        config: the container's.
        wanted: the process.
        request: how it is launched.
        exec_id: names its exit record; empty for none.

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
            return _launch(launch, directory, joining, config, exec_id)
        except BaseException:
            if "attach" in launch.given:
                joining.forget(exec_id)
            raise
        finally:
            launch.close()
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _launch(launch: Launch, directory: str, joining: Joining, config: Config, exec_id: str) -> Process:
    header, given, container_id = launch.header, launch.given, joining.container_id
    header["id"] = container_id
    record = joining.add_monitor(exec_id, given, header, launch.opened)
    if not record:
        given["state directory"] = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        launch.opened.append(given["state directory"])
        header |= {"state": "state directory", "exit_name": "exit"}
    words = launch.words("exec", "--detach", "--process", f"{directory}/process.json", container_id)
    terminal = launch.keeper_fd >= 0
    with ConsoleSocket(directory) if terminal else nullcontext() as console, Handshake() as handshake:
        launch.perform(handshake, config, words)
        if console is not None:
            console.hand_on(launch.keeper_fd)
        shutil.rmtree(directory)  # before there is a monitor, which would write its record there meanwhile
        handshake.commit()
        launched = Launched(
            pid=handshake.init_pid,
            pidfd=handshake.init_pidfd,
            stage_pid=handshake.stage_pid,
            control=handshake.detach(),
            trace={},
        )
    process = joining.process(launched, record)
    if not record:
        process.disown()
    return process
