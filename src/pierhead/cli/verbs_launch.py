"""``create`` and ``run``."""

from __future__ import annotations

import os

from pierhead.cli.bundle import load_bundle
from pierhead.cli.flags import Flag, Verb
from pierhead.cli.foreground import SignalPipe, Undoing, stand_in
from pierhead.cli.inherit import (
    connect,
    passed_descriptors,
    send_pidfd,
    with_listen_variables,
    write_pid_file,
)
from pierhead.errors import InvalidInput
from pierhead.oci.runtime import Box
from pierhead.runtime import Stdio, create, run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call
    from pierhead.cli.notify import NotifyProxy
    from pierhead.runtime import Config, Container, Process

NOTIFY_VARIABLE = "NOTIFY_SOCKET"
"""sd_notify(3): set by systemd for services that tell when they are ready."""

EXPLAIN = Flag(
    name="explain", kind="switch", about="print every step of the launch with its reason, and do none of them"
)
TRACE = Flag(
    name="trace", kind="switch", about="say on standard error how long every step of the launch took"
)

CONSOLE_SOCKET = Flag(
    name="console-socket",
    value="SOCKET",
    about="unix socket that is sent the master side of the process's terminal",
)
PIDFD_SOCKET = Flag(name="pidfd-socket", value="SOCKET", about="unix socket that is sent the process's pidfd")
PID_FILE = Flag(name="pid-file", value="FILE", about="write the process's number there")
PRESERVE_FDS = Flag(
    name="preserve-fds",
    kind="number",
    value="N",
    about="pass N descriptors from 3 on (after those of LISTEN_FDS)",
    default="0",
)

LAUNCH_FLAGS = (
    Flag(name="bundle", short="b", value="DIR", about="the bundle", default="the working directory"),
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    PID_FILE,
    Flag(
        name="no-pivot",
        kind="switch",
        about="change the root without pivot_root(2), for hosts that run from a ramfs; weaker",
    ),
    Flag(name="no-new-keyring", kind="switch", about="share the caller's session keyring (keyrings(7))"),
    PRESERVE_FDS,
    EXPLAIN,
    TRACE,
)

_RUN_FLAGS = (
    Flag(name="detach", short="d", kind="switch", about="return as soon as the process runs"),
    Flag(name="keep", kind="switch", about="keep the container when its process has ended"),
    Flag(
        name="no-subreaper",
        kind="switch",
        about="accepted for runc's callers: nothing is reparented to this program anyway",
    ),
)


def _create(call: Call) -> int:
    config = _configuration(call)
    if call.options.switch("explain"):
        return _explain(call, config, gate=True)
    _check_console(call, config, detach=True)
    if NOTIFY_VARIABLE in os.environ:
        from pierhead.cli.notify import notify_directory

        with notify_directory(call.root, call.id) as directory:
            _launch(call, directory.added_to(config), gate=True).init.disown()
            directory.keep()
        return 0
    _launch(call, config, gate=True).init.disown()
    return 0


def _run(call: Call) -> int:
    config = _configuration(call)
    if call.options.switch("explain"):
        return _explain(call, config, gate=False)
    detach = call.options.switch("detach")
    _check_console(call, config, detach=detach)
    if NOTIFY_VARIABLE in os.environ:
        return _run_and_notify(call, config, detach=detach)
    if detach:
        _launch(call, config, gate=False).init.disown()
        return 0
    with SignalPipe() as signals:
        return _run_in_foreground(call, config, signals)


def _run_and_notify(call: Call, config: Config, *, detach: bool) -> int:
    """The same, and systemd learns from the container when it is ready."""
    from pierhead.cli.notify import NotifyProxy, notify_directory

    with notify_directory(call.root, call.id) as directory, NotifyProxy(directory.path) as proxy:
        config = directory.added_to(config)
        if not detach:
            with SignalPipe() as signals:
                return _run_in_foreground(call, config, signals, proxy)
        container = _launch(call, config, gate=False)
        proxy.await_ready(container.init)
        container.init.disown()
        directory.keep()
        return 0


def _configuration(call: Call) -> Config:
    options = call.options
    config = load_bundle(os.path.abspath(options.text("bundle", ".")), call.output)
    return config.replace(
        cgroup_manager=call.cgroup_manager,
        no_pivot_root=options.switch("no-pivot"),
        no_new_keyring=options.switch("no-new-keyring"),
    )


def _explain(call: Call, config: Config, *, gate: bool) -> int:
    from pierhead.cli.explain import explain_launch

    title = f"container {call.id} from {config.bundle}"
    call.output.print(explain_launch(call.root, call.id, config, title, call.output, gate=gate))
    return 0


def _check_console(call: Call, config: Config, *, detach: bool) -> None:
    terminal = config.process is not None and config.process.terminal
    check_console(terminal=terminal, detach=detach, console=call.options.text("console-socket"))


