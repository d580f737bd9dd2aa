/* The kernel's count of processes that it killed in a cgroup for want of memory. */
#pragma once

#include "sys.h"
#include "text.h"

struct oom {
	int file; /* memory.events (v2) or memory.oom_control (v1); -1: none, or it has gone with its cgroup */
	uint64_t before, kills;
};

/* The count as it is; 0 when there is no such file, as that of a cgroup that is yet to be made. */
uint64_t oom_count(const char *path);
/* before: the count when the process was about to be cloned, for it may be killed before it is watched. */
void oom_open(struct oom *oom, const char *path, uint64_t before);
/* Reads the count.  Done whenever the file says that it changed, for the cgroup may be gone when the process is. */
void oom_read(struct oom *oom);
/* N of the line "oom_kill N"; 0 without one */
uint64_t oom_parse(const char *text);
