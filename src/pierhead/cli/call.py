"""One call of a program: what its words said, for the verb that performs it."""

from __future__ import annotations

from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.flags import Options
    from pierhead.cli.output import Output


class Call(Value):
    """What a verb is told.

    Fields:
        options: the values of its flags.
        arguments: its arguments, as many as the verb allows.
        output: where everything it says goes.
        root: directory in which containers have their state.
        cgroup_manager: ``cgroupfs``, ``systemd`` or ``disabled``.
        debug: whether the caller wants to know more.
        program: the values of the program's own flags; None where nobody has given any.
    """

    options: Options
    arguments: tuple[str, ...]
    output: Output
    root: str
    cgroup_manager: str = "cgroupfs"
    debug: bool = False
    program: Options | None = None

    @property
    def id(self) -> str:
        """The container's id, every verb's first argument if it has one."""
        return self.arguments[0]
