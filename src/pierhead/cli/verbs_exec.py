"""``exec``: a further process in a container."""

from __future__ import annotations

from pierhead.cli.bundle import load_process
from pierhead.cli.flags import BadUsage, Flag, Verb, at_flag
from pierhead.cli.foreground import SignalPipe, stand_in
from pierhead.cli.inherit import connect, passed_descriptors, send_pidfd, write_pid_file
from pierhead.cli.verbs_launch import (
    CONSOLE_SOCKET,
    EXPLAIN,
    PID_FILE,
    PIDFD_SOCKET,
    PRESERVE_FDS,
    TRACE,
    check_console,
    clock_ns,
)
from pierhead.errors import InvalidInput
from pierhead.oci.runtime import Box, Capabilities, User
from pierhead.runtime import ProcessSpec, Stdio, load
from pierhead.runtime.validate import check_process_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call
    from pierhead.cli.flags import Options
    from pierhead.runtime import Config, Container, Process

FLAGS = (
    CONSOLE_SOCKET,
    PIDFD_SOCKET,
    Flag(name="cwd", value="DIR", about="working directory in the container", default="the container's"),
    Flag(
        name="env", short="e", kind="list", value="NAME=VALUE", about="set a variable beside the container's"
    ),
    Flag(name="tty", short="t", kind="switch", about="give the process a terminal"),
    Flag(
        name="user",
        short="u",
        value="USER[:GROUP]",
        about="run as this user, by number or by a name of the container's",
        default="the container's",
    ),
    Flag(
        name="additional-gids",
        short="g",
        kind="list",
        value="GID",
        about="be in this group, too; by number or by a name of the container's",
    ),
    Flag(
        name="process",
        short="p",
        value="FILE",
        about="read everything about the process from this JSON document (the process of a config.json)",
    ),
    Flag(name="detach", short="d", kind="switch", about="return as soon as the process runs"),
    PID_FILE,
    Flag(name="process-label", value="LABEL", about="SELinux label of the process"),
    Flag(name="apparmor", value="PROFILE", about="AppArmor profile of the process"),
    Flag(name="no-new-privs", kind="switch", about="the process's programs gain no privileges"),
    Flag(
        name="cap", short="c", kind="list", value="CAP", about="have this capability beside the container's"
    ),
    PRESERVE_FDS,
    Flag(name="cgroup", kind="list", value="PATH", about="put it into this cgroup below the container's"),
    Flag(
        name="ignore-paused",
        kind="switch",
        about="start it in a paused container; it runs when that is resumed",
    ),
    EXPLAIN,
    TRACE,
)


FLAG_OF = {
    "$.user": "user",
    "$.cwd": "cwd",
    "$.env": "env",
    "$.additional_groups": "additional-gids",
    "$.capabilities": "cap",
    "$.apparmorProfile": "apparmor",
    "$.selinuxLabel": "process-label",
}
"""Flags whose values may not fit, by their place in a document."""


def _exec(call: Call) -> int:
    options = call.options
    command = call.arguments[1:]
    if not command and not options.text("process"):
        raise BadUsage(
            "exec needs a COMMAND, or --process", hint="the form is: exec ID COMMAND [ARGUMENT...]"
        )
    container = load(call.root, call.id)
    if options.text("process"):
        wanted = load_process(options.text("process"), call.output)
        wanted = wanted.replace(terminal=wanted.terminal or options.switch("tty"))
    else:
        wanted = process_from_options(container.config, command, options)
    _check(call, wanted)
    if options.switch("explain"):
        from pierhead.cli.explain import explain_exec

        title = f"a further process in container {call.id}"
        call.output.print(explain_exec(container, wanted, title, call.output))
        return 0
    detach = options.switch("detach")
    check_console(terminal=wanted.terminal, detach=detach, console=options.text("console-socket"))
    if detach:
        _launch_detached(call, container, wanted)
        return 0
    return _run_in_foreground(call, container, wanted)


def _check(call: Call, wanted: ProcessSpec) -> None:
    """The process can be run, as far as can be said; what is strange about it is told."""
    try:
        warnings = check_process_spec(wanted)
    except InvalidInput as error:
        if call.options.text("process"):
            raise
        raise at_flag(error, FLAG_OF, call.options) from None
    for warning in warnings:
        call.output.warn(warning)


def process_from_options(config: Config, command: tuple[str, ...], options: Options) -> ProcessSpec:
    """The container's first process with another command, and what the flags say otherwise.

    Raises:
        InvalidInput: a flag's value does not fit.
    """
    model = config.process or ProcessSpec(args=command)
    process = model.replace(args=command, terminal=options.switch("tty"), console_size=None)
    for entry in options.all("env"):
        if entry.find("=") < 1:
            raise InvalidInput(f"--env needs NAME=VALUE, not {entry!r}", code="bad-usage")
    process = process.replace(env=(*process.env, *options.all("env")), cwd=options.text("cwd") or process.cwd)
    if options.text("user"):
        process = process.replace(user=_user(options.text("user"), process.user))
    if options.all("additional-gids"):
        groups = tuple(_number_or_name(group) for group in options.all("additional-gids"))
        process = process.replace(additional_groups=(*(config.additional_groups), *groups))
    if options.text("apparmor"):
        process = process.replace(apparmor_profile=options.text("apparmor"))
    if options.text("process-label"):
        process = process.replace(process_label=options.text("process-label"))
    if options.given("no-new-privs"):
        process = process.replace(no_new_privileges=options.switch("no-new-privs"))
    if options.all("cap"):
        process = process.replace(capabilities=_more(config.capabilities, options.all("cap")))
    return process


