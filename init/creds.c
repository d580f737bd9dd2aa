/* Who the process is: ids, capabilities, labels, filters, and where it works. */
#include "launch.h"

#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>

enum { SECURITY_CAPS = 64 };

long op_become_root(struct launch *l, const struct argument *a)
{
	TRY(STEP(l, "setresgid", NULL, sys(setresgid, a[BECOME_ROOT_ARG_GID].u, a[BECOME_ROOT_ARG_GID].u, a[BECOME_ROOT_ARG_GID].u)));
	TRY(STEP(l, "setresuid", NULL, sys(setresuid, a[BECOME_ROOT_ARG_UID].u, a[BECOME_ROOT_ARG_UID].u, a[BECOME_ROOT_ARG_UID].u)));
	return STEP(l, "prctl PR_SET_DUMPABLE", NULL, sys(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0));
}

long op_session(struct launch *l, const struct argument *a)
{
	(void)a;
	return STEP(l, "setsid", NULL, sys(setsid));
}

long op_parent_death_signal(struct launch *l, const struct argument *a)
{
	return STEP(l, "prctl PR_SET_PDEATHSIG", NULL, sys(prctl, PR_SET_PDEATHSIG, a[PARENT_DEATH_SIGNAL_ARG_SIGNAL].u, 0, 0, 0));
}

long op_bounding_set(struct launch *l, const struct argument *a)
{
	l->doing = "prctl PR_CAPBSET_DROP";
	for (uint64_t capability = 0; capability < SECURITY_CAPS; capability++) {
		long error;

		if (a[BOUNDING_SET_ARG_MASK].u >> capability & 1)
			continue;
		error = sys(prctl, PR_CAPBSET_DROP, capability, 0, 0, 0);
		if (error == -E_INVAL) /* beyond the kernel's last capability */
			return 0;
		TRY(error);
	}
	return 0;
}

long op_identity(struct launch *l, const struct argument *a)
{
	const struct argument *groups = &a[IDENTITY_ARG_GROUPS];
	uint64_t uid = a[IDENTITY_ARG_UID].u, gid = a[IDENTITY_ARG_GID].u, flags = a[IDENTITY_ARG_FLAGS].u;

	if (!(flags & IDENTITY_KEEP_GROUPS))
		TRY(STEP(l, "setgroups", NULL, sys(setgroups, groups->length / 4, groups->s)));
	if (flags & IDENTITY_KEEP_CAPS)
		TRY(STEP(l, "prctl PR_SET_KEEPCAPS", NULL, sys(prctl, PR_SET_KEEPCAPS, 1, 0, 0, 0)));
	TRY(STEP(l, "setresgid", NULL, sys(setresgid, gid, gid, gid)));
	TRY(STEP(l, "setresuid", NULL, sys(setresuid, uid, uid, uid)));
	/* changing ids made us dumpable again: nobody may look into us until the program runs */
	TRY(STEP(l, "prctl PR_SET_DUMPABLE", NULL, sys(prctl, PR_SET_DUMPABLE, 0, 0, 0, 0)));
	if (flags & IDENTITY_KEEP_CAPS)
		TRY(STEP(l, "prctl PR_SET_KEEPCAPS", NULL, sys(prctl, PR_SET_KEEPCAPS, 0, 0, 0, 0)));
	return 0;
}

long op_capabilities(struct launch *l, const struct argument *a)
{
	struct __user_cap_header_struct who = { _LINUX_CAPABILITY_VERSION_3, 0 };
	uint64_t effective = a[CAPABILITIES_ARG_EFFECTIVE].u, permitted = a[CAPABILITIES_ARG_PERMITTED].u,
		 inheritable = a[CAPABILITIES_ARG_INHERITABLE].u;
	struct __user_cap_data_struct sets[2] = {
		{ (uint32_t)effective, (uint32_t)permitted, (uint32_t)inheritable },
		{ (uint32_t)(effective >> 32), (uint32_t)(permitted >> 32), (uint32_t)(inheritable >> 32) },
	};

	return STEP(l, "capset", NULL, sys(capset, &who, sets));
}

