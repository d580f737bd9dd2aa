"""What a container is to be for the runtime: a record, and what is known when it starts.

The rules are ``specgen``'s, which is pure; here this machine and the disk are asked, which blocks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil

from pierhead.engine.etcfiles import HOSTNAME, HOSTS, RESOLV_CONF, EtcFiles, Resolver, write_etc_files
from pierhead.engine.hostdevices import block_device_numbers, find_devices, observe_machine, with_controllers
from pierhead.engine.reaper import install_reaper
from pierhead.engine.runtimes import find_runtime
from pierhead.engine.specgen import (
    Ground,
    Root,
    fill_host,
    merge_image,
    plan_config,
    plan_exec,
    plan_update,
    root_of_host,
)
from pierhead.engine.specgen.apparmorprofile import NAME, PROFILE, profile_of
from pierhead.engine.specgen.processes import short_hostname
from pierhead.engine.specgen.seccompprofile import parse_profile
from pierhead.engine.usermapping import maps_of
from pierhead.engine.volumemounts import mount_changes
from pierhead.errors import InvalidInput, OperationFailed, PierheadError, Unsupported
from pierhead.linux import apparmor, files
from pierhead.runtime import Network, RootOverlay, host_rootfs
from pierhead.runtime.config import SECCOMP_DEFAULT
from pierhead.runtime.programs.program import find_program
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.engine.documents import ContainerConfig, ExecConfig, HostConfig, UpdateConfig
    from pierhead.engine.record import Record
    from pierhead.engine.roots import Roots
    from pierhead.engine.settings import Paths, Settings
    from pierhead.engine.specgen import Machine
    from pierhead.engine.usermapping import UserMaps
    from pierhead.oci.image import Execution
    from pierhead.oci.runtime import Resources
    from pierhead.runtime import Config, ProcessSpec


_log = logging.getLogger(__name__)


class Place(Value):
    """Where a container is to run, as it was found when it starts.

    Fields:
        namespaces: files of namespaces to join, by type.
        interfaces: of its own network namespace, beside ``lo``.
        addresses: its own in its network.
        host_address: of the host, as the container reaches it.
        shm_path: directory that becomes /dev/shm; empty for one of its own.
        sources: where mounts come from that are not at their ``MountPoint.source``, by destination.
        files: directory of /etc/hosts and the others, where they are another container's; empty for its own.
    """

    namespaces: dict[str, str] = {}  # noqa: RUF012 - never changed
    interfaces: tuple[Network, ...] = ()
    addresses: tuple[str, ...] = ()
    host_address: str = ""
    shm_path: str = ""
    sources: dict[str, str] = {}  # noqa: RUF012 - never changed
    files: str = ""


def _read_profile(path: str, machine: Machine) -> str:
    """The text of the settings' filter of system calls; the built-in one where none is named."""
    if path in ("", "builtin"):
        return SECCOMP_DEFAULT
    if path == "unconfined":
        return path
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
        parse_profile(text, (), machine.arch, machine.kernel)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise OperationFailed(
            f"cannot read the seccomp profile {path}: {reason}", code="no-profile"
        ) from None
    except UnicodeError:
        raise InvalidInput(f"the seccomp profile {path} is not UTF-8", code="bad-seccomp-profile") from None
    except InvalidInput as error:
        message = f"{path}: {error.message}"
        raise InvalidInput(message, code="bad-seccomp-profile", hint=error.hint) from None
    return text


def _forget_volatile(work: str) -> None:
    """The kernel mounts an overlay again whose changes needed no disk.

    It refuses to, since a power cut may have damaged them.  Here there was none: at the boot after one, the
    engine removes such containers.  Source: overlayfs.rst, "Volatile mount".
    """
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(f"{work}/work/incompat")


def _ensure_apparmor(exec_root: str) -> str:
    """The kernel has this version's profile; its name, "" where it cannot be had, which is said.

    What was loaded stands beside the state that dies with the boot: the parser takes a tenth of a second.
    """
    path = f"{exec_root}/apparmor-profile"
    try:
        known = files.read_file(path).decode()
    except FileNotFoundError:
        known = ""
    if known == PROFILE and NAME in apparmor.loaded_profiles():
        return NAME
    try:
        apparmor.load_profile(PROFILE)
    except PierheadError as error:
        _log.warning("containers have no AppArmor profile: %s", error)
        return ""
    with open(path, "w", encoding="ascii") as file:
        file.write(PROFILE)
    return NAME


