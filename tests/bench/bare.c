/*
 * bare: only the system calls that a full container costs, in the order a careful runtime makes them, and nothing
 * else: no configuration, no parsing, no helper process, no dialogue, no state on disk.  It is the kernel's own cost,
 * and the baseline that every start-up claim of Pierhead is a multiple of.
 *
 *     bare run  ROOTFS BPF [COUNT]     start /bin/true in a new container, wait for it, remove the container
 *     bare exec PID    BPF [COUNT]     run /bin/true inside the running container whose init is PID
 *
 * With COUNT it repeats that often; without, once for each line on standard input (so that a harness can interleave
 * it with its rivals).  Each repetition prints one line of JSON, in microseconds:
 *
 *     {"us": 2310.5, "cgroups_us": 410.2, "run_us": 1650.1, "remove_us": 250.2}
 *
 * BPF is a file of struct sock_filter: the seccomp program.  A run has new pid, mount, uts, ipc, net and cgroup
 * namespaces; its cgroup in every mounted hierarchy (cgroup v1 or hybrid) with memory, pids, cpu and device limits;
 * /proc, /dev with nodes and links, /dev/pts, /dev/shm, /dev/mqueue, /sys and /sys/fs/cgroup (read-only); masked and
 * read-only paths; a new session keyring; Docker's fourteen capabilities; no_new_privs; the seccomp program.
 *
 * What could be cheaper and still be a real container is done the cheaper way: the child joins its cgroups itself (no
 * dialogue), the cgroup2 directory is joined by clone3, hierarchies are kept open, the child's own setns follows a
 * clone straight into the pid namespace (one fork for an exec).  What an untrusted root file system would need beyond
 * this (openat2, detached mounts) is the runtime's own cost, not counted here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_HIERARCHIES 24
#define MAX_INSTRUCTIONS 4096
#define RUN_NAMESPACES (CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET)
#define EXEC_NAMESPACES (CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP)
#define DOCKER_CAPABILITIES                                                                                            \
    (1u << 0 | 1u << 1 | 1u << 3 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 7 | 1u << 8 | 1u << 10 | 1u << 13 | 1u << 18 |  \
     1u << 27 | 1u << 29 | 1u << 31)
#define MASKED (MS_NOSUID | MS_NODEV | MS_NOEXEC)

/* One mounted hierarchy; `name` is its directory below /sys/fs/cgroup, `option` its mount option, "" for cgroup2. */
struct hierarchy {
    char name[64];
    char option[72];
    char path[512]; /* exec: the container's cgroup in it, relative to the root */
    int root_fd;
};

static struct hierarchy hierarchies[MAX_HIERARCHIES];
static int hierarchy_count, unified = -1;
static struct sock_filter instructions[MAX_INSTRUCTIONS];
static struct sock_fprog program = {.filter = instructions};
static char cgroup_name[64], cpuset_cpus[256], cpuset_mems[256];
static unsigned last_capability;

static void fail(const char *what) {
    dprintf(2, "bare: %s: %s\n", what, strerror(errno));
    _exit(125);
}

static void check(long result, const char *what) {
    if (result < 0) fail(what);
}

static double now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void read_line(const char *path, char *line, size_t size) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    check(fd, path);
    ssize_t length = read(fd, line, size - 1);
    check(length, path);
    close(fd);
    line[length] = 0;
    line[strcspn(line, "\n")] = 0;
}

static void write_at(int dir_fd, const char *path, const char *text) {
    int fd = openat(dir_fd, path, O_WRONLY | O_CLOEXEC);
    check(fd, path);
    check(write(fd, text, strlen(text)), path);
    close(fd);
}

