#include "record.h"

#include "clock.h"

static void put_number(struct line *line, const char *key, int number)
{
	line_text(line, key);
	if (number < 0)
		line_text(line, "null");
	else
		line_number(line, number);
}

static void put_flag(struct line *line, const char *key, bool flag)
{
	line_text(line, key);
	line_text(line, flag ? "true" : "false");
}

static void put_time(struct line *line, const char *key, struct time time)
{
	line_text(line, key);
	line_text(line, "\"");
	line_time(line, time);
	line_text(line, "\"");
}

void record_put(struct line *line, const struct exit_record *record)
{
	put_number(line, "{\"pid\":", record->pid);
	put_number(line, ",\"code\":", record->code);
	put_number(line, ",\"signal\":", record->signal);
	put_flag(line, ",\"core\":", record->core);
	put_flag(line, ",\"oom\":", record->oom);
	put_time(line, ",\"started\":", record->started);
	put_time(line, ",\"finished\":", record->finished);
	line_text(line, "}\n");
}

bool record_write(int directory, const char *name, const struct exit_record *record)
{
	LINE(text, RECORD_ROOM);
	LINE(temporary, 300);
	bool done;
	long file;

	record_put(&text, record);
	line_text(&temporary, ".");
	line_text(&temporary, name);
	line_end(&temporary);
	file = sys(openat, directory, temporary.data, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (file < 0)
		return file == -E_NOENT;
	done = sys(write, file, text.data, text.length) == (long)text.length && sys(fsync, file) >= 0;
	sys(close, file);
	done = done && sys(renameat, directory, temporary.data, directory, name) >= 0;
	if (!done)
		sys(unlinkat, directory, temporary.data, 0);
	return done;
}
