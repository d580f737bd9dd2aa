/* The kernel's count of processes that it killed in a cgroup for want of memory. */
#pragma once

#include "sys.h"
#include "text.h"

struct oom {
	int file; /* memory.events (v2) or memory.oom_control (v1); -1: none, or it has gone with its cgroup */
	uint64_t before, kills;
};

void oom_open(struct oom *oom, const char *path);
/* Reads the count.  Done whenever the file says that it changed, for the cgroup may be gone when the process is. */
void oom_read(struct oom *oom);
bool oom_happened(const struct oom *oom);
/* N of the line "oom_kill N"; 0 without one */
uint64_t oom_parse(const char *text);
