/* Clocks, and wall-clock time as text. */
#pragma once

#include "sys.h"
#include "text.h"

enum { CLOCK_TEXT = 30 };

struct time clock_read(int clock);
/* milliseconds that only ever grow */
int64_t clock_ms(void);
/* 2026-01-02T03:04:05.123456789Z: RFC 3339 in UTC, always CLOCK_TEXT characters, so that texts sort as times do */
void line_time(struct line *line, struct time time);
