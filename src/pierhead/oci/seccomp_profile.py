"""The default seccomp profile: equal in effect to Docker's.

A list of the calls that programs may make; the rest answers EPERM.  Some calls are only allowed to containers
that hold a capability (the kernel would refuse them anyway, but this keeps its bugs out of reach), on one
machine, or from one version of Linux on.

Follows moby/profiles, seccomp/default.json, of the time of Linux 7.2: besides AF_VSOCK (which would reach the
host's virtual machines) it refuses AF_ALG (CVE-2026-31431) and the families that the kernel has lost.

Pure data and conditions; ``pierhead.runtime.plan.seccomp`` compiles the outcome.  Names are kept in long
texts, which load faster than lists.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.oci.runtime import Seccomp, Syscall, SyscallArg

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

ALLOW = "SCMP_ACT_ALLOW"
ERRNO = "SCMP_ACT_ERRNO"
EPERM = 1
ENOSYS = 38

# machine -> its own architecture, and those whose programs it runs besides
ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

ALWAYS = (
    "accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown chown32 "
    "clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 "
    "clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 "
    "epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait "
    "epoll_wait_old eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 "
    "fadvise64_64 fallocate fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl "
    "fcntl64 fdatasync fgetxattr flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 "
    "fstatfs fstatfs64 fsync ftruncate ftruncate64 futex futex_requeue futex_time64 futex_wait "
    "futex_waitv futex_wake futimesat getcpu getcwd getdents getdents64 getegid getegid32 geteuid "
    "geteuid32 getgid getgid32 getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid "
    "getpriority getrandom getresgid getresgid32 getresuid getresuid32 getrlimit get_robust_list "
    "getrusage getsid getsockname getsockopt get_thread_area gettid gettimeofday getuid getuid32 getxattr "
    "getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch io_cancel ioctl io_destroy "
    "io_getevents io_pgetevents io_pgetevents_time64 ioprio_get ioprio_set io_setup io_submit ipc kill "
    "landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 lgetxattr link "
    "linkat listen listmount listxattr listxattrat llistxattr _llseek lremovexattr lseek lsetxattr lstat "
    "lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod "
    "mknodat mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive "
    "mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv "
    "msgsnd msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat _newselect open openat "
    "openat2 pause pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll "
    "ppoll_time64 prctl pread64 preadv preadv2 prlimit64 process_mrelease pselect6 pselect6_time64 "
    "pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom recvmmsg "
    "recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 "
    "restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo "
    "rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo "
    "sched_getaffinity sched_getattr sched_getparam sched_get_priority_max sched_get_priority_min "
    "sched_getscheduler sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity "
    "sched_setattr sched_setparam sched_setscheduler sched_yield seccomp select semctl semget semop "
    "semtimedop semtimedop_time64 send sendfile sendfile64 sendmmsg sendmsg sendto setfsgid setfsgid32 "
    "setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority setregid "
    "setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit set_robust_list "
    "setsid setsockopt set_thread_area set_tid_address setuid setuid32 setxattr setxattrat shmat shmctl "
    "shmdt shmget shutdown sigaltstack signalfd signalfd4 sigprocmask sigreturn socketcall socketpair "
    "splice stat stat64 statfs statfs64 statmount statx symlink symlinkat sync sync_file_range syncfs "
    "sysinfo tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64 "
    "timer_settime timer_settime64 timerfd_create timerfd_gettime timerfd_gettime64 timerfd_settime "
    "timerfd_settime64 times tkill truncate truncate64 ugetrlimit umask uname unlink unlinkat uretprobe "
    "utime utimensat utimensat_time64 utimes vfork vmsplice wait4 waitid waitpid write writev"
)
# Tracing could get around a filter before Linux 4.8 (seccomp(2)).
FROM_LINUX_4_8 = "process_vm_readv process_vm_writev ptrace"
ON_MACHINE = {
    "x86_64": "arch_prctl modify_ldt",
    "aarch64": "arm_fadvise64_64 arm_sync_file_range sync_file_range2 breakpoint cacheflush set_tls",
}
# capability -> the calls that containers with it may make
WITH_CAPABILITY = {
    "CAP_DAC_READ_SEARCH": "open_by_handle_at",
    "CAP_SYS_ADMIN": (
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr "
        "lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open "
        "quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare"
    ),
    "CAP_SYS_BOOT": "reboot",
    "CAP_SYS_CHROOT": "chroot",
    "CAP_SYS_MODULE": "delete_module init_module finit_module",
    "CAP_SYS_PACCT": "acct",
    "CAP_SYS_PTRACE": "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace",
    "CAP_SYS_RAWIO": "iopl ioperm",
    "CAP_SYS_TIME": "settimeofday stime clock_settime clock_settime64",
    "CAP_SYS_TTY_CONFIG": "vhangup",
    "CAP_SYS_NICE": "get_mempolicy mbind set_mempolicy set_mempolicy_home_node",
    "CAP_SYSLOG": "syslog",
    "CAP_BPF": "bpf",
    "CAP_PERFMON": "perf_event_open",
}

# Address families for socket(2): those below 12 (AF_UNIX, AF_INET, AF_INET6 and more), and these.  Refused:
# DECNET 12, ECONET 19, ATMSVC 20, IRDA 23, WANPIPE 25, ISDN 34, CAIF 37 (Linux no longer has them), ALG 38,
# VSOCK 40, and what does not exist yet.
FAMILIES_BELOW = 12
FAMILIES = (*range(13, 19), 21, 22, 24, *range(26, 34), 35, 36, 39, *range(41, 46))
# personality(2): PER_LINUX, PER_LINUX32, each with UNAME26 (0x20000), and the question which one it is.
PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# clone(2): CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
CLONE_NAMESPACES = 0x7E020000


def default_profile(capabilities: Collection[str], arch: str, kernel: tuple[int, int]) -> Seccomp:
    """The profile for a container.

    Args:
        capabilities: the bounding set of the container's process, as ``CAP_CHOWN``.
        arch: the machine as uname(2) names it, ``x86_64`` or ``aarch64``.
        kernel: major and minor version of Linux.

    Raises:
        InvalidInput: no profile for the machine.
    """
    if arch not in ARCHITECTURES:
        raise InvalidInput(
            f"no default seccomp profile for machine {arch!r}",
            code="unsupported-machine",
            hint=f"there is one for {' and '.join(ARCHITECTURES)}",
        )
    rules = [_allow(ALWAYS)]
    if kernel >= (4, 8):
        rules.append(_allow(FROM_LINUX_4_8))
    rules += _argument_rules()
    rules.append(_allow(ON_MACHINE[arch]))
    rules += [_allow(names) for capability, names in WITH_CAPABILITY.items() if capability in capabilities]
    if "CAP_SYS_ADMIN" not in capabilities:
        flags = SyscallArg(index=0, value=CLONE_NAMESPACES, value_two=0, op="SCMP_CMP_MASKED_EQ")
        rules.append(Syscall(names=("clone",), action=ALLOW, args=(flags,)))
        # clone3's flags are in memory, where no filter can look: ENOSYS makes libraries fall back to clone.
        rules.append(Syscall(names=("clone3",), action=ERRNO, errno_ret=ENOSYS))
    return Seccomp(
        default_action=ERRNO,
        default_errno_ret=EPERM,
        architectures=ARCHITECTURES[arch],
        syscalls=tuple(rules),
    )


def _allow(names: str) -> Syscall:
    return Syscall(names=tuple(names.split()), action=ALLOW)


def _argument_rules() -> list[Syscall]:
    """The rules for calls that are allowed with some first arguments only."""
    below = SyscallArg(index=0, value=FAMILIES_BELOW, op="SCMP_CMP_LT")
    rules = [Syscall(names=("socket",), action=ALLOW, args=(below,))]
    for name, values in (("socket", FAMILIES), ("personality", PERSONALITIES)):
        for value in values:
            condition = SyscallArg(index=0, value=value, op="SCMP_CMP_EQ")
            rules.append(Syscall(names=(name,), action=ALLOW, args=(condition,)))
    return rules
