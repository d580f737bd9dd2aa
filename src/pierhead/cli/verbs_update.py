"""``update``: other limits for a container that runs."""

from __future__ import annotations

from pierhead.cli.bundle import load_document, tell_unknown
from pierhead.cli.flags import BadUsage, Flag, Verb, at_flag
from pierhead.errors import InvalidInput, Unsupported
from pierhead.figures import parse_size
from pierhead.oci.document import decode
from pierhead.oci.runtime import BlockIO, Cpu, Memory, Pids, Resources
from pierhead.oci.validate_linux import check_resources
from pierhead.runtime import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call
    from pierhead.cli.flags import Options

_MEMORY = {"memory": "limit", "memory-reservation": "reservation", "memory-swap": "swap"}
_CPU = {
    "cpu-share": "shares",
    "cpu-quota": "quota",
    "cpu-burst": "burst",
    "cpu-period": "period",
    "cpu-rt-runtime": "realtime_runtime",
    "cpu-rt-period": "realtime_period",
    "cpu-idle": "idle",
}
_CPUSET = {"cpuset-cpus": "cpus", "cpuset-mems": "mems"}
_FLAG_OF = {
    "$.blockIO.weight": "blkio-weight",
    "$.cpu.idle": "cpu-idle",
    **{f"$.cpu.{field}": name for name, field in _CPUSET.items()},
    **{f"$.memory.{field}": name for name, field in _MEMORY.items()},
}
"""Flags whose values may not fit, by their place in a document."""

_RDT = ("l3-cache-schema", "mem-bw-schema")

FLAGS = (
    Flag(
        name="resources",
        short="r",
        value="FILE",
        about="read all limits from this JSON document (the resources of a config.json); - is standard input",
    ),
    Flag(name="blkio-weight", kind="number", value="WEIGHT", about="share of block I/O, 10 to 1000"),
    Flag(name="cpu-period", kind="number", value="US", about="period of the CPU quota, in microseconds"),
    Flag(name="cpu-quota", kind="number", value="US", about="CPU time in a period; -1 is no limit"),
    Flag(name="cpu-burst", kind="number", value="US", about="unused CPU time that may be saved up"),
    Flag(
        name="cpu-share", kind="number", value="SHARES", about="share of CPU time beside others, 2 to 262144"
    ),
    Flag(name="cpu-rt-period", kind="number", value="US", about="period of the realtime CPU quota"),
    Flag(name="cpu-rt-runtime", kind="number", value="US", about="realtime CPU time in a period"),
    Flag(name="cpuset-cpus", value="LIST", about="processors to run on, like 0-3,7"),
    Flag(name="cpuset-mems", value="LIST", about="memory nodes to allocate from"),
    Flag(name="memory", value="BYTES", about="most memory, like 64m; -1 is no limit"),
    Flag(name="memory-reservation", value="BYTES", about="memory that is left when memory is short"),
    Flag(name="memory-swap", value="BYTES", about="most memory and swap together; -1 is no limit"),
    Flag(name="pids-limit", kind="number", value="N", about="most processes and threads; -1 is no limit"),
    Flag(
        name="cpu-idle", kind="number", value="0|1", about="1: run only when nobody else wants to (cgroup v2)"
    ),
    Flag(name="l3-cache-schema", value="SCHEMA", about="share of the third-level cache (Intel RDT)"),
    Flag(name="mem-bw-schema", value="SCHEMA", about="share of memory bandwidth (Intel RDT)"),
)


def _update(call: Call) -> int:
    options = call.options
    container = load(call.root, call.id)
    resources = _from_document(call) if options.text("resources") else resources_from_options(options)
    for warning in container.update(resources):
        call.output.warn(warning)
    return 0


def _from_document(call: Call) -> Resources:
    """As runc has it, the document stands alone: other flags are of no effect beside it."""
    path = call.options.text("resources")
    unknown: list[str] = []
    resources = decode(Resources, load_document(path), unknown=unknown)
    tell_unknown(unknown, "standard input" if path == "-" else path, call.output)
    check_resources(resources, path="$")
    return resources


def resources_from_options(options: Options) -> Resources:
    """The limits that flags give.

    Raises:
        BadUsage: none is given.
        InvalidInput: a value does not fit.
        Unsupported: Intel RDT of a running container.
    """
    for name in _RDT:
        if options.given(name):
            raise Unsupported(
                f"--{name}: a running container's Intel RDT schema cannot be changed", code="no-rdt"
            )
    memory = {field: _bytes_of(options, name) for name, field in _MEMORY.items() if options.given(name)}
    cpu: dict[str, int | str] = {
        field: number for name, field in _CPU.items() if (number := options.number(name)) is not None
    }
    cpu.update({field: options.text(name) for name, field in _CPUSET.items() if options.given(name)})
    weight, pids = options.number("blkio-weight"), options.number("pids-limit")
    resources = Resources(
        memory=Memory().replace(**memory) if memory else None,
        cpu=Cpu().replace(**cpu) if cpu else None,
        pids=None if pids is None else Pids(limit=pids),
        block_io=None if weight is None else BlockIO(weight=weight),
    )
    if resources == Resources():
        raise BadUsage("update needs a limit to change", hint="for example: update --memory 64m ID")
    try:
        check_resources(resources, path="$")
    except InvalidInput as error:
        raise at_flag(error, _FLAG_OF, options) from None
    return resources


def _bytes_of(options: Options, name: str) -> int:
    try:
        return parse_bytes(options.text(name))
    except InvalidInput as error:
        raise InvalidInput(f"--{name}: {error.message}", code=error.code) from None


def parse_bytes(text: str) -> int:
    """A number of bytes: ``67108864``, ``64m``, ``64MB``, ``1.5g``; ``-1`` for no limit.

    Raises:
        InvalidInput: it is none.
    """
    if text == "-1":
        return -1
    found = parse_size(text)
    if found is None:
        raise InvalidInput(f"expected bytes like 67108864 or 64m, found {text!r}", code="bad-usage")
    return found


VERBS = {
    "update": Verb(
        name="update",
        arguments="ID",
        least=1,
        most=1,
        about="change a container's limits while it runs",
        text="What is not given stays as it is. A document given with --resources stands alone.",
        flags=FLAGS,
        examples=(
            ("update --memory 64m --pids-limit 100 web", "less memory, fewer processes"),
            ("update --resources - web < resources.json", "limits from a document"),
        ),
        perform=_update,
    )
}
