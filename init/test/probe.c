/* The tests' eyes: runs as a container's process and says in JSON lines what it sees, or what it can do.
 *
 *   probe WORD...      each word is a report, or an act with its arguments after "=":
 *
 *   ids caps security fds mounts cwd rlimits namespaces processes umask signals oom tty names cgroup labels keyring env
 *   all                every report above
 *   read=PATH          first bytes of the file           write=PATH=TEXT    write without creating
 *   make=PATH=TEXT     create and write                  chmod=PATH=OCTAL   chown=PATH=UID
 *   stat=PATH          kind, device, mode, file system   list=DIRECTORY     names in it
 *   try=CALL           one harmless call of that name, see `attempts`
 *   hunt               look into every process that is not ours until standard input ends, and say what could be opened;
 *                      "met" for each of the first sixteen
 *   trace=WORD         trace every other process that has an argument beginning so, and neglect it for ever
 *   leave=MARK         chroot out by an open descriptor and "..", then say whether MARK of the host is in sight
 *   nest=DIRECTORY=N   N directories, each in the one before; says how many could be made
 *   exchange=A=B       rename A and B into each other's place, for ever
 *   sleep=SECONDS      0: until killed
 *   sleep=input        until standard input ends
 *
 * A line is {"what":WORD, ...}; a failure carries "errno".  Knows nothing of Pierhead. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_alg.h>
#include <linux/keyctl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

/* ---- JSON ---- */

static bool first;

static void put_text(const char *text, size_t length)
{
	putchar('"');
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)text[i];

		if (byte == '"' || byte == '\\')
			printf("\\%c", byte);
		else if (byte < 0x20 || byte > 0x7e)
			printf("\\u%04x", byte);
		else
			putchar(byte);
	}
	putchar('"');
}

static void comma(void)
{
	if (!first)
		putchar(',');
	first = false;
}

static void key(const char *name)
{
	comma();
	put_text(name, strlen(name));
	putchar(':');
}

static void text(const char *name, const char *value)
{
	key(name);
	put_text(value, strlen(value));
}

static void number(const char *name, long long value)
{
	key(name);
	printf("%lld", value);
}

static void truth(const char *name, bool value)
{
	key(name);
	fputs(value ? "true" : "false", stdout);
}

static void open_list(const char *name, char bracket)
{
	key(name);
	putchar(bracket);
	first = true;
}

static void close_list(char bracket)
{
	putchar(bracket);
	first = false;
}

static void begin(const char *what)
{
	putchar('{');
	first = true;
	text("what", what);
}

static void end(void)
{
	puts("}");
	fflush(stdout);
	first = true;
}

/* The result of a call: what it gave, or errno. */
static void result(long value)
{
	if (value < 0)
		number("errno", errno);
	else
		number("result", value);
}

static char *slurp(const char *path, char *buffer, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	size_t have = 0;
	ssize_t length;

	buffer[0] = 0;
	if (fd < 0)
		return NULL;
	while (have + 1 < size && (length = read(fd, buffer + have, size - 1 - have)) > 0)
		have += (size_t)length;
	close(fd);
	buffer[have] = 0;
	return buffer;
}

/* ---- reports ---- */

static char page[1 << 20];

static void report_ids(void)
{
	uid_t r, e, s;
	gid_t groups[1024];
	int count = getgroups(1024, groups);

	getresuid(&r, &e, &s);
	open_list("uids", '[');
	comma(), printf("%u", r), comma(), printf("%u", e), comma(), printf("%u", s);
	close_list(']');
	getresgid(&r, &e, &s);
	open_list("gids", '[');
	comma(), printf("%u", r), comma(), printf("%u", e), comma(), printf("%u", s);
	close_list(']');
	open_list("groups", '[');
	for (int i = 0; i < count; i++)
		comma(), printf("%u", groups[i]);
	close_list(']');
	number("pid", getpid());
	number("ppid", getppid());
	number("session", getsid(0));
	number("process_group", getpgid(0));
	text("uid_map", slurp("/proc/self/uid_map", page, sizeof page) ? page : "");
	text("gid_map", slurp("/proc/self/gid_map", page, sizeof page) ? page : "");
	text("setgroups", slurp("/proc/self/setgroups", page, sizeof page) ? page : "");
}

