"""The wire's numbers.  Made by init/wire_gen.py from init/wire.def: change that file."""

VERSION = 1

MESSAGE_PLAN = 1
MESSAGE_COMMIT = 2
MESSAGE_UNDO = 3
MESSAGE_ADOPT = 4
MESSAGE_CHILD = 16
MESSAGE_ERROR = 17
MESSAGE_TRACE = 18
MESSAGE_EXITED = 19
MESSAGE_WATCHING = 20
MESSAGE_SYNC = 32
MESSAGE_GO = 33
MESSAGE_READY = 34
MESSAGE_DESCRIPTOR = 35
MESSAGE_EXECUTING = 36
MESSAGE_HERE = 37

PLACE_STAGE = 0
PLACE_JOINER = 1
PLACE_INIT = 2
LAUNCH_JOINER = 1
LAUNCH_MONITOR = 2
LAUNCH_TRACE = 4
LAUNCH_NOTHING = 8
LAUNCH_ADOPT = 16
LOG_NONE = 0
LOG_JSON = 1
LOG_CRI = 2
ATTACH_INPUT = 105
ATTACH_CLOSE_INPUT = 99
ATTACH_RESIZE = 114
ATTACH_OUTPUT = 111
ATTACH_ERROR = 101
ATTACH_EXIT = 120
SYNC_MAPS = 1
SYNC_NETWORK = 3
SYNC_HOOKS = 4
SYNC_SECCOMP = 5
SYNC_LIMITS = 6
TARGET_DIRECTORY = 0
TARGET_FILE = 1
TARGET_LIKE_SOURCE = 2
TARGET_REAL = 4
TARGET_KEEP_MODE = 8
TARGET_COPY_UP = 32
TARGET_MODE_SHIFT = 16
BIND_RECURSIVE = 1
BIND_ATTR_RECURSIVE = 2
BIND_IDMAP_RECURSIVE = 4
STATE_CREATING = 0
STATE_CREATED = 1
DIRECTORY_TRY = 1
DIRECTORY_CREATE = 2
DIRECTORY_AGAIN = 4
IDENTITY_KEEP_CAPS = 1
IDENTITY_KEEP_GROUPS = 2

HEADER = (
    ("u", "flags"),
    ("u", "clone_flags"),
    ("s", "id"),
    ("f", "cgroup"),
    ("f", "state"),
    ("u", "slots"),
    ("b", "undo"),
    ("f", "input"),
    ("f", "output"),
    ("f", "error"),
    ("f", "console"),
    ("f", "attach"),
    ("u", "log_format"),
    ("u", "log_bytes"),
    ("u", "log_files"),
    ("s", "log_path"),
    ("s", "exit_name"),
    ("s", "oom_path"),
)

