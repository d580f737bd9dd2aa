"""``nsinit exec``: a command in a container, which is made for it if there is none of its name."""

from __future__ import annotations

import os

from pierhead.cli.flags import BadUsage, Flag, Verb, at_flag
from pierhead.cli.foreground import SignalPipe, stand_in
from pierhead.cli.nsinit import ID
from pierhead.cli.nsinit_config import FILE_NAME, load_config
from pierhead.cli.verbs_exec import FLAG_OF
from pierhead.cli.verbs_launch import EXPLAIN, TRACE, clock_ns, with_own_size
from pierhead.errors import InvalidInput, NotFound
from pierhead.runtime import Config, ProcessSpec, load, run
from pierhead.runtime.config import DEFAULT_ENV
from pierhead.runtime.validate import check_process_spec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call
    from pierhead.runtime import Container, Process

_HOST_NAME_MAX = 64  # uname(2)

FLAGS = (
    Flag(name="tty", short="t", kind="switch", about="give the command a terminal"),
    Flag(
        name="config",
        value="FILE",
        about="what the container is to be",
        default=f"{FILE_NAME} here, else the defaults with the working directory as the root",
    ),
    ID,
    Flag(name="user", short="u", value="USER[:GROUP]", about="run as this user", default="root"),
    Flag(name="cwd", value="DIR", about="working directory in the container", default="/"),
    Flag(name="env", short="e", kind="list", value="NAME=VALUE", about="set a variable"),
    EXPLAIN,
    TRACE,
)


def _exec(call: Call) -> int:
    identity = call.options.text("id", ID.default)
    container = _find(call, identity)
    if container is None:
        return _exec_in_new(call, identity)
    return _exec_in_present(call, container)


def _find(call: Call, identity: str) -> Container | None:
    """The container of this name, if it lives; what is left of one that has ended is removed."""
    try:
        container = load(call.root, identity)
    except NotFound:
        return None
    if container.status != "stopped":
        return container
    if not call.options.switch("explain"):
        call.output.debug(f"removing the container {identity} that has stopped")
        container.delete()
    return None


def _process(call: Call, model: ProcessSpec | None) -> ProcessSpec:
    """The command with the model's properties, where flags do not say otherwise.

    Raises:
        BadUsage: there is no command, neither given nor in the configuration.
    """
    options = call.options
    args = call.arguments or (model.args if model else ())
    if not args:
        raise BadUsage("exec needs a COMMAND", hint="the form is: exec [FLAGS] COMMAND [ARGUMENT...]")
    process = model or ProcessSpec(args=args, env=DEFAULT_ENV)
    process = process.replace(args=args, terminal=options.switch("tty"))
    env = list(process.env)
    if process.terminal and not any(entry.startswith("TERM=") for entry in env):
        env.append(f"TERM={os.environ.get('TERM', 'xterm')}")
    for entry in options.all("env"):
        if entry.find("=") < 1:
            raise BadUsage(f"--env needs NAME=VALUE, not {entry!r}")
        env.append(entry)
    process = process.replace(env=tuple(env))
    if options.given("user"):
        process = process.replace(user=options.text("user"))
    if options.given("cwd"):
        process = process.replace(cwd=options.text("cwd"))
    try:
        check_process_spec(process)
    except InvalidInput as error:
        raise at_flag(error, FLAG_OF, options) from None
    return process


def _configuration(call: Call, identity: str) -> Config:
    path = call.options.text("config")
    if path or os.path.exists(FILE_NAME):
        return load_config(path or FILE_NAME)
    return Config(rootfs=os.getcwd(), hostname=identity if len(identity) <= _HOST_NAME_MAX else "")


def _check_root(config: Config) -> None:
    """There is something in the root file system: a mistaken directory would get mount points, and no more.

    Raises:
        NotFound: there is nothing, and nothing comes by a mount.
    """
    if any(mount.source.startswith("/") for mount in config.mounts) or not os.path.isdir(config.rootfs):
        return
    if not os.listdir(config.rootfs):
        assert config.process is not None
        raise NotFound(
            f"{config.rootfs} is no root file system: it is empty, so there is no {config.process.args[0]}",
            code="rootfs-empty",
            hint="unpack one there, or make a configuration with `nsinit config --host`",
        )


def _exec_in_new(call: Call, identity: str) -> int:
    config = _configuration(call, identity)
    config = config.replace(process=_process(call, config.process))
    if call.options.switch("explain"):
        from pierhead.cli.explain import explain_launch

        title = f"container {identity} with root {config.rootfs}"
        call.output.print(explain_launch(call.root, identity, config, title, call.output, gate=False))
        return 0
    _check_root(config)
    if call.options.switch("tty"):
        config = with_own_size(config)
    made: list[Container] = []

    def launch(console: int) -> Process:
        begin_ns = clock_ns()
        made.append(run(call.root, identity, config, console=console, trace=call.options.switch("trace")))
        _tell_trace(call, made[0], clock_ns() - begin_ns)
        return made[0].init

    with SignalPipe() as signals:
        try:
            return stand_in(launch, signals, terminal=call.options.switch("tty"))
        finally:
            if made:
                made[0].delete(force=True)


def _tell_trace(call: Call, container: Container, took_ns: int) -> None:
    if not call.options.switch("trace"):
        return
    from pierhead.cli.explain import trace_table
    from pierhead.runtime.factory import plan_launch

    performed = plan_launch(call.root, container.id, container.config, gate=False)
    call.output.remark(trace_table(performed, container.trace, took_ns, call.output))


def _exec_in_present(call: Call, container: Container) -> int:
    if call.options.given("config"):
        call.output.warn(f"container {container.id} exists: --config is ignored")
    wanted = _process(call, container.config.process)
    if call.options.switch("explain"):
        from pierhead.cli.explain import explain_exec

        title = f"a further process in container {container.id}"
        call.output.print(explain_exec(container, wanted, title, call.output))
        return 0

    def launch(console: int) -> Process:
        begin_ns = clock_ns()
        process = container.exec(wanted, console=console, trace=call.options.switch("trace"))
        if call.options.switch("trace"):
            from pierhead.cli.explain import trace_table

            took_ns = clock_ns() - begin_ns
            call.output.remark(
                trace_table(container.plan_exec(wanted), container.trace, took_ns, call.output)
            )
        return process

    with SignalPipe() as signals:
        return stand_in(launch, signals, terminal=call.options.switch("tty"))


VERBS = {
    "exec": Verb(
        name="exec",
        arguments="[COMMAND [ARGUMENT...]]",
        most=None,
        about="run a command in a container, which is made if there is none",
        text="Without a container of the name, one is made from the configuration, the command is its first "
        "process, and it is gone when the command has ended. Otherwise the command joins the one there is. "
        "The command's exit status becomes nsinit's.",
        flags=FLAGS,
        examples=(
            ("exec --tty /bin/sh", "a shell with the working directory as its root"),
            ("exec --tty --config container.json /bin/bash", "in a container made from a file"),
            ("exec ps", "from a second terminal: what runs in the first one's container"),
            ("exec --explain /bin/true", "how a container is made, step by step"),
        ),
        literal=True,
        perform=_exec,
    )
}
