/* A plan that is accepted can be walked, and every string in it ends inside it. */
#include "fuzz.h"

#include "plans.h"

size_t fuzz_seed(int number, uint8_t *data, size_t size)
{
	struct bytes b = sample_plan();

	if (number || b.length > size)
		return 0;
	memcpy(data, b.data, b.length);
	return b.length;
}

static void walk(const struct plan *plan, int place, uint32_t *seen)
{
	static const char *const signatures[] = OP_SIGNATURES;
	struct cursor cursor = plan_begin(plan);
	struct operation op;

	while (plan_next(&cursor, place, &op)) {
		FUZZ_CHECK(op.number < OP_COUNT && op.place == place && cursor.index < plan->count);
		++*seen;
		for (int i = 0; signatures[op.number][i]; i++) {
			char kind = signatures[op.number][i];

			FUZZ_CHECK(kind != 's' || strlen(op.arg[i].s) == op.arg[i].length);
			FUZZ_CHECK(kind != 'b' || op.arg[i].s[op.arg[i].length] == 0);
			FUZZ_CHECK(kind != 'f' || (op.arg[i].f >= -1 && op.arg[i].f < SLOTS_MAX));
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length)
{
	static struct plan plan;
	uint32_t seen = 0;

	if (!plan_decode(&plan, data, length))
		return 0;
	for (int place = PLACE_STAGE; place <= PLACE_INIT; place++)
		walk(&plan, place, &seen);
	FUZZ_CHECK(seen == plan.count);
	for (int i = 0; i < HEADER_FIELDS; i++)
		FUZZ_CHECK(HEADER_SIGNATURE[i] != 's' || strlen(plan.header[i].s) == plan.header[i].length);
	return 0;
}