def check_console(*, terminal: bool, detach: bool, console: str) -> None:
    """Somebody holds the terminal's other side: we in the foreground, else whoever has the console socket.

    Raises:
        InvalidInput: nobody would, or the socket has no use.
    """
    if terminal and detach and not console:
        hint = "give --console-socket, or set process.terminal to false"
        raise InvalidInput(
            "a detached process with a terminal needs a console socket", code="no-console", hint=hint
        )
    if console and not (terminal and detach):
        missing = "a detached process" if terminal else "a process with a terminal"
        raise InvalidInput(f"a console socket is of use only with {missing}", code="useless-console")


def _launch(call: Call, config: Config, *, gate: bool) -> Container:
    """The container exists and its process is known to whoever wanted to know it."""
    with Undoing():
        path = call.options.text("console-socket")
        if not path:
            return _make(call, config, -1, gate=gate)
        console = connect(path, "console socket")
        try:
            return _make(call, config, console.fileno(), gate=gate)
        finally:
            console.close()


def _make(call: Call, config: Config, console: int, *, gate: bool) -> Container:
    options = call.options
    sockets, count = passed_descriptors(options.number("preserve-fds") or 0)
    assert config.process is not None
    config = config.replace(process=with_listen_variables(config.process, sockets))
    if call.debug:
        _tell_plan(call, config, gate=gate)
    begin_ns = clock_ns() if options.switch("trace") else 0
    container = (create if gate else run)(
        call.root,
        call.id,
        config,
        stdio=Stdio(),
        console=console,
        preserve_fds=tuple(range(3, 3 + count)),
        trace=options.switch("trace"),
    )
    took_ns = clock_ns() - begin_ns if begin_ns else 0
    try:
        _announce(call, container, took_ns, gate=gate)
    except BaseException:
        container.delete(force=True)
        raise
    return container


def _tell_plan(call: Call, config: Config, *, gate: bool) -> None:
    from pierhead.cli.explain import explain
    from pierhead.runtime.factory import plan_launch_steps

    plan, steps = plan_launch_steps(call.root, call.id, config, gate=gate)
    call.output.debug(explain(plan, f"container {call.id}", steps).rstrip())


def clock_ns() -> int:
    """A moment, to measure from."""
    import time

    return time.perf_counter_ns()


def _announce(call: Call, container: Container, took_ns: int, *, gate: bool) -> None:
    options = call.options
    if options.text("pidfd-socket"):
        socket = connect(options.text("pidfd-socket"), "pidfd socket")
        send_pidfd(socket, container.init.pidfd)
        socket.close()
    if options.text("pid-file"):
        write_pid_file(options.text("pid-file"), container.init.pid)
    if options.switch("trace"):
        from pierhead.cli.explain import trace_table
        from pierhead.runtime.factory import plan_launch

        performed = plan_launch(call.root, call.id, container.config, gate=gate)
        call.output.remark(trace_table(performed, container.trace, took_ns, call.output))


def _run_in_foreground(
    call: Call, config: Config, signals: SignalPipe, proxy: NotifyProxy | None = None
) -> int:
    made: list[Container] = []

    def launch(console: int) -> Process:
        made.append(_make(call, config, console, gate=False))
        return made[0].init

    terminal = config.process is not None and config.process.terminal
    if terminal:
        config = with_own_size(config)
    try:
        return stand_in(launch, signals, terminal=terminal, proxy=proxy)
    finally:
        if made and not call.options.switch("keep"):
            made[0].delete(force=True)


def with_own_size(config: Config) -> Config:
    """The process's terminal begins with the size of ours, where the document says none."""
    from pierhead.cli.terminal import own_size

    size = own_size()
    process = config.process
    if process is None or process.console_size is not None or size is None:
        return config
    return config.replace(process=process.replace(console_size=Box(height=size[0], width=size[1])))


CREATE = Verb(
    name="create",
    arguments="ID",
    least=1,
    most=1,
    about="create a container; its process waits for start",
    text="Everything is made as the bundle's config.json says, up to the moment before the process's program "
    "runs. The process inherits standard input, output and error unless it has a terminal.",
    flags=LAUNCH_FLAGS,
    examples=(
        ("create --bundle ./box web", "a container named web from the bundle ./box"),
        ("create --explain --bundle ./box web", "what would be done, and why"),
    ),
    perform=_create,
)

RUN = Verb(
    name="run",
    arguments="ID",
    least=1,
    most=1,
    about="create a container, start it and wait for its end",
    text="In the foreground, signals are passed on to the process, its terminal (if it has one) is joined "
    "with the caller's, its exit status becomes this program's (128 and the number, if a signal ended it), "
    "and the container is deleted when it has ended.",
    flags=(*LAUNCH_FLAGS, *_RUN_FLAGS),
    examples=(
        ("run --bundle ./box web", "run it and wait"),
        ("run --detach --pid-file web.pid --bundle ./box web", "run it and return"),
        ("run --trace --bundle ./box web", "what took how long"),
    ),
    perform=_run,
)

VERBS = {verb.name: verb for verb in (CREATE, RUN)}