def _user(text: str, model: User | str) -> User | str:
    """Numbers alone keep the groups of the container's user, as with runc; the library looks names up."""
    user, colon, group = text.partition(":")
    numbers = all(part.isascii() and part.isdecimal() for part in ((user, group) if colon else (user,)))
    if not numbers or isinstance(model, str):
        return text
    return model.replace(uid=int(user), gid=int(group) if colon else model.gid)


def _number_or_name(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdecimal() else text


def _more(capabilities: Capabilities, wanted: tuple[str, ...]) -> Capabilities:
    """With further capabilities; ambient ones only where there are inheritable ones, as with runc."""
    names = tuple(capability_name(name) for name in wanted)
    more = capabilities.replace(
        bounding=(*capabilities.bounding, *names),
        effective=(*capabilities.effective, *names),
        permitted=(*capabilities.permitted, *names),
    )
    return more.replace(ambient=(*more.ambient, *names)) if more.inheritable else more


def capability_name(name: str) -> str:
    """The capability's full name: ``net_admin`` and ``CAP_NET_ADMIN`` are the same.

    Raises:
        InvalidInput: there is none of this name.
    """
    from pierhead.oci.numbers import CAPABILITY_NUMBERS

    full = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
    if full not in CAPABILITY_NUMBERS:
        raise InvalidInput(
            f"unknown capability {name!r}", code="unknown-capability", hint="capabilities(7) lists them"
        )
    return full


def _launch_detached(call: Call, container: Container, wanted: ProcessSpec) -> None:
    path = call.options.text("console-socket")
    if not path:
        _launch(call, container, wanted, -1).disown()
        return
    console = connect(path, "console socket")
    try:
        _launch(call, container, wanted, console.fileno()).disown()
    finally:
        console.close()


def _launch(call: Call, container: Container, wanted: ProcessSpec, console: int) -> Process:
    options = call.options
    _, count = passed_descriptors(options.number("preserve-fds") or 0)
    begin_ns = clock_ns() if options.switch("trace") else 0
    process = container.exec(
        wanted,
        stdio=Stdio(),
        console=console,
        preserve_fds=tuple(range(3, 3 + count)),
        cgroup=_cgroup(options.all("cgroup")),
        ignore_paused=options.switch("ignore-paused"),
        trace=options.switch("trace"),
    )
    took_ns = clock_ns() - begin_ns if begin_ns else 0
    try:
        _announce(call, process)
        if begin_ns:
            _print_trace(call, container, wanted, took_ns)
    except BaseException:
        process.terminate()
        raise
    return process


def _cgroup(paths: tuple[str, ...]) -> str:
    """The form of runc names a controller for each path; here one path holds in every hierarchy."""
    found = {path.partition(":")[2] if ":" in path else path for path in paths}
    if len(found) > 1:
        raise InvalidInput("--cgroup takes one path for all controllers", code="bad-usage")
    return found.pop() if found else ""


def _announce(call: Call, process: Process) -> None:
    options = call.options
    if options.text("pidfd-socket"):
        socket = connect(options.text("pidfd-socket"), "pidfd socket")
        send_pidfd(socket, process.pidfd)
        socket.close()
    if options.text("pid-file"):
        write_pid_file(options.text("pid-file"), process.pid)


def _print_trace(call: Call, container: Container, wanted: ProcessSpec, took_ns: int) -> None:
    from pierhead.cli.explain import trace_table

    call.output.remark(trace_table(container.plan_exec(wanted), container.trace, took_ns, call.output))


def _run_in_foreground(call: Call, container: Container, wanted: ProcessSpec) -> int:
    if wanted.terminal and wanted.console_size is None:
        from pierhead.cli.terminal import own_size

        size = own_size()
        if size is not None:
            wanted = wanted.replace(console_size=Box(height=size[0], width=size[1]))
    with SignalPipe() as signals:
        return stand_in(
            lambda console: _launch(call, container, wanted, console), signals, terminal=wanted.terminal
        )


EXEC = Verb(
    name="exec",
    arguments="ID [COMMAND [ARGUMENT...]]",
    least=1,
    most=None,
    about="run a further process in a container",
    text="The process has what the container's first process has, unless a flag says otherwise. Everything "
    "after ID is the command's own. In the foreground its exit status becomes this program's; 255 means that "
    "it could not be run.",
    flags=FLAGS,
    examples=(
        ("exec -t web sh", "a shell in it"),
        ("exec --user 1000:1000 --env LANG=C web id", "as another user"),
        ("exec --explain web true", "what it takes to get into a container"),
    ),
    literal=True,
    error_status=255,
    error_prefix="exec failed: ",
    perform=_exec,
)

VERBS = {EXEC.name: EXEC}
