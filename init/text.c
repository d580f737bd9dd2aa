#include "text.h"

#ifndef HOSTED
void *memcpy(void *to, const void *from, size_t length)
{
	char *out = to;
	const char *in = from;

	while (length--)
		*out++ = *in++;
	return to;
}

void *memmove(void *to, const void *from, size_t length)
{
	char *out = to;
	const char *in = from;

	if (out <= in)
		return memcpy(to, from, length);
	while (length--)
		out[length] = in[length];
	return to;
}

void *memset(void *to, int byte, size_t length)
{
	char *out = to;

	while (length--)
		*out++ = (char)byte;
	return to;
}

int memcmp(const void *a, const void *b, size_t length)
{
	const unsigned char *x = a, *y = b;

	for (; length; length--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

size_t strlen(const char *text)
{
	const char *end = text;

	while (*end)
		end++;
	return (size_t)(end - text);
}
#endif

bool text_equal(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	return *a == *b;
}

bool text_starts(const char *text, const char *prefix)
{
	while (*prefix && *text == *prefix)
		text++, prefix++;
	return !*prefix;
}

void line_bytes(struct line *line, const char *data, size_t length)
{
	size_t room = line->size - 1 - line->length;

	if (length > room) {
		length = room;
		line->full = true;
	}
	memcpy(line->data + line->length, data, length);
	line->length += length;
}

void line_text(struct line *line, const char *text)
{
	line_bytes(line, text, strlen(text));
}

void line_padded(struct line *line, uint64_t number, int width)
{
	char digits[20];
	int at = sizeof digits;

	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	while ((int)sizeof digits - at < width && at > 0)
		digits[--at] = '0';
	line_bytes(line, digits + at, sizeof digits - (size_t)at);
}

void line_number(struct line *line, int64_t number)
{
	if (number < 0)
		line_text(line, "-");
	line_padded(line, number < 0 ? 0 - (uint64_t)number : (uint64_t)number, 0);
}

const char *line_end(struct line *line)
{
	line->data[line->length] = 0;
	return line->data;
}

const char *fd_path(int fd, char buffer[40])
{
	struct line line = { buffer, 40, 0, false };

	line_text(&line, "/proc/self/fd/");
	line_number(&line, fd);
	return line_end(&line);
}
