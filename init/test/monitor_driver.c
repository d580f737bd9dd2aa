/* A container's init process without a container, and the real monitor over it: what tests/integration/test_monitor.py
 * drives.  The same source makes the freestanding program (which is measured) and one with sanitizers.
 *
 *     monitor_driver NAME=VALUE... -- PROGRAM ARGUMENT...
 *
 * NAME is a field of struct monitor (descriptors by number, inherited), or stdin / terminal with the value 1 (a
 * terminal of 2 comes late).  The program's pid goes to `control` as {MESSAGE_CHILD, pid}. */
#include "../monitor.h"

#include "../oom.h"
#include "../sys.h"
#include "../text.h"
#include "../wire.h"

#include <asm/ioctls.h>
#include <linux/sched.h>

static struct monitor given = { .control = -1, .init_pidfd = -1, .state = -1, .input = -1, .output = -1, .error = -1,
				.console = -1, .attach = -1, .log_path = "", .exit_name = "exit", .oom_path = "" };
static int has_stdin, has_terminal;
static int ends[3] = { -1, -1, -1 }, channel = -1; /* the program's */

_Noreturn static void give_up(const char *what)
{
	sys(write, 2, what, strlen(what));
	sys(write, 2, "\n", 1);
	for (;;)
		sys(exit_group, 99);
}

static long check(long result, const char *what)
{
	if (result < 0)
		give_up(what);
	return result;
}

static const char *value_of(const char *argument, const char *name)
{
	size_t length = strlen(name);

	return text_starts(argument, name) && argument[length] == '=' ? argument + length + 1 : NULL;
}

static uint64_t number(const char *text)
{
	uint64_t value = 0;

	for (; *text; text++)
		value = value * 10 + (uint64_t)(*text - '0');
	return value;
}

static void read_argument(const char *argument)
{
	struct {
		const char *name;
		int *to;
	} numbers[] = { { "control", &given.control }, { "state", &given.state }, { "attach", &given.attach },
			{ "stdin", &has_stdin }, { "terminal", &has_terminal } };
	struct {
		const char *name;
		uint64_t *to;
	} wide[] = { { "log_format", &given.log_format }, { "log_bytes", &given.log_bytes }, { "log_files", &given.log_files } };
	struct {
		const char *name;
		const char **to;
	} texts[] = { { "log_path", &given.log_path }, { "exit_name", &given.exit_name }, { "oom_path", &given.oom_path } };
	const char *value;

	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
		if ((value = value_of(argument, numbers[i].name)))
			*numbers[i].to = (int)number(value);
	for (size_t i = 0; i < sizeof wide / sizeof *wide; i++)
		if ((value = value_of(argument, wide[i].name)))
			*wide[i].to = number(value);
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		if ((value = value_of(argument, texts[i].name)))
			*texts[i].to = value;
}

static void make_pipes(void)
{
	int pair[2];

	if (has_stdin) {
		check(sys(pipe2, pair, O_CLOEXEC), "pipe2");
		ends[0] = pair[0];
		given.input = pair[1];
	}
	check(sys(pipe2, pair, O_CLOEXEC), "pipe2");
	ends[1] = pair[1];
	given.output = pair[0];
	check(sys(pipe2, pair, O_CLOEXEC), "pipe2");
	ends[2] = pair[1];
	given.error = pair[0];
}

static void make_channel(void)
{
	int pair[2];

	check(sys(socketpair, FAMILY_UNIX, SOCKET_PACKET | SOCKET_CLOEXEC, 0, pair), "socketpair");
	given.console = pair[0];
	channel = pair[1];
}

static void open_terminal(void)
{
	int unlock = 0;
	int master = (int)check(sys(openat, FD_CWD, "/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC), "/dev/ptmx");

	check(sys(ioctl, master, TIOCSPTLCK, &unlock), "TIOCSPTLCK");
	ends[0] = ends[1] = ends[2] = (int)check(sys(ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC), "TIOCGPTPEER");
	check(packet_send(channel, "/dev/pts/0", 10, &master, 1), "send the master");
	sys(close, master);
	check(sys(ioctl, ends[0], TIOCSCTTY, 0), "TIOCSCTTY");
}

_Noreturn static void become(char **command, char **environment)
{
	uint64_t none = 0;
	struct time late = { 0, 300000000 };

	check(sys(setsid), "setsid");
	if (has_terminal > 1)
		sys(nanosleep, &late, NULL);
	if (has_terminal)
		open_terminal();
	else if (!has_stdin)
		ends[0] = (int)sys(openat, FD_CWD, "/dev/null", O_RDONLY | O_CLOEXEC);
	for (int to = 0; to < 3; to++)
		check(sys(dup3, ends[to], to, 0), "dup3");
	check(sys(close_range, 3, ~0u, 4 /* CLOSE_RANGE_CLOEXEC */), "close_range");
	sys(rt_sigprocmask, 2, &none, NULL, 8);
	sys(execve, command[0], command, environment);
	give_up("execve");
}

static _Noreturn void run(char **argument)
{
	struct clone_args args = { .flags = CLONE_PIDFD, .pidfd = (uint64_t)(uintptr_t)&given.init_pidfd, .exit_signal = 17 };
	uint64_t every = ~(uint64_t)0;
	uint32_t words[2] = { MESSAGE_CHILD, 0 };
	char **environment;

	for (argument++; *argument && !text_equal(*argument, "--"); argument++)
		read_argument(*argument);
	if (!*argument || !*++argument)
		give_up("no program");
	for (environment = argument; *environment; environment++)
		;
	if (has_terminal)
		make_channel();
	else
		make_pipes();
	sys(rt_sigprocmask, 2, &every, NULL, 8);
	sys(setsid);
	given.oom_before = oom_count(given.oom_path);
	given.init_pid = (int)check(sys(clone3, &args, sizeof args), "clone3");
	if (given.init_pid == 0)
		become(argument, environment + 1);
	words[1] = (uint32_t)given.init_pid;
	packet_send_words(given.control, words, 2, -1);
	monitor_run(&given);
}

#ifdef HOSTED
int main(int count, char **arguments)
{
	(void)count;
	run(arguments);
}
#else
__attribute__((used, noreturn)) void start(long *stack)
{
	run((char **)(stack + 1));
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\n\txor %ebp, %ebp\n\tmov %rsp, %rdi\n\tand $-16, %rsp\n\tcall start\n");
#else
__asm__(".globl _start\n_start:\n\tmov x29, #0\n\tmov x0, sp\n\tbl start\n");
#endif
#endif
