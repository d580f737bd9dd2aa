"""``pier run``: a command in a new container of an image, in the foreground, gone at its end."""

from __future__ import annotations

import contextlib
import errno
import gc
import os

from pierhead.cli.flags import BadUsage, Flag, Verb, quiet_flag
from pierhead.cli.foreground import SignalPipe, stand_in
from pierhead.cli.runtime import default_root
from pierhead.cli.userns import USERNS, find_shift, wanted_ids, with_user_namespace
from pierhead.cli.verbs_launch import EXPLAIN, with_own_size
from pierhead.errors import InvalidInput, NotFound
from pierhead.figures import parse_size
from pierhead.oci.runtime import Cpu, Memory, Pids
from pierhead.runtime import Config, Mount, ProcessSpec, Stdio, run
from pierhead.runtime.config import DEFAULT_ENV
from pierhead.runtime.handshake import LaunchFailed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pierhead.cli.call import Call
    from pierhead.errors import PierheadError
    from pierhead.images.library import Image
    from pierhead.images.roots import ImageRoot
    from pierhead.images.service import ImageService
    from pierhead.oci.image import Execution, Platform
    from pierhead.runtime import Container, Process

HOST = "@host"
"""The image that is the running machine."""
_CPU_PERIOD_US = 100_000
NOT_RUN = 125
"""The exit status when no command was run, for a reason of pier's; docker's, as the next two."""
_NOT_EXECUTABLE = 126
_NOT_FOUND = 127
_NAME_MAX = 64
_HEX_LENGTH = 12


def _run(call: Call) -> int:
    image, command = call.arguments[0], call.arguments[1:]
    ids = wanted_ids(call)
    if image == HOST:
        if ids is not None:
            raise BadUsage("@host has the machine's users: --userns goes with images")
        return _stand_in_for(call, _host_config(call, command))
    from pierhead.images.roots import open_root

    gc.enable()
    with _service(call) as service:
        found = _present_image(call, service, image)
        shifted = find_shift(service, ids)
        with open_root(service, found, _platform(call), shifted=shifted) as root:
            config = _image_config(call, root, command, mapped=shifted is None)
            return _stand_in_for(call, with_user_namespace(config, ids, root.scratch))


def _service(call: Call) -> ImageService:
    from pierhead.cli.store import open_service

    return open_service(call)


def _platform(call: Call) -> Platform | None:
    from pierhead.cli.store import wanted_platform

    return wanted_platform(call)


def _present_image(call: Call, service: ImageService, text: str) -> Image:
    """The image, pulled where ``--pull`` says so."""
    when = call.options.text("pull", "missing")
    if when != "always":
        try:
            image = service.catalogue.get(text)
            service.catalogue.open(image, _platform(call))
        except NotFound:
            if when == "never":
                raise
            if not call.options.switch("quiet"):
                call.output.remark(f"Unable to find image {text!r} locally\n")
        else:
            return image
    from pierhead.cli.pier_transfer import pull

    platform = _platform(call)
    pulled = pull(call, text, (platform,) if platform else (), quiet=call.options.switch("quiet"))
    return service.library.get_image(pulled.name)


# What the container is


def _host_config(call: Call, command: tuple[str, ...]) -> Config:
    from pierhead.runtime import host_rootfs

    if not command:
        raise BadUsage("run @host needs a COMMAND", hint="the form is: run @host COMMAND [ARGUMENT...]")
    config = host_rootfs()
    return _common(call, config, _process(call, command, DEFAULT_ENV, cwd="/", user=""))


def _image_config(call: Call, root: ImageRoot, command: tuple[str, ...], *, mapped: bool) -> Config:
    from pierhead.oci.image import Execution

    config = root.image.config
    execution = (config.config if config else None) or Execution()
    arguments = _arguments(call, execution, command)
    env = (
        execution.env
        if any(entry.startswith("PATH=") for entry in execution.env)
        else (*DEFAULT_ENV, *execution.env)
    )
    process = _process(call, arguments, env, cwd=execution.working_dir or "/", user=execution.user)
    base = _with_root(Config(rootfs=f"{root.scratch}/root"), root, mapped=mapped)
    found = _common(call, base, process)
    return found.replace(mounts=(*found.mounts, *_generated_files(call, root.scratch, found.hostname)))


