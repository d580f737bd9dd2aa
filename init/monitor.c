/* One poll(2) waits for everything; what is waited for is a function of the state, computed anew each time.
 *
 * The order of an ending: the init process exits; what it wrote is read; the record is written; the launcher is told;
 * the clients are; the streams end (other processes may hold them longer); the monitor exits.
 * A stalled client delays the record by RECORD_MS at most. */
#include "monitor.h"

#include "clock.h"
#include "oom.h"
#include "record.h"
#include "streams.h"
#include "wire.h"

#include <linux/mman.h>

enum {
	POLL_PRIORITY = 2,
	SIGNAL_CHILD = 17,
	LIMIT_FILES = 7, /* RLIMIT_NOFILE */
	CHILD_DUMPED_CORE = 3,
	RECORD_MS = 1000,
	IDLE_MS = 1000,
	LEFTOVER_BYTES = 1 << 20, /* the most that a pipe holds: more than this was written after the exit */
};

/* Where each descriptor stands in the poll.  The kernel looks at them in this order, so by the time it finds an exit
 * the output before it is seen too, and a client that connected before some output is accepted before that is read. */
enum { INIT, OOM, CONSOLE, OUTPUT, ERROR, INPUT, CLIENT, LISTENER = CLIENT + CLIENTS_MAX, WATCHED };

/* Pages of this are touched when something is written, and given back when nothing has happened for a while. */
enum { PAGE = 4096, INPUT_ROOM = (ATTACH_PACKET / PAGE + 1) * PAGE };
static struct {
	char log[LOG_ROOM], input[INPUT_ROOM], output[LOG_TEXT_MAX], error[LOG_TEXT_MAX];
} room __attribute__((aligned(PAGE)));

static struct {
	struct monitor given;
	struct stream output, error;
	struct input input;
	struct attach attach;
	struct log log;
	struct oom oom;
	struct exit_record record;
	int slave;            /* of the terminal; -1: none */
	bool room_used;
	bool exited;          /* record says how */
	bool settled;         /* what had been written at the exit has been read */
	bool recorded, told;  /* the record is there; launcher and clients know */
	int64_t record_by;    /* clock_ms: settled or not */
	size_t leftover;      /* bytes read since the exit */
	uint32_t ending[2];   /* payload of ATTACH_EXIT */
	struct poll_entry watched[WATCHED];
} m;

/* ---- taking over ---- */

/* Own descriptors stay clear of 0, 1 and 2, which become /dev/null. */
static int keep_clear(int fd)
{
	return fd < 0 || fd > 2 ? fd : (int)sys(fcntl, fd, F_DUPFD_CLOEXEC, 3);
}

static void close_others(const int *own, int count)
{
	int from = 3;

	for (;;) {
		int next = -1;

		for (int i = 0; i < count; i++)
			if (own[i] >= from && (next < 0 || own[i] < next))
				next = own[i];
		if (next != from)
			sys(close_range, from, next < 0 ? ~0u : (unsigned int)next - 1, 0);
		if (next < 0)
			return;
		from = next + 1;
	}
}

