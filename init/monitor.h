/* The monitor: what a launched process's parent does after the launch.  It keeps the standard streams or the
 * terminal, writes the log, serves attach clients and records the exit.  It outlives whoever asked for it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct monitor {
	int control;    /* the launcher's socket: told of the exit; may be hung up at any time */
	int init_pid;   /* our child */
	int init_pidfd;
	int state;      /* state directory */
	int input, output, error; /* our ends of the streams' pipes; -1 where there is none */
	int console;    /* socket on which the terminal's master arrives (SCM_RIGHTS); -1 without a terminal */
	int attach;     /* listening SOCK_SEQPACKET socket for attach clients; -1 for none */
	uint64_t log_format, log_bytes, log_files;
	const char *log_path;  /* "" for no log */
	const char *exit_name; /* record's name in the state directory */
	const char *oom_path;  /* "" for none */
	uint64_t oom_before;   /* its count before there was the child */
};

_Noreturn void monitor_run(const struct monitor *monitor);
