/* Mounts, device nodes and the change of root.  All by descriptors: a mount is made detached, given its attributes,
 * and only then moved to its target beneath the root. */
#include "launch.h"

#include <asm/statfs.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>

enum { KIND_MASK = 0170000, KIND_DIRECTORY = 0040000, KIND_CHARACTER = 0020000, DETACH = 2 };

static long kind_of(int fd, struct statx *about)
{
	long error = sys(statx, fd, "", EMPTY_PATH, STATX_BASIC_STATS, about);

	return error < 0 ? error : about->stx_mode & KIND_MASK;
}

static uint64_t device_of(const struct statx *about)
{
	return (uint64_t)about->stx_rdev_major << 32 | about->stx_rdev_minor;
}

static uint64_t kernel_device(uint64_t device)
{
	uint64_t major = device >> 32, minor = device & 0xffffffff;

	return (minor & 0xff) | (major & 0xfff) << 8 | (minor & ~(uint64_t)0xff) << 12;
}

static long set_attributes(int fd, uint64_t set, uint64_t clear, uint64_t propagation, int recursive)
{
	struct mount_attr attributes = { .attr_set = set, .attr_clr = clear, .propagation = propagation };

	if (!set && !clear && !propagation)
		return 0;
	return sys(mount_setattr, fd, "", EMPTY_PATH | (recursive ? RECURSIVE : 0), &attributes, sizeof attributes);
}

/* Propagation is given in mount(2)'s flags: MS_REC tells whether it holds for the mounts below too. */
static long set_propagation(struct launch *l, int fd, uint64_t flags)
{
	return STEP(l, "mount_setattr propagation", l->about,
		    set_attributes(fd, 0, 0, flags & ~(uint64_t)MS_REC, (flags & MS_REC) != 0));
}

static long map_ids(int tree, int userns, uint64_t recursive)
{
	struct mount_attr attributes = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns };

	return sys(mount_setattr, tree, "", EMPTY_PATH | (recursive ? RECURSIVE : 0), &attributes, sizeof attributes);
}

