/* Plans and packets: how Python and this program talk.  wire.def has the numbers and the encoding.
 * Decoding checks every length: a plan that does not hold together is refused whole. */
#pragma once

#include "wire_table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { PACKET_MAX = 65536, PACKET_FDS = 240, SLOTS_MAX = 1024 };

struct argument {
	union {
		uint64_t u;
		const char *s;
		int32_t f;
	};
	uint32_t length; /* of s and b */
};

struct operation {
	uint16_t number, place;
	struct argument arg[OP_MAX_ARGUMENTS];
};

struct plan {
	struct argument header[HEADER_FIELDS];
	uint32_t count;
	const unsigned char *operations; /* encoded; walked with plan_next */
	const unsigned char *end;
	int slots[SLOTS_MAX]; /* descriptors, -1 where there is none yet */
	uint32_t slot_count;
};

struct cursor {
	const unsigned char *at, *end;
	uint32_t left;
	uint32_t index; /* of the operation that was read last */
};

/* Reads header and checks every operation.  False: the bytes are not a plan. */
bool plan_decode(struct plan *plan, const unsigned char *bytes, size_t length);
struct cursor plan_begin(const struct plan *plan);
/* The next operation that is performed at `place`; false when there is none left. */
bool plan_next(struct cursor *cursor, int place, struct operation *operation);

/* Packets.  Return a length, or -errno; 0 is the end of the conversation. */
long packet_receive(int socket, void *buffer, size_t size, int *fds, int *fd_count);
long packet_send(int socket, const void *data, size_t length, const int *fds, int fd_count);
/* `total` bytes that come over several packets, of which the first `have` are there already; NULL: they do not come. */
unsigned char *packet_gather(int socket, const unsigned char *first, size_t have, size_t total);
/* {u32 message, u32 values...} */
long packet_send_words(int socket, const uint32_t *words, int count, int fd);
