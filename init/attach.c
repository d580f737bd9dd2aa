#include "attach.h"

#include "clock.h"
#include "wire_table.h"

enum { RECEIVE_PEEK = 2, RECEIVE_LENGTH = 0x20 /* MSG_TRUNC */, DO_NOT_WAIT = 0x40, E_CONNECTION_RESET = 104 };

static void hang_up(struct client *c)
{
	sys(close, c->fd);
	*c = (struct client){ .fd = -1 };
}

void attach_open(struct attach *a, int listener)
{
	a->listener = listener;
	for (int i = 0; i < CLIENTS_MAX; i++)
		a->clients[i].fd = -1;
}

static struct client *free_place(struct attach *a)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (a->clients[i].fd < 0)
			return &a->clients[i];
	return NULL;
}

bool attach_full(const struct attach *a)
{
	return !free_place((struct attach *)a);
}

void attach_accept(struct attach *a)
{
	struct client *c;
	long fd;

	while ((c = free_place(a)) && (fd = sys(accept4, a->listener, NULL, NULL, SOCKET_CLOEXEC | SOCKET_NONBLOCK)) >= 0)
		*c = (struct client){ .fd = (int)fd };
}

/* ---- to the clients ---- */

static void deliver(const struct attach *a, struct client *c)
{
	struct iovec parts[2] = { { (void *)&a->kind, 1 }, { (void *)a->data, a->length } };
	struct message_header message = { .parts = parts, .part_count = 2 };
	long sent = sys(sendmsg, c->fd, &message, SEND_NO_SIGNAL | DO_NOT_WAIT);

	c->deaf = sent == -E_PIPE || sent == -E_CONNECTION_RESET;
	c->behind = sent < 0 && !c->deaf;
}

void attach_send(struct attach *a, unsigned char kind, const void *data, size_t length)
{
	a->kind = kind;
	a->data = data;
	a->length = length;
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (a->clients[i].fd >= 0 && !a->clients[i].deaf)
			deliver(a, &a->clients[i]);
	if (attach_behind(a))
		a->deadline = clock_ms() + STALL_MS;
}

bool attach_behind(const struct attach *a)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (a->clients[i].behind)
			return true;
	return false;
}

void attach_retry(struct attach *a, struct client *c)
{
	if (c->behind)
		deliver(a, c);
}

void attach_expire(struct attach *a)
{
	if (!attach_behind(a) || clock_ms() < a->deadline)
		return;
	for (int i = 0; i < CLIENTS_MAX; i++) {
		/* One that takes a packet now and then makes room, of which poll tells only when most of the queue is free. */
		attach_retry(a, &a->clients[i]);
		if (a->clients[i].behind)
			hang_up(&a->clients[i]);
	}
}

void attach_close(struct attach *a)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		if (a->clients[i].fd >= 0)
			hang_up(&a->clients[i]);
	if (a->listener >= 0)
		sys(close, a->listener);
	a->listener = -1;
}

/* ---- from the clients ---- */

void attach_release(struct attach *a)
{
	for (int i = 0; i < CLIENTS_MAX; i++)
		a->clients[i].held = false;
}

static void receive_input(struct client *c, struct input *input)
{
	long length;

	c->held = input_busy(input);
	if (c->held)
		return;
	length = sys(recvfrom, c->fd, input->buffer, ATTACH_PACKET, DO_NOT_WAIT, NULL, NULL);
	input->start = 1;
	input->end = length < 1 ? 1 : (size_t)length;
	input_flush(input);
}

static void receive_command(struct client *c, struct input *input)
{
	unsigned char packet[1 + WINDOW_BYTES];
	long length = sys(recvfrom, c->fd, packet, sizeof packet, DO_NOT_WAIT | RECEIVE_LENGTH, NULL, NULL);

	if (length == 1 && packet[0] == ATTACH_CLOSE_INPUT)
		input_close(input);
	if (length == sizeof packet && packet[0] == ATTACH_RESIZE)
		terminal_resize(input, packet + 1);
}

void attach_receive(struct client *c, struct input *input)
{
	unsigned char kind;
	long length = sys(recvfrom, c->fd, &kind, 1, RECEIVE_PEEK | RECEIVE_LENGTH | DO_NOT_WAIT, NULL, NULL);

	/* a client that hung up before it had read everything: said once, before what it had sent */
	if (length == -E_AGAIN || length == -E_CONNECTION_RESET)
		return;
	if (length < 1 || length > ATTACH_PACKET)
		hang_up(c);
	else if (kind == ATTACH_INPUT)
		receive_input(c, input);
	else
		receive_command(c, input);
}
