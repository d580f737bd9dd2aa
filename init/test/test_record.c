/* The exit record's text, and the kernel's out-of-memory count. */
#include <unistd.h>

#include "test.h"

#include "../oom.h"
#include "../record.h"

static struct exit_record record = { .pid = 42, .code = 7, .signal = -1, .started = { 0, 0 }, .finished = { 1767323045, 5 } };

static void what_does_not_apply_is_null(void)
{
	LINE(line, RECORD_ROOM);

	record_put(&line, &record);
	CHECK_TEXT(&line, "{\"pid\":42,\"code\":7,\"signal\":null,\"core\":false,\"oom\":false,"
			  "\"started\":\"1970-01-01T00:00:00.000000000Z\",\"finished\":\"2026-01-02T03:04:05.000000005Z\"}\n");
	line.length = 0;
	record_put(&line, &(struct exit_record){ .pid = 2147483647, .code = -1, .signal = 64, .core = true, .oom = true });
	CHECK(text_starts(line_end(&line), "{\"pid\":2147483647,\"code\":null,\"signal\":64,\"core\":true,\"oom\":true,"));
	CHECK(!line.full);
}

static void a_record_appears_whole_or_not_at_all(void)
{
	char directory[] = "/tmp/pierhead-test-record-XXXXXX";
	char path[64], text[RECORD_ROOM] = "";
	long fd;
	FILE *file;

	CHECK(mkdtemp(directory));
	fd = sys(openat, FD_CWD, directory, O_PATH | O_DIRECTORY);
	CHECK(record_write((int)fd, "exit", &record));
	CHECK(record_write((int)fd, "exit", &record));
	snprintf(path, sizeof path, "%s/exit", directory);
	file = fopen(path, "r");
	CHECK(file && fgets(text, sizeof text, file) && text_starts(text, "{\"pid\":42,"));
	fclose(file);
	unlink(path);
	/* something in its way: to be tried again, and no temporary file stays */
	CHECK(sys(mkdirat, fd, "exit", 0700) == 0);
	CHECK(!record_write((int)fd, "exit", &record));
	rmdir(path);
	CHECK(rmdir(directory) == 0);
	/* the directory is gone: nobody to write it for */
	CHECK(record_write((int)fd, "exit", &record));
	close((int)fd);
}

static void oom_counts(void)
{
	CHECK(oom_parse("") == 0 && oom_parse("oom_kill") == 0 && oom_parse("oom_kill \n") == 0);
	CHECK(oom_parse("low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n") == 5);
	CHECK(oom_parse("oom_kill_disable 1\nunder_oom 0\noom_kill 12\n") == 12);
	CHECK(oom_parse("oom_kill_disable 1\nxoom_kill 3") == 0);
}

int main(void)
{
	what_does_not_apply_is_null();
	a_record_appears_whole_or_not_at_all();
	oom_counts();
	puts("record: ok");
	return 0;
}
