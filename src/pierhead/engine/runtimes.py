"""Execution drivers by name: our library, or an OCI runtime program of the settings.  Pure."""

from __future__ import annotations

from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.engine.settings import RuntimeProgram, Settings

LIBRARY = "pierhead"
"""The runtime library, in the engine's own process."""
_ITS_NAMES = ("", LIBRARY, "io.containerd.runc.v2")
"""How clients call what docker does by itself: it says the last one of containers that name none."""


def find_runtime(name: str, settings: Settings) -> RuntimeProgram | None:
    """The program of this name; None for the library.

    Raises:
        InvalidInput: there is none; the words are Docker's.
    """
    found = settings.runtimes.get(name)
    if found is None and name not in _ITS_NAMES:
        raise InvalidInput(
            f"unknown or invalid runtime name: {name}",
            code="no-such-runtime",
            hint=f"choose one of {', '.join((LIBRARY, *sorted(settings.runtimes)))}",
        )
    return found
