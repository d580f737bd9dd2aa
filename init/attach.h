/* Attach clients: whoever watches the container's streams and types into them, at a SOCK_SEQPACKET socket.
 *
 * A packet's first byte says what it is (ATTACH_*), the rest is its payload of at most ATTACH_DATA bytes.
 *   client -> monitor   INPUT data; CLOSE_INPUT; RESIZE u16 rows, u16 columns (little endian)
 *   monitor -> client   OUTPUT data; ERROR data; EXIT i32 code, i32 signal (-1: does not apply), then it hangs up
 *
 * Slow clients.  Every client gets every byte from the moment it came.  Its queue is the socket's (about 200 KB, the
 * kernel's, bounded).  When one is full the monitor reads no more from the container, as a terminal would, so nothing
 * is lost and nothing grows; but a client that takes nothing for STALL_MS is hung up (without EXIT, so that it knows)
 * and everybody else goes on.  What a client has been sent is in the log already.
 *
 * Input goes the other way by the same rule: while the container does not read, clients' packets stay with them; only
 * those of another kind (resize) pass. */
#pragma once

#include "input.h"

enum { CLIENTS_MAX = 32, ATTACH_DATA = 32768, ATTACH_PACKET = ATTACH_DATA + 1, STALL_MS = 10000 };

struct client {
	int fd;      /* -1: a free place */
	bool behind; /* has not got the present packet */
	bool held;   /* has sent input that the container does not take yet */
	bool deaf;   /* takes nothing any more, but may have sent something */
};

struct attach {
	int listener; /* -1: no more clients */
	struct client clients[CLIENTS_MAX];
	unsigned char kind; /* the present packet */
	const void *data;   /* the sender keeps it until nobody is behind */
	size_t length;
	int64_t deadline; /* for those behind, on clock_ms */
};

/* listener: does not block */
void attach_open(struct attach *attach, int listener);
/* Everybody who waits, as far as there are places. */
void attach_accept(struct attach *attach);
bool attach_full(const struct attach *attach);
/* Sends a packet to every client.  Afterwards some may be behind; until none is, nothing more can be sent. */
void attach_send(struct attach *attach, unsigned char kind, const void *data, size_t length);
bool attach_behind(const struct attach *attach);
/* Tries again; after the deadline once more, and then hangs up on those that are still behind. */
void attach_retry(struct attach *attach, struct client *client);
void attach_expire(struct attach *attach);
/* Reads one packet of a client, unless it is input and the container has not taken the last. */
void attach_receive(struct client *client, struct input *input);
void attach_release(struct attach *attach);
void attach_close(struct attach *attach);
