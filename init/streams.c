#include "streams.h"

#include "clock.h"
#include "wire.h"

#include <asm/ioctls.h>

void set_nonblocking(int fd)
{
	long flags = sys(fcntl, fd, F_GETFL, 0);

	if (fd >= 0 && flags >= 0)
		sys(fcntl, fd, F_SETFL, flags | O_NONBLOCK);
}

static void log_line(struct stream *s, struct log *log, size_t end, bool whole)
{
	log_entry(log, s->name, s->buffer + s->start, end - s->start, whole);
	s->start = end + whole;
}

/* The lines that end in the bytes from `fresh` on; a line that fills the buffer is logged in parts. */
static void log_lines(struct stream *s, struct log *log, size_t fresh)
{
	log->now = clock_read(CLOCK_WALL);
	for (size_t at = fresh; at < s->end; at++)
		if (s->buffer[at] == '\n')
			log_line(s, log, at, true);
	if (s->start == 0 && s->end == LOG_TEXT_MAX)
		log_line(s, log, whole_characters(s->buffer, s->end), false);
	log_flush(log);
}

static void stream_end(struct stream *s, struct log *log)
{
	log->now = clock_read(CLOCK_WALL);
	if (log->format != LOG_NONE && s->start < s->end)
		log_line(s, log, s->end, false);
	log_flush(log);
	s->start = s->end = 0;
	sys(close, s->fd);
	s->fd = -1;
}

size_t stream_read(struct stream *s, struct log *log, struct attach *attach)
{
	size_t fresh = s->end - s->start;
	long count;

	memmove(s->buffer, s->buffer + s->start, fresh);
	s->start = 0;
	s->end = fresh;
	count = sys(read, s->fd, s->buffer + fresh, LOG_TEXT_MAX - fresh);
	if (count == -E_AGAIN || count == -E_INTR)
		return 0;
	if (count <= 0) { /* the end; of a terminal: EIO, no slave is open any more */
		stream_end(s, log);
		return 0;
	}
	s->end += (size_t)count;
	if (log->format == LOG_NONE)
		s->start = s->end;
	else
		log_lines(s, log, fresh);
	attach_send(attach, s->kind, s->buffer + fresh, (size_t)count);
	return (size_t)count;
}

/* ---- the terminal ---- */

int terminal_receive(int channel, struct stream *output, struct input *input)
{
	char name[32];
	int master, count = 1;
	long slave;

	if (packet_receive(channel, name, sizeof name, &master, &count) <= 0 || count != 1)
		return -1;
	set_nonblocking(master);
	output->fd = master;
	input->fd = (int)sys(fcntl, master, F_DUPFD_CLOEXEC, 3);
	input->terminal = true;
	slave = sys(ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	return slave < 0 ? -1 : (int)slave;
}
