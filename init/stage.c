/* The stage: receives the plan, clones the init process (through a joiner where namespaces are joined or made
 * beforehand), and gives everything back if the launch is given up or the launcher dies before it is committed. */
#include "launch.h"
#include "monitor.h"
#include "oom.h"

#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/sched.h>

enum { PLAN_MAX = 4 << 20, JOINED_BYTES = 4096, SIGNAL_KILL = 9, UNDO_TRIES = 200, UNDO_WAIT_MS = 5, UNDO_DEATH_MS = 10000 };

struct child {
	int pid, pidfd;
};

static uint64_t header(const struct launch *l, int field)
{
	return l->plan.header[field].u;
}

/* ---- undoing ---- */

/* A cgroup is busy for a moment after the death of its last process, and for good if others have theirs below it. */
static void undo_one(const char *entry)
{
	int flags = entry[0] == 'f' ? 0 : REMOVE_DIRECTORY, tries = entry[0] == 'p' ? 1 : UNDO_TRIES;
	struct time pause = { 0, UNDO_WAIT_MS * 1000000 };

	for (int i = 0; i < tries; i++) {
		if (sys(unlinkat, FD_CWD, entry + 1, flags) != -E_BUSY)
			return;
		sys(nanosleep, &pause, NULL);
	}
}

/* entries: each ended by NUL, an empty one at the end */
static void undo(const char *entries)
{
	for (; *entries; entries += strlen(entries) + 1)
		undo_one(entries);
}

/* ---- receiving ---- */

/* The first packet of a plan: {message, u32 length of the plan, u32 descriptors}, then the plan's beginning.  A launcher
 * who makes something before it has its plan says first what that is, and shares its lock with us: nobody may make the
 * same anew while we remove it. */
static void receive_plan(struct launch *l)
{
	static unsigned char promise[PACKET_MAX + 1], packet[PACKET_MAX];
	int fds[PACKET_FDS], count = PACKET_FDS, locked = -1;
	long length = packet_receive(l->control, packet, sizeof packet, fds, &count);
	uint32_t words[3];
	unsigned char *plan;

	memcpy(words, packet, sizeof *words);
	if (length >= (long)sizeof *words && words[0] == MESSAGE_UNDO) {
		memcpy(promise, packet + sizeof *words, (size_t)length - sizeof *words);
		locked = count ? fds[0] : -1;
		count = PACKET_FDS;
		length = packet_receive(l->control, packet, sizeof packet, fds, &count);
	}
	if (length <= 0)
		undo((const char *)promise);
	if (length < (long)sizeof words)
		leave(length == 0 ? 0 : 3);
	memcpy(words, packet, sizeof words);
	l->index = NO_OPERATION;
	l->doing = "receive plan";
	if (words[0] != MESSAGE_PLAN || words[1] > PLAN_MAX || words[1] < (size_t)length - sizeof words ||
	    words[2] != (uint32_t)count)
		fail(l, -E_PROTO);
	plan = packet_gather(l->control, packet + sizeof words, (size_t)length - sizeof words, words[1]);
	if (!plan)
		undo((const char *)promise);
	if (locked >= 0) /* which the plan brings too */
		sys(close, locked);
	if (!plan || !plan_decode(&l->plan, plan, words[1]) || header(l, HEADER_SLOTS) < (uint64_t)count)
		fail(l, -E_PROTO);
	for (uint32_t i = 0; i < SLOTS_MAX; i++)
		l->plan.slots[i] = i < (uint32_t)count ? fds[i] : -1;
}

/* ---- giving up, with a launch under way ---- */

static void end_process(int pidfd)
{
	struct poll_entry dead = { pidfd, POLL_IN, 0 };
	struct time limit = { UNDO_DEATH_MS / 1000, 0 };
	struct child_info info;

	sys(pidfd_send_signal, pidfd, SIGNAL_KILL, NULL, 0);
	sys(ppoll, &dead, 1, &limit, NULL, 8);
	sys(waitid, WAIT_PIDFD, pidfd, &info, WAIT_EXITED | WAIT_NOHANG, NULL);
}

/* Ends the init process, if there is one, and removes what was made for it. */
_Noreturn static void give_up(struct launch *l, int init_pidfd)
{
	if (init_pidfd >= 0)
		end_process(init_pidfd);
	undo(l->plan.header[HEADER_UNDO].s);
	leave(1);
}

/* ---- cloning ---- */

/* Gives the child's number, and a descriptor of it or else the number at another place too. */
static long clone_process(uint64_t flags, int into, int *pidfd, volatile int32_t *pid)
{
	struct clone_args args = { .flags = flags | (pidfd ? CLONE_PIDFD : CLONE_PARENT_SETTID),
				   .pidfd = (uint64_t)(uintptr_t)pidfd,
				   .parent_tid = (uint64_t)(uintptr_t)pid };

	if (!(flags & CLONE_PARENT))
		args.exit_signal = 17; /* SIGCHLD */
	if (into >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = (uint64_t)into;
	}
	return sys(clone3, &args, sizeof args);
}

