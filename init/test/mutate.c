/* Runs a fuzz target over mutated inputs: always the same for the same count, so a failure is found again.
 *
 *     fuzz_X COUNT [FIRST]      runs FIRST, FIRST + 1, ...; a failing run's number is printed */
#include "fuzz.h"

#include <signal.h>
#include <unistd.h>

enum { INPUT_MAX = 4096 };

static uint64_t state;
static unsigned long run;

/* xorshift64: fast and the same everywhere */
static uint64_t any(uint64_t below)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state % below;
}

static size_t mutate(uint8_t *data, size_t length)
{
	static const uint8_t edges[] = { 0, 1, 0x7f, 0x80, 0xff, '\n', '"', '\\', 0xc3, 0xe2, 0xf0 };
	size_t at = length ? any(length) : 0, size = 1 + any(8);

	switch (any(6)) {
	case 0:
		if (length)
			data[at] = (uint8_t)(data[at] ^ (1u << any(8)));
		return length;
	case 1:
		if (length)
			data[at] = edges[any(sizeof edges)];
		return length;
	case 2: /* cut */
		return at;
	case 3: /* leave some out */
		if (at + size > length)
			return length;
		memmove(data + at, data + at + size, length - at - size);
		return length - size;
	case 4: /* put some in */
		if (length + size > INPUT_MAX)
			return length;
		memmove(data + at + size, data + at, length - at);
		for (size_t i = 0; i < size; i++)
			data[at + i] = (uint8_t)any(256);
		return length + size;
	default: /* a length or a number */
		if (at + 4 <= length)
			memcpy(data + at, &(uint32_t){ (uint32_t)any(3) == 0 ? (uint32_t)any(1u << 31) * 2 : (uint32_t)any(70000) }, 4);
		return length;
	}
}

static void failed(int signal)
{
	fprintf(stderr, "run %lu failed\n", run);
	_exit(128 + signal);
}

int main(int count, char **arguments)
{
	unsigned long runs = count > 1 ? strtoul(arguments[1], NULL, 10) : 1000;
	unsigned long first = count > 2 ? strtoul(arguments[2], NULL, 10) : 0;
	static uint8_t data[INPUT_MAX];
	int seeds = 0;

	signal(SIGABRT, failed);
	while (fuzz_seed(seeds, data, sizeof data))
		seeds++;
	for (run = first; run < first + runs; run++) {
		size_t length;
		uint8_t *exact; /* of the input's size, so that ASan sees a read past its end */

		state = run * 0x9e3779b97f4a7c15u + 1;
		length = fuzz_seed((int)(run % (unsigned long)seeds), data, sizeof data);
		for (uint64_t changes = run < (unsigned long)seeds ? 0 : 1 + any(8); changes; changes--)
			length = mutate(data, length);
		exact = malloc(length ? length : 1);
		memcpy(exact, data, length);
		LLVMFuzzerTestOneInput(exact, length);
		free(exact);
	}
	printf("%s: %lu inputs\n", strrchr(arguments[0], '/') ? strrchr(arguments[0], '/') + 1 : arguments[0], runs);
	return 0;
}