class Planner:
    """Knows the settings and this machine."""

    def __init__(self, settings: Settings, paths: Paths, roots: Roots, users: UserMaps | None) -> None:
        """Looks at the machine once; ``users`` are those of containers, None where they are the host's.

        Raises:
            OperationFailed: the settings' filter of system calls cannot be read.
            InvalidInput: it is none.
        """
        self._settings = settings
        self._paths = paths
        self._roots = roots
        self._users = users
        self.machine: Machine = observe_machine()
        self._seccomp = _read_profile(settings.seccomp_profile, self.machine)
        if settings.cgroup_manager == "disabled":
            self.machine = with_controllers(self.machine, frozenset())
        elif settings.rootless is not None:
            self.machine = with_controllers(self.machine, frozenset(settings.rootless.controllers))
        self.apparmor_profile = _ensure_apparmor(paths.exec_root) if self.machine.apparmor else ""
        """Of containers that name none; empty for none."""

    def fill(
        self, config: ContainerConfig, execution: Execution | None, host: HostConfig
    ) -> tuple[ContainerConfig, HostConfig, tuple[str, ...]]:
        """What is asked for with all defaults filled in, and warnings.

        Raises:
            InvalidInput: it contradicts itself, or says what cannot be.
            Unsupported: it asks for what is not there.
            OperationFailed: its runtime program is not installed.
        """
        if execution is None and self.machine.inside:
            raise Unsupported(
                "an engine of an ordinary user cannot lay an overlay on the machine's files",
                code="rootless",
                hint="import or pull an image, or use the machine's engine",
            )
        if execution is None and self._users is not None and host.userns_mode != "host":
            raise Unsupported(
                f"{config.image} is this machine, whose files have its users: userns_remap cannot map them",
                code="host-not-mapped",
                hint="run it with --userns host",
            )
        config = merge_image(config, execution)
        host, warnings = fill_host(config, host, self._settings, machine=self.machine)
        if self.find_program(host.runtime):
            self._check_program(host)
        return config, host, warnings

    def _check_program(self, host: HostConfig) -> None:
        """What runtime programs cannot do here is not asked of one."""
        hint = "choose the runtime pierhead"
        if self._settings.cgroup_manager == "disabled":
            raise Unsupported(
                f"the runtime {host.runtime} needs cgroups, and this engine has none",
                code="no-cgroups",
                hint=hint,
            )
        if self._users is not None and host.userns_mode != "host":
            raise Unsupported(
                f"the runtime {host.runtime} cannot map users: programs are not told of layers' owners",
                code="no-user-namespace",
                hint=f"{hint}, or --userns host",
            )

    def find_program(self, runtime: str) -> tuple[str, ...]:
        """The command of the runtime program of this name; empty for our library.

        Raises:
            InvalidInput: the settings know no such runtime.
            OperationFailed: its program is not installed.
        """
        found = find_runtime(runtime, self._settings)
        return (find_program(found.path), *found.arguments) if found is not None else ()

    def plan(self, record: Record, place: Place) -> Config:
        """The runtime's configuration; the files in /etc that are the engine's are written.

        Raises:
            PierheadError: something of it is not there, or cannot be.
        """
        users = maps_of(record, self._users)
        directory = place.files or self._paths.container(record.id)
        if not place.files:
            write_etc_files(directory, self._etc_files(record, place), users.root if users else None)
        ground = Ground(
            root=self._root(record),
            hosts=f"{directory}/{HOSTS}",
            hostname_file=f"{directory}/{HOSTNAME}",
            resolv_conf=f"{directory}/{RESOLV_CONF}",
            shm_path=place.shm_path,
            init_path=install_reaper(self._paths.data_root) if record.host.init else "",
            namespaces=place.namespaces,
            interfaces=place.interfaces,
            user_mappings=users.users if users else (),
            group_mappings=users.groups if users else (),
            devices=find_devices(record.host),
            device_numbers=block_device_numbers(record.host),
            sources=place.sources,
            seccomp=self._seccomp,
            apparmor_profile=self.apparmor_profile,
            cgroup_path=self._cgroup_path(record),
            cgroup_manager=self._settings.cgroup_manager,
            machine=self.machine,
        )
        return plan_config(record, ground)

    def _cgroup_path(self, record: Record) -> str:
        parent = record.host.cgroup_parent or self._settings.cgroup_parent
        if self._settings.cgroup_manager == "systemd":
            slice_name = parent if parent.endswith(".slice") else "system.slice"
            return f"{slice_name}:pierhead:{record.id}"
        rootless = self._settings.rootless
        if rootless is not None and record.host.cgroup_parent:
            parent = f"{rootless.cgroup}/{parent.strip('/')}"
        return f"/{parent.strip('/')}/{record.id}"

    def _root(self, record: Record) -> Root:
        if not record.root:
            root = root_of_host(host_rootfs(hidden=(self._paths.data_root, self._paths.exec_root)))
            upper, work = mount_changes(self._paths.changes(record.id))
            overlay = RootOverlay(lower=(root.rootfs,), upper=upper, work=work)
            return root.replace(rootfs=self._empty_root(), overlay=overlay, copy_on_write=False)
        mount = self._roots.mount(record.root)
        if mount.source and maps_of(record, self._users) is None:
            return Root(rootfs=mount.source)
        passes = record.host.auto_remove and bool(mount.work)  # its files go with it: they need no disk
        if passes:
            _forget_volatile(mount.work)
        overlay = RootOverlay(
            lower=mount.lower, upper=mount.upper or mount.source, work=mount.work, volatile=passes
        )
        return Root(rootfs=self._empty_root(), overlay=overlay)

    def _empty_root(self) -> str:
        """Where overlays are mounted, each where its container alone sees it."""
        rootfs = f"{self._paths.exec_root}/rootfs"
        os.makedirs(rootfs, mode=0o755, exist_ok=True)
        return rootfs

    def _etc_files(self, record: Record, place: Place) -> EtcFiles:
        host, settings = record.host, self._settings
        return EtcFiles(
            hostname=short_hostname(record),
            domainname=record.config.domainname,
            addresses=place.addresses,
            extra_hosts=host.extra_hosts,
            host_address=place.host_address,
            resolver=Resolver(
                servers=host.dns or settings.dns,
                search=host.dns_search or settings.dns_search,
                options=host.dns_options or settings.dns_options,
            ),
            host_network=record.network_mode == "host",
        )

    def apparmor_of(self, record: Record) -> str:
        """The container's profile, as it is told; empty where the kernel has no AppArmor."""
        return profile_of(record.host, self.apparmor_profile) if self.machine.apparmor else ""

    def plan_exec(self, record: Record, wanted: ExecConfig) -> ProcessSpec:
        """A further process."""
        return plan_exec(record, wanted, machine=self.machine)

    def plan_update(self, record: Record, update: UpdateConfig) -> tuple[HostConfig, Resources]:
        """The container's configuration as it will be, and the limits that change.

        Raises:
            InvalidInput: they cannot be.
        """
        return plan_update(record.host, update, machine=self.machine)
