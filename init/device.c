/* Device access on cgroup v2: a program that the kernel asks, in the place of the devices controller of v1. */
#include "launch.h"

#include <linux/bpf.h>

enum { OLD_MAX = 64, ALLOW_MULTI = 2 };

static long load(struct launch *l, const struct argument *program)
{
	union bpf_attr about = { .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
				 .insn_cnt = program->length / 8,
				 .insns = (uint64_t)(uintptr_t)program->s,
				 .license = (uint64_t)(uintptr_t)"Apache" };

	return STEP(l, "bpf BPF_PROG_LOAD", "device rules", sys(bpf, BPF_PROG_LOAD, &about, sizeof about));
}

static long change(int command, int cgroup, int program)
{
	union bpf_attr about = { .target_fd = (uint32_t)cgroup,
				 .attach_bpf_fd = (uint32_t)program,
				 .attach_type = BPF_CGROUP_DEVICE,
				 .attach_flags = command == BPF_PROG_ATTACH ? ALLOW_MULTI : 0 };

	return sys(bpf, command, &about, sizeof about);
}

static void detach_old(int cgroup, const uint32_t *ids, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		union bpf_attr about = { .prog_id = ids[i] };
		long program = sys(bpf, BPF_PROG_GET_FD_BY_ID, &about, sizeof about);

		if (program < 0)
			continue;
		change(BPF_PROG_DETACH, cgroup, (int)program);
		sys(close, program);
	}
}

/* The new program is attached before the old ones go, so that there is no moment without rules. */
long op_device_program(struct launch *l, const struct argument *a)
{
	int cgroup = slot(l, &a[DEVICE_PROGRAM_ARG_CGROUP]);
	uint32_t ids[OLD_MAX];
	union bpf_attr old = { .query = { .attach_type = BPF_CGROUP_DEVICE,
					  .prog_ids = (uint64_t)(uintptr_t)ids,
					  .prog_cnt = OLD_MAX } };
	long program = load(l, &a[DEVICE_PROGRAM_ARG_PROGRAM]);

	TRY(program);
	old.query.target_fd = (uint32_t)cgroup;
	TRY(STEP(l, "bpf BPF_PROG_QUERY", NULL, sys(bpf, BPF_PROG_QUERY, &old, sizeof old)));
	TRY(STEP(l, "bpf BPF_PROG_ATTACH", NULL, change(BPF_PROG_ATTACH, cgroup, (int)program)));
	detach_old(cgroup, ids, old.query.prog_cnt);
	sys(close, program);
	l->plan.slots[a[DEVICE_PROGRAM_ARG_CGROUP].f] = -1; /* no directory of the host comes near the container */
	return sys(close, cgroup);
}
