"""What the engine remembers of a container: one value, one row of ``engine.db``.

    asked for      name, image, config (the image's defaults merged in), host, networking
    decided        mounts with their sources, driver, log path
    observed       state, endpoint; changed only together with the event that tells of it

Whether a container runs is asked of the kernel; what stands in ``state`` is what was last seen.
Pure.
"""

# Annotations are read at run time: no postponed evaluation here.
from typing import Literal

from pierhead.engine.documents import (
    ContainerConfig,
    Docker,
    EndpointSettings,
    HostConfig,
    NetworkingConfig,
    PortBinding,
)
from pierhead.oci.document import empty, names
from pierhead.values import Value

Status = Literal["created", "running", "paused", "restarting", "removing", "exited", "dead"]
"""Docker's words.  ``dead``: its removal has failed, and it can only be removed again."""


class HealthResult(Docker):
    """One look at a container's health; times in RFC 3339."""

    start: str
    end: str
    exit_code: int
    output: str


class Health(Docker):
    """``status`` is ``starting``, ``healthy`` or ``unhealthy``; ``log`` has the last five results."""

    status: str = "starting"
    failing_streak: int = 0
    log: tuple[HealthResult, ...] = ()


class MountPoint(Docker):
    """A mount of the user's as it was decided; ``source`` is a host path."""

    json_names = names(rw="RW")

    type: str
    name: str = ""
    source: str = ""
    destination: str = ""
    driver: str = ""
    mode: str = ""
    rw: bool = True
    propagation: str = ""


class State(Value):
    """How a container is.

    Fields:
        status: see ``Status``.
        pid: of its first process, in the engine's pid namespace; 0 when there is none.
        exit_code: 128 and the signal's number where a signal ended it.
        oom_killed: whether the kernel killed something of it for want of memory.
        error: why its last start failed, a sentence.
        started_ns, finished_ns: Unix time; 0 for never.
        stopped_by_hand: whether somebody asked for its end: it is then not started again, not even when the
            engine comes back (``unless-stopped``).
        volumes_go: whether its nameless volumes are removed with it; said when that begins.
        health: None where nobody looks.
    """

    json_case = "snake"

    status: str = "created"
    pid: int = 0
    exit_code: int = 0
    oom_killed: bool = False
    error: str = ""
    started_ns: int = 0
    finished_ns: int = 0
    stopped_by_hand: bool = False
    volumes_go: bool = False
    health: Health | None = None


class Record(Value):
    """A container.

    Fields:
        id: 64 hexadecimal digits.
        name: without the slash that the API puts before it.
        created_ns: Unix time.
        image: as it was asked for.
        image_id: digest of the image's configuration; "" for the host as an image.
        config, host: as they were asked for, with all defaults filled in.
        networking: networks it was asked to join.
        mounts: what the user's mounts have become.
        endpoint: its place in its network while it runs.
        ports: what is published while it runs: container port (``80/tcp``) to addresses of the host.
        state: see ``State``.
        restart_count: how often the policy has started it since somebody last did.
        root: the snapshot that is its root, by key; "" for the host as an image.
        warnings: sentences of its making.
    """

    json_case = "snake"

    id: str
    name: str
    created_ns: int
    image: str
    image_id: str = ""
    config: ContainerConfig
    host: HostConfig
    networking: NetworkingConfig = NetworkingConfig()
    mounts: tuple[MountPoint, ...] = ()
    endpoint: EndpointSettings | None = None
    ports: dict[str, tuple[PortBinding, ...]] = empty()
    state: State = State()
    restart_count: int = 0
    root: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def network_mode(self) -> str:
        """``default`` resolved: the default bridge."""
        mode = self.host.network_mode
        return "bridge" if mode in ("", "default") else mode


class Event(Value):
    """Something happened to something; see ``GET /events``.

    Fields:
        kind: ``container``, ``image``, ``volume``, ``network``, ``daemon``.
        action: ``create``, ``start``, ``die``, …
        actor: the object's id or name.
        attributes: of the object, and of what happened (``exitCode``).
        time_ns: Unix time.
        sequence: number in the journal, 0 before it stands there.
    """

    kind: str
    action: str
    actor: str
    attributes: dict[str, str] = {}  # noqa: RUF012 - never changed
    time_ns: int
    sequence: int = 0
