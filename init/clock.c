#include "clock.h"

struct time clock_read(int clock)
{
	struct time time = { 0, 0 };

	sys(clock_gettime, clock, &time);
	return time;
}

int64_t clock_ms(void)
{
	struct time time = clock_read(CLOCK_STEADY);

	return time.seconds * 1000 + time.nanoseconds / 1000000;
}

/* Years that begin in March end with the leap day, so that months need no table.
 * Source: Howard Hinnant, chrono-Compatible Low-Level Date Algorithms, civil_from_days. */
static void line_date(struct line *line, uint64_t days_since_1970)
{
	uint64_t days = days_since_1970 + 719468; /* since 0000-03-01 */
	uint64_t era = days / 146097, of_era = days % 146097;
	uint64_t year = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
	uint64_t of_year = of_era - (365 * year + year / 4 - year / 100);
	uint64_t from_march = (5 * of_year + 2) / 153;
	uint64_t month = from_march < 10 ? from_march + 3 : from_march - 9;

	line_padded(line, era * 400 + year + (month <= 2), 4);
	line_text(line, "-");
	line_padded(line, month, 2);
	line_text(line, "-");
	line_padded(line, of_year - (153 * from_march + 2) / 5 + 1, 2);
}

void line_time(struct line *line, struct time time)
{
	uint64_t seconds = time.seconds < 0 ? 0 : (uint64_t)time.seconds;

	line_date(line, seconds / 86400);
	line_text(line, "T");
	line_padded(line, seconds / 3600 % 24, 2);
	line_text(line, ":");
	line_padded(line, seconds / 60 % 60, 2);
	line_text(line, ":");
	line_padded(line, seconds % 60, 2);
	line_text(line, ".");
	line_padded(line, (uint64_t)time.nanoseconds, 9);
	line_text(line, "Z");
}