/* The five sets by their name in /proc/self/status; the system calls tell the same without /proc. */
static void report_caps(void)
{
	struct __user_cap_header_struct who = { _LINUX_CAPABILITY_VERSION_3, 0 };
	struct __user_cap_data_struct sets[2];
	uint64_t bounding = 0, ambient = 0;

	syscall(SYS_capget, &who, sets);
	for (int i = 0; i < 64; i++) {
		bounding |= prctl(PR_CAPBSET_READ, i, 0, 0, 0) == 1 ? 1ULL << i : 0;
		ambient |= prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, i, 0, 0) == 1 ? 1ULL << i : 0;
	}
	number("effective", (long long)(sets[0].effective | (uint64_t)sets[1].effective << 32));
	number("permitted", (long long)(sets[0].permitted | (uint64_t)sets[1].permitted << 32));
	number("inheritable", (long long)(sets[0].inheritable | (uint64_t)sets[1].inheritable << 32));
	number("bounding", (long long)bounding);
	number("ambient", (long long)ambient);
}

static long long status_number(const char *name, int base)
{
	char *found = slurp("/proc/self/status", page, sizeof page) ? strstr(page, name) : NULL;

	return found ? (long long)strtoull(found + strlen(name), NULL, base) : -1;
}

static void report_security(void)
{
	number("no_new_privs", prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
	number("seccomp", status_number("\nSeccomp:", 10));
	number("filters", status_number("\nSeccomp_filters:", 10));
	number("dumpable", prctl(PR_GET_DUMPABLE));
	number("keep_caps", prctl(PR_GET_KEEPCAPS));
	number("secure_bits", prctl(PR_GET_SECUREBITS));
	int signal = -1;
	prctl(PR_GET_PDEATHSIG, &signal);
	number("death_signal", signal);
}

static void put_link(const char *path)
{
	char target[4096];
	ssize_t length = readlink(path, target, sizeof target);

	if (length < 0)
		printf("null");
	else
		put_text(target, (size_t)length);
}

static void report_fds(void)
{
	DIR *directory = opendir("/proc/self/fd");
	struct dirent *entry;
	char path[300];

	open_list("open", '{');
	while (directory && (entry = readdir(directory))) {
		if (entry->d_name[0] == '.' || atoi(entry->d_name) == dirfd(directory))
			continue;
		snprintf(path, sizeof path, "/proc/self/fd/%s", entry->d_name);
		key(entry->d_name);
		put_link(path);
	}
	close_list('}');
	if (directory)
		closedir(directory);
	/* without believing /proc */
	open_list("numbers", '[');
	for (int fd = 0; fd < 1024; fd++)
		if (fcntl(fd, F_GETFD) >= 0)
			comma(), printf("%d", fd);
	close_list(']');
}

static void report_lines(const char *name, const char *path)
{
	char *rest = slurp(path, page, sizeof page), *line;

	open_list(name, '[');
	while (rest && (line = strsep(&rest, "\n")))
		if (*line)
			comma(), put_text(line, strlen(line));
	close_list(']');
}

static void report_cwd(void)
{
	char directory[4096];

	/* the system call: the C library hides "(unreachable)" */
	if (syscall(SYS_getcwd, directory, sizeof directory) < 0)
		number("errno", errno);
	else
		text("path", directory);
}

static void report_rlimits(void)
{
	struct rlimit limit;

	open_list("limits", '[');
	for (int i = 0; i < (int)RLIM_NLIMITS; i++) {
		getrlimit((__rlimit_resource_t)i, &limit);
		comma();
		printf("[%llu,%llu]", (unsigned long long)limit.rlim_cur, (unsigned long long)limit.rlim_max);
	}
	close_list(']');
}

static void report_namespaces(void)
{
	static const char *const names[] = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" };
	struct stat about;
	char path[64];

	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
		number(names[i], stat(path, &about) == 0 ? (long long)about.st_ino : -1);
	}
}

static int each_process(void (*look)(int pid, const char *comm))
{
	DIR *directory = opendir("/proc");
	struct dirent *entry;
	char path[64], comm[64];
	int count = 0;

	while (directory && (entry = readdir(directory))) {
		int pid = atoi(entry->d_name);

		if (pid <= 0)
			continue;
		snprintf(path, sizeof path, "/proc/%d/comm", pid);
		if (!slurp(path, comm, sizeof comm))
			continue;
		comm[strcspn(comm, "\n")] = 0;
		look(pid, comm);
		count++;
	}
	if (directory)
		closedir(directory);
	return count;
}

