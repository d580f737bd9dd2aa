"""The library's configuration as an OCI ``config.json``: ``config_from_spec``, backwards.  Pure.

What has no place in the document is done by us (networks), or is refused.
"""

from __future__ import annotations

from pierhead.errors import Unsupported
from pierhead.oci import runtime as oci
from pierhead.oci.runtime import Seccomp, User
from pierhead.runtime.plan.devices import device_rules

_VERSION = "1.0.2"
"""What programs accept, whatever their age: crun 1.8 refuses newer ones, and none refuses fields that it does
not know."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.runtime.config import Config, ProcessSpec


def spec_of(config: Config, root: str, *, readonly: bool = False) -> oci.Spec:
    """The document of a container.

    Args:
        config: checked and resolved, as a recipe has it: users are numbers, profiles are no words.
        root: absolute path at which the program finds the root file system.
        readonly: whether nobody may write to that, whatever the configuration says.

    Raises:
        Unsupported: the configuration asks for what a program cannot be told.
    """
    assert config.process is not None
    if any(each.type == "user" for each in config.namespaces):
        raise Unsupported(
            "a container in a user namespace cannot be made by a runtime program",
            code="no-user-namespace",
            hint="choose the runtime pierhead",
        )
    return oci.Spec(
        oci_version=_VERSION,
        process=process_of(config.process),
        root=oci.Root(path=root, readonly=config.readonlyfs or readonly),
        hostname=config.hostname,
        domainname=config.domainname,
        mounts=tuple(_mount(each) for each in config.mounts),
        hooks=config.hooks if config.hooks != oci.Hooks() else None,
        annotations=config.annotations,
        linux=_linux(config),
    )


def _mount(mount: oci.Mount) -> oci.Mount:
    """Without the label, which is not the specification's."""
    return oci.Mount(**{name: getattr(mount, name) for name in oci.Mount.fields})


def _linux(config: Config) -> oci.Linux:
    return oci.Linux(
        sysctl=config.sysctl,
        resources=config.resources.replace(devices=device_rules(config)),
        cgroups_path=config.cgroup_path,
        namespaces=config.namespaces,
        devices=tuple(
            oci.Device(**{name: getattr(each, name) for name in oci.Device.fields}) for each in config.devices
        ),
        net_devices=config.net_devices,
        seccomp=config.seccomp if isinstance(config.seccomp, Seccomp) else None,
        rootfs_propagation=config.rootfs_propagation,
        masked_paths=config.mask_paths,
        readonly_paths=config.readonly_paths,
        mount_label=config.mount_label,
        memory_policy=config.memory_policy,
        personality=config.personality,
        time_offsets=config.time_offsets,
    )


def process_of(process: ProcessSpec) -> oci.Process:
    """The document of a process that is resolved: nothing in it is left to the container."""
    user = process.user if isinstance(process.user, User) else User()
    return oci.Process(
        terminal=process.terminal,
        console_size=process.console_size if process.terminal else None,
        user=user,
        args=process.args,
        env=process.env,
        cwd=process.cwd,
        capabilities=process.capabilities,
        rlimits=process.rlimits or (),
        no_new_privileges=bool(process.no_new_privileges),
        apparmor_profile=process.apparmor_profile or "",
        oom_score_adj=process.oom_score_adj,
        scheduler=process.scheduler,
        selinux_label=process.process_label or "",
        io_priority=process.io_priority,
        exec_cpu_affinity=process.exec_cpu_affinity,
    )
