#include "input.h"

#include <asm/ioctls.h>

enum { END_OF_TRANSMISSION = 4 };

bool input_busy(const struct input *in)
{
	return in->start < in->end;
}

static void input_end(struct input *in)
{
	if (in->fd >= 0)
		sys(close, in->fd);
	in->fd = -1;
	in->start = in->end = 0;
}

/* A terminal has no end of file; its line discipline makes one of this character. */
static void end_input(struct input *in)
{
	char byte = END_OF_TRANSMISSION;

	in->closing = false;
	if (in->terminal)
		sys(write, in->fd, &byte, 1);
	else
		input_end(in);
}

void input_flush(struct input *in)
{
	if (in->fd < 0)
		input_end(in);
	while (input_busy(in)) {
		long count = sys(write, in->fd, in->buffer + in->start, in->end - in->start);

		if (count == -E_AGAIN)
			return;
		if (count <= 0) /* nobody will ever read it */
			input_end(in);
		else
			in->start += (size_t)count;
	}
	if (in->closing && in->fd >= 0)
		end_input(in);
}

void input_close(struct input *in)
{
	in->closing = true;
	input_flush(in);
}

void terminal_resize(const struct input *input, const unsigned char size[WINDOW_BYTES])
{
	unsigned short window[4] = { 0 }; /* struct winsize: rows, columns and two in pixels */

	window[0] = (unsigned short)(size[0] | size[1] << 8);
	window[1] = (unsigned short)(size[2] | size[3] << 8);
	if (input->terminal && input->fd >= 0)
		sys(ioctl, input->fd, TIOCSWINSZ, window);
}
