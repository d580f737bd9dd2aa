/* Whatever packets a client sends, the input gets what is input, in order, and nothing else happens. */
#include "fuzz.h"

#include <unistd.h>

#include "../attach.h"
#include "wire_table.h"

/* An input is packets: one byte of length, then so many bytes. */
size_t fuzz_seed(int number, uint8_t *data, size_t size)
{
	static const char *const seeds[] = { "\006ihello\005r\030\001\120\001\001c", "\001i\002ix\001c\003iab", "\005r1234\006r12345\001q" };

	(void)size;
	if (number >= (int)(sizeof seeds / sizeof *seeds))
		return 0;
	memcpy(data, seeds[number], strlen(seeds[number]));
	return strlen(seeds[number]);
}

static bool receive_all(struct client *c, struct input *input)
{
	for (int fd = c->fd; c->fd == fd;) {
		char byte;

		if (sys(recvfrom, fd, &byte, 1, 2 /* MSG_PEEK */, NULL, NULL) < 0)
			return true;
		attach_receive(c, input);
		if (c->held) /* the pipe is larger than any input here */
			return false;
	}
	return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	static struct attach attach;
	static char buffer[ATTACH_PACKET];
	uint8_t expected[4096], got[4096];
	size_t wanted = 0;
	int ends[2], pair[2];
	bool open = true;
	struct input input = { .buffer = buffer };

	FUZZ_CHECK(sys(pipe2, ends, O_NONBLOCK) == 0 && sys(socketpair, FAMILY_UNIX, SOCKET_PACKET | SOCKET_NONBLOCK, 0, pair) == 0);
	input.fd = ends[1];
	attach_open(&attach, -1);
	attach.clients[0].fd = pair[0];
	for (size_t at = 0; at < length && data[at];) {
		size_t size = data[at++];

		if (size > length - at)
			size = length - at;
		if (!size)
			break;
		if (write(pair[1], data + at, size) < 0)
			break;
		open = open && !(size == 1 && data[at] == ATTACH_CLOSE_INPUT);
		if (open && data[at] == ATTACH_INPUT) {
			memcpy(expected + wanted, data + at + 1, size - 1);
			wanted += size - 1;
		}
		at += size;
		FUZZ_CHECK(receive_all(&attach.clients[0], &input));
	}
	FUZZ_CHECK((input.fd >= 0) == open && attach.clients[0].fd == pair[0]);
	close(pair[1]);
	attach_receive(&attach.clients[0], &input);
	FUZZ_CHECK(attach.clients[0].fd == -1);
	FUZZ_CHECK(read(ends[0], got, sizeof got) == (ssize_t)wanted || (!wanted && open));
	FUZZ_CHECK(memcmp(got, expected, wanted) == 0);
	close(ends[0]);
	if (input.fd >= 0)
		close(input.fd);
	return 0;
}
