/* A hook: a program with the container's state on its standard input and a limit of time. */
#include "launch.h"

#include <linux/sched.h>

enum { SIGNAL_KILL = 9, EXIT_NOT_RUN = 127 };

static long read_some(int fd, char *into, size_t size, size_t *have)
{
	long length = sys(read, fd, into + *have, size - *have);

	if (length > 0)
		*have += (size_t)length;
	return length;
}

static const char **table(const struct argument *bytes, const char **out, int most)
{
	int count = 0;

	for (uint32_t at = 0; at < bytes->length && count < most; at += (uint32_t)strlen(bytes->s + at) + 1)
		out[count++] = bytes->s + at;
	out[count] = NULL;
	return out;
}

_Noreturn static void become_hook(const struct argument *a, int input, int error)
{
	static const char *arguments[512], *environment[1024];

	sys(dup3, input, 0, 0);
	sys(dup3, error, 1, 0);
	sys(dup3, error, 2, 0);
	sys(close_range, 3, ~0U, 0);
	sys(execve, a[HOOK_ARG_PATH].s, table(&a[HOOK_ARG_ARGUMENTS], arguments, 511),
	    table(&a[HOOK_ARG_ENVIRONMENT], environment, 1023));
	for (;;)
		sys(exit_group, EXIT_NOT_RUN);
}

/* Collects what it says until it ends or the time is over. */
static long watch(struct launch *l, int pidfd, int error, uint64_t timeout_ms)
{
	struct time limit = { (int64_t)(timeout_ms / 1000), (int64_t)(timeout_ms % 1000) * 1000000 };
	size_t have = 0;
	int talking = 1;

	for (;;) {
		struct poll_entry entries[2] = { { pidfd, POLL_IN, 0 }, { talking ? error : -1, POLL_IN, 0 } };
		/* ppoll counts the time that is left down in `limit` */
		long ready = sys(ppoll, entries, 2, timeout_ms ? &limit : NULL, NULL, 8);

		if (ready == 0) {
			sys(pidfd_send_signal, pidfd, SIGNAL_KILL, NULL, 0);
			return -E_TIMEDOUT;
		}
		if (ready < 0 && ready != -E_INTR)
			return ready;
		if (entries[1].revents)
			talking = read_some(error, l->note, sizeof l->note - 1, &have) > 0;
		l->note[have] = 0;
		if (entries[0].revents && !entries[1].revents)
			return 0;
	}
}

long op_hook(struct launch *l, const struct argument *a)
{
	const struct argument *state = &l->states[a[HOOK_ARG_STATE].u & 1];
	int input[2], error[2], pidfd;
	struct clone_args args = { .flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd, .exit_signal = 17 };
	struct child_info info = { 0 };
	long pid, result;

	l->note[0] = 0;
	TRY(STEP(l, "pipe2", a[HOOK_ARG_PATH].s, sys(pipe2, input, O_CLOEXEC)));
	TRY(STEP(l, "pipe2", a[HOOK_ARG_PATH].s, sys(pipe2, error, O_CLOEXEC)));
	pid = STEP(l, "clone3", a[HOOK_ARG_PATH].s, sys(clone3, &args, sizeof args));
	TRY(pid);
	if (pid == 0)
		become_hook(a, input[0], error[1]);
	sys(close, input[0]);
	sys(close, error[1]);
	if (state->length)
		sys(write, input[1], state->s, state->length);
	sys(close, input[1]);
	result = STEP(l, "run hook", a[HOOK_ARG_PATH].s, watch(l, pidfd, error[0], a[HOOK_ARG_TIMEOUT_MS].u));
	sys(waitid, WAIT_PIDFD, pidfd, &info, WAIT_EXITED, NULL);
	sys(close, error[0]);
	sys(close, pidfd);
	if (result < 0)
		return result;
	if (info.code == CHILD_EXITED && info.status == 0)
		return 0;
	l->doing = "hook ended badly";
	if (l->note[0])
		l->about = l->note;
	return -E_IO;
}
