#include "wire.h"

#include "sys.h"
#include "text.h"

#include <linux/mman.h>

static const char *const signatures[OP_COUNT] = OP_SIGNATURES;

static bool take(struct cursor *c, void *to, size_t length)
{
	if ((size_t)(c->end - c->at) < length)
		return false;
	memcpy(to, c->at, length);
	c->at += length;
	return true;
}

static bool take_argument(struct cursor *c, char kind, struct argument *out)
{
	if (kind == 'u')
		return take(c, &out->u, 8);
	if (kind == 'f')
		return take(c, &out->f, 4) && out->f >= -1 && out->f < SLOTS_MAX;
	if (!take(c, &out->length, 4) || out->length >= (size_t)(c->end - c->at))
		return false;
	out->s = (const char *)c->at;
	if (c->at[out->length] != 0)
		return false;
	if (kind == 's' && strlen(out->s) != out->length)
		return false;
	c->at += out->length + 1;
	return true;
}

static bool take_operation(struct cursor *c, struct operation *op)
{
	if (!take(c, &op->number, 2) || !take(c, &op->place, 2))
		return false;
	if (op->number >= OP_COUNT || op->place > PLACE_INIT)
		return false;
	for (int i = 0; signatures[op->number][i]; i++)
		if (!take_argument(c, signatures[op->number][i], &op->arg[i]))
			return false;
	c->index++;
	c->left--;
	return true;
}

static bool operations_hold(struct plan *plan)
{
	struct cursor c = plan_begin(plan);
	struct operation op;

	while (c.left)
		if (!take_operation(&c, &op))
			return false;
	return c.at == c.end;
}

bool plan_decode(struct plan *plan, const unsigned char *bytes, size_t length)
{
	struct cursor c = { bytes, bytes + length, 0, 0 };
	uint32_t version, fields;

	if (!take(&c, &version, 4) || version != WIRE_VERSION)
		return false;
	if (!take(&c, &fields, 4) || fields != HEADER_FIELDS)
		return false;
	for (int i = 0; i < HEADER_FIELDS; i++)
		if (!take_argument(&c, HEADER_SIGNATURE[i], &plan->header[i]))
			return false;
	if (plan->header[HEADER_SLOTS].u > SLOTS_MAX || !take(&c, &plan->count, 4))
		return false;
	plan->operations = c.at;
	plan->end = c.end;
	return operations_hold(plan);
}

struct cursor plan_begin(const struct plan *plan)
{
	return (struct cursor){ plan->operations, plan->end, plan->count, (uint32_t)-1 };
}

bool plan_next(struct cursor *cursor, int place, struct operation *operation)
{
	while (cursor->left)
		if (take_operation(cursor, operation) && operation->place == place)
			return true;
	return false;
}

struct rights {
	struct control_header header;
	int fds[PACKET_FDS];
};

long packet_receive(int socket, void *buffer, size_t size, int *fds, int *fd_count)
{
	struct rights rights;
	struct iovec part = { buffer, size };
	struct message_header message = { .parts = &part,
					  .part_count = 1,
					  .control = &rights,
					  .control_length = sizeof rights };
	long length;
	int count = 0;

	do
		length = sys(recvmsg, socket, &message, RECEIVE_CLOEXEC);
	while (length == -E_INTR);
	if (length >= 0 && message.control_length >= sizeof rights.header &&
	    rights.header.level == LEVEL_SOCKET && rights.header.type == CONTROL_RIGHTS)
		count = (int)((rights.header.length - sizeof rights.header) / sizeof(int));
	for (int i = 0; i < count; i++) {
		if (fds && i < *fd_count)
			fds[i] = rights.fds[i];
		else
			sys(close, rights.fds[i]);
	}
	if (fd_count)
		*fd_count = count < *fd_count ? count : *fd_count;
	return length;
}

unsigned char *packet_gather(int socket, const unsigned char *first, size_t have, size_t total)
{
	long at = sys(mmap, 0, total, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (at < 0 && at > -4096)
		return NULL;
	memcpy((void *)at, first, have);
	while (have < total) {
		long more = packet_receive(socket, (char *)at + have, total - have, NULL, NULL);

		if (more <= 0)
			return NULL;
		have += (size_t)more;
	}
	return (unsigned char *)at;
}

long packet_send(int socket, const void *data, size_t length, const int *fds, int fd_count)
{
	struct rights rights = { .header = { sizeof rights.header + (size_t)fd_count * sizeof(int),
					     LEVEL_SOCKET, CONTROL_RIGHTS } };
	struct iovec part = { (void *)data, length };
	struct message_header message = { .parts = &part, .part_count = 1 };
	long sent;

	if (fd_count) {
		memcpy(rights.fds, fds, (size_t)fd_count * sizeof(int));
		message.control = &rights;
		message.control_length = (rights.header.length + 7) & ~(size_t)7;
	}
	do
		sent = sys(sendmsg, socket, &message, SEND_NO_SIGNAL);
	while (sent == -E_INTR);
	return sent;
}

long packet_send_words(int socket, const uint32_t *words, int count, int fd)
{
	return packet_send(socket, words, (size_t)count * 4, &fd, fd >= 0);
}
