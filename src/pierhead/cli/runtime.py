"""``pier-runtime``: the OCI runtime command line, with runc's grammar.

What other programs rely on (containerd's shim, conmon, dockerd) stands at the verbs: words of errors, files
that are written, descriptors that are passed.
"""

from __future__ import annotations

import os

from pierhead.cli.flags import Flag, Options
from pierhead.cli.program import DEBUG, LOG_FORMAT, VERSION, Entry, Program, run
from pierhead.errors import InvalidInput

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_ROOT = "/run/pierhead/runtime"

FLAGS = (
    Flag(name="root", value="DIR", about="where containers have their state", default=_ROOT),
    Flag(
        name="log",
        value="FILE",
        about="keep errors and warnings there, too; file:PATH, journald:NAME and syslog:NAME work as well",
    ),
    LOG_FORMAT,
    Flag(
        name="systemd-cgroup",
        kind="switch",
        about="have systemd make cgroups; cgroupsPath is then slice:prefix:name",
    ),
    Flag(
        name="cgroup-manager",
        value="NAME",
        about="who makes cgroups",
        default="cgroupfs",
        choices=("cgroupfs", "systemd", "disabled"),
    ),
    Flag(
        name="rootless",
        value="BOOL",
        about="whether to keep state in the caller's own runtime directory",
        default="auto",
        choices=("true", "false", "auto"),
    ),
    DEBUG,
    VERSION,
)

_TEXT = """
Runs containers from OCI bundles: a bundle is a directory with a config.json and a root file system. It takes
runc's place under containerd, dockerd, Podman and Kubernetes, and it can show what it does: add --explain to
run, create or exec.
"""


def _version() -> str:
    """Three lines that go-runc reads; the first must begin with a name and the word "version"."""
    import pierhead
    from pierhead.oci.runtime import OCI_VERSION

    return f"pier-runtime version {pierhead.__version__}\ncommit: unknown\nspec: {OCI_VERSION}\n"


def _settle(options: Options) -> tuple[str, str]:
    manager = options.text("cgroup-manager", "cgroupfs")
    if options.switch("systemd-cgroup"):
        if options.given("cgroup-manager") and manager != "systemd":
            raise InvalidInput(f"--systemd-cgroup and --cgroup-manager {manager} contradict each other")
        manager = "systemd"
    root = options.text("root") or default_root(options.text("rootless", "auto"))
    return os.path.abspath(root), manager


def default_root(rootless: str, directory: str = "runtime") -> str:
    """Where state is kept when nobody says it: /run for root, else the user's own runtime directory.

    Args:
        rootless: ``true``, ``false`` or ``auto``.
        directory: below pierhead's own.

    Raises:
        InvalidInput: the user has no runtime directory.
    """
    own = os.environ.get("XDG_RUNTIME_DIR", "")
    is_root = os.geteuid() == 0
    if (
        rootless == "false"
        or (is_root and not own)
        or (rootless == "auto" and is_root and not _is_guest_root())
    ):
        return f"/run/pierhead/{directory}"
    if not own:
        hint = "log in through a session manager, or name a directory with --root"
        raise InvalidInput(
            "there is no place for state: XDG_RUNTIME_DIR is not set", code="no-state-root", hint=hint
        )
    return f"{own}/pierhead/{directory}"


def _is_guest_root() -> bool:
    """Whether we are root of a user namespace only, in its maker's environment (podman unshare)."""
    if os.environ.get("USER", "root") in ("", "root"):
        return False
    with open("/proc/self/uid_map") as uid_map:
        return uid_map.readline().split() != ["0", "0", "4294967295"]


PROGRAM = Program(
    name="pier-runtime",
    about="run containers as the Open Container Initiative describes them",
    text=_TEXT,
    flags=FLAGS,
    entries=(
        Entry(name="run", module="verbs_launch", about="create a container, start it and wait for its end"),
        Entry(name="create", module="verbs_launch", about="create a container; its process waits for start"),
        Entry(name="start", module="verbs_life", about="let a created container's process run"),
        Entry(name="exec", module="verbs_exec", about="run a further process in a container"),
        Entry(name="state", module="verbs_life", about="print a container's state as JSON"),
        Entry(name="list", module="verbs_look", about="list containers"),
        Entry(name="ps", module="verbs_look", about="list a container's processes"),
        Entry(name="events", module="verbs_look", about="print statistics and lacks of memory as JSON lines"),
        Entry(name="kill", module="verbs_life", about="send a signal to a container"),
        Entry(name="pause", module="verbs_life", about="freeze all processes of a container"),
        Entry(name="resume", module="verbs_life", about="let a paused container's processes go on"),
        Entry(name="update", module="verbs_update", about="change a container's limits while it runs"),
        Entry(name="delete", module="verbs_life", about="remove a container that has stopped"),
        Entry(name="spec", module="verbs_document", about="write a config.json to begin with"),
        Entry(name="features", module="verbs_document", about="print what this runtime can do, as JSON"),
    ),
    version=_version,
    settle=_settle,
)


def main(words: Sequence[str]) -> int:
    """Performs a call of ``pier-runtime``; returns the exit status."""
    return run(PROGRAM, words)
