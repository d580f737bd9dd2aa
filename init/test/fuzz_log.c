/* Whatever a container writes, in whatever pieces: each entry is one line of its format, JSON has only what JSON may
 * have, CRI gives back the bytes; and the kernel's counters may hold anything. */
#include "fuzz.h"

#include <unistd.h>

#include "../oom.h"
#include "../streams.h"
#include "wire_table.h"

enum { OUT_MAX = 1 << 18 };

static char room[LOG_ROOM], buffer[LOG_TEXT_MAX], out[OUT_MAX];

size_t fuzz_seed(int number, uint8_t *data, size_t size)
{
	static const char *const seeds[] = {
		"hello\nworld\n\nno end", "a\"b\\c\r\t\001<>&\177\n", "\xc3\xa4\xe6\xbc\xa2\xf0\x9f\x90\xb3 \xe2\x80\xa8\n\xff\xfe\xed\xa0\x80",
		"low 0\noom 1\noom_kill 12\noom_group_kill 0\n",
	};

	if (number == sizeof seeds / sizeof *seeds) { /* longer than a line may be, once its bytes are doubled */
		for (size_t i = 0; i < size; i++)
			data[i] = (uint8_t)("0123456789\xe6\xbc\xa2"[i % 13]);
		return size;
	}
	if (number > (int)(sizeof seeds / sizeof *seeds))
		return 0;
	memcpy(data, seeds[number], strlen(seeds[number]));
	return strlen(seeds[number]);
}

/* Feeds the bytes through a pipe in two pieces; returns what the log has. */
static size_t through(uint64_t format, const uint8_t *data, size_t length, int times)
{
	static struct attach attach;
	struct log log;
	struct stream stream = { .kind = ATTACH_OUTPUT, .name = "stdout", .buffer = buffer };
	int ends[2], file = (int)sys(memfd_create, "log", 0);
	char path[40];
	long size;

	attach_open(&attach, -1);
	log_open(&log, fd_path(file, path), format, 0, 0, room);
	FUZZ_CHECK(sys(pipe2, ends, O_NONBLOCK | O_CLOEXEC) == 0);
	stream.fd = ends[0];
	for (int i = 0; i < times; i++) {
		FUZZ_CHECK(write(ends[1], data, length / 2) >= 0);
		while (stream_read(&stream, &log, &attach))
			;
		FUZZ_CHECK(write(ends[1], data + length / 2, length - length / 2) >= 0);
		while (stream_read(&stream, &log, &attach))
			;
	}
	close(ends[1]);
	stream_read(&stream, &log, &attach);
	FUZZ_CHECK(stream.fd == -1 && log.lost == 0 && !log.out.full);
	close(log.file);
	size = pread(file, out, sizeof out, 0);
	FUZZ_CHECK(size >= 0 && size < OUT_MAX);
	close(file);
	return (size_t)size;
}

static void check_json(size_t size)
{
	for (const char *at = out, *next; at < out + size; at = next + 1) {
		next = memchr(at, '\n', (size_t)(out + size - at));
		FUZZ_CHECK(next && !strncmp(at, "{\"log\":\"", 8) && !strncmp(next - 2, "\"}", 2));
		for (const char *byte = at; byte < next; byte++)
			FUZZ_CHECK((unsigned char)*byte >= 0x20 && *byte != '<');
	}
}

/* The bytes again, from CRI's lines. */
static void check_cri(size_t size, const uint8_t *data, size_t length, int times)
{
	size_t seen = 0;

	for (const char *at = out, *next; at < out + size; at = next + 1) {
		const char *text = at + 40; /* 2026-01-02T03:04:05.123456789Z stdout F */

		next = memchr(at, '\n', (size_t)(out + size - at));
		FUZZ_CHECK(next && next >= text && (text[-2] == 'F' || text[-2] == 'P') && next - text <= LOG_TEXT_MAX);
		for (; text < next; text++, seen++)
			FUZZ_CHECK((uint8_t)*text == data[seen % length]);
		if (next > at && at[38] == 'F')
			FUZZ_CHECK(data[seen++ % length] == '\n');
	}
	FUZZ_CHECK(seen == length * (size_t)times);
}

/* The bytes where they are: a read past their end is seen. */
static void in_place(const uint8_t *data, size_t length)
{
	struct entry entry = { .stream = "stderr", .data = (const char *)data, .length = length };
	struct line line = { out, OUT_MAX, 0, false };

	entry_put(&line, LOG_JSON, &entry);
	FUZZ_CHECK(line.length <= entry_room(length));
	FUZZ_CHECK(length - whole_characters(entry.data, length) <= 3);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	int times = length > 2000 ? 6 : 1;
	char text[512];

	in_place(data, length);
	check_json(through(LOG_JSON, data, length, times));
	check_cri(through(LOG_CRI, data, length, times), data, length, times);
	length = length < sizeof text ? length : sizeof text - 1;
	memcpy(text, data, length);
	text[length] = 0;
	oom_parse(text);
	return 0;
}
