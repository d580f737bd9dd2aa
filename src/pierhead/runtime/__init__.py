"""The runtime library: containers from Python, without a daemon.

    from pierhead.runtime import Config, ProcessSpec, run

    with run("/run/example", "hello", Config(rootfs="/srv/root", process=ProcessSpec(args=("/bin/date",)))) as
    container:
        print(container.wait())
        container.delete()

Names are loaded when they are used, so that importing this package costs nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.runtime.config import (
        Config,
        Device,
        Mount,
        Network,
        ProcessSpec,
        RootOverlay,
        Route,
        config_from_spec,
    )
    from pierhead.runtime.container import Container
    from pierhead.runtime.factory import create, plan_launch, run
    from pierhead.runtime.hostroot import host_rootfs
    from pierhead.runtime.lookup import list_ids, load
    from pierhead.runtime.process import ExitStatus, Process
    from pierhead.runtime.stdio import Stdio

_HOMES = {
    "Config": "config",
    "Container": "container",
    "Device": "config",
    "ExitStatus": "process",
    "Mount": "config",
    "Network": "config",
    "Process": "process",
    "ProcessSpec": "config",
    "RootOverlay": "config",
    "Route": "config",
    "Stdio": "stdio",
    "config_from_spec": "config",
    "create": "factory",
    "host_rootfs": "hostroot",
    "list_ids": "lookup",
    "load": "lookup",
    "plan_launch": "factory",
    "run": "factory",
}

__all__ = [
    "Config",
    "Container",
    "Device",
    "ExitStatus",
    "Mount",
    "Network",
    "Process",
    "ProcessSpec",
    "RootOverlay",
    "Route",
    "Stdio",
    "config_from_spec",
    "create",
    "host_rootfs",
    "list_ids",
    "load",
    "plan_launch",
    "run",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = __import__(f"{__name__}.{_HOMES[name]}", fromlist=[name])
    found = getattr(module, name)
    globals()[name] = found
    return found
