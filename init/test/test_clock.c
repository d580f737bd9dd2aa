/* Times as text, against the C library's calendar. */
#include <time.h>

#include "test.h"
/* after the C library's headers, for they share names with the kernel's */
#include "../clock.h"

static void compare(int64_t seconds)
{
	LINE(line, 64);
	char expected[64];
	time_t when = (time_t)seconds;
	struct tm parts;
	size_t length;

	gmtime_r(&when, &parts);
	length = strftime(expected, sizeof expected, "%Y-%m-%dT%H:%M:%S", &parts);
	snprintf(expected + length, sizeof expected - length, ".%09dZ", (int)(seconds % 1000000000));
	line_time(&line, (struct time){ seconds, seconds % 1000000000 });
	CHECK(line.length == CLOCK_TEXT);
	CHECK_TEXT(&line, expected);
}

int main(void)
{
	/* every fifth hour and a bit to the year 2500: each day of each month, leap or not */
	for (int64_t seconds = 0; seconds < 16725225600; seconds += 5 * 3600 + 7)
		compare(seconds);
	CHECK(clock_read(CLOCK_WALL).seconds > 1700000000);
	CHECK(clock_ms() <= clock_ms());
	puts("clock: ok");
	return 0;
}
