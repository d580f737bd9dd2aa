/* What a unit test needs and no more: a claim that fails names its place and ends the program.  Hosted only. */
#pragma once

#include <stdio.h>
#include <stdlib.h>

#include "../text.h"

#define CHECK(claim) \
	do { \
		if (!(claim)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim); \
			exit(1); \
		} \
	} while (0)

#define CHECK_TEXT(line, text) check_text(__FILE__, __LINE__, line, text)

static inline void check_text(const char *file, int at, struct line *line, const char *expected)
{
	if (text_equal(line_end(line), expected))
		return;
	fprintf(stderr, "%s:%d:\n  %s\nis not\n  %s\n", file, at, line->data, expected);
	exit(1);
}
