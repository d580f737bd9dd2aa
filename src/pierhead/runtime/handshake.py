"""The dialogue with the helper: sends a plan, keeps step with the launch, knows how it ended.

ARCHITECTURE.md draws it ("The dialogue"); this is the drawing's left side.  An ``error`` packet may take any
packet's place.  When the launcher's end of the stage's conversation closes before ``commit``, the stage kills
the init process and removes what the plan's ``undo`` lists.
"""

from __future__ import annotations

import _socket
import os

from pierhead.errors import InvalidInput, NotFound, OperationFailed, PierheadError
from pierhead.linux import process, procstat
from pierhead.linux.refusals import hint_for
from pierhead.runtime import wire, wire_table
from pierhead.runtime.packets import know_senders, receive, receive_from, socket_pair
from pierhead.runtime.plan.launchplan import HEADER_SLOTS, LaunchPlan, Slot, assemble
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    import select
    from collections.abc import Callable, Mapping, Sequence
    from typing import Protocol, Self

    from pierhead.runtime.wire import Argument, Failure

    class Steps(Protocol):
        """What the launcher does when the launched process asks for it; each may raise, which ends the
        launch.
        """

        def place(self, pid: int, *, maps: bool) -> None:
            """Puts the process into its cgroup and writes its id maps."""

        def network(self, netlink_fd: int) -> None:
            """Configures the network namespace through the socket, which becomes the callee's."""

        def hooks(self) -> None:
            """Runs the prestart and createRuntime hooks."""

        def limits(self) -> None:
            """Sets the resource limits of the init process."""

        def listener(self, notify_fd: int) -> None:
            """Hands the seccomp notify descriptor, which becomes the callee's, to the agent."""

        def born(self, pid: int) -> None:
            """The init process is there."""

        def states(self) -> tuple[bytes, bytes]:
            """The state documents for hooks: while creating, and when created."""


_INT = 4
_DEATH_S = 10.0
_DESCRIPTORS_MAX = 240
"""The helper's limit, init/wire.h; the kernel's is 253."""
_UNDO_S = 30.0
"""How long a stage may take to undo a launch: files and cgroups of a busy machine, no more."""
_SIGKILL = 9
_STAGE_KILLED = "pier-init was killed while it launched the container"


_NOTHING = LaunchPlan(operations=())


class Ending(Value):
    """How a launch ended well.

    Fields:
        ready: the process waits at the gate; else it executes.
        trace: nanoseconds by operation index, where the plan asked for them.
    """

    ready: bool
    trace: dict[int, int]


class LaunchFailed(OperationFailed):
    """An operation of the plan failed; ``failure`` has the helper's own words, ``operation`` the plan's."""

    default_code = "launch-failed"

    def __init__(
        self, message: str, *, failure: Failure | None = None, operation: wire.Operation | None = None
    ) -> None:
        number = failure.errno if failure else 0
        early = failure is not None and operation is None  # no operation of the plan, but a clone
        super().__init__(message, errno=number, hint=hint_for(number) if early else "")
        self.failure = failure
        self.operation = operation


