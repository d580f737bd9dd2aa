/* One entry of a log as bytes, in Docker's json-file format or in Kubernetes' CRI format.  Pure. */
#pragma once

#include "sys.h"
#include "text.h"

struct entry {
	const char *stream; /* stdout, stderr */
	const char *data;
	size_t length;
	bool whole; /* ends a line; the newline is not in data */
	struct time time;
};

enum { ENTRY_FRAME = 96, ENTRY_GROWTH = 6 };

/* An upper bound of what entry_put adds for so many bytes. */
static inline size_t entry_room(size_t length)
{
	return length * ENTRY_GROWTH + ENTRY_FRAME;
}

/* LOG_JSON: {"log":"text\n","stream":"stdout","time":"…Z"}; a part of a line has no \n in it.
 * LOG_CRI:  TIME stdout F text; a part of a line has P for F. */
void entry_put(struct line *out, uint64_t format, const struct entry *entry);

/* The length of what begins with these bytes and has no character cut off at its end. */
size_t whole_characters(const char *data, size_t length);
