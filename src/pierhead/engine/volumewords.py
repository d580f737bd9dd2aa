"""Volumes as values, and the words for them: options of the local driver, filters.  Pure.

Source: Docker's `docker volume create` reference, "Driver-specific options"; mount(8).
"""

# Annotations are read at run time: no postponed evaluation here.
import datetime as dt

from pierhead.engine.filters import check_names
from pierhead.engine.specgen.mountwords import volume_name_faults
from pierhead.errors import InvalidInput, NotFound, Unsupported
from pierhead.images.choosing import has_label, says_yes
from pierhead.oci.document import empty
from pierhead.runtime.plan.mountoptions import MountOptions, parse_options
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.engine.documents import VolumeCreate

LOCAL = "local"
ANONYMOUS_LABEL = "com.docker.volume.anonymous"
"""By which Docker's clients know volumes that nobody has named."""

_OPTIONS = frozenset(("type", "device", "o", "size"))
_NANOSECONDS = 10**9


class Volume(Value):
    """A volume.

    Fields:
        name: its name.
        options: of the local driver: ``type``, ``device``, ``o``.
        labels: by name.
        created_ns: Unix time.
        mountpoint: host path of its files.
    """

    json_case = "snake"

    name: str
    options: dict[str, str] = empty()
    labels: dict[str, str] = empty()
    created_ns: int = 0
    mountpoint: str = ""

    @property
    def anonymous(self) -> bool:
        """Whether nobody has named it: it goes with its container."""
        return ANONYMOUS_LABEL in self.labels

    def document(self) -> "dict[str, Any]":
        """The volume as ``GET /volumes/{name}`` shows it."""
        created = dt.datetime.fromtimestamp(self.created_ns // _NANOSECONDS, tz=dt.UTC)
        return {
            "CreatedAt": created.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "Driver": LOCAL,
            "Labels": self.labels,
            "Mountpoint": self.mountpoint,
            "Name": self.name,
            "Options": self.options,
            "Scope": "local",
        }


class DriverMount(Value):
    """What a volume's options ask to be mounted.

    Fields:
        filesystem: type; empty for a bind mount.
        device: what is mounted.
        options: sorted.
    """

    filesystem: str
    device: str
    options: MountOptions


def check_volume(wanted: "VolumeCreate") -> None:
    """There can be such a volume.

    Raises:
        InvalidInput: its name or its options cannot be.
        NotFound: there is no such driver.
    """
    check_driver(wanted.driver)
    for fault in volume_name_faults(wanted.name) if wanted.name else ():
        raise InvalidInput(f"create {wanted.name}: {fault}", code="bad-volume-name")
    options = wanted.driver_opts
    for name in options:
        if name not in _OPTIONS:
            raise _bad_options(wanted.name, f'invalid option: "{name}"')
    if "size" in options:
        raise Unsupported(
            f"create {wanted.name}: quota size requested but no quota support",
            code="no-quota",
            hint="for a volume in memory say --opt type=tmpfs --opt device=tmpfs --opt o=size=64m",
        )
    if not options:
        return
    for name in ("device", "type"):
        if not options.get(name):
            raise _bad_options(wanted.name, f'missing required option: "{name}"')
    found = driver_mount(options)
    if found is not None and not found.filesystem and not found.device.startswith("/"):
        raise _bad_options(wanted.name, f"the directory {found.device!r} is no absolute path")


def check_driver(name: str) -> None:
    """The driver is ours.

    Raises:
        NotFound: there is no other.
    """
    if name not in ("", LOCAL):
        raise NotFound(
            f'error looking up volume plugin {name}: plugin "{name}" not found',
            code="no-such-volume-driver",
            hint="there is only the driver local",
        )


def _bad_options(name: str, message: str) -> InvalidInput:
    return InvalidInput(f"create {name}: {message}", code="bad-volume-option")


def driver_mount(options: dict[str, str]) -> DriverMount | None:
    """What the options ask to be mounted; None for a plain directory."""
    if not options.get("device"):
        return None
    parsed = parse_options(tuple(word for word in options.get("o", "").split(",") if word))
    kind = options.get("type", "")
    return DriverMount(
        filesystem="" if parsed.bind or kind in ("none", "bind") else kind,
        device=options["device"],
        options=parsed,
    )


# Filters.

_FILTERS = frozenset(("dangling", "driver", "label", "name"))
_PRUNE_FILTERS = frozenset(("all", "label", "label!"))


class VolumeFilter(Value):
    """Which volumes are meant.

    Fields:
        names: parts of names, of which one suffices.
        drivers: of which one suffices.
        labels: ``name`` or ``name=value``, all of them.
        without_labels: the same, none of them.
        dangling: whether those that no container has, or that some have; None for both.
        named: whether those with a name too.
    """

    names: tuple[str, ...] = ()
    drivers: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    without_labels: tuple[str, ...] = ()
    dangling: bool | None = None
    named: bool = True

    def matches(self, volume: Volume, *, used: bool) -> bool:
        """Whether the volume is meant."""
        return (
            (not self.names or any(part in volume.name for part in self.names))
            and (not self.drivers or LOCAL in self.drivers)
            and all(has_label(volume.labels, label) for label in self.labels)
            and not any(has_label(volume.labels, label) for label in self.without_labels)
            and self.dangling in (None, not used)
            and (self.named or volume.anonymous)
        )


def list_filter(filters: "dict[str, list[str]]") -> VolumeFilter:
    """The filter of ``GET /volumes``.

    Raises:
        InvalidInput: there is no such filter.
    """
    check_names(filters, _FILTERS)
    return VolumeFilter(
        names=tuple(filters.get("name", ())),
        drivers=tuple(filters.get("driver", ())),
        labels=tuple(filters.get("label", ())),
        dangling=says_yes(filters, "dangling"),
    )


def prune_filter(filters: "dict[str, list[str]]") -> VolumeFilter:
    """The filter of ``POST /volumes/prune``: those without a name only, unless ``all`` is true.

    Raises:
        InvalidInput: there is no such filter.
    """
    check_names(filters, _PRUNE_FILTERS)
    return VolumeFilter(
        labels=tuple(filters.get("label", ())),
        without_labels=tuple(filters.get("label!", ())),
        dangling=True,
        named=bool(says_yes(filters, "all")),
    )
