#include "log.h"

#include "wire_table.h"

enum { SEEK_TO_END = 2, NAME_ROOM = 4096 + 32 };

static void open_file(struct log *log)
{
	long size, file = sys(openat, FD_CWD, log->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);

	log->file = file < 0 ? -1 : (int)file;
	log->error = file;
	size = file < 0 ? 0 : sys(lseek, file, 0, SEEK_TO_END);
	if (size < 0) /* a pipe or a terminal: it cannot be rotated */
		log->limit = 0;
	log->size = size < 0 ? 0 : (uint64_t)size;
}

/* path.number; path itself for 0.  Made in the room for entries, which is empty when this is asked for. */
static const char *numbered(const struct log *log, uint64_t number)
{
	struct line line = { log->out.data + (number & 1) * NAME_ROOM, NAME_ROOM, 0, false };

	line_text(&line, log->path);
	if (number) {
		line_text(&line, ".");
		line_padded(&line, number, 0);
	}
	return line_end(&line);
}

/* Oldest first: at every moment each file that exists is older than those with lower numbers, and a gap left by a
 * kill in the middle is filled by the next rotation. */
static void rotate(struct log *log)
{
	uint64_t last = 1;

	if (log->files <= 1)
		sys(unlinkat, FD_CWD, log->path, 0);
	while (last + 1 < log->files && sys(faccessat, FD_CWD, numbered(log, last), 0) == 0)
		last++;
	for (; log->files > 1 && last; last--)
		sys(renameat, FD_CWD, numbered(log, last - 1), FD_CWD, numbered(log, last));
	sys(close, log->file);
	open_file(log);
}

static void put_notice(struct log *log)
{
	LINE(text, 128);
	struct entry notice = { .stream = "stderr", .data = text.data, .whole = true, .time = log->now };

	if (!log->lost || log->out.length)
		return;
	line_text(&text, "pier-init: ");
	line_padded(&text, log->lost, 0);
	line_text(&text, " log entries were lost here (errno ");
	line_number(&text, -log->error);
	line_text(&text, ")");
	notice.length = text.length;
	entry_put(&log->out, log->format, &notice);
}

void log_flush(struct log *log)
{
	size_t done = 0;
	long count = 0;

	if (!log->out.length)
		return;
	if (log->file < 0)
		open_file(log);
	while (log->file >= 0 && done < log->out.length) {
		count = sys(write, log->file, log->out.data + done, log->out.length - done);
		if (count <= 0)
			break;
		done += (size_t)count;
	}
	if (done == log->out.length) {
		log->size += done;
		log->lost = 0;
	} else {
		if (log->file >= 0) {
			log->error = count;
			sys(ftruncate, log->file, log->size); /* no half entries */
		}
		log->lost += log->waiting;
	}
	log->out.length = 0;
	log->waiting = 0;
}

void log_entry(struct log *log, const char *stream, const char *data, size_t length, bool whole)
{
	struct entry entry = { stream, data, length, whole, log->now };
	size_t before;

	if (log->out.size - log->out.length <= entry_room(length))
		log_flush(log);
	put_notice(log);
	before = log->out.length;
	entry_put(&log->out, log->format, &entry);
	if (log->limit && log->size + log->out.length > log->limit && log->size + before) {
		log->out.length = before;
		log_flush(log);
		if (log->size)
			rotate(log);
		put_notice(log);
		entry_put(&log->out, log->format, &entry);
	}
	log->waiting++;
}

void log_end(struct log *log)
{
	put_notice(log);
	log_flush(log);
}

void log_open(struct log *log, const char *path, uint64_t format, uint64_t limit, uint64_t files, char *room)
{
	*log = (struct log){ .path = path, .format = *path ? format : LOG_NONE, .limit = limit, .files = files, .file = -1 };
	log->out = (struct line){ room, LOG_ROOM, 0, false };
	if (log->format != LOG_NONE)
		open_file(log);
}
