"""The AppArmor profile of containers that name none: a second line behind masks and read-only mounts.  Pure.

It says by path what mounts say already, so that a process that gets around those (by a capability that it was
given, or by a fault) still cannot change the machine by /proc and /sys, mount, or trace what is outside.

Source: apparmor.d(5); what Docker's profile docker-default promises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.engine.specgen.rights import parse_security_options

if TYPE_CHECKING:
    from pierhead.engine.documents import HostConfig

NAME = "pierhead-default"
UNCONFINED = "unconfined"

# What may be written below /proc/sys is what has a namespace: net, and in kernel the limits of SysV IPC.
PROFILE = f"""
abi <abi/3.0>,

profile {NAME} flags=(attach_disconnected, mediate_deleted) {{
  network,
  capability,
  file,
  umount,

  signal (receive) peer=unconfined,
  signal (send, receive) peer={NAME},
  ptrace (trace, read, tracedby, readby) peer={NAME},

  deny mount,
  deny /proc/* w,
  deny /proc/{{acpi,asound,bus,driver,fs,irq,scsi,tty}}/** w,
  deny /proc/sys/{{abi,debug,dev,user,vm}}/** w,
  deny /proc/sys/fs/[^m]** w,
  deny /proc/sys/kernel/[^ms]** w,
  deny /proc/sys/kernel/{{mo,sc,se[^m],so,sp,sy}}** w,
  deny /proc/{{kcore,kmem,mem,sysrq-trigger}} rwklx,
  deny /sys/{{block,bus,class,dev,devices,firmware,hypervisor,kernel,module,power}}/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/{{firmware,kernel/security,devices/virtual/powercap}}/** rwklx,
}}
"""


def profile_of(host: HostConfig, default: str) -> str:
    """The name of the container's profile, ``unconfined`` for none.

    Args:
        host: as it was asked for.
        default: of containers that name none; empty where the kernel has no AppArmor, or nothing was loaded.
    """
    asked = parse_security_options(host.security_opt).apparmor
    if asked:
        return asked
    return UNCONFINED if host.privileged or not default else default
