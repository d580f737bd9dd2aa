/* A fuzz target: one function that must not misbehave for any bytes, and the inputs to start from.  The built-in driver
 * (mutate.c) mutates those, the same way in every run; libFuzzer, where clang has it, looks for coverage. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);
/* The number-th input to start from, at most `size` bytes; 0 when there are no more. */
size_t fuzz_seed(int number, uint8_t *data, size_t size);

#define FUZZ_CHECK(claim) \
	do { \
		if (!(claim)) { \
			fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #claim); \
			abort(); \
		} \
	} while (0)
