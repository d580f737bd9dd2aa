/* The terminal.  Its pair is opened in the container's own devpts and the slave is taken from the master itself
 * (TIOCGPTPEER): nothing is looked up by a name that the root file system could have exchanged (CVE-2025-52565). */
#include "launch.h"

#include <asm/ioctls.h>
#include <asm/statfs.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/termios.h>

static int open_in_devpts(struct launch *l, uint64_t flags)
{
	struct statfs about;
	int found = root_open(l, "/dev/pts/ptmx", flags, RESOLVE_NO_SYMLINKS);

	TRY(found);
	if (sys(fstatfs, found, &about) < 0 || about.f_type != DEVPTS_SUPER_MAGIC)
		return (int)STEP(l, "check that it is devpts", "/dev/pts/ptmx", -E_INVAL);
	return found;
}

/* Looked at first, because to open some other device would be to act on it; checked again, because it may have been
 * exchanged in between. */
static int open_master(struct launch *l)
{
	int found = open_in_devpts(l, O_PATH | O_NOFOLLOW);

	TRY(found);
	sys(close, found);
	return open_in_devpts(l, O_RDWR | O_NOCTTY);
}

static long slave_onto_console(struct launch *l, int slave)
{
	int target = root_target(l, "/dev/console", TARGET_FILE | TARGET_REAL);
	long tree;

	TRY(target);
	tree = STEP(l, "open_tree", "the terminal", sys(open_tree, slave, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | EMPTY_PATH));
	TRY(tree);
	TRY(STEP(l, "move_mount", "/dev/console",
		 sys(move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)));
	sys(close, tree);
	sys(close, target);
	return 0;
}

static long send_master(struct launch *l, int channel, int master, unsigned int number)
{
	LINE(name, 32);

	line_text(&name, "/dev/pts/");
	line_number(&name, (int64_t)number);
	return STEP(l, "send the terminal", "the console socket",
		    packet_send(channel, name.data, name.length, &master, 1));
}

static long adopt(struct launch *l, int slave)
{
	TRY(STEP(l, "ioctl TIOCSCTTY", "the terminal", sys(ioctl, slave, TIOCSCTTY, 0)));
	for (int to = 0; to < 3; to++)
		TRY(STEP(l, "dup3", "the terminal", sys(dup3, slave, to, 0)));
	return 0;
}

long op_console(struct launch *l, const struct argument *a)
{
	struct winsize size = { .ws_row = (unsigned short)a[CONSOLE_ARG_ROWS].u, .ws_col = (unsigned short)a[CONSOLE_ARG_COLUMNS].u };
	int unlock = 0, master = open_master(l);
	unsigned int number;
	long slave;

	TRY(master);
	TRY(STEP(l, "ioctl TIOCSPTLCK", "/dev/pts/ptmx", sys(ioctl, master, TIOCSPTLCK, &unlock)));
	TRY(STEP(l, "ioctl TIOCGPTN", "/dev/pts/ptmx", sys(ioctl, master, TIOCGPTN, &number)));
	slave = STEP(l, "ioctl TIOCGPTPEER", "/dev/pts/ptmx", sys(ioctl, master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
	TRY(slave);
	if (size.ws_row || size.ws_col)
		TRY(STEP(l, "ioctl TIOCSWINSZ", "the terminal", sys(ioctl, slave, TIOCSWINSZ, &size)));
	if (a[CONSOLE_ARG_UID].u)
		TRY(STEP(l, "fchown", "the terminal", sys(fchown, slave, a[CONSOLE_ARG_UID].u, -1)));
	TRY(send_master(l, slot(l, &a[CONSOLE_ARG_CHANNEL]), master, number));
	sys(close, master);
	if (a[CONSOLE_ARG_MOUNT].u)
		TRY(slave_onto_console(l, (int)slave));
	TRY(adopt(l, (int)slave));
	return slave > 2 ? sys(close, slave) : 0;
}