# name: (number, signature, argument names, manual)
OPERATIONS: dict[str, tuple[int, str, tuple[str, ...], str]] = {
    "open_tree": (
        0,
        "fsufu",
        ("slot", "source", "flags", "userns", "idmap_flags"),
        "open_tree(2), mount_setattr(2)",
    ),
    "device_program": (1, "fb", ("cgroup", "program"), "bpf(2), BPF_PROG_TYPE_CGROUP_DEVICE"),
    "join_cgroup": (2, "f", ("file",), "cgroups(7)"),
    "setns": (3, "fu", ("namespace", "kind"), "setns(2)"),
    "unshare": (4, "u", ("flags",), "unshare(2)"),
    "timens_offsets": (5, "s", ("text",), "time_namespaces(7)"),
    "sync": (6, "u", ("tag",), "unix(7)"),
    "become_root": (7, "uu", ("uid", "gid"), "user_namespaces(7)"),
    "session": (8, "", (), "setsid(2)"),
    "parent_death_signal": (9, "u", ("signal",), "prctl(2)"),
    "netlink_socket": (10, "", (), "rtnetlink(7)"),
    "loopback_up": (11, "", (), "netdevice(7)"),
    "root_here": (12, "", (), "openat2(2)"),
    "propagation": (13, "su", ("path", "flags"), "mount_namespaces(7)"),
    "root": (14, "fs", ("tree", "path"), "open_tree(2), move_mount(2), openat2(2)"),
    "mount": (
        15,
        "ssbusuu",
        ("type", "source", "options", "attributes", "target", "target_kind", "propagation"),
        "fsopen(2), fsmount(2), move_mount(2)",
    ),
    "bind": (
        16,
        "fssuuuuuf",
        ("tree", "source", "target", "flags", "target_kind", "set", "clear", "propagation", "userns"),
        "open_tree(2), mount_setattr(2), move_mount(2)",
    ),
    "remount": (17, "suuuu", ("target", "flags", "set", "clear", "propagation"), "mount_setattr(2)"),
    "mkdir": (18, "suuu", ("path", "mode", "uid", "gid"), "mkdir(2)"),
    "symlink": (19, "ss", ("target", "path"), "symlink(2)"),
    "mknod": (20, "suuuu", ("path", "mode", "device", "uid", "gid"), "mknod(2)"),
    "bind_node": (21, "su", ("path", "device"), "mount(2), MS_BIND"),
    "mask": (22, "s", ("path",), "OCI runtime-spec, linux.maskedPaths"),
    "readonly": (23, "s", ("path",), "OCI runtime-spec, linux.readonlyPaths"),
    "sysctl": (24, "ss", ("path", "value"), "sysctl(7)"),
    "console": (25, "fuuuu", ("channel", "rows", "columns", "uid", "mount"), "pty(7), ioctl_tty(2)"),
    "stdio": (26, "fffu", ("input", "output", "error", "uid"), "dup2(2), fchown(2)"),
    "reopen_null": (27, "", (), "OCI runtime-spec, default devices"),
    "pivot_root": (28, "s", ("old",), "pivot_root(2)"),
    "move_root": (29, "b", ("covered",), "mount(2), MS_MOVE"),
    "root_attributes": (30, "u", ("set",), "mount_setattr(2)"),
    "hostname": (31, "s", ("name",), "sethostname(2)"),
    "domainname": (32, "s", ("name",), "setdomainname(2)"),
    "umask": (33, "u", ("mask",), "umask(2)"),
    "rlimit": (34, "uuu", ("resource", "soft", "hard"), "prlimit(2)"),
    "scheduler": (35, "b", ("attributes",), "sched_setattr(2)"),
    "affinity": (36, "b", ("mask",), "sched_setaffinity(2)"),
    "io_priority": (37, "u", ("value",), "ioprio_set(2)"),
    "personality": (38, "u", ("persona",), "personality(2)"),
    "memory_policy": (39, "ub", ("mode", "nodes"), "set_mempolicy(2)"),
    "keyring": (40, "s", ("label",), "keyctl(2)"),
    "label": (41, "ss", ("attribute", "value"), "OCI runtime-spec, process.apparmorProfile / selinuxLabel"),
    "hook": (
        42,
        "sbbuu",
        ("path", "arguments", "environment", "timeout_ms", "state"),
        "OCI runtime-spec, POSIX-platform Hooks",
    ),
    "working_directory": (43, "su", ("path", "flags"), "chdir(2), getcwd(2)"),
    "bounding_set": (44, "u", ("mask",), "prctl(2), capabilities(7)"),
    "identity": (45, "uubu", ("uid", "gid", "groups", "flags"), "setgroups(2), setresuid(2), setresgid(2)"),
    "capabilities": (46, "uuu", ("effective", "permitted", "inheritable"), "capset(2)"),
    "ambient_set": (47, "u", ("mask",), "prctl(2), capabilities(7)"),
    "no_new_privileges": (48, "", (), "prctl(2)"),
    "find_executable": (49, "sb", ("name", "directories"), "execve(2), path_resolution(7)"),
    "seccomp": (50, "buu", ("program", "flags", "listen"), "seccomp(2)"),
    "own_descriptors": (51, "fuf", ("first", "count", "gate"), "close_range(2)"),
    "ready": (52, "", (), "OCI runtime-spec, Lifecycle step 8"),
    "gate": (53, "f", ("listener",), "OCI runtime-spec, start"),
    "execute": (54, "bb", ("arguments", "environment"), "execve(2)"),
}