class BornDead(LaunchFailed):
    """What was cloned was killed before it could say that it is there.  Linux (6.14 to 7.2 at least) kills it
    if cgroup.kill was once written to its cgroup or its cloner's, whose counts of kills it takes for one.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.hint = "was it ended? Else its cgroup or ours was killed once (cgroup.kill): remove that"


class Handshake:
    """One launch.  Use as a context manager: leaving it without ``commit`` gives the launch up."""

    def __init__(self) -> None:
        """Starts the helper, which waits for its plan: other things can be done meanwhile."""
        self._plan = _NOTHING
        self._trace: dict[int, int] = {}
        self._joiner_syncs = 0
        self._pids: dict[int, int] = {}
        self._waiting_tags: list[int] = []
        self._received: dict[int, int] = {}
        self._outcome = ""
        self._committed = False
        self._here = 0
        self._is_over = False
        self.stage_pid = 0
        self.init_pid = 0
        self.init_pidfd = -1
        self._control, control = socket_pair()
        self._channel, channel = socket_pair()
        know_senders(self._channel)
        try:
            self.stage_pid = process.spawn_helper(control.fileno(), channel.fileno())
        except BaseException:
            self._control.close()
            self._channel.close()
            raise
        finally:
            control.close()
            channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None or not self._committed:
            self.give_up()

    # sending

    def promise(self, undo: bytes, state_fd: int) -> None:
        """Said before anything is made: the helper removes it if we end before there is a plan, and has the
        lock of the state directory meanwhile; the descriptor stays ours.
        """
        self._send(wire_table.MESSAGE_UNDO.to_bytes(_INT, "little") + undo, [state_fd])

    def send(self, plan: LaunchPlan, header: Mapping[str, Argument], given: Mapping[str, int]) -> None:
        """The helper has its plan and begins.

        Args:
            plan: what to do.
            header: the wire's header fields that are not the plan's own.
            given: descriptors by slot name, for the slots that the plan expects to be given; stay the
                caller's.
        """
        self._plan = plan
        self._joiner_syncs = sum(op.name == "sync" and op.place == wire.JOINER for op in plan.operations)
        opened: list[int] = []
        try:
            fds, slots = self._open_slots(given, opened)
            flags = int(header.get("flags", 0))
            flags |= wire_table.LAUNCH_JOINER if plan.joiner else 0
            flags |= wire_table.LAUNCH_TRACE if plan.trace else 0
            size = len(plan.slots) + HEADER_SLOTS
            fields = {**header, "flags": flags, "clone_flags": plan.clone_flags, "slots": size}
            first, *rest = wire.plan_packets(wire.encode_plan(fields, plan.encoded, slots), len(fds))
            if len(fds) > _DESCRIPTORS_MAX:
                message = f"{len(fds)} descriptors are more than can be handed on at once"
                raise InvalidInput(message, code="bad-descriptor")
            self._send(first, fds)
            for packet in rest:
                self._send(packet)
        finally:
            for fd in opened:
                os.close(fd)

    def _open_slots(self, given: Mapping[str, int], opened: list[int]) -> tuple[list[int], dict[str, int]]:
        """Descriptors in the table's order, and the indexes of those that the header may name."""
        fds: list[int] = []
        for slot in self._plan.slots:
            if slot.kind == "open":
                opened.append(_open_slot(slot.name, slot.path))
                fds.append(opened[-1])
            elif slot.kind == "given":
                fds.append(given[slot.name])
        slots = dict(self._plan.indexes)
        for name, fd in given.items():
            if name not in slots:
                slots[name] = len(fds)
                fds.append(fd)
        return fds, slots

    def _send(self, packet: bytes, fds: list[int] | None = None) -> None:
        rights = b"".join(fd.to_bytes(_INT, "little") for fd in fds or ())
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []
        try:
            self._control.sendmsg([packet], ancillary, _socket.MSG_NOSIGNAL)
        except BrokenPipeError:
            raise LaunchFailed("pier-init ended before it had its plan") from None
        except OSError as error:
            raise _bad_descriptors(error, fds or []) from None

    # keeping step

    def run(self, steps: Steps) -> Ending:
        """Keeps step until the process is at its gate or executes its program.

        Raises:
            LaunchFailed: an operation failed, or a process of the launch was killed.
        """
        import select  # while the helper is at work

        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        poll.register(self._channel.fileno(), select.POLLIN)
        while not self._outcome:
            ready = dict(poll.poll())
            if self._control.fileno() in ready:
                self._read_control(steps, poll)
            elif self._channel.fileno() in ready:
                self._read_channel()
            self._answer_waiting(steps)
        while wire.INIT not in self._pids:
            self._read_control(steps, poll)
        # the end of its conversation may have been its own end
        if self._outcome == "executing" and not procstat.executes(self.init_pid, self.init_pidfd):
            raise LaunchFailed("the container's process was killed before it ran the program")
        return Ending(ready=self._outcome == "ready", trace=self._trace)

    def _read_control(self, steps: Steps, poll: select.poll) -> None:
        packet, fds = receive(self._control)
        if not packet:
            poll.unregister(self._control.fileno())
            self._fail_if_said()
            raise (BornDead if self._plan.joiner and not self._pids else LaunchFailed)(_STAGE_KILLED)
        message, *rest = wire.words(packet)
        if message == wire_table.MESSAGE_ERROR:
            raise self._failure(packet)
        place, pid = rest
        self._pids[place] = pid
        if place == wire.INIT:
            self.init_pid, self.init_pidfd = pid, _descriptor(fds)
            steps.born(pid)

    def _read_channel(self) -> None:
        packet, fds, sender = receive_from(self._channel)
        if not packet:
            self._end_of_channel()
            return
        message, *rest = wire.words(packet)
        if message == wire_table.MESSAGE_ERROR:
            raise self._failure(packet)
        if message == wire_table.MESSAGE_HERE:
            self._here = sender
        elif message == wire_table.MESSAGE_SYNC:
            self._waiting_tags.append(rest[0])
        elif message == wire_table.MESSAGE_DESCRIPTOR:
            self._received[rest[0]] = _descriptor(fds)
        elif message == wire_table.MESSAGE_TRACE:
            self._trace[rest[0]] = rest[1]
        elif message == wire_table.MESSAGE_READY:
            self._outcome = "ready"
        elif message == wire_table.MESSAGE_EXECUTING:
            self._await_execution()

    def _await_execution(self) -> None:
        """The conversation ends with execve; when that fails, its error comes instead."""
        packet, _ = receive(self._channel)
        if packet:
            raise self._failure(packet)
        self._outcome = "executing"

    def _end_of_channel(self) -> None:
        self._fail_if_said()
        what = "the container's process was killed while it was being set up"
        raise LaunchFailed(what) if self._here else BornDead(what)

    def _fail_if_said(self) -> None:
        """One side has ended: the other may have said why, or the stage may."""
        for socket in (self._channel, self._control):
            while True:
                try:
                    packet, fds, sender = receive_from(socket, _socket.MSG_DONTWAIT)
                except BlockingIOError:
                    break
                for fd in fds:
                    os.close(fd)
                if not packet:
                    break
                self._here = sender or self._here
                if wire.words(packet)[0] == wire_table.MESSAGE_ERROR:
                    raise self._failure(packet)

    def await_stage(self) -> None:
        """The stage has ended without an error, for a plan that launches nothing."""
        packet, _ = receive(self._control)
        if packet:
            raise self._failure(packet)

    def _answer_waiting(self, steps: Steps) -> None:
        while self._waiting_tags:
            place = wire.JOINER if self._joiner_syncs else wire.INIT
            if place not in self._pids:
                return
            tag = self._waiting_tags.pop(0)
            if place == wire.JOINER:
                self._joiner_syncs -= 1
            self._perform(steps, tag, self._pids[place])
            states = steps.states() if tag == wire_table.SYNC_HOOKS else ()
            try:
                for packet in wire.go_packets(states):
                    self._channel.send(packet, _socket.MSG_NOSIGNAL)
            except BrokenPipeError:
                self._end_of_channel()

    def _perform(self, steps: Steps, tag: int, pid: int) -> None:
        if tag == wire_table.SYNC_MAPS:
            steps.place(pid, maps=bool(self._plan.uid_mappings or self._plan.gid_mappings))
        elif tag == wire_table.SYNC_NETWORK:
            steps.network(self._received.pop(tag))
        elif tag == wire_table.SYNC_HOOKS:
            steps.hooks()
        elif tag == wire_table.SYNC_LIMITS:
            steps.limits()
        elif tag == wire_table.SYNC_SECCOMP:
            steps.listener(self._received.pop(tag))
        else:
            raise LaunchFailed(f"pier-init asked for something unknown ({tag})")

    def _failure(self, packet: bytes) -> LaunchFailed:
        failure = wire.decode_failure(packet)
        operations = self._plan.operations
        operation = operations[failure.index] if failure.index < len(operations) else None
        from pierhead.runtime.failures import describe_failure

        words = describe_failure(failure, operation, self._paths())
        return LaunchFailed(words, failure=failure, operation=operation)

    def _paths(self) -> dict[str, str]:
        """What the descriptors that were opened for the plan are, by their names there."""
        return {slot.name: slot.path for slot in self._plan.slots if slot.kind == "open"}

    # the end

    def adopt(self, pid: int) -> None:
        """After ``run`` of a program that makes a container: it has ended, and the process of this number,
        which it left behind, is the init process.

        Raises:
            LaunchFailed: the program has failed, or there is no such process.
        """
        words = (wire_table.MESSAGE_ADOPT, pid)
        try:
            self._control.send(b"".join(word.to_bytes(_INT, "little") for word in words))
        except ConnectionError:
            raise LaunchFailed(_STAGE_KILLED) from None
        packet, fds = receive(self._control)
        if not packet:
            raise LaunchFailed(_STAGE_KILLED)
        if wire.words(packet)[0] == wire_table.MESSAGE_ERROR:
            raise self._failure(packet)
        os.close(self.init_pidfd)
        self.init_pid, self.init_pidfd = pid, _descriptor(fds)
        self._pids[wire.INIT] = pid

    def commit(self) -> None:
        """The launch holds: the stage forgets how to undo it.

        Its end of the conversation stays for a monitor.
        """
        if self._outcome == "ready":  # before the stage knows: of what waits at the gate somebody must know
            try:
                self._channel.send(wire_table.MESSAGE_GO.to_bytes(_INT, "little"), _socket.MSG_NOSIGNAL)
            except ConnectionError:
                self._end_of_channel()
        self._committed = True  # before the stage may know: from here on giving up is to kill
        try:
            self._control.send(wire_table.MESSAGE_COMMIT.to_bytes(_INT, "little"), _socket.MSG_NOSIGNAL)
        except ConnectionError:
            raise LaunchFailed(_STAGE_KILLED) from None
        self._channel.close()

    def finish(self) -> None:
        """After ``commit`` of a launch without a monitor: the stage is gone."""
        self._control.close()
        process.reap(self.stage_pid)
        self._reap_joiner()
        self._is_over = True

    def detach(self) -> _socket.socket:
        """After ``commit`` of a launch with a monitor: the conversation on which it will tell of the exit.

        Raises:
            LaunchFailed: there is no monitor: it was killed before it could say that it watches.
        """
        packet, _ = receive(self._control)
        if not packet:
            raise LaunchFailed(_STAGE_KILLED)
        self._reap_joiner()
        self._is_over = True
        return self._control

    def _reap_joiner(self) -> None:
        joiner = self._pids.get(wire.JOINER)
        if joiner:
            process.reap(joiner)

    def give_up(self) -> None:
        """Nothing is left of the launch: the stage undoes it when our end closes.

        A stage that has been told of the commit may undo nothing any more, or stay as a monitor for as long
        as the process lives: that is killed first.  After ``finish`` and ``detach`` nothing happens.
        """
        if self._is_over:
            return
        self._is_over = True
        if self._committed and self.init_pidfd >= 0:
            process.kill_pidfd(self.init_pidfd)
        self._end_channel()
        self._end_stage()
        for fd in self._received.values():
            os.close(fd)
        if wire.INIT not in self._pids and self._here:
            self._end_untold()
        process.reap_group(self.stage_pid, _DEATH_S)
        if self.init_pidfd >= 0:
            process.kill_pidfd(self.init_pidfd)  # the stage has done this, unless it was killed itself
            process.wait_pidfd(self.init_pidfd, _DEATH_S)
            os.close(self.init_pidfd)
            self.init_pidfd = -1
        if wire.INIT in self._pids:  # not awaited: a container that was allowed to trace it could hold us up
            process.reap_later(self._pids[wire.INIT])

    def _end_channel(self) -> None:
        """Nothing can be said to us any more; what was said may tell who is there."""
        try:
            self._channel.shutdown(_socket.SHUT_RDWR)
            while True:
                packet, fds, sender = receive_from(self._channel, _socket.MSG_DONTWAIT)
                for fd in fds:
                    os.close(fd)
                if not packet:
                    break
                self._here = sender or self._here
        except OSError:  # closed by the commit
            pass
        self._channel.close()

    def _end_untold(self) -> None:
        """The init process of a stage that was killed before it could tell of it has ended."""
        pidfd = process.open_pidfd(self._here)
        if pidfd is None:
            return
        process.kill_pidfd(pidfd)
        process.wait_pidfd(pidfd, _DEATH_S)
        process.reap_behind(pidfd)

    def _end_stage(self) -> None:
        """It has undone the launch and ended; one that takes too long is killed."""
        heard = True
        if self._control.fileno() >= 0:
            self._control.shutdown(_socket.SHUT_WR)
            heard = self._hear_out()
            self._control.close()
        if not heard:
            os.kill(self.stage_pid, _SIGKILL)
        process.reap(self.stage_pid)

    def _hear_out(self) -> bool:
        """Reads what the stage had still to say; whether that came to an end.

        The init process may have failed before we knew its number.
        """
        import select
        import time

        deadline = time.monotonic() + _UNDO_S
        poll = select.poll()
        poll.register(self._control.fileno(), select.POLLIN)
        while True:
            if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return False
            packet, fds = receive(self._control)
            if not packet:
                return True
            message, *rest = wire.words(packet)
            if message == wire_table.MESSAGE_CHILD:
                self._pids[rest[0]] = rest[1]
            if fds and self.init_pidfd < 0:
                self.init_pidfd = fds.pop()
            for fd in fds:
                os.close(fd)


