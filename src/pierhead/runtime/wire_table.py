"""The wire's numbers.  Made by init/wire_gen.py from init/wire.def: change that file."""

VERSION = 1

MESSAGE_PLAN = 1
MESSAGE_COMMIT = 2
MESSAGE_ABORT = 3
MESSAGE_CHILD = 16
MESSAGE_ERROR = 17
MESSAGE_TRACE = 18
MESSAGE_EXITED = 19
MESSAGE_SYNC = 32
MESSAGE_GO = 33
MESSAGE_READY = 34
MESSAGE_DESCRIPTOR = 35
MESSAGE_EXECUTING = 36

PLACE_STAGE = 0
PLACE_JOINER = 1
PLACE_INIT = 2
LAUNCH_JOINER = 1
LAUNCH_MONITOR = 2
LAUNCH_TRACE = 4
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
TARGET_DIRECTORY = 0
TARGET_FILE = 1
TARGET_LIKE_SOURCE = 2
TARGET_REAL = 4
TARGET_KEEP_MODE = 8
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
    ("u", "joiner_flags"),
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
    "open_tree": (0, "fsufu", ("slot", "source", "flags", "userns", "idmap_flags"), "open_tree(2), mount_setattr(2)"),
    "setns": (1, "fu", ("namespace", "kind"), "setns(2)"),
    "unshare": (2, "u", ("flags",), "unshare(2)"),
    "timens_offsets": (3, "s", ("text",), "time_namespaces(7)"),
    "sync": (4, "u", ("tag",), "unix(7)"),
    "become_root": (5, "uu", ("uid", "gid"), "user_namespaces(7)"),
    "session": (6, "", (), "setsid(2)"),
    "parent_death_signal": (7, "u", ("signal",), "PR_SET_PDEATHSIG(2const)"),
    "netlink_socket": (8, "", (), "rtnetlink(7)"),
    "loopback_up": (9, "", (), "netdevice(7)"),
    "propagation": (10, "su", ("path", "flags"), "mount_namespaces(7)"),
    "root": (11, "s", ("path",), "mount(2), openat2(2)"),
    "mount": (12, "ssbusuu", ("type", "source", "options", "attributes", "target", "target_kind", "propagation"), "fsopen(2), fsmount(2), move_mount(2)"),
    "bind": (13, "fssuuuuuf", ("tree", "source", "target", "flags", "target_kind", "set", "clear", "propagation", "userns"), "open_tree(2), mount_setattr(2), move_mount(2)"),
    "remount": (14, "suuuu", ("target", "flags", "set", "clear", "propagation"), "mount_setattr(2)"),
    "mkdir": (15, "suuu", ("path", "mode", "uid", "gid"), "mkdir(2)"),
    "symlink": (16, "ss", ("target", "path"), "symlink(2)"),
    "mknod": (17, "suuuu", ("path", "mode", "device", "uid", "gid"), "mknod(2)"),
    "bind_node": (18, "su", ("path", "device"), "mount(2), MS_BIND"),
    "mask": (19, "s", ("path",), "OCI runtime-spec, linux.maskedPaths"),
    "readonly": (20, "s", ("path",), "OCI runtime-spec, linux.readonlyPaths"),
    "sysctl": (21, "ss", ("path", "value"), "sysctl(7)"),
    "console": (22, "fuuuu", ("channel", "rows", "columns", "uid", "mount"), "pty(7), TIOCGPTPEER(2const)"),
    "stdio": (23, "fff", ("input", "output", "error"), "dup2(2)"),
    "reopen_null": (24, "", (), "OCI runtime-spec, default devices"),
    "pivot_root": (25, "s", ("old",), "pivot_root(2)"),
    "move_root": (26, "", (), "mount(2), MS_MOVE"),
    "root_attributes": (27, "u", ("set",), "mount_setattr(2)"),
    "hostname": (28, "s", ("name",), "sethostname(2)"),
    "domainname": (29, "s", ("name",), "setdomainname(2)"),
    "umask": (30, "u", ("mask",), "umask(2)"),
    "rlimit": (31, "uuu", ("resource", "soft", "hard"), "prlimit(2)"),
    "scheduler": (32, "b", ("attributes",), "sched_setattr(2)"),
    "affinity": (33, "b", ("mask",), "sched_setaffinity(2)"),
    "io_priority": (34, "u", ("value",), "ioprio_set(2)"),
    "personality": (35, "u", ("persona",), "personality(2)"),
    "memory_policy": (36, "ub", ("mode", "nodes"), "set_mempolicy(2)"),
    "keyring": (37, "ss", ("name", "label"), "keyctl(2)"),
    "label": (38, "ss", ("attribute", "value"), "OCI runtime-spec, process.apparmorProfile / selinuxLabel"),
    "hook": (39, "sbbuu", ("path", "arguments", "environment", "timeout_ms", "state"), "OCI runtime-spec, POSIX-platform Hooks"),
    "working_directory": (40, "su", ("path", "flags"), "chdir(2), getcwd(2)"),
    "bounding_set": (41, "u", ("mask",), "PR_CAPBSET_DROP(2const)"),
    "identity": (42, "uubu", ("uid", "gid", "groups", "flags"), "setgroups(2), setresuid(2), setresgid(2)"),
    "capabilities": (43, "uuu", ("effective", "permitted", "inheritable"), "capset(2)"),
    "ambient_set": (44, "u", ("mask",), "PR_CAP_AMBIENT(2const)"),
    "no_new_privileges": (45, "", (), "PR_SET_NO_NEW_PRIVS(2const)"),
    "find_executable": (46, "sb", ("name", "directories"), "execve(2), path_resolution(7)"),
    "seccomp": (47, "buu", ("program", "flags", "listen"), "seccomp(2)"),
    "own_descriptors": (48, "b", ("keep",), "close_range(2)"),
    "ready": (49, "", (), "OCI runtime-spec, Lifecycle step 8"),
    "gate": (50, "f", ("listener",), "OCI runtime-spec, start"),
    "execute": (51, "bb", ("arguments", "environment"), "execve(2)"),
}