def _with_root(config: Config, root: ImageRoot, *, mapped: bool) -> Config:
    from pierhead.runtime.config import RootOverlay

    os.makedirs(config.rootfs, exist_ok=True)
    mount = root.mounts[-1]
    overlay = RootOverlay(lower=mount.lower, upper=mount.upper, work=mount.work, mapped=mapped)
    if mount.source:  # one directory alone
        place = {"lower": (mount.source,)} if mount.readonly else {"upper": mount.source}
        overlay = overlay.replace(**place)
    return config.replace(root_overlay=overlay, readonlyfs=mount.readonly)


def _arguments(call: Call, execution: Execution, command: tuple[str, ...]) -> tuple[str, ...]:
    """As docker puts them together: --entrypoint takes the image's entrypoint and command away."""
    if call.options.given("entrypoint"):
        entrypoint = call.options.text("entrypoint")
        found = ((entrypoint,) if entrypoint else ()) + command
    else:
        found = execution.entrypoint + (command or execution.cmd)
    if not found:
        raise BadUsage(
            "the image has no command of its own", hint="the form is: run IMAGE COMMAND [ARGUMENT...]"
        )
    return found


def _process(
    call: Call, arguments: tuple[str, ...], env: tuple[str, ...], *, cwd: str, user: str
) -> ProcessSpec:
    options = call.options
    terminal = options.switch("tty")
    variables = dict(entry.partition("=")[::2] for entry in env)
    if terminal:
        variables.setdefault("TERM", os.environ.get("TERM", "xterm"))
    for entry in options.all("env"):
        name, equals, value = entry.partition("=")
        if not name:
            raise BadUsage(f"--env needs NAME=VALUE or NAME, not {entry!r}")
        if equals or name in os.environ:
            variables[name] = value if equals else os.environ[name]
    process = ProcessSpec(
        args=arguments,
        env=tuple(f"{name}={value}" for name, value in variables.items()),
        cwd=options.text("workdir") or cwd,
        terminal=terminal,
    )
    chosen = options.text("user") or user
    return process.replace(user=chosen) if chosen else process


def _common(call: Call, config: Config, process: ProcessSpec) -> Config:
    """Flags that mean the same for every image."""
    options = call.options
    namespaces = config.namespaces
    if options.text("network", "none") == "host":
        namespaces = tuple(each for each in namespaces if each.type != "network")
    resources = config.resources.replace(memory=_memory(call), cpu=_cpu(call), pids=_pids(call))
    return config.replace(
        process=process,
        hostname=options.text("hostname") or _name(call),
        namespaces=namespaces,
        resources=resources,
        readonlyfs=config.readonlyfs or options.switch("read-only"),
        mounts=(*config.mounts, *map(_volume, options.all("volume"))),
    )


def _memory(call: Call) -> Memory | None:
    text = call.options.text("memory")
    if not text:
        return None
    limit = parse_size(text)
    if not limit:
        raise BadUsage(f"--memory cannot be {text!r}", hint="write it as 64m or 2g")
    return Memory(limit=limit)


def _cpu(call: Call) -> Cpu | None:
    text = call.options.text("cpus")
    if not text:
        return None
    try:
        quota_us = int(float(text) * _CPU_PERIOD_US)
    except (ValueError, OverflowError):
        quota_us = 0
    if quota_us <= 0:
        raise BadUsage(f"--cpus cannot be {text!r}", hint="write it as 2 or 0.5")
    return Cpu(quota=quota_us, period=_CPU_PERIOD_US)


def _pids(call: Call) -> Pids | None:
    limit = call.options.number("pids-limit")
    return None if limit is None else Pids(limit=limit)


def _volume(text: str) -> Mount:
    """``SOURCE:DESTINATION[:ro]``, with absolute paths."""
    parts = text.split(":")
    source, destination, options = (*parts, "")[:3] if len(parts) in (2, 3) else ("", "", "")
    if not source.startswith("/") or not destination.startswith("/") or options not in ("", "ro", "rw"):
        hint = "write it as /on/this/machine:/in/the/container, with :ro to only read it"
        raise BadUsage(f"--volume cannot be {text!r}", hint=hint)
    if not os.path.exists(source):
        raise InvalidInput(f"the volume's source {source} is not there", code="volume-not-found")
    return Mount(
        destination=destination,
        type="bind",
        source=source,
        options=("rbind", "rprivate", *(("ro",) if options == "ro" else ())),
    )


def _generated_files(call: Call, scratch: str, hostname: str) -> Iterator[Mount]:
    """/etc/hostname, /etc/hosts and /etc/resolv.conf of the container, over what the image has there."""
    texts = {
        "hostname": f"{hostname}\n",
        "hosts": f"127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\t{hostname}\n",
        "resolv.conf": _resolver(call),
    }
    for name, text in texts.items():
        with open(f"{scratch}/{name}", "w") as file:
            file.write(text)
        yield Mount(
            destination=f"/etc/{name}",
            type="bind",
            source=f"{scratch}/{name}",
            options=("bind", "rprivate", *(("ro",) if call.options.switch("read-only") else ())),
        )


