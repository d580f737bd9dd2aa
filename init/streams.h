/* The standard streams as the monitor sees them: what the container writes, what it reads, and its terminal. */
#pragma once

#include "attach.h"
#include "input.h"
#include "log.h"

/* Where the container's output comes from: one of its pipes, or the terminal's master. */
struct stream {
	int fd; /* -1: there is none, or it has ended */
	unsigned char kind; /* ATTACH_OUTPUT, ATTACH_ERROR */
	const char *name;
	char *buffer;      /* LOG_TEXT_MAX bytes */
	size_t start, end; /* in it: a line whose end has not come yet */
};

/* Reads once: into the log by lines, to the clients as it came.  Never while a client is behind. */
size_t stream_read(struct stream *stream, struct log *log, struct attach *attach);

/* Takes the terminal's master from the channel and serves it as input and output from now on.  Returns a descriptor
 * of its slave, or -1: while one is open the master does not hang up when the container has closed its own for a
 * moment (a shell that re-opens /dev/console). */
int terminal_receive(int channel, struct stream *output, struct input *input);
void set_nonblocking(int fd);