static void own_descriptors(struct monitor *g)
{
	int *own[] = { &g->control, &g->init_pidfd, &g->state, &g->input, &g->output, &g->error, &g->console, &g->attach };
	int numbers[sizeof own / sizeof *own];
	long null;

	for (size_t i = 0; i < sizeof own / sizeof *own; i++)
		numbers[i] = *own[i] = keep_clear(*own[i]);
	close_others(numbers, sizeof own / sizeof *own);
	null = sys(openat, FD_CWD, "/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3; fd++)
		if (null >= 0 && null != fd)
			sys(dup3, null, fd, 0);
	if (null > 2)
		sys(close, null);
}

/* Were SIGCHLD ignored, as whoever started us may have had it, the kernel would forget how the child ended. */
static void heed_children(void)
{
	uint64_t standard[4] = { 0 }; /* struct sigaction: SIG_DFL, no flags, no mask */

	sys(rt_sigaction, SIGNAL_CHILD, standard, NULL, 8);
}

/* ppoll(2) takes no more entries than descriptors may be open, and whoever started us may have had few. */
static void raise_limit(void)
{
	uint64_t limits[2] = { 0, 0 };

	sys(prlimit64, 0, LIMIT_FILES, NULL, limits);
	limits[0] = limits[1];
	sys(prlimit64, 0, LIMIT_FILES, limits, NULL);
}

static void take_over(const struct monitor *given)
{
	heed_children();
	raise_limit();
	m.given = *given;
	own_descriptors(&m.given);
	m.record = (struct exit_record){ .pid = given->init_pid, .code = -1, .signal = -1, .started = clock_read(CLOCK_WALL) };
	m.output = (struct stream){ m.given.output, ATTACH_OUTPUT, "stdout", room.output, 0, 0 };
	m.error = (struct stream){ m.given.error, ATTACH_ERROR, "stderr", room.error, 0, 0 };
	m.input = (struct input){ .fd = m.given.input, .buffer = room.input };
	m.slave = -1;
	set_nonblocking(m.given.input);
	set_nonblocking(m.given.output);
	set_nonblocking(m.given.error);
	set_nonblocking(m.given.control);
	set_nonblocking(m.given.attach);
	attach_open(&m.attach, m.given.attach);
	oom_open(&m.oom, given->oom_path, given->oom_before);
	log_open(&m.log, given->log_path, given->log_format, given->log_bytes, given->log_files, room.log);
	sys(chdir, "/"); /* no mount is kept busy */
}

/* ---- waiting ---- */

static void watch(int place, int fd, int events)
{
	m.watched[place] = (struct poll_entry){ events ? fd : -1, (short)events, 0 };
}

static bool ready(int place)
{
	return m.watched[place].revents != 0;
}

static void watch_all(void)
{
	bool behind = attach_behind(&m.attach);

	watch(INIT, m.given.init_pidfd, m.exited ? 0 : POLL_IN);
	watch(OOM, m.oom.file, POLL_PRIORITY);
	watch(CONSOLE, m.given.console, POLL_IN);
	watch(OUTPUT, m.output.fd, behind ? 0 : POLL_IN);
	watch(ERROR, m.error.fd, behind ? 0 : POLL_IN);
	watch(INPUT, m.input.fd, input_busy(&m.input) ? POLL_OUT : 0);
	for (int i = 0; i < CLIENTS_MAX; i++) {
		const struct client *c = &m.attach.clients[i];
		bool heard = !c->held && m.given.console < 0; /* not before there is a terminal to hear it */

		watch(CLIENT + i, c->fd, (c->behind ? POLL_OUT : 0) | (heard ? POLL_IN : 0));
	}
	watch(LISTENER, m.attach.listener, attach_full(&m.attach) ? 0 : POLL_IN);
}

static int64_t left_until(int64_t deadline)
{
	int64_t left = deadline - clock_ms();

	return left < 0 ? 0 : left;
}

/* Milliseconds; -1: until something happens. */
static int64_t patience(void)
{
	bool behind = attach_behind(&m.attach);
	int64_t limit = behind ? left_until(m.attach.deadline) : m.room_used ? IDLE_MS : -1;

	if (m.exited && !m.settled && !behind)
		return 0;
	if (m.exited && !m.recorded) {
		int64_t record = m.settled ? RECORD_MS : left_until(m.record_by);

		return limit < 0 || record < limit ? record : limit;
	}
	return limit;
}

static void give_back(void *pages, size_t size, bool in_use)
{
	if (!in_use)
		sys(madvise, pages, size, MADV_DONTNEED);
}

static void give_back_room(void)
{
	give_back(room.log, sizeof room.log, false);
	give_back(room.input, sizeof room.input, input_busy(&m.input));
	give_back(room.output, sizeof room.output, m.output.start < m.output.end);
	give_back(room.error, sizeof room.error, m.error.start < m.error.end);
	m.room_used = false;
}

static void wait(void)
{
	int64_t ms = patience();
	struct time limit = { ms / 1000, ms % 1000 * 1000000 };
	long happened;

	watch_all();
	happened = sys(ppoll, m.watched, WATCHED, ms < 0 ? NULL : &limit, NULL, 8);
	if (happened > 0)
		m.room_used = true;
	else if (m.room_used && !attach_behind(&m.attach))
		give_back_room();
}

/* ---- serving ---- */

static void receive_terminal(void)
{
	m.slave = terminal_receive(m.given.console, &m.output, &m.input);
	sys(close, m.given.console);
	m.given.console = -1;
}

static void read_stream(struct stream *stream)
{
	size_t count = attach_behind(&m.attach) ? 0 : stream_read(stream, &m.log, &m.attach);

	m.leftover += m.exited ? count : 0;
}

static void serve_clients(void)
{
	for (int i = 0; i < CLIENTS_MAX; i++) {
		struct client *c = &m.attach.clients[i];

		if (ready(CLIENT + i))
			attach_retry(&m.attach, c);
		if (m.watched[CLIENT + i].revents & ~POLL_OUT && !c->held)
			attach_receive(c, &m.input);
	}
	attach_expire(&m.attach);
}

static void serve(void)
{
	if (ready(OOM))
		oom_read(&m.oom);
	if (ready(CONSOLE))
		receive_terminal();
	serve_clients();
	if (ready(LISTENER))
		attach_accept(&m.attach);
	if (ready(OUTPUT))
		read_stream(&m.output);
	if (ready(ERROR))
		read_stream(&m.error);
	if (ready(INPUT))
		input_flush(&m.input);
	if (!input_busy(&m.input))
		attach_release(&m.attach);
}

/* ---- the end ---- */

static void collect(void)
{
	struct child_info info = { 0 };

	if (sys(waitid, WAIT_PIDFD, m.given.init_pidfd, &info, WAIT_EXITED, NULL) >= 0) {
		m.record.code = info.code == CHILD_EXITED ? info.status : -1;
		m.record.signal = info.code == CHILD_EXITED ? -1 : info.status;
		m.record.core = info.code == CHILD_DUMPED_CORE;
	}
	m.record.finished = clock_read(CLOCK_WALL);
	m.exited = true;
	m.record_by = clock_ms() + RECORD_MS;
	if (m.slave >= 0)
		sys(close, m.slave);
	oom_read(&m.oom);
	m.record.oom = m.oom.kills > m.oom.before;
}

static void tell_launcher(void)
{
	uint32_t signal = m.record.signal < 0 ? 0 : (uint32_t)m.record.signal;
	uint32_t words[4] = { MESSAGE_EXITED, (uint32_t)m.record.code, signal, m.record.oom };

	if (m.given.control >= 0) {
		packet_send_words(m.given.control, words, 4, -1);
		sys(close, m.given.control);
	}
	m.given.control = -1;
}

static void tell_clients(void)
{
	m.told = true;
	m.ending[0] = (uint32_t)m.record.code;
	m.ending[1] = (uint32_t)m.record.signal;
	attach_send(&m.attach, ATTACH_EXIT, m.ending, sizeof m.ending);
}

/* Not looked at in the last wait, or found readable. */
static bool may_have_more(const struct stream *stream, int place)
{
	return stream->fd >= 0 && (m.watched[place].fd != stream->fd || ready(place));
}

static bool output_waits(void)
{
	return attach_behind(&m.attach) || may_have_more(&m.output, OUTPUT) || may_have_more(&m.error, ERROR) ||
	       ready(CONSOLE);
}

/* After each wait that began when the exit was known. */
static void conclude(void)
{
	m.settled = m.settled || !output_waits() || (m.leftover > LEFTOVER_BYTES && !attach_behind(&m.attach));
	if (!m.recorded && (m.settled || clock_ms() >= m.record_by)) {
		m.recorded = record_write(m.given.state, m.given.exit_name, &m.record);
		tell_launcher();
	}
	if (m.settled && !m.told)
		tell_clients();
	if (m.told && !attach_behind(&m.attach))
		attach_close(&m.attach);
	if (m.told && m.recorded && m.attach.listener < 0 && m.output.fd < 0 && m.error.fd < 0) {
		log_end(&m.log);
		leave(0);
	}
}

_Noreturn void monitor_run(const struct monitor *given)
{
	take_over(given);
	for (;;) {
		wait();
		serve();
		if (m.exited)
			conclude();
		else if (ready(INIT))
			collect();
	}
}