def _resolver(call: Call) -> str:
    if call.options.text("network", "none") != "host":
        return ""
    with contextlib.suppress(OSError), open("/etc/resolv.conf") as file:
        return file.read()
    return ""


# Running it


def _name(call: Call) -> str:
    name = call.options.text("name")
    return name if 0 < len(name) <= _NAME_MAX else "sandbox" if call.arguments[0] == HOST else "container"


def _stand_in_for(call: Call, config: Config) -> int:
    identity = call.options.text("name") or os.urandom(_HEX_LENGTH // 2).hex()
    state_root = default_root("auto", "pier")
    if call.options.switch("explain"):
        from pierhead.cli.explain import explain_launch

        title = f"container {identity} of {call.arguments[0]}"
        call.output.print(explain_launch(state_root, identity, config, title, call.output, gate=False))
        return 0
    terminal = call.options.switch("tty")
    if terminal:
        config = with_own_size(config)
    stdio = Stdio() if terminal or call.options.switch("interactive") else Stdio(input=None)
    made: list[Container] = []

    def launch(console: int) -> Process:
        made.append(run(state_root, identity, config, stdio=stdio, console=console))
        return made[0].init

    with SignalPipe() as signals:
        try:
            return stand_in(launch, signals, terminal=terminal)
        finally:
            if made:
                made[0].delete(force=True)


def _status_of(error: PierheadError) -> int:
    """As docker's: whether pier failed, or there is no such command, or it cannot be run."""
    operation = error.operation if isinstance(error, LaunchFailed) else None
    if operation is None or operation.name not in ("find_executable", "execute"):
        return NOT_RUN
    return _NOT_FOUND if getattr(error, "errno", 0) == errno.ENOENT else _NOT_EXECUTABLE


VERBS = {
    "run": Verb(
        name="run",
        arguments="IMAGE [COMMAND [ARGUMENT...]]",
        least=1,
        most=None,
        about="run a command in a new container of an image",
        text="The image is pulled if it is not here. @host is this machine, copy-on-write, its secrets "
        "hidden. The container runs in the foreground and is gone when its command has ended; the command's "
        "exit status becomes pier's.",
        flags=(
            Flag(name="interactive", short="i", kind="switch", about="give it our standard input"),
            Flag(name="tty", short="t", kind="switch", about="give the command a terminal"),
            Flag(name="rm", kind="switch", about="remove the container at its end, which happens anyway"),
            Flag(name="name", value="NAME", about="what it is called while it runs", default="a random one"),
            Flag(name="hostname", value="NAME", about="of the container"),
            Flag(
                name="env",
                short="e",
                kind="list",
                value="NAME[=VALUE]",
                about="set a variable, or pass ours on",
            ),
            Flag(name="workdir", short="w", value="DIR", about="working directory in the container"),
            Flag(
                name="user", short="u", value="USER[:GROUP]", about="run as this user", default="the image's"
            ),
            Flag(name="entrypoint", value="PROGRAM", about="run this instead of the image's entrypoint"),
            Flag(
                name="volume", short="v", kind="list", value="DIR:DIR[:ro]", about="show a directory of ours"
            ),
            Flag(name="read-only", kind="switch", about="let nothing be written to the image's files"),
            Flag(
                name="network",
                value="MODE",
                about="which network it has",
                default="none",
                choices=("none", "host"),
            ),
            USERNS,
            Flag(name="memory", short="m", value="SIZE", about="limit of memory, such as 64m"),
            Flag(name="cpus", value="NUMBER", about="limit of processors, such as 0.5"),
            Flag(name="pids-limit", kind="number", value="N", about="limit of processes"),
            Flag(
                name="pull",
                value="WHEN",
                about="when to ask the registry",
                default="missing",
                choices=("missing", "always", "never"),
            ),
            Flag(name="platform", value="OS/ARCH[/VARIANT]", about="which of the image's platforms"),
            quiet_flag("say nothing of a pull"),
            EXPLAIN,
        ),
        examples=(
            ("run debian:trixie cat /etc/os-release", "a command"),
            ("run -it --rm debian:trixie", "a shell"),
            ("run @host id", "without any image"),
        ),
        literal=True,
        error_status=NOT_RUN,
        status_of=_status_of,
        perform=_run,
    )
}
