/* Paths inside the new root.  Nothing in a root file system is trusted: every path is resolved by the kernel beneath
 * the root's descriptor (openat2, RESOLVE_IN_ROOT, no magic links) and handed on as a descriptor, so that a symbolic
 * link, or an exchange while we look, can lead nowhere else (CVE-2021-30465, CVE-2024-45310, CVE-2025-52881). */
#include "launch.h"

#include <asm/statfs.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>

enum { TRIES = 32 };

static int resolve(int directory, const char *path, uint64_t flags, uint64_t mode, uint64_t rules)
{
	struct open_how how = { .flags = flags | O_CLOEXEC, .mode = mode, .resolve = rules };
	long fd;

	for (int i = 0; i < TRIES; i++) {
		fd = sys(openat2, directory, path, &how, sizeof how);
		if (fd != -E_AGAIN) /* something was renamed while the kernel looked */
			break;
	}
	return (int)fd;
}

int root_open(struct launch *l, const char *path, uint64_t flags, uint64_t rules)
{
	l->doing = "openat2";
	l->about = path;
	return resolve(l->root, path, flags, 0, rules | RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
}

static const char *skip_slashes(const char *at)
{
	while (*at == '/')
		at++;
	return at;
}

static const char *skip_name(const char *at)
{
	while (*at && *at != '/')
		at++;
	return at;
}

/* Makes the directory that `path` (cut off at `end`) names beneath `parent`, which was opened for the part before. */
static int make_directory(struct launch *l, int parent, const char *name, const char *end, uint64_t mode)
{
	char last[256];
	size_t length = (size_t)(end - name);
	long error;

	if (length >= sizeof last)
		return -36; /* ENAMETOOLONG */
	memcpy(last, name, length);
	last[length] = 0;
	error = STEP(l, "mkdirat", l->about, sys(mkdirat, parent, last, mode));
	return error == -E_EXIST ? 0 : (int)error;
}

/* An O_PATH descriptor of the directory that is the first `end` bytes of path, made where it is missing. */
static int directory_up_to(struct launch *l, const char *path, const char *end, uint64_t mode, uint64_t rules)
{
	char prefix[4096];
	const char *at = skip_slashes(path);
	int parent = root_open(l, "/", O_PATH | O_DIRECTORY, 0);

	l->about = path;
	while (at < end && parent >= 0) {
		const char *stop = skip_name(at);
		size_t length = (size_t)(stop - path);
		int next;

		if (length >= sizeof prefix)
			return -36;
		memcpy(prefix, path, length);
		prefix[length] = 0;
		next = resolve(l->root, prefix, O_PATH | O_DIRECTORY, 0,
			       rules | RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
		if (next == -E_NOENT) {
			TRY(make_directory(l, parent, at, stop, skip_slashes(stop) < end ? mode & 0755 : mode));
			next = resolve(l->root, prefix, O_PATH | O_DIRECTORY, 0,
				       rules | RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS);
		}
		sys(close, parent);
		parent = next;
		l->doing = "openat2";
		at = skip_slashes(stop);
	}
	return parent;
}

static const char *end_of(const char *path)
{
	return path + strlen(path);
}

long make_directories(struct launch *l, const char *path, uint64_t mode)
{
	int fd = directory_up_to(l, path, end_of(path), mode, 0);

	if (fd >= 0)
		sys(close, fd);
	return fd;
}

int root_parent(struct launch *l, const char *path, const char **name)
{
	const char *last = end_of(path);

	while (last > path && last[-1] != '/')
		last--;
	*name = last;
	if (!*last || text_equal(last, "..") || text_equal(last, "."))
		return -E_INVAL;
	return directory_up_to(l, path, last, 0755, 0);
}

static int make_file(struct launch *l, const char *path)
{
	const char *name;
	int parent = root_parent(l, path, &name);
	long fd;

	if (parent < 0)
		return parent;
	/* O_EXCL: a link that dangles is not followed, and nothing is opened that has come meanwhile */
	fd = sys(openat, parent, name, O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_RDONLY, 0644);
	sys(close, parent);
	if (fd < 0)
		return fd == -E_EXIST ? 0 : (int)STEP(l, "create file", path, fd);
	sys(close, fd);
	return 0;
}

static int is_procfs(int fd)
{
	struct statfs about;

	return sys(fstatfs, fd, &about) == 0 && about.f_type == PROC_SUPER_MAGIC;
}

/* Python has seen to it that no destination is named below /proc but those that may; here, that no link leads there
 * (CVE-2019-19921). */
static int keep_out_of_proc(struct launch *l, const char *path, int fd)
{
	static const char proc[] = "/proc";
	size_t same = 0;

	while (same < sizeof proc - 1 && path[same] == proc[same])
		same++;
	if (fd < 0 || !is_procfs(fd) || (same == sizeof proc - 1 && (path[same] == '/' || !path[same])))
		return fd;
	sys(close, fd);
	return (int)STEP(l, "find out where it leads", path, -E_XDEV);
}

static int find_target(struct launch *l, const char *path, uint64_t kind)
{
	uint64_t rules = kind & TARGET_REAL ? RESOLVE_NO_SYMLINKS : 0;
	int fd = root_open(l, path, O_PATH, rules);

	if (fd != -E_NOENT)
		return fd;
	if (kind & TARGET_FILE)
		TRY(make_file(l, path));
	else
		return directory_up_to(l, path, end_of(path), kind & TARGET_KEEP_MODE ? 01777 : 0755, rules);
	return root_open(l, path, O_PATH, rules);
}

int root_target(struct launch *l, const char *path, uint64_t kind)
{
	return keep_out_of_proc(l, path, find_target(l, path, kind));
}

/* A detached procfs: no mount can have been put over any of its files.  In a user namespace where the kernel refuses
 * a new one, /proc itself, checked to be procfs; what is opened beneath may then not cross into another mount. */
int own_proc(struct launch *l)
{
	long context, fd;

	if (l->proc >= 0)
		return l->proc;
	context = STEP(l, "fsopen", "proc", sys(fsopen, "proc", FSOPEN_CLOEXEC));
	fd = context < 0 ? context : sys(fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (fd >= 0)
		fd = sys(fsmount, context, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (context >= 0)
		sys(close, context);
	if (fd < 0) {
		fd = sys(openat, FD_CWD, "/proc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && !is_procfs((int)fd)) {
			sys(close, fd);
			return (int)STEP(l, "check that it is procfs", "/proc", -E_INVAL);
		}
	}
	l->proc = (int)fd;
	return l->proc;
}

/* A link of procfs says it; to follow that link would be to trust that nothing was mounted over it. */
long line_own_number(struct launch *l, struct line *path)
{
	char number[16];
	long length = STEP(l, "readlink", "/proc/self", sys(readlinkat, l->proc, "self", number, sizeof number));

	if (length > 0)
		line_bytes(path, number, (size_t)length);
	return length;
}

long write_file_at(struct launch *l, int directory, const char *path, const char *text, size_t length)
{
	int fd = STEP(l, "open", path,
		      resolve(directory, path, O_WRONLY, 0, RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_SYMLINKS));
	long written;

	if (fd < 0)
		return fd;
	if (!is_procfs(fd)) {
		sys(close, fd);
		return STEP(l, "check that it is procfs", path, -E_INVAL);
	}
	written = STEP(l, "write", path, sys(write, fd, text, length));
	sys(close, fd);
	return written < 0 ? written : 0;
}
