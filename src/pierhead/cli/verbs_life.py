"""``start``, ``state``, ``kill``, ``pause``, ``resume`` and ``delete``."""

from __future__ import annotations

import os

from pierhead.cli.flags import Flag, Verb
from pierhead.errors import Conflict, InvalidInput, NotFound
from pierhead.runtime import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call
    from pierhead.runtime import Container

_NOT_RUNNING = ("not-running", "process-finished")


def _start(call: Call) -> int:
    container = load(call.root, call.id)
    if "NOTIFY_SOCKET" in os.environ and os.path.isdir(_notify_directory(call)):
        from pierhead.cli.notify import NotifyProxy

        with NotifyProxy(_notify_directory(call)) as proxy:
            container.start()
            proxy.await_ready(container.init)
    else:
        container.start()
    return 0


def _notify_directory(call: Call) -> str:
    """Where ``notify`` keeps what containers tell systemd through."""
    return f"{call.root}-notify/{call.id}"


def _state(call: Call) -> int:
    from pierhead.cli.output import pretty_object

    call.output.print(pretty_object(describe(load(call.root, call.id))))
    return 0


def describe(container: Container) -> dict[str, object]:
    """A container's state as runc prints it: OCI's members, and some that go-runc reads."""
    state = container.oci_state()
    document: dict[str, object] = {
        "ociVersion": state["ociVersion"],
        "id": state["id"],
        "pid": state["pid"],
        "status": state["status"],
        "bundle": state["bundle"],
        "rootfs": container.state.config["rootfs"],
        "created": container.created,
    }
    if "annotations" in state:
        document["annotations"] = state["annotations"]
    document["owner"] = owner_name(container.owner_uid)
    return document


def owner_name(uid: int) -> str:
    """The user's name on this machine; "" if the number has none."""
    if uid == 0:
        return "root"
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return ""


def _kill(call: Call) -> int:
    from pierhead.signals import parse_signal

    every = call.options.switch("all")
    signal = parse_signal(call.arguments[1] if len(call.arguments) > 1 else "TERM", least=0)
    container = load(call.root, call.id)
    try:
        container.kill(signal, all=every)
    except Conflict as error:
        # "All of none" is done: containerd's shim calls it when the container may have ended.
        if not (every and error.code in _NOT_RUNNING):
            raise
    return 0


def _pause(call: Call) -> int:
    load(call.root, call.id).pause()
    return 0


def _resume(call: Call) -> int:
    load(call.root, call.id).resume()
    return 0


def _delete(call: Call) -> int:
    force = call.options.switch("force")
    try:
        load(call.root, call.id).delete(force=force)
    except (NotFound, InvalidInput):
        if not force:
            raise
        _delete_unreadable(call)
    if os.path.isdir(_notify_directory(call)):
        from pierhead.cli.notify import remove_directory

        remove_directory(_notify_directory(call))
    return 0


def _delete_unreadable(call: Call) -> None:
    """What cannot be loaded is gone all the same, and if there was nothing, that is as it was wanted."""
    from pierhead.runtime.leftovers import remove_leftovers

    try:
        remove_leftovers(call.root, call.id)
    except NotFound:
        pass


_KILL_FLAGS = (Flag(name="all", short="a", kind="switch", about="to all processes, not the first one alone"),)
_DELETE_FLAGS = (
    Flag(name="force", short="f", kind="switch", about="kill it if it runs; no error if there is none"),
)

VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            name="start",
            arguments="ID",
            least=1,
            most=1,
            about="let a created container's process run",
            perform=_start,
        ),
        Verb(
            name="state",
            arguments="ID",
            least=1,
            most=1,
            about="print a container's state as JSON",
            text="The status is observed, not remembered: creating, created, running, paused or stopped.",
            perform=_state,
        ),
        Verb(
            name="kill",
            arguments="ID [SIGNAL]",
            least=1,
            most=2,
            about="send a signal to a container",
            text="SIGNAL is a name like TERM or SIGTERM (the default), or a number.",
            flags=_KILL_FLAGS,
            examples=(
                ("kill web HUP", "have it read its configuration again"),
                ("kill --all web 9", "end it"),
            ),
            perform=_kill,
        ),
        Verb(
            name="pause",
            arguments="ID",
            least=1,
            most=1,
            about="freeze all processes of a container",
            perform=_pause,
        ),
        Verb(
            name="resume",
            arguments="ID",
            least=1,
            most=1,
            about="let a paused container's processes go on",
            perform=_resume,
        ),
        Verb(
            name="delete",
            arguments="ID",
            least=1,
            most=1,
            about="remove a container that has stopped",
            text="Removes the cgroup and the state, and runs the poststop hooks. A container whose process "
            "has not been started counts as stopped.",
            flags=_DELETE_FLAGS,
            perform=_delete,
        ),
    )
}
