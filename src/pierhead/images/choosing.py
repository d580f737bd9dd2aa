"""Which images a list shows, by filters as docker has them.  Pure.

    dangling=true           without a tag
    label=KEY, label=KEY=VALUE
    label!=KEY, label!=KEY=VALUE
    reference=PATTERN       * and ? stay within one component
    before=IMAGE, since=IMAGE

Every filter must take an image.  Of one filter's values any does, but an image has all labels that are given
(``label!``: none of them), and is older, or younger, than all images.

Source: docker's documentation of ``docker image ls``, "Filtering".
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.images.reference import matches, parse_reference
from pierhead.images.times import parse_time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from typing import Protocol, TypeVar

    class Listed(Protocol):
        """What filters look at."""

        @property
        def names(self) -> Sequence[str]:
            """As the library has them."""

        @property
        def dangling(self) -> bool:
            """Whether there is no name that a list would show."""

        @property
        def labels(self) -> dict[str, str]:
            """Those of its configuration."""

        @property
        def created(self) -> str:
            """When it was made, as RFC 3339; "" if it does not say."""

    AnyListed = TypeVar("AnyListed", bound=Listed)
    Filters = dict[str, list[str]]
    FindCreated = Callable[[str], str]
    Test = Callable[[Listed], bool]

_TRUTHS = {"true": True, "1": True, "false": False, "0": False}


def parse_filters(texts: Iterable[str]) -> Filters:
    """The values of each filter, from words ``NAME=VALUE``.

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
        if name == "dangling" and value not in _TRUTHS:
            message = f"the filter dangling cannot be {value[:80]!r}"
            raise InvalidInput(message, code="invalid-filter", hint="it can be true or false")
        found.setdefault(name, []).append(value)
    return found


def choose(images: Iterable[AnyListed], filters: Filters, find_created: FindCreated) -> list[AnyListed]:
    """Those that every filter takes, in their order.

    Args:
        images: all.
        filters: names of ``TAKEN`` with their values; one without values takes everything.
        find_created: when the image was made that a person names so, RFC 3339; raises NotFound.

    Raises:
        InvalidInput: a pattern is none, or ``dangling`` is neither true nor false, or both.
        NotFound: ``before`` or ``since`` name no image.
    """
    tests = [_TESTS[name](values, find_created) for name, values in filters.items() if values]
    return [each for each in images if all(test(each) for test in tests)]


def says_yes(filters: Mapping[str, Sequence[str]], name: str) -> bool | None:
    """What a filter says that is true or false; None where it says nothing.

    Raises:
        InvalidInput: it says something else, or both.
    """
    values = filters.get(name, ())
    found = {_TRUTHS.get(value) for value in values}
    if None in found or len(found) > 1:
        message = f"invalid filter '{name}=[{' '.join(values)}]'"
        raise InvalidInput(message, code="invalid-filter", hint="true or false")
    return found.pop() if found else None


def _is_dangling(values: Sequence[str], _: FindCreated) -> Test:
    wanted = says_yes({"dangling": values}, "dangling")
    return lambda each: each.dangling is wanted


def _has_labels(values: Sequence[str], _: FindCreated) -> Test:
    return lambda each: all(has_label(each.labels, value) for value in values)


def _has_no_label(values: Sequence[str], _: FindCreated) -> Test:
    return lambda each: not any(has_label(each.labels, value) for value in values)


def _is_named(values: Sequence[str], _: FindCreated) -> Test:
    return lambda each: any(matches(parse_reference(name), value) for name in each.names for value in values)


def _is_older(values: Sequence[str], find_created: FindCreated) -> Test:
    limit_s = min(parse_time(find_created(value)) for value in values)
    return lambda each: parse_time(each.created) < limit_s


def _is_younger(values: Sequence[str], find_created: FindCreated) -> Test:
    limit_s = max(parse_time(find_created(value)) for value in values)
    return lambda each: parse_time(each.created) > limit_s


def has_label(labels: dict[str, str], wanted: str) -> bool:
    """Whether this one, ``name`` or ``name=value``, is there."""
    name, equals, value = wanted.partition("=")
    return name in labels and (not equals or labels[name] == value)


_TESTS = {
    "before": _is_older,
    "dangling": _is_dangling,
    "label": _has_labels,
    "label!": _has_no_label,
    "reference": _is_named,
    "since": _is_younger,
}
TAKEN = tuple(_TESTS)
"""Names of all filters."""
FILTERS = {
    "before": "IMAGE",
    "dangling": "true",
    "label": "KEY=VALUE",
    "reference": "PATTERN",
    "since": "IMAGE",
}
"""Those of ``pier images``, and how a value is written."""
