"""``pier images``, ``history``, ``inspect``, ``tag``, ``rmi``: what images there are, and their names."""

from __future__ import annotations

import time
from functools import partial

from pierhead.cli.flags import Flag, Verb, quiet_flag
from pierhead.cli.store import FORMAT, PLATFORM, open_service, wanted_platform
from pierhead.digests import short_digest
from pierhead.errors import NotFound, PierheadError
from pierhead.figures import format_age, format_columns, format_size
from pierhead.images.choosing import choose, parse_filters
from pierhead.images.reference import matches, parse_reference
from pierhead.images.times import parse_time
from pierhead.jsontext import format_compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from pierhead.cli.call import Call
    from pierhead.images.catalogue import HistoryLine, Summary
    from pierhead.images.service import ImageService

_NO_TRUNC = Flag(name="no-trunc", kind="switch", about="print ids and commands whole")
_QUIET = quiet_flag("print ids only")
_COMMAND_WIDTH = 45


# images


def _images(call: Call) -> int:
    with open_service(call) as service:
        found = [each for each in service.catalogue.summaries() if _is_wanted(each, call.arguments)]
        found = choose(found, parse_filters(call.options.all("filter")), partial(_find_created, service))
    found.sort(key=lambda each: parse_time(each.created), reverse=True)
    whole = call.options.switch("no-trunc")
    if call.options.switch("quiet"):
        ids = dict.fromkeys(each.id if whole else short_digest(each.id) for each in found)
        call.output.print("".join(f"{one}\n" for one in ids))
    elif call.options.text("format") == "json":
        call.output.print("".join(format_compact(_summary_document(each)) + "\n" for each in found))
    else:
        digests = call.options.switch("digests")
        heading = ("REPOSITORY", "TAG", *(("DIGEST",) if digests else ()), "IMAGE ID", "CREATED", "SIZE")
        rows = [_summary_row(each, whole=whole, digests=digests) for each in found]
        call.output.print(format_columns([heading, *rows]))
    return 0


def _find_created(service: ImageService, text: str) -> str:
    return service.catalogue.summarise(service.catalogue.get(text)).created


def _is_wanted(summary: Summary, patterns: Iterable[str]) -> bool:
    """Whether a name is of one of the patterns; of anything where there is none."""
    patterns = tuple(patterns)
    return not patterns or any(matches(parse_reference(summary.name), pattern) for pattern in patterns)


def _summary_row(summary: Summary, *, whole: bool, digests: bool) -> tuple[str, ...]:
    reference = parse_reference(summary.name)
    return (
        reference.familiar_name(),
        reference.tag or "<none>",
        *((summary.digest,) if digests else ()),
        summary.id if whole else short_digest(summary.id),
        _age(summary.created),
        format_size(summary.size_bytes),
    )


def _age(created: str) -> str:
    made_s = parse_time(created)
    return format_age(time.time() - made_s) if made_s > 0 else "N/A"


def _summary_document(summary: Summary) -> dict[str, object]:
    reference = parse_reference(summary.name)
    return {
        "Repository": reference.familiar_name(),
        "Tag": reference.tag or "<none>",
        "Digest": summary.digest,
        "ID": summary.id,
        "CreatedAt": summary.created,
        "CreatedSince": _age(summary.created),
        "Size": format_size(summary.size_bytes),
        "SizeBytes": summary.size_bytes,
        "Platforms": list(summary.platforms),
    }


# history


def _history(call: Call) -> int:
    with open_service(call) as service:
        image = service.catalogue.get(call.arguments[0])
        lines = service.catalogue.history(image, wanted_platform(call))
    whole = call.options.switch("no-trunc")
    if call.options.switch("quiet"):
        ids = (line.id if whole else short_digest(line.id) for line in lines)
        call.output.print("".join(f"{one or '<missing>'}\n" for one in ids))
    elif call.options.text("format") == "json":
        call.output.print("".join(format_compact(_history_document(line)) + "\n" for line in lines))
    else:
        rows = [_history_row(line, whole=whole) for line in lines]
        call.output.print(format_columns([("IMAGE", "CREATED", "CREATED BY", "SIZE", "COMMENT"), *rows]))
    return 0


def _history_row(line: HistoryLine, *, whole: bool) -> tuple[str, ...]:
    command = " ".join(line.step.created_by.split())
    if not whole and len(command) > _COMMAND_WIDTH:
        command = command[: _COMMAND_WIDTH - 1] + "…"
    identity = (line.id if whole else short_digest(line.id)) or "<missing>"
    return identity, _age(line.step.created), command, format_size(line.size_bytes), line.step.comment


def _history_document(line: HistoryLine) -> dict[str, object]:
    return {
        "ID": line.id or "<missing>",
        "CreatedAt": line.step.created,
        "CreatedBy": line.step.created_by,
        "Size": line.size_bytes,
        "Comment": line.step.comment,
        "Author": line.step.author,
        "EmptyLayer": line.step.empty_layer,
    }


# tag, rmi


def _tag(call: Call) -> int:
    source, target = call.arguments
    with open_service(call) as service:
        service.tag(source, target)
    return 0


def _rmi(call: Call) -> int:
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
        freed = service.collect()
        call.output.debug(f"freed {format_size(freed.removed_bytes)}")
    return 0 if failed is None else 1


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
            _NO_TRUNC,
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
        examples=(("images 'registry.example.com/*/*'", "those from one registry"),),
        perform=_images,
    ),
    "history": Verb(
        name="history",
        arguments="IMAGE",
        least=1,
        most=1,
        about="show how an image came to be",
        flags=(_QUIET, _NO_TRUNC, FORMAT, PLATFORM),
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
        text="What no other image needs is removed with the last name. An id takes all its names.",
        flags=(Flag(name="force", short="f", kind="switch", about="remove an id with several names"),),
        perform=_rmi,
    ),
}