static long attach(struct launch *l, int tree, int target, const char *path)
{
	long error = STEP(l, "move_mount", path,
			  sys(move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
	struct statx one, other;

	if (error != -E_INVAL)
		return error;
	/* the kernel's word for many things; this is the one that people run into */
	if (kind_of(tree, &one) == KIND_DIRECTORY && kind_of(target, &other) != KIND_DIRECTORY)
		return -E_NOTDIR;
	if (kind_of(tree, &one) != KIND_DIRECTORY && kind_of(target, &other) == KIND_DIRECTORY)
		return -E_ISDIR;
	return error;
}

long op_open_tree(struct launch *l, const struct argument *a)
{
	long tree = STEP(l, "open_tree", a[OPEN_TREE_ARG_SOURCE].s,
			 sys(open_tree, FD_CWD, a[OPEN_TREE_ARG_SOURCE].s,
			     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | a[OPEN_TREE_ARG_FLAGS].u));
	int userns = slot(l, &a[OPEN_TREE_ARG_USERNS]);

	if (tree < 0)
		return tree;
	l->plan.slots[a[OPEN_TREE_ARG_SLOT].f] = (int)tree;
	if (userns < 0)
		return 0;
	return STEP(l, "mount_setattr idmap", a[OPEN_TREE_ARG_SOURCE].s,
		    map_ids((int)tree, userns, a[OPEN_TREE_ARG_IDMAP_FLAGS].u & BIND_IDMAP_RECURSIVE));
}

long op_propagation(struct launch *l, const struct argument *a)
{
	const char *path = a[PROPAGATION_ARG_PATH].s;

	return STEP(l, "mount", path, sys(mount, NULL, path, NULL, a[PROPAGATION_ARG_FLAGS].u, NULL));
}

/* The root is bound onto itself, so that it is a mount and can be pivoted into.  A tree that the stage has opened, with
 * rights that we do not have on the way to it, is stacked upon the host's root instead. */
long op_root(struct launch *l, const struct argument *a)
{
	const char *path = a[ROOT_ARG_PATH].s;
	int tree = slot(l, &a[ROOT_ARG_TREE]);
	struct statx about;

	if (l->root >= 0) /* the host's, on which a view was built */
		sys(close, l->root);
	if (tree >= 0) {
		TRY(STEP(l, "move_mount", path, sys(move_mount, tree, "", FD_CWD, "/", MOVE_MOUNT_F_EMPTY_PATH)));
		/* opened outside, it is a peer of the host's mounts still: ours may not go there, nor can it be pivoted to */
		TRY(set_propagation(l, tree, MS_SLAVE | MS_REC));
		l->root = tree;
		l->plan.slots[a[ROOT_ARG_TREE].f] = -1;
	} else {
		TRY(STEP(l, "mount", path, sys(mount, path, path, NULL, MS_BIND | MS_REC, NULL)));
		l->root = (int)STEP(l, "open", path, sys(openat, FD_CWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC));
		TRY(l->root);
	}
	l->null = (int)STEP(l, "open", "/dev/null", sys(openat, FD_CWD, "/dev/null", O_PATH | O_NOFOLLOW | O_CLOEXEC));
	TRY(l->null);
	if (kind_of(l->null, &about) != KIND_CHARACTER || device_of(&about) != ((uint64_t)1 << 32 | 3))
		return STEP(l, "check that it is the null device", "/dev/null", -E_INVAL);
	return 0;
}

/* For a process in a container that runs: the root is already ours. */
long op_root_here(struct launch *l, const struct argument *a)
{
	(void)a;
	l->root = (int)STEP(l, "open", "/", sys(openat, FD_CWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC));
	return l->root;
}

/* ---- file systems ---- */

/* The file system's own words about what it did not like, if it has any. */
static long explain(struct launch *l, int context, const char *what, long error)
{
	long length = sys(read, context, l->note, sizeof l->note - 1);

	l->doing = what;
	if (length > 2) {
		l->note[length] = 0;
		l->about = l->note + 2; /* after "e ", the message's level */
	}
	return error;
}

/* options: 's' key NUL value NUL, or 'f' key NUL */
static long configure(struct launch *l, int context, const struct argument *options)
{
	for (uint32_t at = 0; at < options->length;) {
		const char *key = options->s + at + 1;
		int has_value = options->s[at] == 's';
		const char *value = has_value ? key + strlen(key) + 1 : NULL;
		long error = sys(fsconfig, context, has_value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, key, value, 0);

		l->about = key;
		if (error < 0)
			return explain(l, context, "fsconfig", error);
		at += (uint32_t)(strlen(key) + 2 + (has_value ? strlen(value) + 1 : 0));
	}
	return 0;
}

static long keep_mode(int context, int target)
{
	struct statx about;
	LINE(mode, 8);

	if (kind_of(target, &about) < 0)
		return 0;
	for (int shift = 9; shift >= 0; shift -= 3)
		line_padded(&mode, about.stx_mode >> shift & 7, 1);
	return sys(fsconfig, context, FSCONFIG_SET_STRING, "mode", line_end(&mode), 0);
}

static long make_file_system(struct launch *l, const struct argument *a, int target)
{
	const char *source = a[MOUNT_ARG_SOURCE].s;
	long fd, error, context = STEP(l, "fsopen", a[MOUNT_ARG_TYPE].s,
				       sys(fsopen, a[MOUNT_ARG_TYPE].s, FSOPEN_CLOEXEC));

	if (context < 0)
		return context;
	if (*source)
		TRY(STEP(l, "fsconfig source", source,
			 sys(fsconfig, context, FSCONFIG_SET_STRING, "source", source, 0)));
	if (a[MOUNT_ARG_TARGET_KIND].u & TARGET_KEEP_MODE)
		TRY(STEP(l, "fsconfig mode", a[MOUNT_ARG_TARGET].s, keep_mode((int)context, target)));
	TRY(configure(l, (int)context, &a[MOUNT_ARG_OPTIONS]));
	l->about = a[MOUNT_ARG_TARGET].s;
	error = sys(fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0);
	if (error < 0)
		return explain(l, (int)context, "fsconfig create", error);
	fd = STEP(l, "fsmount", a[MOUNT_ARG_TARGET].s,
		  sys(fsmount, context, FSMOUNT_CLOEXEC, a[MOUNT_ARG_ATTRIBUTES].u));
	sys(close, context);
	return fd;
}

long op_mount(struct launch *l, const struct argument *a)
{
	const char *path = a[MOUNT_ARG_TARGET].s;
	int target = root_target(l, path, a[MOUNT_ARG_TARGET_KIND].u);
	long made;

	if (target < 0)
		return target;
	made = make_file_system(l, a, target);
	if (made < 0)
		return made;
	if (a[MOUNT_ARG_TARGET_KIND].u & TARGET_COPY_UP)
		TRY(copy_tree(l, target, (int)made));
	TRY(attach(l, (int)made, target, path));
	TRY(set_propagation(l, (int)made, a[MOUNT_ARG_PROPAGATION].u));
	sys(close, made);
	sys(close, target);
	return 0;
}

/* ---- binds ---- */

static int bind_tree(struct launch *l, const struct argument *a)
{
	uint64_t recursive = a[BIND_ARG_FLAGS].u & BIND_RECURSIVE ? RECURSIVE : 0;
	int tree = slot(l, &a[BIND_ARG_TREE]);
	int userns = slot(l, &a[BIND_ARG_USERNS]);

	if (tree < 0)
		tree = (int)STEP(l, "open_tree", a[BIND_ARG_SOURCE].s,
				 sys(open_tree, FD_CWD, a[BIND_ARG_SOURCE].s,
				     OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | recursive));
	if (tree >= 0 && userns >= 0)
		TRY(STEP(l, "mount_setattr idmap", a[BIND_ARG_SOURCE].s,
			 map_ids(tree, userns, a[BIND_ARG_FLAGS].u & BIND_IDMAP_RECURSIVE)));
	return tree;
}

long op_bind(struct launch *l, const struct argument *a)
{
	const char *path = a[BIND_ARG_TARGET].s;
	uint64_t kind = a[BIND_ARG_TARGET_KIND].u;
	int tree = bind_tree(l, a), target;
	struct statx about;

	if (tree < 0)
		return tree;
	if (kind & TARGET_LIKE_SOURCE && kind_of(tree, &about) != KIND_DIRECTORY)
		kind |= TARGET_FILE;
	TRY(STEP(l, "mount_setattr", path,
		 set_attributes(tree, a[BIND_ARG_SET].u, a[BIND_ARG_CLEAR].u, 0,
				a[BIND_ARG_FLAGS].u & BIND_ATTR_RECURSIVE)));
	target = root_target(l, path, kind);
	if (target < 0)
		return target;
	if (slot(l, &a[BIND_ARG_TREE]) >= 0 && !a[BIND_ARG_PROPAGATION].u) /* opened outside: a peer of the host's mount */
		TRY(set_propagation(l, tree, MS_SLAVE | MS_REC));
	TRY(attach(l, tree, target, path));
	TRY(set_propagation(l, tree, a[BIND_ARG_PROPAGATION].u));
	sys(close, tree);
	sys(close, target);
	return 0;
}

long op_remount(struct launch *l, const struct argument *a)
{
	const char *path = a[REMOUNT_ARG_TARGET].s;
	int target = root_open(l, path, O_PATH, 0);

	if (target < 0)
		return target;
	TRY(STEP(l, "mount_setattr", path,
		 set_attributes(target, a[REMOUNT_ARG_SET].u, a[REMOUNT_ARG_CLEAR].u, 0,
				a[REMOUNT_ARG_FLAGS].u & BIND_ATTR_RECURSIVE)));
	TRY(set_propagation(l, target, a[REMOUNT_ARG_PROPAGATION].u));
	sys(close, target);
	return 0;
}

static long cover(struct launch *l, int source, int target, const char *path, uint64_t set)
{
	long tree = STEP(l, "open_tree", path,
			 sys(open_tree, source, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | EMPTY_PATH |
						    (source == target ? RECURSIVE : 0)));

	if (tree < 0)
		return tree;
	TRY(STEP(l, "mount_setattr", path, set_attributes((int)tree, set, 0, 0, source == target)));
	TRY(attach(l, (int)tree, target, path));
	sys(close, tree);
	return 0;
}

static long cover_directory(struct launch *l, int target, const char *path)
{
	long fd, context = STEP(l, "fsopen", "tmpfs", sys(fsopen, "tmpfs", FSOPEN_CLOEXEC));

	if (context < 0)
		return context;
	TRY(STEP(l, "fsconfig create", path, sys(fsconfig, context, FSCONFIG_CMD_CREATE, NULL, NULL, 0)));
	fd = STEP(l, "fsmount", path,
		  sys(fsmount, context, FSMOUNT_CLOEXEC,
		      MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC));
	sys(close, context);
	if (fd < 0)
		return fd;
	TRY(attach(l, (int)fd, target, path));
	sys(close, fd);
	return 0;
}

/* The host's own device nodes that the container gets to see: writing through them is not held up by a read-only
 * mount, but root of the container may not change the host's inode (its mode, owner, times). */
enum { NODE_ATTRIBUTES = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC };

/* A file is covered by the host's null device, opened before anything of the root was looked at (CVE-2025-31133). */
long op_mask(struct launch *l, const struct argument *a)
{
	const char *path = a[MASK_ARG_PATH].s;
	int target = root_open(l, path, O_PATH, 0);
	struct statx about;
	long error;

	if (target < 0)
		return target == -E_NOENT || target == -E_NOTDIR ? 0 : target;
	if (kind_of(target, &about) == KIND_DIRECTORY)
		error = cover_directory(l, target, path);
	else
		error = cover(l, l->null, target, path, NODE_ATTRIBUTES);
	sys(close, target);
	return error;
}

long op_readonly(struct launch *l, const struct argument *a)
{
	const char *path = a[READONLY_ARG_PATH].s;
	int target = root_open(l, path, O_PATH, 0);
	long error;

	if (target < 0)
		return target == -E_NOENT || target == -E_NOTDIR ? 0 : target;
	error = cover(l, target, target, path, MOUNT_ATTR_RDONLY);
	sys(close, target);
	return error;
}

/* ---- directories, links, nodes ---- */

long op_mkdir(struct launch *l, const struct argument *a)
{
	const char *name;
	int parent = root_parent(l, a[MKDIR_ARG_PATH].s, &name);
	long error;

	if (parent < 0)
		return parent;
	error = STEP(l, "mkdirat", a[MKDIR_ARG_PATH].s, sys(mkdirat, parent, name, a[MKDIR_ARG_MODE].u));
	if (error == 0 && (a[MKDIR_ARG_UID].u || a[MKDIR_ARG_GID].u))
		error = STEP(l, "fchownat", a[MKDIR_ARG_PATH].s,
			     sys(fchownat, parent, name, a[MKDIR_ARG_UID].u, a[MKDIR_ARG_GID].u, NO_FOLLOW));
	sys(close, parent);
	return error == -E_EXIST ? 0 : error;
}

long op_symlink(struct launch *l, const struct argument *a)
{
	const char *name;
	int parent = root_parent(l, a[SYMLINK_ARG_PATH].s, &name);
	long error;

	if (parent < 0)
		return parent;
	error = STEP(l, "symlinkat", a[SYMLINK_ARG_PATH].s, sys(symlinkat, a[SYMLINK_ARG_TARGET].s, parent, name));
	sys(close, parent);
	return error == -E_EXIST ? 0 : error;
}

static int same_node(int parent, const char *name, uint64_t mode, uint64_t device)
{
	struct statx about;

	return sys(statx, parent, name, NO_FOLLOW, STATX_BASIC_STATS, &about) == 0 &&
	       (about.stx_mode & KIND_MASK) == (mode & KIND_MASK) &&
	       ((mode & KIND_MASK) == 0010000 || device_of(&about) == device);
}

long op_mknod(struct launch *l, const struct argument *a)
{
	const char *name, *path = a[MKNOD_ARG_PATH].s;
	uint64_t mode = a[MKNOD_ARG_MODE].u, device = a[MKNOD_ARG_DEVICE].u;
	int parent = root_parent(l, path, &name);
	long error;

	if (parent < 0)
		return parent;
	error = STEP(l, "mknodat", path, sys(mknodat, parent, name, mode, kernel_device(device)));
	if (error == -E_EXIST && same_node(parent, name, mode, device))
		error = 0;
	if (error == 0 && (a[MKNOD_ARG_UID].u || a[MKNOD_ARG_GID].u))
		error = STEP(l, "fchownat", path,
			     sys(fchownat, parent, name, a[MKNOD_ARG_UID].u, a[MKNOD_ARG_GID].u, NO_FOLLOW));
	sys(close, parent);
	return error;
}

/* Where nodes cannot be made (a user namespace), the host's node is bound to a file of that name. */
long op_bind_node(struct launch *l, const struct argument *a)
{
	const char *path = a[BIND_NODE_ARG_PATH].s;
	long error, source = STEP(l, "open the host's node", path, sys(openat, FD_CWD, path, O_PATH | O_NOFOLLOW | O_CLOEXEC));
	struct statx about;
	int target;

	if (source < 0)
		return source;
	if (kind_of((int)source, &about) == KIND_DIRECTORY || device_of(&about) != a[BIND_NODE_ARG_DEVICE].u)
		return STEP(l, "check the host's node", path, -E_INVAL);
	target = root_target(l, path, TARGET_FILE);
	if (target < 0)
		return target;
	error = cover(l, (int)source, target, path, NODE_ATTRIBUTES);
	sys(close, source);
	sys(close, target);
	return error;
}

/* ---- the change of root ---- */

long op_pivot_root(struct launch *l, const struct argument *a)
{
	const char *old = a[PIVOT_ROOT_ARG_OLD].s;
	long host = STEP(l, "open", "/", sys(openat, FD_CWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC));

	TRY(host);
	TRY(STEP(l, "fchdir", "the new root", sys(fchdir, l->root)));
	if (*old)
		TRY(make_directories(l, old, 0700));
	/* without a directory for it, the old root is stacked upon the new one; the kernel refuses a place outside */
	TRY(STEP(l, "pivot_root", *old ? old : ".", sys(pivot_root, ".", *old ? old : ".")));
	/* from here on the old root is known by its descriptor alone: names may lead elsewhere by now */
	TRY(STEP(l, "fchdir", "the old root", sys(fchdir, host)));
	sys(close, host);
	/* it must not send unmounts back to the host */
	TRY(STEP(l, "mount", "the old root", sys(mount, NULL, ".", NULL, MS_SLAVE | MS_REC, NULL)));
	TRY(STEP(l, "umount2", "the old root", sys(umount2, ".", DETACH)));
	TRY(STEP(l, "chdir", "/", sys(chdir, "/")));
	if (*old)
		sys(unlinkat, FD_CWD, old, REMOVE_DIRECTORY);
	return 0;
}

static long cover_host(struct launch *l, const char *path)
{
	int target = (int)STEP(l, "open", path, sys(openat, FD_CWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC));

	if (target < 0)
		return target == -E_NOENT ? 0 : target;
	TRY(set_propagation(l, target, MS_SLAVE)); /* what covers it must not come to the host */
	TRY(cover_directory(l, target, path));
	return sys(close, target);
}

/* The host's tree stays mounted under ours.  Where a whole procfs or sysfs is among it, the kernel lets a process mount
 * another without our masks (mount_too_revealing in its fs/namespace.c): so those are covered first. */
long op_move_root(struct launch *l, const struct argument *a)
{
	long error = 0;

	for (uint32_t at = 0; at < a->length && error >= 0; at += (uint32_t)strlen(a->s + at) + 1)
		error = cover_host(l, a->s + at);
	TRY(error);
	TRY(STEP(l, "fchdir", "the new root", sys(fchdir, l->root)));
	error = STEP(l, "mount", "the new root", sys(mount, ".", "/", NULL, MS_MOVE, NULL));
	if (error != -E_LOOP) /* the stage's tree stands there already: see op_root */
		TRY(error);
	TRY(STEP(l, "chroot", ".", sys(chroot, ".")));
	return STEP(l, "chdir", "/", sys(chdir, "/"));
}

long op_root_attributes(struct launch *l, const struct argument *a)
{
	long fd = STEP(l, "open", "/", sys(openat, FD_CWD, "/", O_PATH | O_CLOEXEC));

	if (fd < 0)
		return fd;
	TRY(STEP(l, "mount_setattr", "/", set_attributes((int)fd, a[ROOT_ATTRIBUTES_ARG_SET].u, 0, 0, 0)));
	return sys(close, fd);
}
