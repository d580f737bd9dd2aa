#include "oom.h"

uint64_t oom_parse(const char *text)
{
	uint64_t number = 0;

	while (*text && !text_starts(text, "oom_kill "))
		while (*text && *text++ != '\n')
			;
	for (text += *text ? strlen("oom_kill ") : 0; *text >= '0' && *text <= '9'; text++)
		number = number * 10 + (uint64_t)(*text - '0');
	return number;
}

void oom_read(struct oom *oom)
{
	char text[512];
	long length;

	length = sys(pread64, oom->file, text, sizeof text - 1, 0);
	if (length < 0) { /* ENODEV: the cgroup was removed; EBADF: there was no file */
		sys(close, oom->file);
		oom->file = -1;
		return;
	}
	text[length] = 0;
	oom->kills = oom_parse(text);
}

void oom_open(struct oom *oom, const char *path, uint64_t before)
{
	*oom = (struct oom){ *path ? (int)sys(openat, FD_CWD, path, O_RDONLY | O_CLOEXEC) : -1, before, 0 };
	oom_read(oom);
}

uint64_t oom_count(const char *path)
{
	struct oom oom;

	oom_open(&oom, path, 0);
	sys(close, oom.file);
	return oom.kills;
}
