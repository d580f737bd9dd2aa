"""What a container needs of its surroundings: its network, and what it shares with other containers."""

from __future__ import annotations

from pierhead.engine.lifecycle import is_alive
from pierhead.engine.planning import Place
from pierhead.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.engine.record import Record
    from pierhead.engine.roster import Roster


class Places:
    """Reserves what is needed while a container runs, and what it keeps while it is there."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster

    async def decide(self, record: Record) -> Record:
        """What a new container keeps is there; the record tells of it."""
        return record

    async def take(self, record: Record) -> tuple[Record, Place]:
        """What the container needs to start is there; the record tells of it.

        Raises:
            Conflict: a container whose namespaces it joins does not run.
        """
        return record, Place(namespaces=self._joined(record))

    async def leave(self, record: Record) -> Record:
        """What it needed to run is given back; the record tells of nothing any more."""
        return record

    async def release(self, record: Record, *, volumes: bool) -> None:
        """What it kept is given back; with ``volumes`` its nameless volumes are gone."""

    def _joined(self, record: Record) -> dict[str, str]:
        """Files of other containers' namespaces, by type."""
        modes = {"network": record.network_mode, "ipc": record.host.ipc_mode, "pid": record.host.pid_mode}
        found = {}
        for kind, mode in modes.items():
            if mode.startswith("container:"):
                other = self._roster.get(mode.removeprefix("container:"))
                if not is_alive(other):
                    raise Conflict(
                        f"cannot join the {kind} namespace of container {other.name}: it does not run",
                        code="not-running",
                        hint=f"pier start {other.name}",
                    )
                found[kind] = f"/proc/{other.state.pid}/ns/{_FILES[kind]}"
        return found


_FILES = {"network": "net", "ipc": "ipc", "pid": "pid"}
