"""``pier images``, ``history``, ``tag``, ``rmi``, ``search``: what images there are, and their names.

Our own store is read by ourselves; images of an engine elsewhere are its to tell.  Who uses an image only the
engine knows: names are taken by it where there is one.
"""

from __future__ import annotations

import time
from functools import partial

from pierhead.cli.engine_call import find_far_engine, has_engine, image_name, open_engine, with_near_miss
from pierhead.cli.flags import Flag, Verb, quiet_flag
from pierhead.cli.image_rows import (
    HISTORY_HEADINGS,
    IMAGE_HEADINGS,
    document_rows,
    history_row,
    step_row,
    summary_row,
)
from pierhead.cli.rows import FILTER, FORMAT, NO_TRUNC, show_rows
from pierhead.cli.store import PLATFORM, open_service, wanted_platform
from pierhead.cli.words import filters, split_tag
from pierhead.errors import NotFound, PierheadError, Unavailable
from pierhead.figures import format_size
from pierhead.images.choosing import choose, parse_filters
from pierhead.images.times import parse_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pierhead.cli.call import Call
    from pierhead.client.engine import Engine
    from pierhead.images.choosing import Filters
    from pierhead.images.service import ImageService

    Row = dict[str, Any]

_QUIET = quiet_flag("print ids only")
_TABLE = ("Repository", "Tag", "ID", "CreatedSince", "Size")
_TABLE_WITH_DIGESTS = ("Repository", "Tag", "Digest", "ID", "CreatedSince", "Size")
_HISTORY_TABLE = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")


# images


def _images(call: Call) -> int:
    options = call.options
    engine = find_far_engine(call)
    rows = _own_rows(call) if engine is None else _far_rows(call, engine)
    if options.switch("quiet"):
        call.output.print("".join(f"{one}\n" for one in dict.fromkeys(row["ID"] for row in rows)))
        return 0
    table = _TABLE_WITH_DIGESTS if options.switch("digests") else _TABLE
    show_rows(call.output, options.text("format"), rows, IMAGE_HEADINGS, table)
    return 0


def _own_rows(call: Call) -> list[Row]:
    with open_service(call) as service:
        wanted = _with_patterns(parse_filters(call.options.all("filter")), call.arguments)
        found = choose(service.catalogue.summaries(), wanted, partial(_find_created, service))
    found.sort(key=lambda each: parse_time(each.created), reverse=True)
    whole, now_s = call.options.switch("no-trunc"), time.time()
    return [summary_row(each, now_s=now_s, whole=whole) for each in found]


def _far_rows(call: Call, engine: Engine) -> list[Row]:
    wanted = _with_patterns(filters("filter", call.options.all("filter")) or {}, call.arguments)
    found = engine.get("/images/json", all=call.options.switch("all"), filters=wanted or None)
    whole, now_s = call.options.switch("no-trunc"), time.time()
    return [row for each in found for row in document_rows(each, now_s=now_s, whole=whole)]


def _find_created(service: ImageService, text: str) -> str:
    return service.catalogue.summarise(service.catalogue.get(text)).created


def _with_patterns(wanted: Filters, patterns: Iterable[str]) -> Filters:
    """A pattern is a reference, by whichever of the two it is given."""
    references = [*wanted.get("reference", ()), *patterns]
    return {**wanted, "reference": references} if references else wanted


# history


def _history(call: Call) -> int:
    options, name = call.options, call.arguments[0]
    now_s, whole = time.time(), options.switch("no-trunc")
    human = not options.given("human") or options.switch("human")
    engine = find_far_engine(call)
    if engine is not None:
        path = f"/images/{image_name(name)}/history"
        found = engine.get(path, platform=options.text("platform"))
        rows = [history_row(each, now_s=now_s, whole=whole, human=human) for each in found]
    else:
        with open_service(call) as service:
            lines = service.catalogue.history(service.catalogue.get(name), wanted_platform(call))
        rows = [step_row(line, now_s=now_s, whole=whole, human=human) for line in lines]
    if options.switch("quiet"):
        call.output.print("".join(f"{row['ID']}\n" for row in rows))
        return 0
    show_rows(call.output, options.text("format"), rows, HISTORY_HEADINGS, _HISTORY_TABLE)
    return 0


# tag, rmi


def _tag(call: Call) -> int:
    source, target = call.arguments
    engine = find_far_engine(call)
    if engine is not None:
        name, tag = split_tag(target)
        engine.post(f"/images/{image_name(source)}/tag", repo=name, tag=tag)
        return 0
    with open_service(call) as service:
        service.tag(source, target)
    return 0


