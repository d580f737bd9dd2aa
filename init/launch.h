/* One launch: the plan and what performing it needs.  Every process of a launch (stage, joiner, init) has its own
 * copy.  Operations return -errno if they fail, and say in `doing` and `about` what they were at, for the error's sentence. */
#pragma once

#include "sys.h"
#include "text.h"
#include "wire.h"

/* an error's index when no operation failed, but the launch itself */
enum { NO_OPERATION = 0xffff };

struct joined {
	int32_t pid; /* of the init process, as the joiner's clone gives it */
};

struct launch {
	struct plan plan;
	int control;        /* to Python, the stage's */
	int channel;        /* to Python, the joiner's and the init process's */
	int report;         /* where errors go now: one of the two, or the start gate's connection */
	int root;           /* O_PATH descriptor of the new root, -1 until it is there */
	int null;           /* the host's /dev/null */
	int proc;           /* a procfs of our own that nobody else can reach */
	int directory_todo; /* changing to the working directory is tried again with the user's rights */
	uint32_t index;     /* operation being performed */
	const char *doing;  /* a static word: the system call or step that failed */
	const char *about;  /* its object; lives in the plan or in `note` */
	char note[512];
	char executable[4096];
	struct argument states[2]; /* state documents for hooks */
	volatile struct joined *joined;
};

#define TRY(call) \
	do { \
		long try_result = (call); \
		if (try_result < 0) \
			return try_result; \
	} while (0)

/* say what we are at, then do it */
#define STEP(l, word, object, call) ((l)->doing = (word), (l)->about = (object), (call))

typedef long perform_function(struct launch *l, const struct argument *a);

/* perform.c */
_Noreturn void fail(struct launch *l, long error);
void perform_all(struct launch *l, int place);
long await_go(struct launch *l, uint32_t tag);
/* NUL-terminated strings as execve wants them; NULL: there is no memory */
const char **string_table(const struct argument *bytes);
/* a file descriptor by its index in the table; -1 stays -1 */
int slot(const struct launch *l, const struct argument *a);

/* root.c: paths inside the new root are resolved beneath its descriptor, never by the host's names */
int root_open(struct launch *l, const char *path, uint64_t flags, uint64_t resolve);
int root_target(struct launch *l, const char *path, uint64_t kind);
/* the parent directory of path, made where missing; *name is the last component */
int root_parent(struct launch *l, const char *path, const char **name);
long make_directories(struct launch *l, const char *path, uint64_t mode);
int own_proc(struct launch *l);
/* our number as that procfs has it: of another pid namespace's it is not getpid's */
long line_own_number(struct launch *l, struct line *path);
long write_file_at(struct launch *l, int directory, const char *path, const char *text, size_t length);

/* creds.c: whether the program can be run: better said before a process is made that could not tell us */
long check_program(const char *path);

/* copy.c: everything in one directory is in the other too, with its owner and mode */
long copy_tree(struct launch *l, int from, int to);

/* stage.c */
_Noreturn void stage_main(int control, int channel);

/* reaper.c */
_Noreturn void reaper_main(const char **arguments, const char **environment);

#define OP_PROTOTYPE(NAME, name) long op_##name(struct launch *l, const struct argument *a);
FOR_EACH_OP(OP_PROTOTYPE)