static void reset_signals(void)
{
	struct {
		void *handler;
		unsigned long flags;
		void *restorer;
		uint64_t mask;
	} action = { 0 };
	uint64_t none = 0;

	for (int signal = 1; signal <= 64; signal++)
		sys(rt_sigaction, signal, &action, NULL, 8);
	sys(rt_sigprocmask, 2 /* SIG_SETMASK */, &none, NULL, 8);
}

/* What the stage and the monitor need of the host, the launched process must not have: from inside, a directory of the
 * host is a way out (CVE-2016-9962, CVE-2024-21626). */
static void forget_host(struct launch *l)
{
	static const int fields[] = { HEADER_CGROUP, HEADER_STATE, HEADER_INPUT, HEADER_OUTPUT, HEADER_ERROR, HEADER_CONSOLE, HEADER_ATTACH };

	if (l->control >= 0)
		sys(close, l->control);
	l->control = -1;
	for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
		int fd = slot(l, &l->plan.header[fields[i]]);

		if (fd < 0)
			continue;
		sys(close, fd);
		l->plan.slots[l->plan.header[fields[i]].f] = -1;
	}
}

/* Until the launcher can know its number from us, it finds us by our process group, which is the stage's: the stage may
 * be killed before it can tell. */
_Noreturn static void init_main(struct launch *l)
{
	uint32_t here = MESSAGE_HERE;

	if (packet_send_words(l->channel, &here, 1, -1) < 0)
		leave(1);
	forget_host(l);
	l->report = l->channel;
	reset_signals();
	if (!(header(l, HEADER_CLONE_FLAGS) & CLONE_NEWUSER)) /* see stage_main */
		sys(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
	perform_all(l, PLACE_INIT);
	leave(0);
}

static uint64_t parenthood(const struct launch *l)
{
	return header(l, HEADER_FLAGS) & LAUNCH_MONITOR ? 0 : CLONE_PARENT;
}

/* Clones the init process; only the parent returns. */
static struct child clone_init(struct launch *l)
{
	struct child child = { 0, -1 };

	l->index = NO_OPERATION;
	l->doing = "clone3";
	child.pid = (int)clone_process(header(l, HEADER_CLONE_FLAGS) | parenthood(l),
				       slot(l, &l->plan.header[HEADER_CGROUP]), &child.pidfd, NULL);
	if (child.pid == 0)
		init_main(l);
	if (child.pid < 0)
		fail(l, child.pid);
	return child;
}

static void tell_child(struct launch *l, int pid, int place, int pidfd)
{
	uint32_t words[3] = { MESSAGE_CHILD, (uint32_t)place, (uint32_t)pid };

	packet_send_words(l->control, words, 3, pidfd);
}

/* The joiner: what it clones is among processes that may look into it from its first moment on, so it parts with
 * everything of the host before: descriptors, and the memory that it shares with the stage. */
_Noreturn static void joiner_main(struct launch *l)
{
	long pid;

	tell_child(l, (int)sys(getpid), PLACE_JOINER, -1);
	forget_host(l);
	l->report = l->channel;
	perform_all(l, PLACE_JOINER);
	l->index = NO_OPERATION;
	l->doing = "clone3";
	sys(madvise, l->joined, JOINED_BYTES, MADV_DONTFORK);
	pid = clone_process(header(l, HEADER_CLONE_FLAGS) | CLONE_PARENT, -1, NULL, &l->joined->pid);
	if (pid == 0)
		init_main(l);
	if (pid < 0)
		fail(l, pid);
	leave(0);
}

static struct child clone_through_joiner(struct launch *l)
{
	uint64_t flags = CLONE_VFORK | parenthood(l);
	int pidfd;
	long pid, shared = sys(mmap, 0, JOINED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct child_info info;

	l->index = NO_OPERATION;
	l->doing = "clone3";
	if (shared < 0 && shared > -4096)
		fail(l, shared);
	l->joined = (volatile struct joined *)shared;
	/* into the cgroup from here: from inside the container's namespaces the kernel would not let it in */
	pid = clone_process(flags, slot(l, &l->plan.header[HEADER_CGROUP]), &pidfd, NULL);
	if (pid == 0)
		joiner_main(l);
	if (pid < 0)
		fail(l, pid);
	sys(waitid, WAIT_PIDFD, pidfd, &info, WAIT_EXITED, NULL);
	sys(close, pidfd);
	if (l->joined->pid == 0) /* the joiner has said why, or was killed */
		give_up(l, -1);
	/* nobody but its parent, who learns its number from us, can make this another process's */
	pid = sys(pidfd_open, l->joined->pid, 0);
	if (pid < 0)
		fail(l, pid);
	return (struct child){ l->joined->pid, (int)pid };
}

/* ---- the whole ---- */

/* The program that was launched has made the container and ended, and what it left behind is our child. */
static void adopt(struct launch *l, struct child *init, int pid)
{
	struct child_info info = { 0 };
	long pidfd, ours;

	sys(waitid, WAIT_PIDFD, init->pidfd, &info, WAIT_EXITED, NULL);
	l->index = NO_OPERATION;
	if (info.code != CHILD_EXITED || info.status != 0)
		fail(l, STEP(l, "run", "the runtime program", -E_IO));
	pidfd = STEP(l, "pidfd_open", "the container's first process", sys(pidfd_open, pid, 0));
	if (pidfd < 0)
		fail(l, pidfd);
	ours = STEP(l, "waitid", "the container's first process",
		    sys(waitid, WAIT_PIDFD, pidfd, &info, WAIT_EXITED | WAIT_NOHANG | WAIT_LEAVE, NULL));
	if (ours < 0) /* it is somebody else's child */
		fail(l, ours);
	sys(close, init->pidfd);
	*init = (struct child){ pid, (int)pidfd };
	/* who shares the host's pid namespace has its orphans go to the host's first process, as ever */
	sys(prctl, PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
	tell_child(l, pid, PLACE_INIT, (int)pidfd);
}

static void await_commit(struct launch *l, struct child *init)
{
	uint32_t words[2] = { 0, 0 };
	long length = packet_receive(l->control, words, sizeof words, NULL, NULL);

	if (length == sizeof words && words[0] == MESSAGE_ADOPT && header(l, HEADER_FLAGS) & LAUNCH_ADOPT) {
		adopt(l, init, (int)words[1]);
		length = packet_receive(l->control, words, sizeof words, NULL, NULL);
	}
	if (length != sizeof *words || words[0] != MESSAGE_COMMIT)
		give_up(l, init->pidfd);
	/* the launcher's lock, which our descriptor shares: it would last as long as a monitor */
	sys(flock, slot(l, &l->plan.header[HEADER_STATE]), 8 /* LOCK_UN */);
}

static void watch(struct launch *l, const struct child *init, uint64_t oom_before)
{
	uint32_t watching = MESSAGE_WATCHING;
	const struct argument *h = l->plan.header;
	struct monitor monitor = {
		.control = l->control,
		.init_pid = init->pid,
		.init_pidfd = init->pidfd,
		.state = slot(l, &h[HEADER_STATE]),
		.input = slot(l, &h[HEADER_INPUT]),
		.output = slot(l, &h[HEADER_OUTPUT]),
		.error = slot(l, &h[HEADER_ERROR]),
		.console = slot(l, &h[HEADER_CONSOLE]),
		.attach = slot(l, &h[HEADER_ATTACH]),
		.log_format = h[HEADER_LOG_FORMAT].u,
		.log_bytes = h[HEADER_LOG_BYTES].u,
		.log_files = h[HEADER_LOG_FILES].u,
		.log_path = h[HEADER_LOG_PATH].s,
		.exit_name = h[HEADER_EXIT_NAME].s,
		.oom_path = h[HEADER_OOM_PATH].s,
		.oom_before = oom_before,
	};

	/* a launcher that has heard this may rely on the exit's being recorded */
	packet_send_words(l->control, &watching, 1, -1);
	monitor_run(&monitor);
}

_Noreturn void stage_main(int control, int channel)
{
	static struct launch l;
	uint64_t every = ~(uint64_t)0, oom_before;
	struct child init;

	l.control = l.report = control;
	l.channel = channel;
	l.root = l.null = l.proc = -1;
	/* first: a SIGCHLD that the launcher ignores would have our children reaped behind our back */
	reset_signals();
	sys(rt_sigprocmask, 2 /* SIG_SETMASK */, &every, NULL, 8);
	sys(prctl, PR_SET_NAME, "pier-init", 0, 0, 0); /* started by a descriptor, we are called by its number */
	sys(setsid);
	/* everything that we need comes with the plan: what else the launcher had open does not come near a container */
	sys(close_range, (channel > control ? channel : control) + 1, ~0U, 0);
	/* Nobody may look into us.  A launcher without privileges must, to write the id maps: then become_root does this. */
	if (sys(geteuid) == 0)
		sys(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0);
	for (int fd = 0; fd < 3; fd++) /* or what comes with the plan would take the place of a stream */
		if (sys(fcntl, fd, F_GETFD) < 0)
			sys(openat, FD_CWD, "/dev/null", O_RDWR);
	receive_plan(&l);
	perform_all(&l, PLACE_STAGE);
	if (header(&l, HEADER_FLAGS) & LAUNCH_NOTHING)
		leave(0);
	if (header(&l, HEADER_FLAGS) & LAUNCH_ADOPT)
		sys(prctl, PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	oom_before = oom_count(l.plan.header[HEADER_OOM_PATH].s);
	init = header(&l, HEADER_FLAGS) & LAUNCH_JOINER ? clone_through_joiner(&l) : clone_init(&l);
	sys(close, channel);
	tell_child(&l, init.pid, PLACE_INIT, init.pidfd);
	await_commit(&l, &init);
	if (header(&l, HEADER_FLAGS) & LAUNCH_MONITOR)
		watch(&l, &init, oom_before);
	leave(0);
}
