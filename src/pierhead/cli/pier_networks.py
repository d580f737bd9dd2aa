"""``pier network …``.  Our own engine has those that Docker begins with, and refuses to make others."""

from __future__ import annotations

from pierhead.cli.engine_call import ask, on_each, open_engine
from pierhead.cli.flags import BadUsage, Flag, Verb
from pierhead.cli.pier_places import FORCE, join_labels
from pierhead.cli.prompt import agrees
from pierhead.cli.rows import FILTER, FORMAT, NO_TRUNC, QUIET, short_id, show_rows
from pierhead.cli.words import filters, pairs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.call import Call

    Document = dict[str, Any]

_NETWORK_HEADINGS = {
    "ID": "NETWORK ID",
    "Name": "NAME",
    "Driver": "DRIVER",
    "Scope": "SCOPE",
    "IPv6": "IPV6",
    "Internal": "INTERNAL",
    "Labels": "LABELS",
    "CreatedAt": "CREATED AT",
}


# What there is


def _list_networks(call: Call) -> int:
    options = call.options
    wanted = filters("filter", options.all("filter"))
    found = sorted(open_engine(call).get("/networks", filters=wanted), key=lambda each: each["Name"])
    whole = options.switch("no-trunc")
    if options.switch("quiet"):
        call.output.print("".join(f"{short_id(each['Id'], whole=whole)}\n" for each in found))
        return 0
    rows = (_network_row(each, whole=whole) for each in found)
    show_rows(call.output, options.text("format"), rows, _NETWORK_HEADINGS, ("ID", "Name", "Driver", "Scope"))
    return 0


def _network_row(network: Document, *, whole: bool) -> Document:
    labels = network.get("Labels") or {}
    return {
        "ID": short_id(network["Id"], whole=whole),
        "Name": network["Name"],
        "Driver": network["Driver"],
        "Scope": network["Scope"],
        "IPv6": str(bool(network.get("EnableIPv6"))).lower(),
        "Internal": str(bool(network.get("Internal"))).lower(),
        "Labels": join_labels(labels),
        "CreatedAt": network.get("Created") or "",
        "Label": lambda name: labels.get(name, ""),
    }


# Making, removing


def _create(call: Call) -> int:
    options = call.options
    document: Document = {
        "Name": call.arguments[0],
        "CheckDuplicate": True,
        "Driver": options.text("driver", "bridge"),
        "Scope": options.text("scope"),
        "Internal": options.switch("internal"),
        "Attachable": options.switch("attachable"),
        "EnableIPv6": options.switch("ipv6"),
        "Options": pairs(options, "opt"),
        "Labels": pairs(options, "label"),
        "IPAM": {
            "Driver": options.text("ipam-driver", "default"),
            "Options": pairs(options, "ipam-opt"),
            "Config": _pools(call),
        },
    }
    made = open_engine(call).post("/networks/create", document)
    if made.get("Warning"):
        call.output.warn(made["Warning"])
    call.output.print(f"{made['Id']}\n")
    return 0


def _pools(call: Call) -> list[Document]:
    """Subnets, each with the range and the gateway that were given beside it, in their order."""
    options = call.options
    subnets, ranges, gateways = (options.all(name) for name in ("subnet", "ip-range", "gateway"))
    for name, given in (("ip-range", ranges), ("gateway", gateways)):
        if len(given) > len(subnets):
            raise BadUsage(f"each --{name} needs a --subnet that it is of")
    pools: list[Document] = [{"Subnet": subnet} for subnet in subnets]
    for member, given in (("IPRange", ranges), ("Gateway", gateways)):
        for pool, text in zip(pools, given, strict=False):
            pool[member] = text
    return pools


def _remove(call: Call) -> int:
    engine, force = open_engine(call), call.options.switch("force")
    return on_each(call, engine, call.arguments, lambda name: engine.delete(f"/networks/{name}", force=force))


