/* Copies a directory's content, entry by entry by descriptors: links are copied, never followed. */
#include "launch.h"

enum { KIND = 0170000, DIRECTORY = 0040000, REGULAR = 0100000, LINK = 0120000, DEPTH_MAX = 64, CHUNK = 1 << 20 };

/* struct linux_dirent64, as getdents64(2) gives it */
struct entry {
	uint64_t inode;
	int64_t next;
	uint16_t length;
	uint8_t type;
	char name[];
};

static long copy_directory(struct launch *l, int from, int to, int depth);

static long give(int to, const char *name, const struct statx *about)
{
	TRY(sys(fchownat, to, name, about->stx_uid, about->stx_gid, NO_FOLLOW));
	if ((about->stx_mode & KIND) == LINK)
		return 0;
	return sys(fchmodat, to, name, about->stx_mode & 07777);
}

static long copy_regular(int from, int to, const char *name)
{
	long in = sys(openat, from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK), out, copied;

	TRY(in);
	out = sys(openat, to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	copied = out;
	while (out >= 0 && (copied = sys(sendfile, out, in, NULL, CHUNK)) > 0)
		continue;
	sys(close, in);
	if (out >= 0)
		sys(close, out);
	return copied;
}

static long copy_link(int from, int to, const char *name)
{
	char target[4096];
	long length = sys(readlinkat, from, name, target, sizeof target - 1);

	TRY(length);
	target[length] = 0;
	return sys(symlinkat, target, to, name);
}

static long copy_below(struct launch *l, int from, int to, const char *name, int depth)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	long in, out, result;

	TRY(sys(mkdirat, to, name, 0700));
	in = sys(openat, from, name, flags);
	TRY(in);
	out = sys(openat, to, name, flags);
	result = out < 0 ? out : copy_directory(l, (int)in, (int)out, depth + 1);
	sys(close, in);
	if (out >= 0)
		sys(close, out);
	return result;
}

static long copy_entry(struct launch *l, int from, int to, const char *name, int depth)
{
	struct statx about;

	TRY(sys(statx, from, name, NO_FOLLOW, STATX_BASIC_STATS, &about));
	switch (about.stx_mode & KIND) {
	case DIRECTORY:
		TRY(copy_below(l, from, to, name, depth));
		break;
	case REGULAR:
		TRY(copy_regular(from, to, name));
		break;
	case LINK:
		TRY(copy_link(from, to, name));
		break;
	default: /* a socket or a device: it means nothing in another place */
		return 0;
	}
	return give(to, name, &about);
}

static long copy_directory(struct launch *l, int from, int to, int depth)
{
	_Alignas(struct entry) char buffer[4096];
	long length;

	if (depth > DEPTH_MAX)
		return -E_LOOP;
	while ((length = sys(getdents64, from, buffer, sizeof buffer)) > 0) {
		for (long at = 0; at < length;) {
			const struct entry *entry = (const struct entry *)(buffer + at);

			at += entry->length;
			if (text_equal(entry->name, ".") || text_equal(entry->name, ".."))
				continue;
			TRY(copy_entry(l, from, to, entry->name, depth));
		}
	}
	return length;
}

long copy_tree(struct launch *l, int from, int to)
{
	long result, in = STEP(l, "copy up", l->about, sys(openat, from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct statx about;

	TRY(in);
	TRY(sys(statx, from, "", EMPTY_PATH, STATX_BASIC_STATS, &about));
	TRY(sys(fchownat, to, "", about.stx_uid, about.stx_gid, EMPTY_PATH));
	result = STEP(l, "copy up", l->about, copy_directory(l, (int)in, to, 0));
	sys(close, in);
	return result;
}