/* Once, untimed: which hierarchies are mounted, and where `pid` is in them. */
static void discover(const char *pid) {
    char path[128], line[1024];
    snprintf(path, sizeof path, "/proc/%s/cgroup", pid);
    FILE *file = fopen(path, "re");
    if (!file) fail(path);
    while (fgets(line, sizeof line, file) && hierarchy_count < MAX_HIERARCHIES) {
        char *controllers = strchr(line, ':') + 1, *where = strchr(controllers, ':');
        *where++ = 0;
        where[strcspn(where, "\n")] = 0;
        struct hierarchy *h = &hierarchies[hierarchy_count];
        const char *name = *controllers ? controllers : "unified";
        if (!strncmp(name, "name=", 5)) name += 5;
        snprintf(h->name, sizeof h->name, "%s", name);
        snprintf(h->option, sizeof h->option, "%s", controllers);
        snprintf(h->path, sizeof h->path, ".%s/tasks", where);
        snprintf(path, sizeof path, "/sys/fs/cgroup/%s", h->name);
        h->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (h->root_fd < 0) continue;
        if (!*controllers) unified = hierarchy_count;
        hierarchy_count++;
    }
    fclose(file);
    if (hierarchy_count < 2) {
        dprintf(2, "bare: measures cgroup v1 and hybrid hierarchies only\n");
        _exit(125);
    }
    read_line("/sys/fs/cgroup/cpuset/cpuset.cpus", cpuset_cpus, sizeof cpuset_cpus);
    read_line("/sys/fs/cgroup/cpuset/cpuset.mems", cpuset_mems, sizeof cpuset_mems);
    read_line("/proc/sys/kernel/cap_last_cap", line, sizeof line);
    last_capability = (unsigned)atoi(line);
}

static void load_program(const char *path) {
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    check(fd, path);
    ssize_t length = read(fd, instructions, sizeof instructions);
    check(length, path);
    close(fd);
    program.len = (unsigned short)((size_t)length / sizeof instructions[0]);
}

/* What a limit is: the file below the container's directory, and the text to write; devices are many writes. */
static void limit(const struct hierarchy *h, const char *file, const char *text) {
    char path[192];
    snprintf(path, sizeof path, "%s/%s", cgroup_name, file);
    write_at(h->root_fd, path, text);
}

static void make_cgroups(void) {
    static const char *const devices[] = {"c *:* m",     "b *:* m",     "c 1:3 rwm",   "c 1:5 rwm", "c 1:7 rwm",
                                          "c 1:8 rwm",   "c 1:9 rwm",   "c 5:0 rwm",   "c 5:1 rwm", "c 5:2 rwm",
                                          "c 136:* rwm", "c 10:200 rwm"};
    for (int i = 0; i < hierarchy_count; i++) {
        struct hierarchy *h = &hierarchies[i];
        check(mkdirat(h->root_fd, cgroup_name, 0755), "mkdir of a cgroup");
        if (!strcmp(h->name, "memory")) {
            limit(h, "memory.limit_in_bytes", "67108864");
        } else if (!strcmp(h->name, "pids")) {
            limit(h, "pids.max", "64");
        } else if (!strncmp(h->name, "cpu", 3) && (h->name[3] == 0 || h->name[3] == ',')) {
            limit(h, "cpu.shares", "512");
            limit(h, "cpu.cfs_period_us", "100000");
            limit(h, "cpu.cfs_quota_us", "100000");
        } else if (!strcmp(h->name, "cpuset")) {
            limit(h, "cpuset.cpus", cpuset_cpus);
            limit(h, "cpuset.mems", cpuset_mems);
        } else if (!strcmp(h->name, "devices")) {
            limit(h, "devices.deny", "a");
            for (size_t n = 0; n < sizeof devices / sizeof devices[0]; n++) limit(h, "devices.allow", devices[n]);
        }
    }
}

static void remove_cgroups(void) {
    for (int i = 0; i < hierarchy_count; i++) {
        /* Since Linux 6.18 a task leaves its cgroup when it is switched away for the last time, a moment after the
         * wait for it: EBUSY is that moment. */
        while (unlinkat(hierarchies[i].root_fd, cgroup_name, AT_REMOVEDIR) < 0) {
            if (errno != EBUSY) fail("rmdir of a cgroup");
            sched_yield();
        }
    }
}

static pid_t clone_into(uint64_t flags, int cgroup_fd) {
    struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
    if (cgroup_fd >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup_fd;
    }
    return (pid_t)syscall(SYS_clone3, &args, sizeof args);
}

static void raise_loopback(void) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    check(fd, "socket");
    check(ioctl(fd, SIOCSIFFLAGS, &request), "loopback up");
    close(fd);
}