def _rmi(call: Call) -> int:
    if has_engine(call):
        return _remove_by_engine(call, open_engine(call))
    failed: PierheadError | None = None
    with open_service(call) as service:
        for text in call.arguments:
            try:
                for line in service.remove(text, force=call.options.switch("force")):
                    call.output.print(f"{line}\n")
            except NotFound as error:
                if not call.options.switch("force"):
                    failed = error
                    call.output.error(error)
        if not call.options.switch("no-prune"):
            freed = service.collect()
            call.output.debug(f"freed {format_size(freed.removed_bytes)}")
    return 0 if failed is None else 1


def _remove_by_engine(call: Call, engine: Engine) -> int:
    """All are gone that can be; 1 if one is used, or is not there and that matters."""
    options, status = call.options, 0
    for text in call.arguments:
        query = {"force": options.switch("force"), "noprune": options.switch("no-prune")}
        try:
            done = engine.delete(f"/images/{image_name(text)}", **query)
        except Unavailable:
            raise
        except PierheadError as error:
            if isinstance(error, NotFound) and options.switch("force"):
                continue
            call.output.error(with_near_miss(engine, error))
            status = 1
            continue
        call.output.print("".join(f"{word}: {name}\n" for each in done for word, name in each.items()))
    return status


# search


def _search(call: Call) -> int:
    options = call.options
    wanted = filters("filter", options.all("filter"))
    found = open_engine(call).get(
        "/images/search", term=call.arguments[0], limit=options.number("limit"), filters=wanted
    )
    rows = [
        {
            "Name": each.get("name") or "",
            "Description": _shortened(each.get("description") or "", whole=options.switch("no-trunc")),
            "StarCount": str(each.get("star_count") or 0),
            "IsOfficial": "[OK]" if each.get("is_official") else "",
        }
        for each in found
    ]
    headings = {"Name": "NAME", "Description": "DESCRIPTION", "StarCount": "STARS", "IsOfficial": "OFFICIAL"}
    show_rows(call.output, options.text("format"), rows, headings, tuple(headings))
    return 0


def _shortened(text: str, *, whole: bool) -> str:
    line = " ".join(text.split())
    return line if whole or len(line) <= _DESCRIPTION_WIDTH else f"{line[: _DESCRIPTION_WIDTH - 1]}…"


_DESCRIPTION_WIDTH = 45

VERBS = {
    "images": Verb(
        name="images",
        arguments="[PATTERN...]",
        most=None,
        about="list images",
        text="With patterns, those whose names match one: * and ? do not match a slash. Filters are "
        "docker's: before=IMAGE and since=IMAGE, dangling=true for images without a tag, label=KEY or "
        "label=KEY=VALUE, reference=PATTERN.",
        flags=(
            _QUIET,
            NO_TRUNC,
            Flag(
                name="filter",
                short="f",
                kind="list",
                value="NAME=VALUE",
                about="only those: before, since, dangling, label or reference",
            ),
            Flag(name="all", short="a", kind="switch", about="all, which is what is shown anyway"),
            Flag(name="digests", kind="switch", about="print the digests of manifests as well"),
            FORMAT,
        ),
        examples=(
            ("images 'registry.example.com/*/*'", "those from one registry"),
            ("images --format '{{.Repository}}:{{.Tag}} {{.Size}}'", "in a form of one's own"),
        ),
        perform=_images,
    ),
    "history": Verb(
        name="history",
        arguments="IMAGE",
        least=1,
        most=1,
        about="show how an image came to be",
        flags=(
            _QUIET,
            NO_TRUNC,
            Flag(name="human", short="H", kind="switch", about="sizes and times for people", default="true"),
            FORMAT,
            PLATFORM,
        ),
        perform=_history,
    ),
    "tag": Verb(
        name="tag",
        arguments="IMAGE NAME",
        least=2,
        most=2,
        about="give an image a further name",
        perform=_tag,
    ),
    "rmi": Verb(
        name="rmi",
        arguments="IMAGE...",
        least=1,
        most=None,
        about="take names from images",
        text="What no other image needs is removed with the last name. An id takes all its names. An image "
        "that a container uses stays; with --force only one whose container runs.",
        flags=(
            Flag(
                name="force",
                short="f",
                kind="switch",
                about="remove an id with several names, and what stopped containers use",
            ),
            Flag(name="no-prune", kind="switch", about="keep the contents that nothing needs any more"),
        ),
        perform=_rmi,
    ),
    "search": Verb(
        name="search",
        arguments="WORD",
        least=1,
        most=1,
        about="ask the engine for images in Docker Hub's index",
        text="Our own engine has no index to search, and says so; Docker's asks Docker Hub.",
        flags=(
            FILTER,
            FORMAT,
            Flag(name="limit", kind="number", value="N", about="at most so many"),
            NO_TRUNC,
        ),
        perform=_search,
    ),
}
