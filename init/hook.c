/* A hook: a program with the container's state on its standard input and a limit of time. */
#include "launch.h"

#include <linux/memfd.h>
#include <linux/sched.h>

enum { SIGNAL_KILL = 9, EXIT_NOT_RUN = 127 };

/* A file with the state: nobody has to read it, and it is of any length. */
static long state_file(const struct argument *state)
{
	uint32_t done = 0;
	long fd = sys(memfd_create, "state", MFD_CLOEXEC);

	while (fd >= 0 && done < state->length) {
		long written = sys(write, fd, state->s + done, state->length - done);

		if (written < 0) {
			sys(close, fd);
			return written;
		}
		done += (uint32_t)written;
	}
	if (fd >= 0)
		sys(lseek, fd, 0, 0 /* SEEK_SET */);
	return fd;
}

_Noreturn static void become_hook(const char *path, const char **arguments, const char **environment, int input, int error)
{
	sys(dup3, input, 0, 0);
	sys(dup3, error, 1, 0);
	sys(dup3, error, 2, 0);
	sys(close_range, 3, ~0U, 0);
	sys(execve, path, arguments, environment);
	leave(EXIT_NOT_RUN);
}

/* Keeps the beginning of what it says; the rest is read too, so that it need not wait. */
static bool listen(int fd, struct line *said)
{
	char part[512];
	long length = sys(read, fd, part, sizeof part);

	if (length > 0)
		line_bytes(said, part, (size_t)length);
	return length > 0;
}

/* Collects what it says until it ends or the time is over; a process that it leaves behind may go on talking. */
static long watch(struct line *said, int pidfd, int output, uint64_t timeout_ms)
{
	struct time limit = { (int64_t)(timeout_ms / 1000), (int64_t)(timeout_ms % 1000) * 1000000 };
	bool talking = true;

	for (;;) {
		struct poll_entry entries[2] = { { pidfd, POLL_IN, 0 }, { talking ? output : -1, POLL_IN, 0 } };
		/* ppoll counts the time that is left down in `limit` */
		long ready = sys(ppoll, entries, 2, timeout_ms ? &limit : NULL, NULL, 8);

		if (ready == 0) {
			sys(pidfd_send_signal, pidfd, SIGNAL_KILL, NULL, 0);
			return -E_TIMEDOUT;
		}
		if (ready < 0 && ready != -E_INTR)
			return ready;
		if (entries[1].revents)
			talking = listen(output, said);
		if (entries[0].revents)
			return 0;
	}
}

/* "exit status 3: what it said" */
static long judge(struct launch *l, const struct child_info *info, const struct line *said)
{
	struct line note = { l->note, sizeof l->note, 0, false };

	if (info->code == CHILD_EXITED && info->status == 0)
		return 0;
	line_text(&note, info->code == CHILD_EXITED ? "exit status " : "signal ");
	line_number(&note, info->status);
	line_text(&note, said->length ? ": " : "");
	line_bytes(&note, said->data, said->length);
	return STEP(l, "hook failed", line_end(&note), -E_IO);
}

static long run(struct launch *l, const struct argument *a, int input, int output[2])
{
	const char **arguments = string_table(&a[HOOK_ARG_ARGUMENTS]);
	const char **environment = string_table(&a[HOOK_ARG_ENVIRONMENT]);
	int pidfd;
	struct clone_args args = { .flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&pidfd, .exit_signal = 17 };
	struct child_info info = { 0 };
	long pid, result;
	LINE(said, 400);

	if (!arguments || !environment)
		return -E_NOMEM;
	pid = STEP(l, "clone3", a[HOOK_ARG_PATH].s, sys(clone3, &args, sizeof args));
	TRY(pid);
	if (pid == 0)
		become_hook(a[HOOK_ARG_PATH].s, arguments, environment, input, output[1]);
	sys(close, output[1]);
	output[1] = -1;
	result = STEP(l, "wait for hook", a[HOOK_ARG_PATH].s, watch(&said, pidfd, output[0], a[HOOK_ARG_TIMEOUT_MS].u));
	sys(waitid, WAIT_PIDFD, pidfd, &info, WAIT_EXITED, NULL);
	sys(close, pidfd);
	return result < 0 ? result : judge(l, &info, &said);
}

long op_hook(struct launch *l, const struct argument *a)
{
	const char *path = a[HOOK_ARG_PATH].s;
	int output[2];
	long result, input;

	TRY(STEP(l, "run hook", path, check_program(path)));
	input = STEP(l, "memfd_create", path, state_file(&l->states[a[HOOK_ARG_STATE].u & 1]));
	TRY(input);
	TRY(STEP(l, "pipe2", path, sys(pipe2, output, O_CLOEXEC)));
	result = run(l, a, (int)input, output);
	sys(close, input);
	sys(close, output[0]);
	if (output[1] >= 0)
		sys(close, output[1]);
	return result;
}