static int open_of(int pid, const char *name, int flags)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
	fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return -errno;
	close(fd);
	return 0;
}

/* 0 or -errno for each window into a process */
static void report_process(int pid, const char *comm)
{
	static const char *const windows[] = { "exe", "fd", "mem", "root", "cwd", "environ", "maps" };

	comma();
	putchar('{');
	first = true;
	number("pid", pid);
	text("comm", comm);
	for (size_t i = 0; i < sizeof windows / sizeof *windows; i++)
		number(windows[i], open_of(pid, windows[i], i == 2 ? O_RDWR : O_RDONLY));
	number("exe_write", open_of(pid, "exe", O_WRONLY));
	putchar('}');
	first = false;
}

static void report_processes(void)
{
	open_list("processes", '[');
	each_process(report_process);
	close_list(']');
}

static void report_umask(void)
{
	mode_t mask = umask(0);

	umask(mask);
	number("umask", mask);
}

static void report_signals(void)
{
	sigset_t mask;
	struct sigaction action;

	sigprocmask(SIG_BLOCK, NULL, &mask);
	open_list("blocked", '[');
	for (int i = 1; i <= 64; i++)
		if (sigismember(&mask, i) == 1)
			comma(), printf("%d", i);
	close_list(']');
	open_list("ignored", '[');
	for (int i = 1; i <= 64; i++)
		if (sigaction(i, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			comma(), printf("%d", i);
	close_list(']');
}

static void report_oom(void)
{
	text("score_adj", slurp("/proc/self/oom_score_adj", page, sizeof page) ? page : "");
	number("nice", getpriority(PRIO_PROCESS, 0));
}

static void report_tty(void)
{
	char name[256];

	open_list("streams", '[');
	for (int fd = 0; fd < 3; fd++) {
		comma();
		if (isatty(fd) && ttyname_r(fd, name, sizeof name) == 0)
			put_text(name, strlen(name));
		else
			fputs(isatty(fd) ? "\"?\"" : "null", stdout);
	}
	close_list(']');
	int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NONBLOCK);
	truth("controlling", tty >= 0);
	if (tty >= 0)
		close(tty);
}

static void report_names(void)
{
	struct utsname names;

	uname(&names);
	text("hostname", names.nodename);
	text("domainname", names.domainname);
	text("machine", names.machine);
	number("personality", syscall(SYS_personality, 0xffffffffUL));
}

static void report_labels(void)
{
	text("current", slurp("/proc/self/attr/current", page, sizeof page) ? page : "");
	text("apparmor", slurp("/proc/self/attr/apparmor/current", page, sizeof page) ? page : "");
}

static void report_keyring(void)
{
	long id = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0);

	result(id);
	if (id >= 0 && syscall(SYS_keyctl, KEYCTL_DESCRIBE, id, page, sizeof page) > 0)
		text("description", page);
}

static void report_env(void)
{
	open_list("variables", '[');
	for (char **entry = environ; *entry; entry++)
		comma(), put_text(*entry, strlen(*entry));
	close_list(']');
}

static void report_mounts(void)
{
	report_lines("lines", "/proc/self/mountinfo");
}

static void report_cgroup(void)
{
	report_lines("lines", "/proc/self/cgroup");
}

static const struct {
	const char *name;
	void (*report)(void);
} reports[] = {
	{ "ids", report_ids },	   { "caps", report_caps },	    { "security", report_security }, { "fds", report_fds },
	{ "mounts", report_mounts }, { "cwd", report_cwd },	    { "rlimits", report_rlimits },   { "namespaces", report_namespaces },
	{ "processes", report_processes }, { "umask", report_umask }, { "signals", report_signals }, { "oom", report_oom },
	{ "tty", report_tty },	   { "names", report_names },	    { "cgroup", report_cgroup },     { "labels", report_labels },
	{ "keyring", report_keyring }, { "env", report_env },
};

static bool report(const char *name)
{
	bool found = false;

	for (size_t i = 0; i < sizeof reports / sizeof *reports; i++)
		if (!strcmp(name, reports[i].name) || !strcmp(name, "all")) {
			begin(reports[i].name);
			reports[i].report();
			end();
			found = true;
		}
	return found;
}