static void mount_cgroups(void) {
    check(mount("cgroup", "sys/fs/cgroup", "tmpfs", MASKED, "mode=755"), "mount of /sys/fs/cgroup");
    for (int i = 0; i < hierarchy_count; i++) {
        char path[96];
        if (i == unified) continue; /* as runc does in a hybrid hierarchy */
        snprintf(path, sizeof path, "sys/fs/cgroup/%s", hierarchies[i].name);
        check(mkdir(path, 0755), path);
        check(mount("cgroup", path, "cgroup", MASKED | MS_RELATIME | MS_RDONLY, hierarchies[i].option), path);
    }
    check(mount(NULL, "sys/fs/cgroup", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MASKED, NULL), "cgroup read-only");
}

static void fill_dev(void) {
    static const struct {
        const char *path;
        unsigned major, minor;
    } nodes[] = {{"dev/null", 1, 3},   {"dev/zero", 1, 5},    {"dev/full", 1, 7},
                 {"dev/random", 1, 8}, {"dev/urandom", 1, 9}, {"dev/tty", 5, 0}};
    static const char *const links[][2] = {{"pts/ptmx", "dev/ptmx"},
                                           {"/proc/self/fd", "dev/fd"},
                                           {"/proc/self/fd/0", "dev/stdin"},
                                           {"/proc/self/fd/1", "dev/stdout"},
                                           {"/proc/self/fd/2", "dev/stderr"}};
    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++)
        check(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].path);
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) check(symlink(links[i][0], links[i][1]), links[i][1]);
}

static void mount_all(const char *rootfs) {
    check(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "slave propagation");
    check(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL), rootfs);
    check(chdir(rootfs), rootfs);
    umask(0);
    check(mount("proc", "proc", "proc", MASKED, NULL), "mount of /proc");
    check(mount("tmpfs", "dev", "tmpfs", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k"), "mount of /dev");
    check(mkdir("dev/pts", 0755), "mkdir of /dev/pts");
    check(mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"),
          "mount of /dev/pts");
    check(mkdir("dev/shm", 0755), "mkdir of /dev/shm");
    check(mount("shm", "dev/shm", "tmpfs", MASKED, "mode=1777,size=65536k"), "mount of /dev/shm");
    check(mkdir("dev/mqueue", 0755), "mkdir of /dev/mqueue");
    check(mount("mqueue", "dev/mqueue", "mqueue", MASKED, NULL), "mount of /dev/mqueue");
    check(mount("sysfs", "sys", "sysfs", MASKED | MS_RDONLY, NULL), "mount of /sys");
    mount_cgroups();
    fill_dev();
    check(syscall(SYS_pivot_root, ".", "."), "pivot_root");
    check(umount2(".", MNT_DETACH), "umount of the old root");
    check(chdir("/"), "chdir");
}

static void hide_paths(void) {
    static const char *const masked[] = {"/proc/acpi",         "/proc/asound",      "/proc/kcore",
                                         "/proc/keys",         "/proc/latency_stats", "/proc/timer_list",
                                         "/proc/timer_stats",  "/proc/sched_debug", "/proc/scsi",
                                         "/sys/firmware",      "/sys/devices/virtual/powercap"};
    static const char *const readonly[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    for (size_t i = 0; i < sizeof masked / sizeof masked[0]; i++) {
        if (mount("/dev/null", masked[i], NULL, MS_BIND, NULL) == 0 || errno == ENOENT) continue;
        if (errno != ENOTDIR) fail(masked[i]);
        check(mount("tmpfs", masked[i], "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1"), masked[i]);
    }
    for (size_t i = 0; i < sizeof readonly / sizeof readonly[0]; i++) {
        if (mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC, NULL) < 0) {
            if (errno != ENOENT) fail(readonly[i]);
            continue;
        }
        check(mount(NULL, readonly[i], NULL, MS_BIND | MS_REMOUNT | MS_RDONLY | MASKED, NULL), readonly[i]);
    }
}

/* The last steps of every process in a container: identity, capabilities, seccomp, the program. */
static void become_program(void) {
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{.effective = DOCKER_CAPABILITIES, .permitted = DOCKER_CAPABILITIES}};
    static char *const arguments[] = {"true", NULL};
    static char *const environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    umask(0022);
    check(syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, "_ses.bare"), "session keyring");
    for (unsigned bit = 0; bit <= last_capability; bit++)
        if (bit > 31 || !(DOCKER_CAPABILITIES >> bit & 1)) check(prctl(PR_CAPBSET_DROP, bit, 0, 0, 0), "bounding set");
    check(prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0), "keep capabilities");
    check(setgroups(0, NULL), "setgroups");
    check(setresgid(0, 0, 0), "setresgid");
    check(setresuid(0, 0, 0), "setresuid");
    check(prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0), "keep capabilities");
    check(syscall(SYS_capset, &header, sets), "capset");
    check(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0), "ambient set");
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
    check(syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */), "close_range");
    check(syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program), "seccomp");
    execve("/bin/true", arguments, environment);
    fail("/bin/true");
}

