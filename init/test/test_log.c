/* The log file: rotation, its bounds, and what happens when it cannot be written. */
#include <string.h>
#include <unistd.h>

#include "test.h"

#include "../log.h"
#include "wire_table.h"

static char room[LOG_ROOM], content[1 << 20], path[128];

static size_t load(const char *name)
{
	FILE *file = fopen(name, "r");
	size_t length = file ? fread(content, 1, sizeof content - 1, file) : 0;

	content[length] = 0;
	if (file)
		fclose(file);
	return length;
}

static const char *rotated(int number)
{
	static char name[160];

	snprintf(name, sizeof name, "%s.%d", path, number);
	return name;
}

static void fresh(void)
{
	unlink(path);
	for (int i = 1; i < 10; i++)
		unlink(rotated(i));
}

static void number(struct log *log, int value)
{
	char text[16];

	snprintf(text, sizeof text, "%06d", value);
	log_entry(log, "stdout", text, 6, true);
}

static int count(const char *text)
{
	int found = 0;

	for (const char *at = content; (at = strstr(at, text)); at++)
		found++;
	return found;
}

static void no_log_writes_nothing(void)
{
	struct log log;

	log_open(&log, "", LOG_JSON, 0, 0, room);
	CHECK(log.format == LOG_NONE && log.file == -1);
	log_end(&log);
}

static void appends_to_what_is_there(void)
{
	struct log log;

	fresh();
	for (int i = 0; i < 2; i++) {
		log_open(&log, path, LOG_CRI, 0, 0, room);
		number(&log, i);
		log_end(&log);
		close(log.file);
	}
	load(path);
	CHECK(count("\n") == 2 && count("000000\n") == 1 && count("000001\n") == 1);
}

/* Entries are 46 bytes here: five fit into 256. */
static void rotates_within_its_bounds(uint64_t files)
{
	struct log log;
	int next = 99;

	fresh();
	log_open(&log, path, LOG_CRI, 256, files, room);
	for (int i = 0; i < 100; i++) {
		number(&log, i);
		if (i % 3 == 0)
			log_flush(&log);
	}
	log_end(&log);
	close(log.file);
	for (int i = 0; i < (int)files; i++) {
		size_t length = load(i ? rotated(i) : path);

		CHECK(length > 0 && length <= 256);
		for (const char *line = content + length; line > content; next--) {
			while (--line > content && line[-1] != '\n')
				;
			CHECK(atoi(line + 40) == next);
		}
	}
	CHECK(access(rotated((int)files), F_OK) != 0);
}

static void a_long_entry_has_a_file_of_its_own(void)
{
	struct log log;
	static char text[1000];

	fresh();
	memset(text, 'x', sizeof text);
	log_open(&log, path, LOG_JSON, 256, 3, room);
	number(&log, 1);
	log_entry(&log, "stdout", text, sizeof text, true);
	number(&log, 2);
	log_end(&log);
	close(log.file);
	CHECK(load(path) > 0 && count("000002") == 1);
	CHECK(load(rotated(1)) > 1000);
	CHECK(load(rotated(2)) > 0 && count("000001") == 1);
}

static void the_longest_entry_fits(void)
{
	struct log log;
	static char text[LOG_TEXT_MAX];

	fresh();
	log_open(&log, path, LOG_JSON, 0, 0, room);
	for (int i = 0; i < 3; i++)
		log_entry(&log, "stdout", text, sizeof text, true);
	log_end(&log);
	close(log.file);
	CHECK(!log.out.full);
	CHECK(load(path) > sizeof text * 6 * 3 && count("\n") == 3);
}

/* /dev/full fails every write with ENOSPC. */
static void says_what_was_lost(void)
{
	struct log log;

	fresh();
	log_open(&log, "/dev/full", LOG_JSON, 0, 0, room);
	for (int i = 0; i < 7; i++)
		number(&log, i);
	log_flush(&log);
	number(&log, 7);
	log_flush(&log);
	CHECK(log.lost == 8 && log.error == -28);
	close(log.file);
	log.path = path;
	log.file = -1; /* opened at the next write */
	number(&log, 8);
	log_flush(&log);
	number(&log, 9);
	log_end(&log);
	close(log.file);
	CHECK(log.lost == 0);
	load(path);
	CHECK(count("8 log entries were lost here (errno 28)\\n\",\"stream\":\"stderr\"") == 1);
	CHECK(count("\n") == 3 && count("000008") == 1 && count("000009") == 1);
}

static void a_log_that_cannot_be_opened_is_tried_again(void)
{
	struct log log;
	static char missing[160];

	snprintf(missing, sizeof missing, "%s.d/log", path);
	log_open(&log, missing, LOG_JSON, 100, 2, room);
	number(&log, 1);
	number(&log, 2);
	log_end(&log);
	CHECK(log.lost == 2 && log.file == -1);
	log.path = path;
	fresh();
	log_end(&log);
	close(log.file);
	load(path);
	CHECK(count("2 log entries were lost here (errno 2)") == 1);
}

int main(void)
{
	snprintf(path, sizeof path, "/tmp/pierhead-test-log-%d", (int)getpid());
	no_log_writes_nothing();
	appends_to_what_is_there();
	rotates_within_its_bounds(1);
	rotates_within_its_bounds(2);
	rotates_within_its_bounds(5);
	a_long_entry_has_a_file_of_its_own();
	the_longest_entry_fits();
	says_what_was_lost();
	a_log_that_cannot_be_opened_is_tried_again();
	fresh();
	puts("log: ok");
	return 0;
}