/* ---- attempts: calls that a container should not be able to make, made so that success does no harm ---- */

static char stack[65536];

static int leave_at_once(void *unused)
{
	(void)unused;
	_exit(0);
}

static long in_child(long (*act)(void))
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(act() < 0 ? errno & 0xff : 0);
	waitpid(pid, &status, 0);
	if (WIFSIGNALED(status)) {
		number("signal", WTERMSIG(status));
		errno = 0;
		return -1;
	}
	errno = WEXITSTATUS(status);
	return errno ? -1 : 0;
}

static long try_mount(void) { return mount("none", "/tmp", "tmpfs", 0, NULL); }
static long try_umount(void) { return umount2("/proc", MNT_DETACH); }
static long try_remount(void) { return mount(NULL, "/proc/sys", NULL, MS_REMOUNT | MS_BIND, NULL); }
static long try_pivot_root(void) { return syscall(SYS_pivot_root, ".", "."); }
static long try_unshare_user(void) { return unshare(CLONE_NEWUSER); }
static long try_unshare_mount(void) { return unshare(CLONE_NEWNS); }
static long try_unshare_cgroup(void) { return unshare(CLONE_NEWCGROUP); }
static long try_setns(void) { return setns(open("/proc/self/ns/uts", O_RDONLY | O_CLOEXEC), 0); }
static long try_clone_user(void) { return clone(leave_at_once, stack + sizeof stack, CLONE_NEWUSER | SIGCHLD, NULL); }
static long try_keyctl(void) { return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0); }
static long try_add_key(void) { return syscall(SYS_add_key, "user", "probe", "x", 1, KEY_SPEC_PROCESS_KEYRING); }
static long try_request_key(void) { return syscall(SYS_request_key, "user", "probe", NULL, 0); }
static long try_bpf(void) { return syscall(SYS_bpf, 0, NULL, 0); }
static long try_perf(void) { return syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0); }
static long try_userfaultfd(void) { return syscall(SYS_userfaultfd, O_CLOEXEC); }
static long try_io_uring(void) { return syscall(SYS_io_uring_setup, 1, NULL); }
static long try_open_by_handle(void) { return syscall(SYS_open_by_handle_at, -1, NULL, 0); }
static long try_kexec(void) { return syscall(SYS_kexec_load, 0, 0, NULL, 0); }
static long try_init_module(void) { return syscall(SYS_init_module, NULL, 0, ""); }
static long try_delete_module(void) { return syscall(SYS_delete_module, "no-such-module", O_NONBLOCK); }
static long try_reboot(void) { return syscall(SYS_reboot, 0, 0, 0, NULL); }
static long try_settime(void) { return syscall(SYS_clock_settime, CLOCK_REALTIME, NULL); }
static long try_syslog(void) { return syscall(SYS_syslog, 10, NULL, 0); }
static long try_acct(void) { return syscall(SYS_acct, "/no/such/file"); }
static long try_swapon(void) { return syscall(SYS_swapon, "/no/such/file", 0); }
static long try_quotactl(void) { return syscall(SYS_quotactl, 0, NULL, 0, NULL); }
static long try_vsock(void) { return socket(AF_VSOCK, SOCK_STREAM, 0); }
static long try_alg(void) { return socket(AF_ALG, SOCK_SEQPACKET, 0); }
static long try_fsopen(void) { return syscall(SYS_fsopen, "tmpfs", 0); }
static long try_open_tree(void) { return syscall(SYS_open_tree, AT_FDCWD, "/", 1 /* OPEN_TREE_CLONE */); }
static long try_move_mount(void) { return syscall(SYS_move_mount, -1, "", -1, "", 0); }
static long try_mount_setattr(void) { return syscall(SYS_mount_setattr, -1, "", 0, NULL, 0); }
static long try_chroot(void) { return chroot("/"); }
static long try_sethostname(void) { return sethostname("probe", 5); }
static long try_setgroups(void) { return syscall(SYS_setgroups, 0, NULL); }
static long try_personality(void) { return syscall(SYS_personality, 0x0040000 /* ADDR_NO_RANDOMIZE */); }
static long try_mknod(void) { return mknod("/tmp/probe-node", S_IFCHR | 0600, makedev(1, 3)); }
static long try_ptrace(void) { return ptrace(PTRACE_TRACEME, 0, NULL, NULL); }
static long try_push_input(void) { return ioctl(0, TIOCSTI, "x"); }
static long try_take_terminal(void) { return ioctl(0, TIOCSCTTY, 0); }
static long try_no_such_call(void) { return syscall(1000); }

