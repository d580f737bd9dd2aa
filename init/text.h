/* Bytes and text without a C library: what the compiler expects, and bounded formatting. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

void *memcpy(void *to, const void *from, size_t length);
void *memmove(void *to, const void *from, size_t length);
void *memset(void *to, int byte, size_t length);
int memcmp(const void *a, const void *b, size_t length);
size_t strlen(const char *text);

bool text_equal(const char *a, const char *b);
bool text_starts(const char *text, const char *prefix);

/* A growing line in a fixed buffer.  What does not fit is cut off and remembered in `full`. */
struct line {
	char *data;
	size_t size, length;
	bool full;
};
#define LINE(name, bytes) \
	char name##_bytes[bytes]; \
	struct line name = { name##_bytes, sizeof name##_bytes, 0, false }

void line_bytes(struct line *line, const char *data, size_t length);
void line_text(struct line *line, const char *text);
void line_number(struct line *line, int64_t number);
/* number with leading zeros to a width */
void line_padded(struct line *line, uint64_t number, int width);
/* the text with its final NUL, always within the buffer */
const char *line_end(struct line *line);

/* "/proc/self/fd/N" */
const char *fd_path(int fd, char buffer[40]);
