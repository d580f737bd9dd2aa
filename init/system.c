/* The rest of what a process is given: namespaces by name, limits, scheduling, kernel parameters, descriptors. */
#include "launch.h"

#include <linux/prctl.h>
#include <linux/sched.h>

enum { GET_INTERFACE_FLAGS = 0x8913, SET_INTERFACE_FLAGS = 0x8914, INTERFACE_UP = 1 };

/* struct ifreq, whose header needs a C library */
struct interface_request {
	char name[16];
	short flags;
	char rest[22];
};

/* A process that puts itself, with its only thread, into a v1 cgroup by its "tasks" file need not wait for every other
 * processor, as one would that writes another's number to "cgroup.procs" (an RCU grace period, 7 to 14 ms). */
long op_join_cgroup(struct launch *l, const struct argument *a)
{
	return STEP(l, "write", "tasks", sys(write, slot(l, &a[JOIN_CGROUP_ARG_FILE]), "0", 1));
}

long op_setns(struct launch *l, const struct argument *a)
{
	return STEP(l, "setns", NULL, sys(setns, slot(l, &a[SETNS_ARG_NAMESPACE]), a[SETNS_ARG_KIND].u));
}

long op_unshare(struct launch *l, const struct argument *a)
{
	return STEP(l, "unshare", NULL, sys(unshare, a[UNSHARE_ARG_FLAGS].u));
}