static long try_clone3(void)
{
	struct clone_args args = { .exit_signal = SIGCHLD };
	long pid = syscall(SYS_clone3, &args, sizeof args);

	if (pid == 0)
		_exit(0);
	return pid;
}

static long try_process_vm(void)
{
	char byte;
	struct iovec here = { &byte, 1 };

	return syscall(SYS_process_vm_readv, getppid(), &here, 1, &here, 1, 0);
}

#define ATTEMPT(name) { #name, try_##name }
static const struct {
	const char *name;
	long (*act)(void);
} attempts[] = {
	ATTEMPT(mount), ATTEMPT(umount), ATTEMPT(remount), ATTEMPT(pivot_root), ATTEMPT(unshare_user), ATTEMPT(unshare_mount),
	ATTEMPT(unshare_cgroup), ATTEMPT(setns), ATTEMPT(clone_user), ATTEMPT(clone3), ATTEMPT(keyctl), ATTEMPT(add_key),
	ATTEMPT(request_key), ATTEMPT(bpf), ATTEMPT(perf), ATTEMPT(userfaultfd), ATTEMPT(io_uring), ATTEMPT(open_by_handle),
	ATTEMPT(kexec), ATTEMPT(init_module), ATTEMPT(delete_module), ATTEMPT(reboot), ATTEMPT(settime), ATTEMPT(syslog),
	ATTEMPT(acct), ATTEMPT(swapon), ATTEMPT(quotactl), ATTEMPT(vsock), ATTEMPT(alg), ATTEMPT(fsopen), ATTEMPT(open_tree),
	ATTEMPT(move_mount), ATTEMPT(mount_setattr), ATTEMPT(chroot), ATTEMPT(sethostname), ATTEMPT(setgroups),
	ATTEMPT(personality), ATTEMPT(mknod), ATTEMPT(ptrace), ATTEMPT(push_input), ATTEMPT(take_terminal), ATTEMPT(no_such_call), ATTEMPT(process_vm),
};

static bool attempt(const char *name)
{
	for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++)
		if (!strcmp(name, attempts[i].name)) {
			result(in_child(attempts[i].act));
			return true;
		}
	return false;
}

/* ---- hunting: what of the runtime can be got hold of from inside ---- */

enum { MET_MAX = 16 };

static struct {
	long seen, exe, exe_write, chmod, fd, directory, outside, mem, attach, environ;
	char targets[1024];
} hunted;

static bool is_ours(const char *comm)
{
	return !strcmp(comm, "probe") || !strcmp(comm, "busybox") || !strcmp(comm, "true") || !strcmp(comm, "sleep");
}

static void remember(const char *path)
{
	char target[256];
	ssize_t length = readlink(path, target, sizeof target - 1);
	size_t have = strlen(hunted.targets);

	if (length <= 0)
		return;
	target[length] = 0;
	if (!strstr(hunted.targets, target) && have + (size_t)length + 2 < sizeof hunted.targets)
		sprintf(hunted.targets + have, "%s ", target);
}

static void hunt_descriptors(int pid)
{
	char path[64];
	struct stat root, found;

	stat("/", &root);
	for (int number = 0; number < 64; number++) {
		int fd, up;

		snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, number);
		fd = open(path, O_PATH | O_CLOEXEC);
		if (fd < 0)
			continue;
		hunted.fd++;
		if (fstat(fd, &found) == 0 && S_ISDIR(found.st_mode)) {
			hunted.directory++;
			remember(path);
			/* from a directory outside our root, ".." leads up to the host's root */
			up = openat(fd, "../../../../../../../../../../../../..", O_PATH | O_CLOEXEC);
			if (up >= 0 && fstat(up, &found) == 0 && (found.st_ino != root.st_ino || found.st_dev != root.st_dev))
				hunted.outside++;
			if (up >= 0)
				close(up);
		}
		close(fd);
	}
}

