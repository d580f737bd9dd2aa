"""``pier df`` and ``pier prune``: what each byte is for, and what nobody needs."""

from __future__ import annotations

from pierhead.cli.engine_call import find_far_engine, has_engine, open_engine
from pierhead.cli.flags import BadUsage, Flag, Verb
from pierhead.cli.store import FORMAT, open_service
from pierhead.digests import short_digest
from pierhead.figures import format_columns, format_size
from pierhead.images.reference import parse_reference
from pierhead.jsontext import format_compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call
    from pierhead.images.library import Inventory, Item, Usage

_KINDS = {"content": "Contents", "layer": "Unpacked layers", "part": "Unfinished downloads"}


# df


def _refuse_far(call: Call, verb: str, other: str) -> None:
    """The call is about our own store.

    Raises:
        BadUsage: it names an engine elsewhere.
    """
    if find_far_engine(call) is not None:
        raise BadUsage(f"{verb} looks into our own store, not an engine's elsewhere", hint=f"pier {other}")


def _df(call: Call) -> int:
    _refuse_far(call, "df", "system df --verbose")
    with open_service(call) as service:
        usage = service.library.usage()
    if call.options.text("format") == "json":
        call.output.print(
            "".join(format_compact(_item_document(item)) + "\n" for item in usage.inventory.items)
        )
        return 0
    call.output.print(format_columns(_kind_rows(usage)))
    if usage.images:
        call.output.print("\n" + format_columns(_image_rows(usage)))
    if call.options.switch("verbose"):
        call.output.print("\n" + format_columns(_item_rows(usage.inventory)))
    return 0


def _kind_rows(usage: Usage) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("TYPE", "TOTAL", "SIZE", "RECLAIMABLE")]
    for kind, title in _KINDS.items():
        items = [item for item in usage.inventory.items if item.kind == kind]
        free = sum(item.size_bytes for item in items if not item.needed)
        rows.append(
            (title, str(len(items)), format_size(sum(item.size_bytes for item in items)), format_size(free))
        )
    if usage.inventory.shared_bytes:
        rows.append(("Shared by layers", "", f"-{format_size(usage.inventory.shared_bytes)}", ""))
    rows.append(("All", "", format_size(usage.total_bytes), format_size(usage.reclaimable_bytes)))
    return rows


def _image_rows(usage: Usage) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("IMAGE", "DIGEST", "SIZE", "SHARED SIZE", "UNIQUE SIZE")]
    for image in usage.images:
        names = ", ".join(parse_reference(name).familiar() for name in image.names)
        sizes = (image.size_bytes, image.shared_bytes, image.unique_bytes)
        rows.append((names, short_digest(image.digest), *map(format_size, sizes)))
    return rows


def _item_rows(inventory: Inventory) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("WHAT", "NAME", "SIZE", "FATE", "WHY")]
    for item in inventory.items:
        name = short_digest(item.name) if ":" in item.name else item.name.rpartition("/")[2]
        fate = "stays" if item.needed else "can go"
        rows.append((item.what or item.kind, name, format_size(item.size_bytes), fate, item.reason))
    return rows


def _item_document(item: Item) -> dict[str, object]:
    return {
        "kind": item.kind,
        "what": item.what,
        "name": item.name,
        "sizeBytes": item.size_bytes,
        "needed": item.needed,
        "reason": item.reason,
        "images": [owner.image for owner in item.owners if owner.image],
    }


# prune


def _used_ids(call: Call) -> frozenset[str]:
    """Of images that a container is made of, running or not."""
    if not has_engine(call):
        return frozenset()
    found = open_engine(call).get("/containers/json", all=True)
    return frozenset(each["ImageID"] for each in found)


def _prune(call: Call) -> int:
    _refuse_far(call, "prune", "image prune")
    used = _used_ids(call) if call.options.switch("all") else frozenset()
    with open_service(call) as service:
        summaries = service.catalogue.summaries() if call.options.switch("all") else []
        names = [each.name for each in summaries if each.id not in used]
        if call.options.switch("dry-run"):
            for name in names:
                call.output.print(f"would untag {parse_reference(name).familiar()}\n")
            plan = service.library.plan_collection(without=names)
        else:
            for name in names:
                service.library.remove_image(name)
                call.output.print(f"Untagged: {parse_reference(name).familiar()}\n")
            plan = service.collect(parts_kept_s=0)
    verb = "would remove" if call.options.switch("dry-run") else "removed"
    for item in plan.removed:
        call.output.print(f"{verb} {item.what or item.kind} {item.name}: {item.reason}\n")
    word = "Reclaimable" if call.options.switch("dry-run") else "Total reclaimed"
    call.output.print(f"{word} space: {format_size(plan.removed_bytes)}\n")
    return 0


VERBS = {
    "df": Verb(
        name="df",
        about="show what each byte is for",
        text="An image's size is that of its contents and its unpacked layers; what several images have "
        "counts for each as shared. Removing an image frees its unique size, less what its layers share with "
        "others' where PIER_SHARE_FILES lets them.",
        flags=(
            Flag(name="verbose", short="v", kind="switch", about="list every content, layer and part"),
            FORMAT,
        ),
        perform=_df,
    ),
    "prune": Verb(
        name="prune",
        about="remove what no image needs",
        text="Contents and layers without an image, and what is left of pulls that did not finish. What "
        "somebody is working with stays.",
        flags=(
            Flag(
                name="all", short="a", kind="switch", about="remove all images as well that no container uses"
            ),
            Flag(name="force", short="f", kind="switch", about="do not ask, which never happens anyway"),
            Flag(name="dry-run", kind="switch", about="only say what would be removed, and why"),
        ),
        perform=_prune,
    ),
}
