/* The kernel, without a C library: system calls that return a value or -errno, and the few types that user-space
 * headers would give.  Without libc the program starts in a fifth of the time and an idle monitor holds a few pages.
 * Knows nothing of containers. */
#pragma once

#include <asm/unistd.h>
#include <linux/fcntl.h>
#include <linux/stat.h>
#include <linux/types.h>
#include <linux/uio.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
static inline long sys6(long n, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = n;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
}
#else
#error "pier-init knows x86_64 and aarch64"
#endif

#define SYS_PICK(_1, _2, _3, _4, _5, _6, _7, NAME, ...) NAME
#define SYS_0(n) sys6(n, 0, 0, 0, 0, 0, 0)
#define SYS_1(n, a) sys6(n, (long)(a), 0, 0, 0, 0, 0)
#define SYS_2(n, a, b) sys6(n, (long)(a), (long)(b), 0, 0, 0, 0)
#define SYS_3(n, a, b, c) sys6(n, (long)(a), (long)(b), (long)(c), 0, 0, 0)
#define SYS_4(n, a, b, c, d) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), 0, 0)
#define SYS_5(n, a, b, c, d, e) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), 0)
#define SYS_6(n, a, b, c, d, e, f) sys6(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))
/* sys(mkdirat, fd, path, mode): the system call of that name */
#define sys(name, ...) SYS_CALL(__NR_##name __VA_OPT__(, ) __VA_ARGS__)
#define SYS_CALL(...) SYS_PICK(__VA_ARGS__, SYS_6, SYS_5, SYS_4, SYS_3, SYS_2, SYS_1, SYS_0)(__VA_ARGS__)

#define E_PERM 1
#define E_NOENT 2
#define E_INTR 4
#define E_IO 5
#define E_AGAIN 11
#define E_NOMEM 12
#define E_ACCES 13
#define E_BUSY 16
#define E_EXIST 17
#define E_XDEV 18
#define E_NOTDIR 20
#define E_ISDIR 21
#define E_INVAL 22
#define E_NOTTY 25
#define E_PIPE 32
#define E_RANGE 34
#define E_LOOP 40
#define E_PROTO 71
#define E_MSGSIZE 90
#define E_TIMEDOUT 110
#define E_KEYREJECTED 129

/* A seccomp filter may refuse even this by an errno: then no other call is left but to fault, which ends init
 * processes too. */
_Noreturn static inline void leave(int code)
{
	sys(exit_group, code);
	__builtin_trap();
}

struct message_header {
	void *name;
	unsigned int name_length;
	struct iovec *parts;
	size_t part_count;
	void *control;
	size_t control_length;
	unsigned int flags;
};

struct control_header {
	size_t length;
	int level;
	int type;
};

struct unix_address {
	unsigned short family;
	char path[108];
};

struct poll_entry {
	int fd;
	short events;
	short revents;
};

struct time {
	int64_t seconds;
	int64_t nanoseconds;
};

/* siginfo_t as waitid(2) fills it in for a child; the kernel writes 128 bytes. */
struct child_info {
	int signal, error, code, pad;
	int pid, uid, status;
	char rest[100];
};

enum {
	FD_CWD = -100,
	POLL_IN = 1,
	POLL_OUT = 4,
	POLL_ERROR = 8,
	POLL_HANGUP = 16,
	FAMILY_UNIX = 1,
	FAMILY_INET = 2,
	FAMILY_NETLINK = 16,
	SOCKET_STREAM = 1,
	SOCKET_DATAGRAM = 2,
	SOCKET_RAW = 3,
	SOCKET_PACKET = 5,
	SOCKET_CLOEXEC = 02000000,
	SOCKET_NONBLOCK = 04000,
	LEVEL_SOCKET = 1,
	CONTROL_RIGHTS = 1,
	SEND_NO_SIGNAL = 0x4000,
	RECEIVE_CLOEXEC = 0x40000000,
	CONTROL_TRUNCATED = 8,
	WAIT_PIDFD = 3,
	WAIT_EXITED = 4,
	WAIT_NOHANG = 1,
	WAIT_LEAVE = 0x01000000, /* WNOWAIT */
	CHILD_EXITED = 1,
	CLOCK_WALL = 0,
	CLOCK_STEADY = 1,
	EMPTY_PATH = 0x1000,
	NO_FOLLOW = 0x100,
	RECURSIVE = 0x8000,
	REMOVE_DIRECTORY = 0x200,
};
