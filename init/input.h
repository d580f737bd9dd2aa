/* Where input from clients goes: the container's pipe, or the terminal's master. */
#pragma once

#include "sys.h"
#include "text.h"

enum { WINDOW_BYTES = 4 };

struct input {
	int fd; /* -1: there is none, or it is closed */
	bool terminal, closing;
	char *buffer;      /* ATTACH_PACKET bytes */
	size_t start, end; /* in it: what the container has not taken yet */
};

bool input_busy(const struct input *input);
/* Hands on what is there, as far as the container takes it. */
void input_flush(struct input *input);
/* The container reads end-of-file once it has read everything that came before. */
void input_close(struct input *input);

/* size: u16 rows, u16 columns; the processes in the foreground get SIGWINCH */
void terminal_resize(const struct input *input, const unsigned char size[WINDOW_BYTES]);
