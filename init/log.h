/* The container's log: a file of entries, bounded in size by rotation (path, path.1, path.2, ... oldest last).
 *
 * A file is only ever renamed or unlinked, never emptied, so a reader that holds it open loses nothing.  An entry is in
 * the file whole or not at all.  What cannot be written (a full disk) is dropped and counted; the first entry after it
 * says how many were lost.  Nothing here ever stops the container. */
#pragma once

#include "entry.h"

enum { LOG_TEXT_MAX = 16384, LOG_ROOM = LOG_TEXT_MAX * ENTRY_GROWTH + 4096 };

struct log {
	uint64_t format, limit, files; /* LOG_*; bytes, 0: no rotation; kept files, the current one included */
	const char *path;
	int file;         /* -1: could not be opened, is tried again at every write */
	uint64_t size;    /* of the file, in whole entries */
	uint64_t lost;    /* entries dropped that no notice in the file tells of yet */
	long error;       /* why the last of them was */
	uint64_t waiting; /* entries in out */
	struct line out;  /* not written yet */
	struct time now;  /* the time of what is being logged */
};

/* room: LOG_ROOM bytes, kept by the caller, as path is */
void log_open(struct log *log, const char *path, uint64_t format, uint64_t limit, uint64_t files, char *room);
/* One line without its newline, or a part of a line (whole: false).  At most LOG_TEXT_MAX bytes. */
void log_entry(struct log *log, const char *stream, const char *data, size_t length, bool whole);
void log_flush(struct log *log);
/* Writes the notice of lost entries if one is due. */
void log_end(struct log *log);
