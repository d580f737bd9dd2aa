"""The service manager."""

from __future__ import annotations

from tests.guest.check.probing import fact, shell


@fact("systemd is up, its bus answers")
def _systemd() -> str:
    state = shell("systemctl is-system-running || true")
    name = "org.freedesktop.systemd1"
    version = shell(f"busctl get-property {name} /org/freedesktop/systemd1 {name}.Manager Version")
    return f"{state}; Version {version.split(' ', 1)[1]}"


@fact("a transient scope with limits")
def _scope() -> str:
    show = "cat /proc/self/cgroup; cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/memory.max"
    said = shell(f"systemd-run --quiet --scope -p MemoryMax=64M -p Delegate=yes sh -c '{show}'")
    assert said.endswith(str(64 << 20)), said
    return " ".join(said.split())


@fact("a user's own service manager (user@1000), its controllers")
def _user_manager() -> str:
    shell("systemctl start user@1000.service")
    try:
        show = "cat /sys/fs/cgroup$(cut -d: -f3 /proc/self/cgroup)/cgroup.controllers"
        scope = f"systemd-run --user --quiet --scope -p Delegate=yes sh -c '{show}'"
        return shell(f"export XDG_RUNTIME_DIR=/run/user/1000; {scope}", user="pier")
    finally:
        shell("systemctl stop user@1000.service")