long op_timens_offsets(struct launch *l, const struct argument *a)
{
	LINE(path, 64);
	int proc = own_proc(l);
	long error;

	TRY(proc);
	TRY(line_own_number(l, &path));
	line_text(&path, "/timens_offsets");
	/* who is not dumpable has files that belong to the host's root alone, and we may be another user by now */
	sys(prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
	error = write_file_at(l, proc, line_end(&path), a[TIMENS_OFFSETS_ARG_TEXT].s, a[TIMENS_OFFSETS_ARG_TEXT].length);
	sys(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
	return error;
}

/* A socket belongs to the network namespace that it was opened in: Python configures ours through this one. */
long op_netlink_socket(struct launch *l, const struct argument *a)
{
	uint32_t words[2] = { MESSAGE_DESCRIPTOR, SYNC_NETWORK };
	long fd = STEP(l, "socket", "rtnetlink", sys(socket, FAMILY_NETLINK, SOCKET_RAW | SOCKET_CLOEXEC, 0));

	(void)a;
	TRY(fd);
	TRY(STEP(l, "send the netlink socket", NULL, packet_send_words(l->channel, words, 2, (int)fd)));
	return sys(close, fd);
}

long op_loopback_up(struct launch *l, const struct argument *a)
{
	struct interface_request request = { .name = "lo" };
	long fd = STEP(l, "socket", "lo", sys(socket, FAMILY_INET, SOCKET_DATAGRAM | SOCKET_CLOEXEC, 0));

	(void)a;
	TRY(fd);
	TRY(STEP(l, "ioctl SIOCGIFFLAGS", "lo", sys(ioctl, fd, GET_INTERFACE_FLAGS, &request)));
	request.flags |= INTERFACE_UP;
	TRY(STEP(l, "ioctl SIOCSIFFLAGS", "lo", sys(ioctl, fd, SET_INTERFACE_FLAGS, &request)));
	return sys(close, fd);
}

long op_hostname(struct launch *l, const struct argument *a)
{
	return STEP(l, "sethostname", a[HOSTNAME_ARG_NAME].s, sys(sethostname, a[HOSTNAME_ARG_NAME].s, a[HOSTNAME_ARG_NAME].length));
}

long op_domainname(struct launch *l, const struct argument *a)
{
	return STEP(l, "setdomainname", a[DOMAINNAME_ARG_NAME].s, sys(setdomainname, a[DOMAINNAME_ARG_NAME].s, a[DOMAINNAME_ARG_NAME].length));
}

long op_sysctl(struct launch *l, const struct argument *a)
{
	int proc = own_proc(l);

	TRY(proc);
	return write_file_at(l, proc, a[SYSCTL_ARG_PATH].s, a[SYSCTL_ARG_VALUE].s, a[SYSCTL_ARG_VALUE].length);
}

long op_umask(struct launch *l, const struct argument *a)
{
	(void)l;
	sys(umask, a[UMASK_ARG_MASK].u);
	return 0;
}

long op_rlimit(struct launch *l, const struct argument *a)
{
	uint64_t limit[2] = { a[RLIMIT_ARG_SOFT].u, a[RLIMIT_ARG_HARD].u };

	return STEP(l, "prlimit64", NULL, sys(prlimit64, 0, a[RLIMIT_ARG_RESOURCE].u, limit, NULL));
}

long op_scheduler(struct launch *l, const struct argument *a)
{
	return STEP(l, "sched_setattr", NULL, sys(sched_setattr, 0, a[SCHEDULER_ARG_ATTRIBUTES].s, 0));
}

long op_affinity(struct launch *l, const struct argument *a)
{
	return STEP(l, "sched_setaffinity", NULL, sys(sched_setaffinity, 0, a[AFFINITY_ARG_MASK].length, a[AFFINITY_ARG_MASK].s));
}

long op_io_priority(struct launch *l, const struct argument *a)
{
	return STEP(l, "ioprio_set", NULL, sys(ioprio_set, 1 /* IOPRIO_WHO_PROCESS */, 0, a[IO_PRIORITY_ARG_VALUE].u));
}

long op_personality(struct launch *l, const struct argument *a)
{
	return STEP(l, "personality", NULL, sys(personality, a[PERSONALITY_ARG_PERSONA].u));
}

long op_memory_policy(struct launch *l, const struct argument *a)
{
	const struct argument *nodes = &a[MEMORY_POLICY_ARG_NODES];
	unsigned long mask[16] = { 0 };

	if (nodes->length > sizeof mask)
		return STEP(l, "set_mempolicy", "node list", -E_INVAL);
	memcpy(mask, nodes->s, nodes->length);
	return STEP(l, "set_mempolicy", NULL,
		    sys(set_mempolicy, a[MEMORY_POLICY_ARG_MODE].u, nodes->length ? mask : NULL, sizeof mask * 8));
}

/* ---- descriptors ---- */

/* What kind of file it is (a mode's type); `about` has the rest. */
static unsigned int look_at(int fd, struct statx *about)
{
	return sys(statx, fd, "", EMPTY_PATH, STATX_BASIC_STATS, about) == 0 ? about->stx_mode & S_IFMT : 0;
}

static int is_null_device(int fd)
{
	struct statx about;

	return look_at(fd, &about) == S_IFCHR && about.stx_rdev_major == 1 && about.stx_rdev_minor == 3;
}

/* Who owns a stream can open it again, by /dev/stdout and the like.  A file that is given for reading only stays its
 * owner's, who could open it for writing.  What can have no other owner stays as it is. */
static void own_stream(int fd, uint64_t uid)
{
	struct statx about;
	int read_only = (sys(fcntl, fd, F_GETFL) & O_ACCMODE) == O_RDONLY;

	if (!is_null_device(fd) && !(read_only && look_at(fd, &about) == S_IFREG))
		sys(fchown, fd, uid, -1);
}

long op_stdio(struct launch *l, const struct argument *a)
{
	int from[3] = { slot(l, &a[STDIO_ARG_INPUT]), slot(l, &a[STDIO_ARG_OUTPUT]), slot(l, &a[STDIO_ARG_ERROR]) };

	for (int to = 0; to < 3; to++) {
		if (from[to] >= 0)
			TRY(STEP(l, "dup3", NULL, sys(dup3, from[to], to, 0)));
		if (a[STDIO_ARG_UID].u)
			own_stream(to, a[STDIO_ARG_UID].u);
	}
	return 0;
}

/* The container's null device, if it is one: we still have rights that the program is not to have, and what the image
 * has in its place would be opened with them. */
static long open_null(void)
{
	long fd = sys(openat, FD_CWD, "/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC);
	int good = fd >= 0 && is_null_device((int)fd);

	sys(close, fd);
	fd = good ? sys(openat, FD_CWD, "/dev/null", O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC) : -1;
	if (fd < 0 || is_null_device((int)fd))
		return fd;
	sys(close, fd);
	return -1;
}

/* Streams that are the host's null device become the container's own, so that the host's is not kept open. */
long op_reopen_null(struct launch *l, const struct argument *a)
{
	(void)a;
	l->doing = "open";
	l->about = "/dev/null";
	for (int to = 0; to < 3; to++) {
		long fd;

		if (!is_null_device(to))
			continue;
		fd = open_null();
		if (fd < 0)
			continue; /* a root without devices: the host's null device does no harm */
		TRY(sys(dup3, fd, to, 0));
		sys(close, fd);
	}
	return 0;
}

static long move_up(int *fd, int floor)
{
	long moved;

	if (*fd < 0 || *fd >= floor)
		return 0;
	moved = sys(fcntl, *fd, F_DUPFD_CLOEXEC, floor);
	TRY(moved);
	*fd = (int)moved;
	return 0;
}

/* From 3 on only the kept descriptors, and the two that we still need, are open.  They are closed here and now, not by
 * execve: the kernel looks the program's path up before execve closes anything, and a path through /proc/self/fd would
 * lead out by a directory of the host (CVE-2024-21626). */
static long close_others(int floor, int channel, int gate)
{
	int low = channel < gate ? channel : gate, high = channel < gate ? gate : channel;

	if (low < floor)
		low = high;
	if (high < floor)
		return sys(close_range, floor, ~0U, 0);
	if (low > floor)
		TRY(sys(close_range, floor, low - 1, 0));
	if (high > low + 1)
		TRY(sys(close_range, low + 1, high - 1, 0));
	return sys(close_range, high + 1, ~0U, 0);
}

/* Kept descriptors become 3, 4, … */
long op_own_descriptors(struct launch *l, const struct argument *a)
{
	int first = a[OWN_DESCRIPTORS_ARG_FIRST].f, count = (int)a[OWN_DESCRIPTORS_ARG_COUNT].u, floor = 3 + count;

	if (first + count > SLOTS_MAX)
		return STEP(l, "keep descriptors", "too many", -E_INVAL);
	l->doing = "fcntl F_DUPFD";
	TRY(move_up(&l->channel, floor));
	l->report = l->channel;
	for (uint32_t i = 0; i < l->plan.header[HEADER_SLOTS].u; i++)
		TRY(move_up(&l->plan.slots[i], floor));
	l->doing = "dup3";
	for (int i = 0; i < count; i++)
		TRY(sys(dup3, l->plan.slots[first + i], 3 + i, 0));
	l->root = l->null = l->proc = -1;
	return STEP(l, "close_range", NULL, close_others(floor, l->channel, slot(l, &a[OWN_DESCRIPTORS_ARG_GATE])));
}