/* A thread that writes 0 to `tasks` moves only itself, and the kernel then skips cgroup_threadgroup_rwsem, whose writer
 * waits for an RCU grace period (7 to 14 ms here) unless another took it a moment ago (cgroup_procs_write_start). */
static void join(int in_run) {
    char path[192];
    for (int i = 0; i < hierarchy_count; i++) {
        if (i == unified) continue; /* clone3 put the child there */
        snprintf(path, sizeof path, "%s/tasks", cgroup_name);
        write_at(hierarchies[i].root_fd, in_run ? path : hierarchies[i].path, "0");
    }
}

static void await(pid_t child) {
    int status;
    check(waitpid(child, &status, 0), "waitpid");
    if (status) {
        dprintf(2, "bare: the child ended with status %#x\n", (unsigned)status);
        _exit(125);
    }
}

static int open_unified(const char *path) {
    if (unified < 0) return -1;
    int fd = openat(hierarchies[unified].root_fd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    check(fd, path);
    return fd;
}

static void run_once(const char *rootfs, const char *unused) {
    (void)unused;
    double begin = now_us();
    make_cgroups();
    double made = now_us();
    int cgroup_fd = open_unified(cgroup_name);
    pid_t child = clone_into(RUN_NAMESPACES, cgroup_fd);
    check(child, "clone3");
    if (child == 0) {
        check(setsid(), "setsid");
        join(1);
        check(unshare(CLONE_NEWCGROUP), "unshare of the cgroup namespace");
        check(sethostname("bare", 4), "sethostname");
        raise_loopback();
        mount_all(rootfs);
        hide_paths();
        become_program();
    }
    close(cgroup_fd);
    await(child);
    double ended = now_us();
    remove_cgroups();
    double removed = now_us();
    printf("{\"us\": %.1f, \"cgroups_us\": %.1f, \"run_us\": %.1f, \"remove_us\": %.1f}\n", removed - begin,
           made - begin, ended - made, removed - ended);
}

static void exec_once(const char *pid, const char *cgroup_path) {
    double begin = now_us();
    int pid_fd = (int)syscall(SYS_pidfd_open, atoi(pid), 0);
    check(pid_fd, "pidfd_open");
    int cgroup_fd = open_unified(cgroup_path);
    check(setns(pid_fd, CLONE_NEWPID), "setns to the pid namespace");
    pid_t child = clone_into(0, cgroup_fd);
    check(child, "clone3");
    if (child == 0) {
        check(setsid(), "setsid");
        join(0);
        check(setns(pid_fd, EXEC_NAMESPACES), "setns");
        check(chdir("/"), "chdir");
        become_program();
    }
    close(cgroup_fd);
    close(pid_fd);
    await(child);
    printf("{\"us\": %.1f}\n", now_us() - begin);
}

int main(int argc, char **argv) {
    if (argc < 4 || argc > 5 || (strcmp(argv[1], "run") && strcmp(argv[1], "exec"))) {
        dprintf(2, "usage: bare run ROOTFS BPF [COUNT] | bare exec PID BPF [COUNT]\n");
        return 2;
    }
    int running = !strcmp(argv[1], "run");
    char line[16], unified_path[512] = "";
    long count = argc == 5 ? atol(argv[4]) : -1;
    discover(running ? "self" : argv[2]);
    load_program(argv[3]);
    snprintf(cgroup_name, sizeof cgroup_name, "pierhead-bare-%d", getpid());
    if (unified >= 0) {
        snprintf(unified_path, sizeof unified_path, "%s", hierarchies[unified].path);
        *strrchr(unified_path, '/') = 0;
    }
    check(unshare(CLONE_NEWNS), "unshare");
    check(mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL), "slave propagation");
    setvbuf(stdout, NULL, _IOLBF, 0);
    void (*once)(const char *, const char *) = running ? run_once : exec_once;
    while (count < 0 ? fgets(line, sizeof line, stdin) != NULL : count-- > 0) once(argv[2], unified_path);
    return 0;
}
