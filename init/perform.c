/* Walks through a plan's operations, reports the one that failed, and keeps step with Python. */
#include "launch.h"

enum { STATES_MAX = 16 << 20 };

#define OP_ENTRY(NAME, name) [OP_##NAME] = op_##name,
static perform_function *const functions[OP_COUNT] = { FOR_EACH_OP(OP_ENTRY) };

int slot(const struct launch *l, const struct argument *a)
{
	return a->f < 0 ? -1 : l->plan.slots[a->f];
}

static int place_now(const struct launch *l)
{
	return l->report == l->control ? PLACE_STAGE : PLACE_INIT;
}

/* {error, place, operation, errno} "doing" NUL "about" NUL */
_Noreturn void fail(struct launch *l, long error)
{
	uint32_t words[4] = { MESSAGE_ERROR, (uint32_t)place_now(l), l->index, (uint32_t)-error };
	LINE(packet, 4096);

	line_bytes(&packet, (const char *)words, sizeof words);
	line_text(&packet, l->doing ? l->doing : "");
	line_bytes(&packet, "", 1);
	line_text(&packet, l->about ? l->about : "");
	line_bytes(&packet, "", 1);
	packet_send(l->report, packet.data, packet.length, NULL, 0);
	leave(1);
}

static uint64_t now(void)
{
	struct time time = { 0, 0 };

	sys(clock_gettime, CLOCK_STEADY, &time);
	return (uint64_t)(time.seconds * 1000000000 + time.nanoseconds);
}

/* {trace, operation, nanoseconds}: sent before an operation that closes the conversation, else after it */
static void trace(struct launch *l, uint64_t began)
{
	uint32_t words[3] = { MESSAGE_TRACE, l->index, (uint32_t)(now() - began) };

	packet_send_words(l->report, words, 3, -1);
}

void perform_all(struct launch *l, int place)
{
	int tracing = l->plan.header[HEADER_FLAGS].u & LAUNCH_TRACE && place != PLACE_STAGE;
	struct cursor cursor = plan_begin(&l->plan);
	struct operation op;

	while (plan_next(&cursor, place, &op)) {
		uint64_t began = tracing ? now() : 0;
		long error;

		l->index = cursor.index;
		l->doing = l->about = NULL;
		error = functions[op.number](l, op.arg);
		if (error < 0)
			fail(l, error);
		if (tracing)
			trace(l, began);
	}
}

/* State documents: u32 length, bytes, NUL each. */
static long read_states(struct launch *l, const unsigned char *at, const unsigned char *end)
{
	for (int i = 0; i < 2 && at < end; i++) {
		uint32_t size;

		if (end - at < 5)
			return -E_PROTO;
		memcpy(&size, at, 4);
		if (size > (size_t)(end - at - 5))
			return -E_PROTO;
		l->states[i].s = (const char *)at + 4;
		l->states[i].length = size;
		at += 5 + size;
	}
	return 0;
}

/* {go, u32 length}, then the documents */
static long read_go(struct launch *l, const unsigned char *packet, long length)
{
	uint32_t words[2];
	unsigned char *states;

	if (length < (long)sizeof words)
		return -E_PROTO;
	memcpy(words, packet, sizeof words);
	if (words[0] != MESSAGE_GO || words[1] > STATES_MAX || words[1] < (size_t)length - sizeof words)
		return -E_PROTO;
	if (words[1] == 0)
		return 0;
	states = packet_gather(l->channel, packet + sizeof words, (size_t)length - sizeof words, words[1]);
	return states ? read_states(l, states, states + words[1]) : -E_PROTO;
}

long await_go(struct launch *l, uint32_t tag)
{
	static unsigned char packet[PACKET_MAX];
	uint32_t words[2] = { MESSAGE_SYNC, tag };
	long length;

	l->doing = "wait for the launcher";
	TRY(packet_send_words(l->channel, words, 2, -1));
	length = packet_receive(l->channel, packet, sizeof packet, NULL, NULL);
	if (length == 0) /* the launcher is gone: there is nobody to tell */
		leave(1);
	return length < 0 ? length : read_go(l, packet, length);
}

long op_sync(struct launch *l, const struct argument *a)
{
	return await_go(l, (uint32_t)a[SYNC_ARG_TAG].u);
}

/* The launcher answers when it has taken note of us: a process that nobody knows of must not wait at its gate. */
long op_ready(struct launch *l, const struct argument *a)
{
	uint32_t word = MESSAGE_READY;
	long length;

	(void)a;
	l->doing = "tell the launcher";
	TRY(packet_send_words(l->channel, &word, 1, -1));
	length = packet_receive(l->channel, &word, sizeof word, NULL, NULL);
	if (length == sizeof word && word == MESSAGE_GO)
		return 0;
	leave(1);
}

/* Waits for somebody to connect and say go; from then on errors go to that connection, and its end means "running". */
long op_gate(struct launch *l, const struct argument *a)
{
	uint32_t word = 0;
	int connection;

	sys(close, l->channel);
	l->channel = -1;
	for (;;) {
		connection = (int)STEP(l, "accept4", "the start gate",
				       sys(accept4, slot(l, &a[GATE_ARG_LISTENER]), NULL, NULL, SOCKET_CLOEXEC));
		if (connection < 0 && connection != -E_INTR)
			return connection;
		if (connection >= 0 && packet_receive(connection, &word, sizeof word, NULL, NULL) == sizeof word &&
		    word == MESSAGE_GO)
			break;
		sys(close, connection);
	}
	sys(close, slot(l, &a[GATE_ARG_LISTENER]));
	l->report = connection;
	return 0;
}

static int strings(const struct argument *bytes, const char **out, int most)
{
	int count = 0;

	for (uint32_t at = 0; at < bytes->length && count < most; count++) {
		out[count] = bytes->s + at;
		at += (uint32_t)strlen(bytes->s + at) + 1;
	}
	out[count] = NULL;
	return count;
}

const char **string_table(const struct argument *bytes)
{
	size_t count = 2;
	long at;

	for (uint32_t i = 0; i < bytes->length; i++)
		count += bytes->s[i] == 0;
	at = sys(mmap, 0, count * sizeof(char *), 3 /* PROT_READ | PROT_WRITE */, 0x22 /* private, anonymous */, -1, 0);
	if (at < 0 && at > -4096)
		return NULL;
	strings(bytes, (const char **)at, (int)count - 1);
	return (const char **)at;
}

long op_execute(struct launch *l, const struct argument *a)
{
	const char **arguments = string_table(&a[EXECUTE_ARG_ARGUMENTS]);
	const char **environment = string_table(&a[EXECUTE_ARG_ENVIRONMENT]);
	uint32_t word = MESSAGE_EXECUTING;

	if (!arguments || !environment)
		return -E_NOMEM;
	if (l->channel >= 0)
		TRY(STEP(l, "tell the launcher", NULL, packet_send_words(l->channel, &word, 1, -1)));
	return STEP(l, "execve", l->executable, sys(execve, l->executable, arguments, environment));
}
