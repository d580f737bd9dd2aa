/* A small plan that holds together, made of the definition itself: what tests cut up and fuzzers start from. */
#pragma once

#include <string.h>

#include "../wire.h"

enum { SAMPLE_OPERATIONS = 3 };

struct bytes {
	unsigned char data[1024];
	size_t length, exit_name_at, operations_at;
};

static inline void put_bytes(struct bytes *b, const void *data, size_t length)
{
	memcpy(b->data + b->length, data, length);
	b->length += length;
}

static inline void put_number(struct bytes *b, uint64_t number, size_t width)
{
	put_bytes(b, &number, width);
}

static inline void put_argument(struct bytes *b, char kind, const char *text, uint64_t number)
{
	if (kind == 'u' || kind == 'f') {
		put_number(b, number, kind == 'u' ? 8 : 4);
		return;
	}
	put_number(b, strlen(text), 4);
	put_bytes(b, text, strlen(text) + 1);
}

static inline void put_operation(struct bytes *b, int number, int place, const char *text, uint64_t value)
{
	static const char *const signatures[] = OP_SIGNATURES;

	put_number(b, (uint64_t)number, 2);
	put_number(b, (uint64_t)place, 2);
	for (const char *kind = signatures[number]; *kind; kind++)
		put_argument(b, *kind, text, value);
}

static inline struct bytes sample_plan(void)
{
	struct bytes b = { .length = 0 };

	put_number(&b, WIRE_VERSION, 4);
	put_number(&b, HEADER_FIELDS, 4);
	for (int i = 0; i < HEADER_FIELDS; i++) {
		if (i == HEADER_EXIT_NAME)
			b.exit_name_at = b.length + 4;
		put_argument(&b, HEADER_SIGNATURE[i], i == HEADER_EXIT_NAME ? "exit" : "", i == HEADER_SLOTS ? 4 : 0);
	}
	put_number(&b, SAMPLE_OPERATIONS, 4);
	b.operations_at = b.length;
	put_operation(&b, OP_OPEN_TREE, PLACE_STAGE, "/srv", 1);
	put_operation(&b, OP_HOSTNAME, PLACE_INIT, "pier", 0);
	put_operation(&b, OP_UMASK, PLACE_INIT, "", 022);
	return b;
}
