"""Which images a list shows, by filters as docker has them: ``NAME=VALUE``.  Pure.

    dangling=true           without a tag
    label=KEY, label=KEY=VALUE
    reference=PATTERN       * and ? stay within one component
    before=IMAGE, since=IMAGE

Every filter must take an image.  Of one filter's values any does, but an image has all labels that are given,
and is older, or younger, than all images.

Source: docker's documentation of ``docker image ls``, "Filtering".
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.images.reference import matches, parse_reference
from pierhead.images.times import parse_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pierhead.images.catalogue import Summary

    Filters = dict[str, list[str]]
    Test = Callable[[Summary, str], bool]

_TRUE, _FALSE = frozenset(("true", "1")), frozenset(("false", "0"))


def parse_filters(texts: Iterable[str]) -> Filters:
    """The values of each filter.

    Raises:
        InvalidInput: there is no such filter, or it has no value, or one that it cannot have.
    """
    found: Filters = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if name not in FILTERS:
            hint = f"filters are {', '.join(FILTERS)}"
            raise InvalidInput(f"there is no filter {name[:80]!r}", code="invalid-filter", hint=hint)
        if not equals or not value:
            message = f"the filter {name!r} has no value"
            raise InvalidInput(message, code="invalid-filter", hint=f"write it as {name}={FILTERS[name]}")
        if name == "dangling" and value not in _TRUE | _FALSE:
            message = f"the filter dangling cannot be {value[:80]!r}"
            raise InvalidInput(message, code="invalid-filter", hint="it can be true or false")
        found.setdefault(name, []).append(value)
    return found


def choose(images: Iterable[Summary], filters: Filters, find_created: Callable[[str], str]) -> list[Summary]:
    """Those that every filter takes, in their order.

    Args:
        images: all.
        filters: as ``parse_filters`` gives them.
        find_created: when the image was made that a person names so, RFC 3339; raises NotFound.

    Raises:
        InvalidInput: a pattern is none.
        NotFound: ``before`` or ``since`` name no image.
    """
    before = [parse_time(find_created(value)) for value in filters.get("before", ())]
    since = [parse_time(find_created(value)) for value in filters.get("since", ())]
    return [
        each
        for each in images
        if _is_taken(each, filters)
        and all(parse_time(each.created) < moment for moment in before)
        and all(parse_time(each.created) > moment for moment in since)
    ]


def _is_taken(image: Summary, filters: Filters) -> bool:
    reference = parse_reference(image.name)
    dangling, patterns = filters.get("dangling", ()), filters.get("reference", ())
    if dangling and not any((value in _TRUE) is not bool(reference.tag) for value in dangling):
        return False
    if patterns and not any(matches(reference, pattern) for pattern in patterns):
        return False
    return all(has_label(image.labels, value) for value in filters.get("label", ()))


def has_label(labels: dict[str, str], wanted: str) -> bool:
    """Whether this one, ``name`` or ``name=value``, is there."""
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)


FILTERS = {
    "before": "IMAGE",
    "dangling": "true",
    "label": "KEY=VALUE",
    "reference": "PATTERN",
    "since": "IMAGE",
}
"""Their names, and how a value is written."""
