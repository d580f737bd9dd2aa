/* The first process of a container that asks for one (`docker run --init`): starts the program, passes signals on to it,
 * waits for every orphan, and ends as the program ends.  It runs inside, as /sbin/docker-init, with the program's rights
 * and no others; nobody talks to it but the kernel. */
#include "launch.h"

#include <asm/ioctls.h>

enum { SIGNAL_CHILD = 17, SIGNAL_TTY_IN = 21, SIGNAL_TTY_OUT = 22, SET_MASK = 2 };

/* As execvp(3): returns only if the program cannot be run. */
static long run(const char **arguments, const char **environment)
{
	const char *path = "";
	long best = -E_NOENT;

	for (const char *at = *arguments; *at; at++)
		if (*at == '/')
			return sys(execve, *arguments, arguments, environment);
	for (const char **at = environment; *at; at++)
		if (text_starts(*at, "PATH="))
			path = *at + sizeof "PATH=" - 1;
	while (*path) {
		size_t length = 0;
		LINE(file, 4096);

		while (path[length] && path[length] != ':')
			length++;
		line_bytes(&file, path, length);
		line_text(&file, "/");
		line_text(&file, *arguments);
		if (sys(execve, line_end(&file), arguments, environment) == -E_ACCES)
			best = -E_ACCES;
		path += length + (path[length] == ':');
	}
	return best;
}

/* A group of its own, in front of the terminal if there is one: what is typed there reaches the program once. */
static _Noreturn void become_program(const char **arguments, const char **environment, uint64_t mask)
{
	int own = (int)sys(getpid);
	long error;
	LINE(said, 4200);

	sys(setpgid, 0, 0);
	sys(ioctl, 0, TIOCSPGRP, &own);
	sys(rt_sigprocmask, SET_MASK, &mask, NULL, 8);
	error = run(arguments, environment);
	line_text(&said, "cannot run ");
	line_text(&said, *arguments);
	line_text(&said, error == -E_NOENT ? ": no such file or directory\n" : ": it is no program, or may not be run\n");
	sys(write, 2, line_end(&said), said.length);
	leave(error == -E_NOENT ? 127 : 126);
}

void reaper_main(const char **arguments, const char **environment)
{
	/* blocked signals wait for us, even those that the kernel otherwise spares a first process (signal(7)) */
	uint64_t every = ~0ull, waited = ~(1ull << (SIGNAL_TTY_IN - 1) | 1ull << (SIGNAL_TTY_OUT - 1)), before = 0;
	struct child_info info;
	long child;

	sys(rt_sigprocmask, SET_MASK, &every, &before, 8);
	child = sys(clone, SIGNAL_CHILD, 0, 0, 0, 0);
	if (child == 0)
		become_program(arguments, environment, before);
	if (child < 0)
		leave(126);
	for (;;) {
		long signal = sys(rt_sigtimedwait, &waited, NULL, NULL, 8);
		if (signal > 0 && signal != SIGNAL_CHILD)
			sys(kill, child, signal);
		while (sys(waitid, 0 /* P_ALL */, 0, &info, WAIT_EXITED | WAIT_NOHANG, NULL) >= 0 && info.pid)
			if (info.pid == child)
				leave(info.code == CHILD_EXITED ? info.status : 128 + info.status);
	}
}
