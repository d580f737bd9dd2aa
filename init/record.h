/* The exit record: how the init process ended, in one line of JSON in the state directory. */
#pragma once

#include "sys.h"
#include "text.h"

struct exit_record {
	int pid;
	int code, signal; /* -1 for what does not apply; both: the kernel would not say */
	bool core, oom;
	struct time started, finished;
};

enum { RECORD_ROOM = 256 };

void record_put(struct line *line, const struct exit_record *record);
/* The record is in the directory, whole, or its directory is gone and nobody can ask for it.  False: it could not be
 * written, and can be tried again. */
bool record_write(int directory, const char *name, const struct exit_record *record);