def _bad_descriptors(error: OSError, fds: list[int]) -> PierheadError:
    """Why descriptors cannot be handed on."""
    for fd in fds:
        try:
            os.fstat(fd)
        except (OSError, OverflowError):
            return InvalidInput(
                f"descriptor {fd}, which the process is to have, is not open", code="bad-descriptor"
            )
    return OperationFailed(
        f"cannot hand the plan to pier-init: {os.strerror(error.errno or 0).lower()}", errno=error.errno or 0
    )


def _descriptor(fds: list[int]) -> int:
    """The one that came with a packet; the kernel drops it when our table is full (unix(7), MSG_CTRUNC)."""
    if not fds:
        raise LaunchFailed(
            "too many open files: the launcher cannot take a descriptor of the launched process"
        )
    return fds[0]


def _open_slot(name: str, path: str) -> int:
    try:
        # a FIFO would else wait for somebody to write
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NotFound(
            f"cannot join the {name} {path}: there is no such file", code="no-such-namespace"
        ) from None
    except OSError as error:
        raise OperationFailed(
            f"cannot open {path} for the {name}: {os.strerror(error.errno or 0).lower()}",
            errno=error.errno or 0,
        ) from None


def hold_user_namespace(write_maps: Callable[[int], None]) -> int:
    """A descriptor of a new user namespace whose maps ``write_maps`` writes; no process stays in it."""
    operations = (
        wire.Operation(name="sync", arguments=(wire_table.SYNC_MAPS,), why="the launcher writes the id maps"),
        wire.Operation(name="ready", why="the launcher holds the namespace"),
    )
    keeper = _Keeper(write_maps)
    with Handshake() as handshake:
        handshake.send(assemble(LaunchPlan(operations=operations, clone_flags=_CLONE_NEWUSER)), {}, {})
        handshake.run(keeper)
    return keeper.fd