static void hunt_program(int pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd >= 0) {
		char target[256] = "";

		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (readlink(path, target, sizeof target - 1) < 0 || !strstr(target, "memfd:")) {
			close(fd);
			return;
		}
		hunted.exe++;
		remember(path);
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		for (int i = 0; i < 200; i++) { /* it is busy until the last process that runs it has gone on */
			int again = open(path, O_WRONLY | O_CLOEXEC);

			if (again >= 0 && write(again, "#!", 2) == 2)
				hunted.exe_write++;
			if (again >= 0)
				close(again);
		}
		if (fchmod(fd, 0644) == 0)
			hunted.chmod++;
		close(fd);
	}
}

/* Whether the process has become one of ours meanwhile: what we then got hold of is not the runtime's. */
static bool became_ours(int pid)
{
	char path[64], target[256];
	ssize_t length;

	snprintf(path, sizeof path, "/proc/%d/exe", pid);
	length = readlink(path, target, sizeof target - 1);
	if (length < 0)
		return errno == ENOENT || errno == ESRCH;
	target[length] = 0;
	return is_ours(strrchr(target, '/') + 1);
}

static void look_into(int pid)
{
	long fds = hunted.fd, directories = hunted.directory;

	hunt_program(pid);
	hunt_descriptors(pid);
	if (became_ours(pid)) {
		hunted.fd = fds;
		hunted.directory = directories;
		return;
	}
	hunted.mem += open_of(pid, "mem", O_RDWR) == 0 && !became_ours(pid);
	hunted.environ += open_of(pid, "environ", O_RDONLY) == 0 && !became_ours(pid);
	if (ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0) {
		hunted.attach += !became_ours(pid);
		ptrace(PTRACE_INTERRUPT, pid, NULL, NULL);
		waitpid(pid, NULL, __WALL);
		ptrace(PTRACE_DETACH, pid, NULL, NULL);
	}
}

static void hunt_one(int pid, const char *comm)
{
	if (is_ours(comm))
		return;
	look_into(pid);
	if (hunted.seen++ < MET_MAX) {
		puts("{\"what\":\"met\"}");
		fflush(stdout);
	}
}

static const char *victims;
static int traced;

static void trace_one(int pid, const char *comm)
{
	char path[64], words[256] = "";
	const char *argument;

	(void)comm;
	snprintf(path, sizeof path, "/proc/%d/cmdline", pid);
	slurp(path, words, sizeof words);
	argument = words + strlen(words) + 1;
	if (pid != getpid() && !strncmp(argument, victims, strlen(victims)))
		traced += ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0;
}

static bool input_ended(int wait_ms)
{
	struct pollfd input = { 0, POLLIN, 0 };

	return poll(&input, 1, wait_ms) > 0;
}

static void hunt(void)
{
	while (!input_ended(0))
		each_process(hunt_one);
	begin("hunt");
	number("seen", hunted.seen);
	number("exe", hunted.exe);
	number("exe_write", hunted.exe_write);
	number("chmod", hunted.chmod);
	number("fd", hunted.fd);
	number("directory", hunted.directory);
	number("outside", hunted.outside);
	number("mem", hunted.mem);
	number("environ", hunted.environ);
	number("attach", hunted.attach);
	text("targets", hunted.targets);
	end();
}

/* ---- acts on files ---- */

static void act_read(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t length = fd < 0 ? -1 : read(fd, page, 4096);

	result(length);
	if (length >= 0) {
		key("text");
		put_text(page, (size_t)length);
	}
	if (fd >= 0)
		close(fd);
}

static void act_write(const char *path, const char *value, int flags)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC | O_NONBLOCK | flags, 0644);

	result(fd < 0 ? -1 : write(fd, value, strlen(value)));
	if (fd >= 0)
		close(fd);
}

static const char *kind_name(mode_t mode)
{
	return S_ISREG(mode) ? "file" : S_ISDIR(mode) ? "directory" : S_ISCHR(mode) ? "character" :
	       S_ISBLK(mode) ? "block" : S_ISLNK(mode) ? "link" : S_ISFIFO(mode) ? "fifo" : "socket";
}

static void act_nest(const char *path, int depth)
{
	char name[201];
	int made = 0;

	memset(name, 'd', 200);
	name[200] = 0;
	if (chdir(path) == 0)
		while (made < depth && mkdir(name, 0755) == 0 && chdir(name) == 0)
			made++;
	number("made", made);
	if (chdir("/") < 0)
		number("errno", errno);
}

