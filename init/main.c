/* pier-init: performs launch plans that Python made; decides nothing.  Python starts it with two sockets:
 * 3, its own conversation (the plan comes here), and 4, the conversation of the process that it launches.
 * `docker-init -- PROGRAM ARGUMENT...` is a container's first process instead, and
 * `pier-init keep` keeps the namespaces that it is in. */
#include "launch.h"

enum { CONTROL_FD = 3, CHANNEL_FD = 4 };

static const char usage[] = "pier-init is a part of Pierhead and is started by it; there is nothing to type here\n";

__attribute__((used, noreturn)) void start(const long *stack)
{
	const char **arguments = (const char **)stack + 1;

	while (*stack == 2 && text_equal(arguments[1], "keep")) /* the keeper is there, and does nothing */
		sys(ppoll, NULL, 0, NULL, NULL, 8);
	if (*stack > 2)
		reaper_main(arguments + 2, arguments + *stack + 1);
	if (sys(fcntl, CONTROL_FD, F_SETFD, FD_CLOEXEC) < 0 || sys(fcntl, CHANNEL_FD, F_SETFD, FD_CLOEXEC) < 0) {
		sys(write, 2, usage, sizeof usage - 1);
		leave(2);
	}
	stage_main(CONTROL_FD, CHANNEL_FD);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n");
#else
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tbl start\n");
#endif
