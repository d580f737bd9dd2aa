/* Installs a seccomp filter and makes system calls under it.
 *
 *     seccomp_probe FILTER FLAGS CALLS RESULTS
 *
 * FILTER is a file of BPF instructions, CALLS one of `struct call`, RESULTS one with room for a 64-bit result per
 * call: the value that the kernel returned, -errno included.  Results go into a shared mapping, so that they are
 * there even if the filter kills the process or allows it nothing at all.  Exits 0 through the filter, or by
 * SIGILL where that does not allow exit_group.  Needs no rights (no_new_privs) and, under the filter, no libc.
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

struct call {
	uint32_t i386; /* by int 0x80, and not by syscall */
	uint32_t number;
	uint64_t arguments[6];
};

static void *map(const char *path, int write, size_t *size)
{
	int fd = open(path, write ? O_RDWR : O_RDONLY);
	struct stat st;
	if (fd < 0 || fstat(fd, &st) < 0) {
		perror(path);
		exit(2);
	}
	*size = (size_t)st.st_size;
	void *at = mmap(NULL, *size, PROT_READ | (write ? PROT_WRITE : 0), MAP_SHARED | MAP_POPULATE, fd, 0);
	if (at == MAP_FAILED) {
		perror(path);
		exit(2);
	}
	return at;
}

static int64_t call_64(const struct call *c)
{
	register uint64_t r10 __asm__("r10") = c->arguments[3];
	register uint64_t r8 __asm__("r8") = c->arguments[4];
	register uint64_t r9 __asm__("r9") = c->arguments[5];
	uint64_t result = c->number;
	__asm__ volatile("syscall"
			 : "+a"(result)
			 : "D"(c->arguments[0]), "S"(c->arguments[1]), "d"(c->arguments[2]), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return (int64_t)result;
}

/* All 64 bits of the registers are as asked: the upper halves are what a caller may choose. */
static int64_t call_i386(const struct call *c)
{
	register const struct call *at __asm__("r15") = c;
	uint64_t result;
	__asm__ volatile("push %%rbp\n\t"
			 "push %%rbx\n\t"
			 "mov 8(%%r15), %%rbx\n\t"
			 "mov 16(%%r15), %%rcx\n\t"
			 "mov 24(%%r15), %%rdx\n\t"
			 "mov 32(%%r15), %%rsi\n\t"
			 "mov 40(%%r15), %%rdi\n\t"
			 "mov 48(%%r15), %%rbp\n\t"
			 "mov 4(%%r15), %%eax\n\t"
			 "int $0x80\n\t"
			 "pop %%rbx\n\t"
			 "pop %%rbp\n\t"
			 : "=a"(result)
			 : "r"(at)
			 : "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
	return (int32_t)result;
}

int main(int argc, char **argv)
{
	if (argc != 5)
		return 2;
	size_t filter_size, calls_size, results_size;
	struct sock_filter *filter = map(argv[1], 0, &filter_size);
	const struct call *calls = map(argv[3], 0, &calls_size);
	volatile int64_t *results = map(argv[4], 1, &results_size);
	struct sock_fprog program = {
		.len = (unsigned short)(filter_size / sizeof(*filter)),
		.filter = filter,
	};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, strtoul(argv[2], NULL, 0), &program) < 0) {
		perror("seccomp");
		return 2;
	}
	for (size_t i = 0; i < calls_size / sizeof(*calls); i++)
		results[i] = calls[i].i386 ? call_i386(&calls[i]) : call_64(&calls[i]);
	call_64(&(struct call){ .number = SYS_exit_group });
	__builtin_trap();
}