long op_ambient_set(struct launch *l, const struct argument *a)
{
	l->doing = "prctl PR_CAP_AMBIENT";
	TRY(sys(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
	for (uint64_t capability = 0; capability < SECURITY_CAPS; capability++)
		if (a[AMBIENT_SET_ARG_MASK].u >> capability & 1)
			TRY(sys(prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0));
	return 0;
}

long op_no_new_privileges(struct launch *l, const struct argument *a)
{
	(void)a;
	return STEP(l, "prctl PR_SET_NO_NEW_PRIVS", NULL, sys(prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

struct bpf_program {
	uint16_t length;
	const void *instructions;
};

long op_seccomp(struct launch *l, const struct argument *a)
{
	struct bpf_program program = { (uint16_t)(a[SECCOMP_ARG_PROGRAM].length / 8), a[SECCOMP_ARG_PROGRAM].s };
	uint32_t words[2] = { MESSAGE_DESCRIPTOR, SYNC_SECCOMP };
	long listener = STEP(l, "seccomp", NULL, sys(seccomp, SECCOMP_SET_MODE_FILTER, a[SECCOMP_ARG_FLAGS].u, &program));

	if (listener < 0 || !a[SECCOMP_ARG_LISTEN].u)
		return listener;
	TRY(STEP(l, "send the notify descriptor", NULL, packet_send_words(l->channel, words, 2, (int)listener)));
	sys(close, listener);
	return await_go(l, SYNC_SECCOMP);
}

/* An attribute of our own security: /proc/PID/attr/NAME. */
static long write_attribute(struct launch *l, const char *name, const struct argument *value)
{
	LINE(path, 64);
	int proc = own_proc(l);

	TRY(proc);
	TRY(line_own_number(l, &path));
	line_text(&path, "/attr/");
	line_text(&path, name);
	memcpy(l->note, line_end(&path), path.length + 1);
	return write_file_at(l, proc, l->note, value->s, value->length);
}

/* "apparmor/exec" or "exec": the label that the next execve takes on */
long op_label(struct launch *l, const struct argument *a)
{
	return write_attribute(l, a[LABEL_ARG_ATTRIBUTE].s, &a[LABEL_ARG_VALUE]);
}

long op_keyring(struct launch *l, const struct argument *a)
{
	const char *label = a[KEYRING_ARG_LABEL].s;
	long key;
	LINE(name, 1100);

	line_text(&name, "_ses.");
	line_text(&name, l->plan.header[HEADER_ID].s);

	if (*label)
		TRY(write_attribute(l, "keycreate", &a[KEYRING_ARG_LABEL]));
	key = STEP(l, "keyctl", NULL, sys(keyctl, KEYCTL_JOIN_SESSION_KEYRING, line_end(&name)));
	if (key == -38 /* ENOSYS: a kernel without keyrings has none to keep apart */)
		return 0;
	TRY(key);
	/* the owner may look for keys in it, as in a session's own */
	sys(keyctl, KEYCTL_SETPERM, key, 0x3f1f0000 | 0x00080000);
	return 0;
}

/* The kernel names a directory outside our root "(unreachable)…": then somebody left us a way out (CVE-2024-21626). */
static long check_inside(struct launch *l)
{
	char directory[4096];

	TRY(STEP(l, "getcwd", l->about, sys(getcwd, directory, sizeof directory)));
	return directory[0] == '/' ? 0 : STEP(l, "check that it is inside the root", l->about, -E_PERM);
}

long op_working_directory(struct launch *l, const struct argument *a)
{
	const char *path = a[WORKING_DIRECTORY_ARG_PATH].s;
	uint64_t flags = a[WORKING_DIRECTORY_ARG_FLAGS].u;
	long error;

	if (flags & DIRECTORY_AGAIN && !l->directory_todo)
		return 0;
	error = sys(chdir, path);
	if (error == -E_NOENT && flags & DIRECTORY_CREATE) {
		long made = l->root >= 0 ? make_directories(l, path, 0755) : sys(mkdirat, FD_CWD, path, 0755);

		if (made >= 0)
			error = sys(chdir, path);
	}
	l->doing = "chdir";
	l->about = path;
	l->directory_todo = error == -E_ACCES && flags & DIRECTORY_TRY;
	if (l->directory_todo)
		return 0;
	return error < 0 ? error : check_inside(l);
}

long check_program(const char *path)
{
	struct statx about;

	TRY(sys(statx, FD_CWD, path, 0, STATX_BASIC_STATS, &about));
	if ((about.stx_mode & S_IFMT) == S_IFDIR)
		return -E_ISDIR;
	return sys(faccessat2, FD_CWD, path, 1 /* X_OK */, 0);
}

static long try_in(struct launch *l, const char *directory, const char *name)
{
	struct line path = { l->executable, sizeof l->executable, 0, false };

	line_text(&path, directory);
	if (*directory)
		line_text(&path, "/");
	line_text(&path, name);
	line_end(&path);
	if (path.full)
		return -36; /* ENAMETOOLONG */
	return STEP(l, "check executable", l->executable, check_program(l->executable));
}

long op_find_executable(struct launch *l, const struct argument *a)
{
	const char *name = a[FIND_EXECUTABLE_ARG_NAME].s;
	const struct argument *directories = &a[FIND_EXECUTABLE_ARG_DIRECTORIES];
	long best = -E_NOENT;

	for (const char *at = name; *at; at++)
		if (*at == '/')
			return try_in(l, "", name);
	for (uint32_t at = 0; at < directories->length; at += (uint32_t)strlen(directories->s + at) + 1) {
		long error = try_in(l, directories->s + at, name);

		if (error == 0)
			return 0;
		if (error == -E_ACCES)
			best = error;
	}
	return STEP(l, "search the PATH", name, best);
}
