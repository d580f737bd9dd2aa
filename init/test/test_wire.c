/* Plans that hold together are read; any other is refused. */
#include <string.h>
#include <unistd.h>

#include "test.h"

#include "../sys.h"
#include "../wire.h"
#include "plans.h"

static struct plan plan;

static bool decode(const unsigned char *bytes, size_t length)
{
	/* of its exact size, so that ASan sees a read past the end */
	unsigned char *copy = malloc(length ? length : 1);
	bool held;

	memcpy(copy, bytes, length);
	held = plan_decode(&plan, copy, length);
	free(copy);
	return held;
}

static void a_plan_is_read(void)
{
	struct bytes b = sample_plan();
	struct cursor cursor;
	struct operation op;

	CHECK(plan_decode(&plan, b.data, b.length));
	CHECK(plan.count == SAMPLE_OPERATIONS);
	CHECK(text_equal(plan.header[HEADER_EXIT_NAME].s, "exit"));
	cursor = plan_begin(&plan);
	CHECK(plan_next(&cursor, PLACE_INIT, &op) && op.number == OP_HOSTNAME && text_equal(op.arg[0].s, "pier"));
	CHECK(cursor.index == 1);
	CHECK(plan_next(&cursor, PLACE_INIT, &op) && op.number == OP_UMASK && op.arg[0].u == 022 && cursor.index == 2);
	CHECK(!plan_next(&cursor, PLACE_INIT, &op));
	cursor = plan_begin(&plan);
	CHECK(plan_next(&cursor, PLACE_STAGE, &op) && op.number == OP_OPEN_TREE && cursor.index == 0);
	CHECK(!plan_next(&cursor, PLACE_STAGE, &op));
}

static void every_shortened_plan_is_refused(void)
{
	struct bytes b = sample_plan();

	for (size_t length = 0; length < b.length; length++)
		CHECK(!decode(b.data, length));
	put_bytes(&b, "x", 1);
	CHECK(!decode(b.data, b.length));
}

static void strings_are_terminated(void)
{
	struct bytes b = sample_plan();

	b.data[b.exit_name_at] = 0; /* "exit" with a NUL inside */
	CHECK(!decode(b.data, b.length));
	b = sample_plan();
	b.data[b.exit_name_at + 4] = 'x';
	CHECK(!decode(b.data, b.length));
}

static void numbers_have_bounds(void)
{
	struct bytes b = sample_plan();

	b.data[0]++; /* version */
	CHECK(!decode(b.data, b.length));
	b = sample_plan();
	b.data[4]++; /* number of fields */
	CHECK(!decode(b.data, b.length));
	b = sample_plan();
	b.data[b.operations_at] = OP_COUNT;
	CHECK(!decode(b.data, b.length));
	b = sample_plan();
	b.data[b.operations_at + 2] = PLACE_INIT + 1;
	CHECK(!decode(b.data, b.length));
}

static void packets_carry_words_and_descriptors(void)
{
	int pair[2], fds[2] = { -1, -1 }, count = 2;
	uint32_t words[2] = { MESSAGE_CHILD, 7 }, got[4];

	CHECK(sys(socketpair, FAMILY_UNIX, SOCKET_PACKET, 0, pair) == 0);
	CHECK(packet_send_words(pair[0], words, 2, pair[0]) == 8);
	CHECK(packet_receive(pair[1], got, sizeof got, fds, &count) == 8);
	CHECK(got[0] == MESSAGE_CHILD && got[1] == 7 && count == 1 && fds[0] > pair[1]);
	close(fds[0]);
	/* descriptors that nobody asked for are closed, not leaked */
	CHECK(packet_send_words(pair[0], words, 1, pair[0]) == 4);
	CHECK(packet_receive(pair[1], got, sizeof got, NULL, NULL) == 4);
	count = dup(0);
	CHECK(count == fds[0]);
	close(count);
	close(pair[0]);
	CHECK(packet_receive(pair[1], got, sizeof got, NULL, NULL) == 0);
	close(pair[1]);
}

int main(void)
{
	a_plan_is_read();
	every_shortened_plan_is_refused();
	strings_are_terminated();
	numbers_have_bounds();
	packets_carry_words_and_descriptors();
	puts("wire: ok");
	return 0;
}
