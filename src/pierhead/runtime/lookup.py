"""Finds containers that exist, whoever made them."""

import os

from pierhead.linux.refusals import Refusals
from pierhead.runtime import state
from pierhead.runtime.container import Container


def load(root: "str | os.PathLike[str]", container_id: str) -> Container:
    """The container of this id.

    Raises:
        NotFound: there is none.
    """
    directory = state.open_state(os.path.abspath(root), container_id)
    try:
        with Refusals(f"load container {container_id}"):
            known = directory.load()
            if known.program:
                from pierhead.runtime.programs.container import ProgramContainer

                return ProgramContainer(directory, known)
            return Container(directory, known)
    except BaseException:
        directory.close()
        raise


def list_ids(root: "str | os.PathLike[str]") -> list[str]:
    """Ids of the containers under the root, sorted."""
    return state.list_ids(os.fspath(root))
