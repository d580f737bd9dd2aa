"""What a container is to be for the runtime: a record, and what is known when it starts."""

from __future__ import annotations

import os
import shlex

from pierhead.errors import Unsupported
from pierhead.oci.runtime import Box, Namespace
from pierhead.runtime import Config, Network, ProcessSpec, RootOverlay, host_rootfs
from pierhead.runtime.config import DEFAULT_ENV
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.engine.documents import ContainerConfig, ExecConfig, HostConfig
    from pierhead.engine.record import Record
    from pierhead.engine.roots import Roots
    from pierhead.engine.settings import Paths, Settings
    from pierhead.oci.image import Execution


class Place(Value):
    """Where a container is to run, as it was found when it starts.

    Fields:
        namespaces: files of namespaces to join, by type.
        interfaces: of its network namespace, beside ``lo``.
    """

    namespaces: dict[str, str] = {}  # noqa: RUF012 - never changed
    interfaces: tuple[Network, ...] = ()


class Planner:
    """Knows the settings and this machine."""

    def __init__(self, settings: Settings, paths: Paths, roots: Roots) -> None:
        self._settings = settings
        self._paths = paths
        self._roots = roots

    def fill(
        self, config: ContainerConfig, execution: Execution | None, host: HostConfig
    ) -> tuple[ContainerConfig, HostConfig, tuple[str, ...]]:
        """What is asked for with all defaults filled in, and warnings."""
        return _merge(config, execution), host, ()

    def plan(self, record: Record, place: Place) -> Config:
        """The runtime's configuration; generated files are there."""
        process = self._process(record)
        mode = record.network_mode
        namespaces = host_rootfs().namespaces
        if mode == "host":
            namespaces = tuple(each for each in namespaces if each.type != "network")
        elif mode not in ("none",) and "network" not in place.namespaces:
            raise Unsupported(f"the network {mode} is not supported", code="no-network")
        namespaces = tuple(
            Namespace(type=each.type, path=place.namespaces.get(each.type, "")) for each in namespaces
        )
        config = self._root(record).replace(
            process=process,
            namespaces=namespaces,
            hostname=record.config.hostname,
            cgroup_parent=self._settings.cgroup_parent,
        )
        return config

    def _root(self, record: Record) -> Config:
        if not record.root:
            return host_rootfs(hidden=(self._paths.data_root, self._paths.exec_root))
        mount = self._roots.mount(record.root)
        if mount.source:
            return Config(rootfs=mount.source)
        rootfs = f"{self._paths.exec_root}/root"
        os.makedirs(rootfs, exist_ok=True)
        overlay = RootOverlay(lower=mount.lower, upper=mount.upper, work=mount.work)
        return Config(rootfs=rootfs, root_overlay=overlay)

    def _process(self, record: Record) -> ProcessSpec:
        config = record.config
        words = (*_words(config.entrypoint), *_words(config.cmd))
        env = config.env
        if not any(entry.startswith("PATH=") for entry in env):
            env = (*DEFAULT_ENV, *env)
        return ProcessSpec(
            args=words,
            env=(f"HOSTNAME={config.hostname}", *env),
            cwd=config.working_dir or "/",
            user=config.user or "0",
            terminal=config.tty,
            console_size=_box(record.host.console_size),
        )

    def plan_exec(self, record: Record, wanted: ExecConfig) -> ProcessSpec:
        """A further process."""
        spec = self._process(record)
        return spec.replace(
            args=wanted.cmd,
            env=(*spec.env, *wanted.env),
            cwd=wanted.working_dir or spec.cwd,
            user=wanted.user or spec.user,
            terminal=wanted.tty,
            console_size=_box(wanted.console_size),
        )


def _box(size: tuple[int, ...]) -> Box | None:
    return Box(height=size[0], width=size[1]) if len(size) == 2 and any(size) else None


def _words(words: tuple[str, ...] | str | None) -> tuple[str, ...]:
    return tuple(shlex.split(words)) if isinstance(words, str) else words or ()


def _merge(config: ContainerConfig, execution: Execution | None) -> ContainerConfig:
    if execution is None:
        return config
    cmd = config.cmd
    if cmd is None and config.entrypoint is None:
        cmd = execution.cmd
    return config.replace(
        cmd=cmd,
        entrypoint=execution.entrypoint if config.entrypoint is None else config.entrypoint,
        env=(*execution.env, *config.env),
        user=config.user or execution.user,
        working_dir=config.working_dir or execution.working_dir,
        stop_signal=config.stop_signal or execution.stop_signal,
        labels={**execution.labels, **config.labels},
    )