_CLONE_NEWUSER = 0x10000000


class _Keeper:
    """The steps of a launch whose only result is a user namespace."""

    def __init__(self, write_maps: Callable[[int], None]) -> None:
        self._write_maps = write_maps
        self.fd = -1

    def place(self, pid: int, *, maps: bool) -> None:  # noqa: ARG002 - the plan has no maps of its own
        """Maps are written and the namespace is opened."""
        self._write_maps(pid)
        self.fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)

    def born(self, pid: int) -> None:
        """Nothing is to be done."""

    def states(self) -> tuple[bytes, bytes]:
        """There are no hooks."""
        return b"", b""

    def network(self, netlink_fd: int) -> None:
        """Not asked for by the plan."""
        os.close(netlink_fd)

    def hooks(self) -> None:
        """Not asked for by the plan."""

    def limits(self) -> None:
        """Not asked for by the plan."""

    def listener(self, notify_fd: int) -> None:
        """Not asked for by the plan."""
        os.close(notify_fd)


def perform_on_host(operations: Sequence[wire.Operation], given: Mapping[str, int]) -> None:
    """The stage performs these operations in our own namespaces; nothing is launched.

    Args:
        operations: the stage's.
        given: descriptors that they name.
    """
    slots = tuple(Slot(name=name, kind="given") for name in given)
    with Handshake() as handshake:
        plan = assemble(LaunchPlan(operations=tuple(operations), slots=slots))
        handshake.send(plan, {"flags": wire_table.LAUNCH_NOTHING}, given)
        handshake.await_stage()
