"""A container without any image: the running host, copy-on-write, its secrets hidden.

This is the whole use of the library: make a configuration, run it, wait, delete. As root it has limits; the
    container
prints what it sees of itself.
"""

from __future__ import annotations

import os
import sys
import tempfile

from pierhead.errors import PierheadError
from pierhead.oci.runtime import Cpu, Memory, Pids
from pierhead.runtime import Container, ProcessSpec, host_rootfs, run

LOOK_AROUND = r"""
say() { printf '  %-22s %s\n' "$1" "$2"; }
count() { ls -A "$1" 2>/dev/null | wc -l; }
echo "I am a container."
say "host name"            "$(hostname)"
say "system"               "$(. /etc/os-release; echo "$PRETTY_NAME"), Linux $(uname -r)"
say "user"                 "$(id -un), capabilities $(grep CapEff /proc/self/status | cut -f2)"
say "processes I see"      "$(ls -d /proc/[0-9]* | wc -l) (my own; I am number $$)"
say "network interfaces"   "$(ls /sys/class/net | tr '\n' ' ')"
say "memory limit"         "$(limit memory/memory.limit_in_bytes memory.max)"
say "processes limit"      "$(limit pids/pids.max pids.max)"
say "system call filter"   "$(grep Seccomp_filters /proc/self/status | tr -d '\t')"
say "home directories"     "$(count /root) files in /root, $(count /home) in /home"
say "/etc/shadow"          "$(wc -c < /etc/shadow) bytes"
touch /etc/pierhead-was-here && say "a file I made" "$(ls /etc/pierhead-was-here)"
mount -t tmpfs tmpfs /mnt 2>/dev/null || say "mounting something" "refused"
"""
LIMIT = (
    'limit() { cat "/sys/fs/cgroup/$1" 2>/dev/null || cat "/sys/fs/cgroup/$2" 2>/dev/null || echo none; }\n'
)


def sandbox(root: str) -> Container:
    """The container, running."""
    config = host_rootfs()
    limits = config.resources.replace(
        memory=Memory(limit=256 << 20), pids=Pids(limit=64), cpu=Cpu(quota=50_000, period=100_000)
    )
    process = ProcessSpec(args=("/bin/sh", "-c", LIMIT + LOOK_AROUND), cwd="/tmp")
    return run(root, "sandbox", config.replace(process=process, resources=limits))


def main() -> int:
    """Runs the sandbox and says what is left of it."""
    if os.geteuid() != 0:
        print("this example gives its container limits and so needs root: sudo make run", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="pierhead-") as root:
        try:
            with sandbox(root) as container:
                status = container.wait()
                container.delete()
        except PierheadError as error:
            print(f"{error}\nhint: {error.hint}" if error.hint else error, file=sys.stderr)
            return 1
    print(f"It ended with status {status.shell_code}; of it is left on the host:", end=" ")
    print("a file in /etc!" if os.path.exists("/etc/pierhead-was-here") else "nothing.")
    return status.shell_code


if __name__ == "__main__":
    sys.exit(main())