def _prune(call: Call) -> int:
    if not agrees(call, "This removes all networks of one's own that no container uses."):
        return 0
    wanted = filters("filter", call.options.all("filter"))
    names = open_engine(call).post("/networks/prune", filters=wanted).get("NetworksDeleted") or ()
    if names:
        call.output.print("".join(f"{line}\n" for line in ("Deleted Networks:", *names)))
    return 0


# Joining


def _connect(call: Call) -> int:
    options = call.options
    network, container = call.arguments
    addresses = {"IPv4Address": options.text("ip"), "IPv6Address": options.text("ip6")}
    endpoint: Document = {
        "IPAMConfig": {name: text for name, text in addresses.items() if text},
        "Aliases": list(options.all("alias")),
        "Links": list(options.all("link")),
        "DriverOpts": pairs(options, "driver-opt"),
    }
    engine = open_engine(call)
    wanted = {"Container": container, "EndpointConfig": endpoint}
    ask(engine, lambda: engine.post(f"/networks/{network}/connect", wanted))
    return 0


def _disconnect(call: Call) -> int:
    network, container = call.arguments
    engine = open_engine(call)
    wanted = {"Container": container, "Force": call.options.switch("force")}
    ask(engine, lambda: engine.post(f"/networks/{network}/disconnect", wanted))
    return 0


def _list_flag(name: str, value: str, about: str, short: str = "") -> Flag:
    return Flag(name=name, short=short, kind="list", value=value, about=about)


_OPTIONS = "NAME=VALUE"
VERBS = {
    "network ls": Verb(
        name="network ls",
        about="list networks",
        flags=(FILTER, FORMAT, NO_TRUNC, QUIET),
        perform=_list_networks,
    ),
    "network create": Verb(
        name="network create",
        arguments="NAME",
        least=1,
        most=1,
        about="make a network",
        flags=(
            Flag(name="driver", short="d", value="NAME", about="which driver", default="bridge"),
            _list_flag("opt", _OPTIONS, "of the driver", "o"),
            _list_flag("label", "NAME[=VALUE]", "a label"),
            _list_flag("subnet", "ADDRESS/BITS", "its addresses"),
            _list_flag("ip-range", "ADDRESS/BITS", "those of a subnet that containers get"),
            _list_flag("gateway", "ADDRESS", "of a subnet"),
            Flag(name="ipam-driver", value="NAME", about="who gives addresses", default="default"),
            _list_flag("ipam-opt", _OPTIONS, "of that"),
            Flag(name="internal", kind="switch", about="without a way out"),
            Flag(name="ipv6", kind="switch", about="with addresses of IPv6"),
            Flag(name="attachable", kind="switch", about="containers may join it by hand"),
            Flag(name="scope", value="SCOPE", about="local, or swarm"),
        ),
        perform=_create,
    ),
    "network rm": Verb(
        name="network rm",
        arguments="NETWORK...",
        least=1,
        most=None,
        about="remove networks",
        flags=(Flag(name="force", short="f", kind="switch", about="one that is not there is no error"),),
        perform=_remove,
    ),
    "network prune": Verb(
        name="network prune",
        about="remove networks that no container uses",
        flags=(_list_flag("filter", _OPTIONS, "only those of which it is so"), FORCE),
        perform=_prune,
    ),
    "network connect": Verb(
        name="network connect",
        arguments="NETWORK CONTAINER",
        least=2,
        most=2,
        about="let a container join a network",
        flags=(
            Flag(name="ip", value="ADDRESS", about="its address there"),
            Flag(name="ip6", value="ADDRESS", about="its address of IPv6"),
            _list_flag("alias", "NAME", "a further name of it there"),
            _list_flag("link", "CONTAINER[:NAME]", "another container by a name"),
            _list_flag("driver-opt", _OPTIONS, "of the driver"),
        ),
        perform=_connect,
    ),
    "network disconnect": Verb(
        name="network disconnect",
        arguments="NETWORK CONTAINER",
        least=2,
        most=2,
        about="take a container out of a network",
        flags=(Flag(name="force", short="f", kind="switch", about="whatever it is in the middle of"),),
        perform=_disconnect,
    ),
}