static void act_stat(const char *path)
{
	struct stat about;
	struct statfs system;

	result(lstat(path, &about));
	text("kind", kind_name(about.st_mode));
	number("mode", about.st_mode & 07777);
	number("uid", about.st_uid);
	number("major", major(about.st_rdev));
	number("minor", minor(about.st_rdev));
	number("size", about.st_size);
	number("file_system", statfs(path, &system) == 0 ? (long long)system.f_type : -1);
}

static void act_list(const char *path)
{
	DIR *directory = opendir(path);
	struct dirent *entry;

	if (!directory) {
		number("errno", errno);
		return;
	}
	open_list("names", '[');
	while ((entry = readdir(directory)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			comma(), put_text(entry->d_name, strlen(entry->d_name));
	close_list(']');
	closedir(directory);
}

/* The classic way out of chroot(2), and all open directories upwards. */
static void act_leave(const char *mark)
{
	struct stat about;
	int here = open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	bool out = false;

	mkdir("/tmp/probe-cell", 0700);
	number("chroot", chroot("/tmp/probe-cell") < 0 ? errno : 0);
	fchdir(here);
	for (int i = 0; i < 64; i++) {
		out = out || stat(mark, &about) == 0;
		if (chdir("..") < 0)
			break;
	}
	number("back", chroot(".") < 0 ? errno : 0);
	out = out || stat(mark, &about) == 0;
	for (int fd = 0; fd < 256; fd++)
		if (fstat(fd, &about) == 0 && S_ISDIR(about.st_mode) && fchdir(fd) == 0)
			for (int i = 0; i < 64 && chdir("..") == 0; i++)
				out = out || stat(mark, &about) == 0;
	truth("out", out);
}

_Noreturn static void exchange(const char *one, const char *other)
{
	for (;;)
		syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, 2 /* RENAME_EXCHANGE */);
}

_Noreturn static void trace_and_neglect(const char *word, const char *name)
{
	victims = word;
	each_process(trace_one);
	begin(name);
	number("traced", traced);
	end();
	for (;;)
		pause();
}

static void doze(const char *seconds)
{
	if (!strcmp(seconds, "input"))
		while (!input_ended(-1))
			;
	else if (atoi(seconds) == 0)
		for (;;)
			pause();
	else
		sleep((unsigned int)atoi(seconds));
}

static bool act(const char *name, char *first_argument)
{
	char *second = strrchr(first_argument, '=');

	if (!strcmp(name, "read"))
		act_read(first_argument);
	else if (!strcmp(name, "stat"))
		act_stat(first_argument);
	else if (!strcmp(name, "list"))
		act_list(first_argument);
	else if (!strcmp(name, "leave"))
		act_leave(first_argument);
	else if (!strcmp(name, "try"))
		return attempt(first_argument);
	else if (!second)
		return false;
	else {
		*second++ = 0;
		if (!strcmp(name, "write"))
			act_write(first_argument, second, 0);
		else if (!strcmp(name, "make"))
			act_write(first_argument, second, O_CREAT);
		else if (!strcmp(name, "chmod"))
			result(chmod(first_argument, (mode_t)strtoul(second, NULL, 8)));
		else if (!strcmp(name, "chown"))
			result(chown(first_argument, (uid_t)atoi(second), (gid_t)-1));
		else if (!strcmp(name, "nest"))
			act_nest(first_argument, atoi(second));
		else if (!strcmp(name, "exchange"))
			exchange(first_argument, second);
		else
			return false;
	}
	return true;
}

static bool perform(char *word)
{
	char *argument = strchr(word, '=');
	char name[256];

	if (!strcmp(word, "hunt")) {
		hunt();
		return true;
	}
	if (!argument)
		return report(word);
	snprintf(name, sizeof name, "%s", word);
	*argument++ = 0;
	if (!strcmp(word, "sleep")) {
		doze(argument);
		return true;
	}
	if (!strcmp(word, "trace"))
		trace_and_neglect(argument, name);
	begin(name);
	if (!act(word, argument))
		return false;
	end();
	return true;
}

int main(int count, char **words)
{
	for (int i = 1; i < count; i++)
		if (!perform(words[i])) {
			fprintf(stderr, "probe: unknown word %s\n", words[i]);
			return 2;
		}
	return 0;
}
