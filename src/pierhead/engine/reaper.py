"""The program that is the first process of containers that ask for one (``docker run --init``).

It is the runtime's helper under another name (``init/reaper.c``).  Containers have a copy of it, read-only:
who gets around that in a container does not reach what the engine itself starts.
"""

from __future__ import annotations

import os

from pierhead.errors import OperationFailed
from pierhead.linux import files
from pierhead.linux.process import helper_path

NAME = "docker-init"


def install_reaper(directory: str) -> str:
    """The copy's path, for ``Ground.init_path``; it is this version's.

    Args:
        directory: on a file system from which programs can be run: ``DATA_ROOT``, since /run is often none.

    Raises:
        OperationFailed: the helper is not installed, or the copy cannot be written.
    """
    path = f"{directory}/{NAME}"
    try:
        program = files.read_file(helper_path())
        if os.path.exists(path) and files.read_file(path) == program:
            return path
        directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            files.replace_file(directory_fd, NAME, program, mode=0o555)
            os.chmod(NAME, 0o555, dir_fd=directory_fd)  # whatever the engine's umask
        finally:
            os.close(directory_fd)
    except OSError as error:
        raise OperationFailed(
            f"cannot copy the reaper to {path}: {(error.strerror or str(error)).lower()}",
            errno=error.errno or 0,
            code="no-init",
        ) from None
    return path
