"""Programs of a container: its first one, and further ones by exec.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.engine.specgen.ground import ANY_MACHINE
from pierhead.engine.specgen.imagemerge import as_list
from pierhead.engine.specgen.rights import granted_capabilities
from pierhead.errors import InvalidInput
from pierhead.oci.runtime import Box
from pierhead.runtime.config import DEFAULT_ENV, ProcessSpec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.engine.documents import ContainerConfig, ExecConfig
    from pierhead.engine.record import Record
    from pierhead.engine.specgen.ground import Machine

INIT_PATH = "/sbin/docker-init"
"""Where the reaper stands in a container, as with Docker."""

_SHORT_ID = 12
_ID_MAX, _ID_DIGITS = 2**31 - 1, 10
_UNSIZED: tuple[int, ...] = (0, 0)


def short_hostname(record: Record) -> str:
    """The name that a container gives itself: what was asked for, else the beginning of its id."""
    return record.config.hostname or record.id[:_SHORT_ID]


def program_of(config: ContainerConfig) -> tuple[str, ...]:
    """Entrypoint and command as one line of words; empty where there is neither."""
    return (*(as_list(config.entrypoint) or ()), *(as_list(config.cmd) or ()))


def plan_first_process(record: Record, hostname: str) -> ProcessSpec:
    """The process that the container is for; behind the reaper, where it has one.

    Raises:
        InvalidInput: its program has no name; Docker's sentence.
    """
    args = program_of(record.config)
    if args and not args[0]:
        raise InvalidInput('exec: "": executable file not found in $PATH', code="no-such-program")
    if record.host.init:
        args = (INIT_PATH, "--", *args)
    return ProcessSpec(
        args=args,
        env=_environment(record.config.env, hostname, terminal=record.config.tty),
        cwd=record.config.working_dir or "/",
        user=_user(record.config.user),
        terminal=record.config.tty,
        console_size=_box(record.host.console_size),
    )


def plan_exec(record: Record, wanted: ExecConfig, *, machine: Machine = ANY_MACHINE) -> ProcessSpec:
    """A further process of the container, with what it does not say as its first process has it.

    Raises:
        InvalidInput: it cannot be one; Docker's sentence.
    """
    if not wanted.cmd or not wanted.cmd[0]:
        raise InvalidInput("No exec command specified", code="no-command")
    if wanted.working_dir and not wanted.working_dir.startswith("/"):
        raise InvalidInput("Cwd must be an absolute path", code="bad-working-directory")
    check_environment(wanted.env)
    env = _environment((*record.config.env, *wanted.env), short_hostname(record), terminal=wanted.tty)
    privileged = granted_capabilities(record.host.replace(privileged=True), machine)
    return ProcessSpec(
        args=wanted.cmd,
        env=env,
        cwd=wanted.working_dir or record.config.working_dir or "/",
        user=_user(wanted.user or record.config.user),
        terminal=wanted.tty,
        console_size=_box(wanted.console_size),
        capabilities=privileged if wanted.privileged else None,
        apparmor_profile="" if wanted.privileged else None,
    )


def _user(text: str) -> str:
    """The user, who is root where nobody is named; Docker takes a group alone for root's (``:5``).

    Raises:
        InvalidInput: a number is too great.
    """
    for part in text.split(":"):
        check_id(part)
    return f"0{text}" if not text or text.startswith(":") else text


def check_id(text: str) -> None:
    """It is a name, or a number that users and groups have with Docker (moby, sys/user: maxID), where they
    are signed; the runtime itself takes all that the kernel has.

    Raises:
        InvalidInput: the number is too great; Docker's sentence.
    """
    if is_number(text) and (len(text.lstrip("0")) > _ID_DIGITS or int(text) > _ID_MAX):
        raise InvalidInput(f"uids and gids must be in range 0-{_ID_MAX}", code="id-out-of-range")


def is_number(text: str) -> bool:
    """Whether it consists of digits."""
    return text.isascii() and text.isdecimal()


def check_environment(env: Iterable[str]) -> None:
    """Every entry has a name.

    Raises:
        InvalidInput: one has none; Docker's sentence.
    """
    for entry in env:
        if not entry or entry.startswith("="):
            raise InvalidInput(f"invalid environment variable: {entry}", code="bad-environment")


def _environment(given: Iterable[str], hostname: str, *, terminal: bool) -> tuple[str, ...]:
    """PATH, HOSTNAME and TERM, and what was given above them; a name alone takes a variable away.

    Source: Docker's `docker run` reference, "Environment variables".
    """
    found = {"PATH": DEFAULT_ENV[0].partition("=")[2], "HOSTNAME": hostname}
    if terminal:
        found["TERM"] = "xterm"
    for entry in given:
        name, equals, value = entry.partition("=")
        if equals:
            found[name] = value
        else:
            found.pop(name, None)
    return tuple(f"{name}={value}" for name, value in found.items())


def _box(size: tuple[int, ...]) -> Box | None:
    """A terminal's size from Docker's ``[height, width]``; None for none."""
    if len(size) != 2 or size == _UNSIZED:
        return None
    return Box(height=size[0], width=size[1])
