"""JSON objects to values and back, by the values' annotations.

Strict where Go's encoding/json (with which the other tools read these documents) is strict, and no stricter:

    null           the same as an absent field (Go writes null for an empty list)
    wrong type     InvalidInput with its JSON path: $.process.user.uid: expected a whole number, found …
    out of range   InvalidInput, by the class's ``json_ranges``, else by its ``json_integers``
    missing        InvalidInput for fields without a default
    unknown field  collected, or InvalidInput, as the caller says

A field's JSON name is the camelCase of its attribute name (the attribute name itself in a class that says
``json_case = "snake"``; the PascalCase, read in any case as Go does, with ``"pascal"``), or what the class
says in ``json_names``:

    class Box(Value):
        json_names = names(width="columns")
        json_ranges = ranges(height=UINT, width=UINT)

        height: int
        width: int

Annotations may be ``str``, ``int``, ``bool``, ``float``, a Value, ``tuple[X, ...]``, ``dict[str, X]``,
``X | None`` and unions whose members have different JSON types.  They are read at run time, so a module of
such values must not postpone them with ``from __future__ import annotations``.  A field's decoder is made
when the field first comes up: typing's and inspect's ways to read annotations cost more than all the
decoding.

Knows nothing of what the documents mean.
"""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    V = TypeVar("V", bound=Value)
    Reader = Callable[[Any, str, "list[str] | None"], Any]
    Writer = Callable[[Any], Any]
    Checker = Callable[[Any, str], None]

INT32 = (-(2**31), 2**31 - 1)
INT64 = (-(2**63), 2**63 - 1)
UINT16 = (0, 2**16 - 1)
UINT32 = (0, 2**32 - 1)
UINT64 = (0, 2**64 - 1)
UINT = UINT64

_MISSING = object()
_WORDS = {
    str: "a string",
    int: "a whole number",
    float: "a number with a fraction",
    bool: "true or false",
    list: "a list",
    dict: "an object",
    type(None): "null",
}
_PLAIN = (str, int, bool, float)


def names(**json_names: str) -> dict[str, str]:
    """The JSON names of attributes for which camelCase is not right."""
    return json_names


def ranges(**limits: tuple[int, int]) -> dict[str, tuple[int, int]]:
    """The least and the greatest number that each of the attributes may hold in a document."""
    return limits


def empty() -> dict[str, Any]:
    """The default of a field that maps names to something: never to be changed in place."""
    return {}


def check_types(value: Value, *, path: str = "$") -> None:
    """A value that a program made is what ``decode`` could have made: types as declared, numbers in range.

    Args:
        value: its fields that have their defaults are passed over.
        path: the JSON path of the value, for messages.

    Raises:
        InvalidInput: it has not; ``path`` names the place.
    """
    _checker_of_class(type(value))(value, path)


def json_name(cls: type[Value], attribute: str) -> str:
    """The name in JSON of a value class's attribute."""
    given: dict[str, str] = getattr(cls, "json_names", {})
    if attribute in given:
        return given[attribute]
    case = getattr(cls, "json_case", "camel")
    if case == "pascal":
        return "".join([word.capitalize() for word in attribute.split("_")])
    if "_" not in attribute or case == "snake":
        return attribute
    first, *rest = attribute.split("_")
    return first + "".join([word.capitalize() for word in rest])


def decode(cls: type[V], obj: object, *, path: str = "$", unknown: list[str] | None = None) -> V:
    """The value that a parsed JSON document denotes.

    Args:
        cls: the class of the whole document.
        obj: what ``pierhead.jsontext.parse`` returned.
        path: the JSON path of ``obj`` in its document, for messages.
        unknown: where given, the JSON paths of fields that the class does not have are added to it (an OCI
            runtime must not refuse them: runtime-spec config.md, "Extensibility"); where None, they are
            errors.

    Raises:
        InvalidInput: the document does not have the class's shape; ``path`` names the place.
    """
    result: V = _reader_of_class(cls)(obj, path, unknown)
    return result


def encode(value: Value) -> dict[str, Any]:
    """The JSON object of a value; fields equal to their default are left out, as Go's omitempty does.

    What a class names in ``json_always`` is there all the same, for readers that expect it; of a class that
    says ``json_whole`` all fields are, None as null.

    ``decode(type(value), encode(value)) == value`` holds for every value whose fields of type ``X | None``
    have None as their default.
    """
    result: dict[str, Any] = _writer_of_class(type(value))(value)
    return result


def member(path: str, name: str) -> str:
    """The JSON path of an object's member: ``$.linux.sysctl["net.ipv4.ip_forward"]``."""
    if name.isidentifier():
        return f"{path}.{name}"
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'{path}["{quoted}"]'


def _mismatch(expected: str, obj: object, path: str) -> InvalidInput:
    found = _WORDS.get(type(obj), type(obj).__name__)
    return InvalidInput(f"expected {expected}, found {found}", code="wrong-type", path=path)


def _out_of_range(limits: tuple[int, int], number: int, path: str) -> InvalidInput:
    return InvalidInput(
        f"expected {limits[0]} to {limits[1]}, found {number}", code="out-of-range", path=path
    )


# Reading

_class_readers: dict[type[Value], Reader] = {}


def _reader_of_class(cls: type[Value]) -> Reader:
    reader = _class_readers.get(cls)
    if reader is None:
        reader = _class_readers[cls] = _make_class_reader(cls)
    return reader


def _is_pascal(cls: type[Value]) -> bool:
    return getattr(cls, "json_case", "camel") == "pascal"


def _annotation(cls: type[Value], attribute: str) -> Any:
    for base in cls.__mro__:
        found = base.__dict__.get("__annotations__", {})  # noqa: RUF063 - inspect costs 10 ms
        if attribute in found:
            return found[attribute]
    raise TypeError(f"{cls.__name__}.{attribute} has no annotation")


def _make_class_reader(cls: type[Value]) -> Reader:
    attributes = {json_name(cls, attribute): attribute for attribute in cls.fields}
    # of names that came up so far: attribute, exact plain type or None, reader of everything else
    table: dict[str, tuple[str, type | None, Reader | None]] = {}
    defaults, count, new = cls.defaults, len(cls.fields), cls.__new__
    any_case = {name.lower(): name for name in attributes} if _is_pascal(cls) else {}

    def prepare(name: str) -> tuple[str, type | None, Reader | None] | None:
        attribute = attributes.get(name) or attributes.get(any_case.get(name.lower(), ""))
        if attribute is None:
            return None
        limits: dict[str, tuple[int, int]] = getattr(cls, "json_ranges", {})
        annotation = _annotation(cls, attribute)
        usual = getattr(cls, "json_integers", None) if _plain_type(annotation) is int else None
        bounds = limits.get(attribute, usual)
        plain = _plain_type(annotation) if bounds is None else None
        reader = None if plain else _make_reader(annotation, bounds)
        table[name] = entry = (attribute, plain, reader)
        return entry

    def read(obj: Any, path: str, unknown: list[str] | None) -> Value:
        if type(obj) is not dict:
            raise _mismatch("an object", obj, path)
        state = dict(defaults)
        for name, item in obj.items():
            entry = table.get(name) or prepare(name)
            if entry is None:
                if unknown is None:
                    raise InvalidInput("unknown field", code="unknown-field", path=member(path, name))
                unknown.append(member(path, name))
                continue
            if item is None:
                continue
            attribute, plain, reader = entry
            if plain is type(item):
                state[attribute] = item
            elif reader is None:
                raise _mismatch(_WORDS[plain], item, f"{path}.{name}")  # type: ignore[index]
            else:
                state[attribute] = reader(item, f"{path}.{name}", unknown)
        if len(state) != count:
            missing = next(name for name, attribute in attributes.items() if attribute not in state)
            raise InvalidInput("is missing", code="missing-field", path=f"{path}.{missing}")
        value: Value = new(cls)
        value.__dict__.update(state)
        return value

    return read


def _alternatives(annotation: Any) -> list[Any]:
    """The members of a union except None; one member for everything else."""
    if type(annotation).__name__ == "UnionType":
        return [each for each in annotation.__args__ if each is not type(None)]
    return [annotation]


def _plain_type(annotation: Any) -> type | None:
    kinds = _alternatives(annotation)
    return kinds[0] if len(kinds) == 1 and kinds[0] in _PLAIN else None


def _make_reader(annotation: Any, limits: tuple[int, int] | None = None) -> Reader:
    kinds = _alternatives(annotation)
    if len(kinds) > 1:
        return _make_union_reader(kinds)
    kind = kinds[0]
    origin = getattr(kind, "__origin__", None)
    if origin is tuple:
        return _make_list_reader(kind.__args__[0], limits)
    if origin is dict:
        return _make_map_reader(kind.__args__[1])
    if kind in _PLAIN:
        return _make_plain_reader(kind, limits)
    if isinstance(kind, type) and issubclass(kind, Value):
        return _make_nested_reader(kind)
    raise TypeError(f"no JSON form for the annotation {annotation!r}")


def _make_nested_reader(cls: type[Value]) -> Reader:
    def read(obj: Any, path: str, unknown: list[str] | None) -> Value:
        return _reader_of_class(cls)(obj, path, unknown)  # type: ignore[no-any-return]

    return read


def _make_plain_reader(kind: Any, limits: tuple[int, int] | None) -> Reader:
    def read(obj: Any, path: str, _: list[str] | None) -> Any:
        if type(obj) is not kind:
            raise _mismatch(_WORDS[kind], obj, path)
        if limits is not None and not limits[0] <= obj <= limits[1]:
            raise _out_of_range(limits, obj, path)
        return obj

    return read


def _make_list_reader(item_type: Any, limits: tuple[int, int] | None) -> Reader:
    plain = _plain_type(item_type)
    reader = _make_reader(item_type, limits)
    only_plain = {plain}

    def read(obj: Any, path: str, unknown: list[str] | None) -> tuple[Any, ...]:
        if type(obj) is not list:
            raise _mismatch("a list", obj, path)
        if plain is not None and limits is None and set(map(type, obj)) <= only_plain:
            return tuple(obj)
        return tuple([reader(item, f"{path}[{index}]", unknown) for index, item in enumerate(obj)])

    return read


def _make_map_reader(item_type: Any) -> Reader:
    plain = _plain_type(item_type)
    reader = _make_reader(item_type)
    only_plain = {plain}

    def read(obj: Any, path: str, unknown: list[str] | None) -> dict[str, Any]:
        if type(obj) is not dict:
            raise _mismatch("an object", obj, path)
        if plain is not None and set(map(type, obj.values())) <= only_plain:
            return dict(obj)
        return {
            name: reader(item, member(path, name), unknown) for name, item in obj.items() if item is not None
        }

    return read


def _make_union_reader(kinds: list[Any]) -> Reader:
    by_type: dict[type, Reader] = {}
    for kind in kinds:
        json_type = _json_type(kind)
        if json_type in by_type:
            raise TypeError(f"two members of a union are both {_WORDS[json_type]} in JSON: {kinds!r}")
        by_type[json_type] = _make_reader(kind)
    expected = " or ".join(_WORDS[json_type] for json_type in by_type)

    def read(obj: Any, path: str, unknown: list[str] | None) -> Any:
        reader = by_type.get(type(obj))
        if reader is None:
            raise _mismatch(expected, obj, path)
        return reader(obj, path, unknown)

    return read


def _json_type(kind: Any) -> type:
    origin = getattr(kind, "__origin__", None)
    if origin is not None:
        return list if origin is tuple else dict
    return kind if kind in _PLAIN else dict


# Checking

_class_checkers: dict[type[Value], Checker] = {}
_OWN_WORDS = {**_WORDS, tuple: "a tuple", dict: "a dictionary"}


def _checker_of_class(cls: type[Value]) -> Checker:
    checker = _class_checkers.get(cls)
    if checker is None:
        checker = _class_checkers[cls] = _make_class_checker(cls)
    return checker


def _make_class_checker(cls: type[Value]) -> Checker:
    limits: dict[str, tuple[int, int]] = getattr(cls, "json_ranges", {})
    defaults = cls.defaults
    table: dict[str, tuple[str, Checker]] = {}  # of fields that were given so far

    def check(value: Any, path: str) -> None:
        for attribute, item in value.__dict__.items():
            if attribute in defaults and item is defaults[attribute]:
                continue
            if attribute not in table:
                made = _make_checker(_annotation(cls, attribute), limits.get(attribute))
                table[attribute] = (json_name(cls, attribute), made)
            name, checker = table[attribute]
            checker(item, f"{path}.{name}")

    return check


def _make_checker(annotation: Any, limits: tuple[int, int] | None = None) -> Checker:
    by_type: dict[type, Checker | None] = {}
    for kind in _alternatives(annotation):
        origin = getattr(kind, "__origin__", None)
        if origin is tuple:
            by_type[tuple] = _make_items_checker(kind.__args__[0], limits)
        elif origin is dict:
            by_type[dict] = _make_map_checker(kind.__args__[1])
        elif kind in _PLAIN:
            by_type[kind] = _make_range_checker(limits) if limits else None
        else:
            by_type[kind] = lambda item, path: _checker_of_class(type(item))(item, path)
    if type(None) in getattr(annotation, "__args__", ()):
        by_type[type(None)] = None
    expected = " or ".join(
        _OWN_WORDS.get(kind, f"a {kind.__name__}") for kind in by_type if kind is not type(None)
    )

    def check(item: Any, path: str) -> None:
        kind: type | None = type(item)
        if kind not in by_type:  # of a subclass, as enumerations are; but True is no number
            kind = next((each for each in by_type if isinstance(item, each) and kind is not bool), None)
        if kind is None:
            found = _OWN_WORDS.get(type(item), f"a {type(item).__module__}.{type(item).__name__}")
            hint = "os.fspath makes a string of it" if hasattr(item, "__fspath__") else ""
            raise InvalidInput(f"expected {expected}, found {found}", code="wrong-type", path=path, hint=hint)
        checker = by_type[kind]
        if checker is not None:
            checker(item, path)

    return check


def _make_range_checker(limits: tuple[int, int]) -> Checker:
    def check(item: Any, path: str) -> None:
        if not limits[0] <= item <= limits[1]:
            raise _out_of_range(limits, item, path)

    return check


def _make_items_checker(item_type: Any, limits: tuple[int, int] | None) -> Checker:
    plain = {_plain_type(item_type)} if limits is None else {object}
    checker = _make_checker(item_type, limits)

    def check(items: Any, path: str) -> None:
        if not set(map(type, items)) <= plain:
            for index, item in enumerate(items):
                checker(item, f"{path}[{index}]")

    return check


def _make_map_checker(item_type: Any) -> Checker:
    checker = _make_checker(item_type)

    def check(items: Any, path: str) -> None:
        for name, item in items.items():
            if not isinstance(name, str):
                raise InvalidInput(f"expected strings as names, found {name!r}", code="wrong-type", path=path)
            checker(item, member(path, name))

    return check


# Writing

_class_writers: dict[type[Value], Writer] = {}


def _writer_of_class(cls: type[Value]) -> Writer:
    writer = _class_writers.get(cls)
    if writer is None:
        writer = _class_writers[cls] = _make_class_writer(cls)
    return writer


def _make_class_writer(cls: type[Value]) -> Writer:
    whole: bool = getattr(cls, "json_whole", False)
    always: tuple[str, ...] = cls.fields if whole else getattr(cls, "json_always", ())
    table: list[tuple[str, str, Any]] = [
        (
            attribute,
            json_name(cls, attribute),
            _MISSING if attribute in always else cls.defaults.get(attribute, _MISSING),
        )
        for attribute in cls.fields
    ]
    writers: dict[str, Writer | None] = {}  # of fields that had something to write so far

    def write(value: Any) -> dict[str, Any]:
        state = value.__dict__
        document: dict[str, Any] = {}
        for attribute, name, default in table:
            item = state[attribute]
            if item is None:
                if whole:
                    document[name] = None
                continue
            if item is default or item == default:
                continue
            if attribute not in writers:
                writers[attribute] = _make_writer(_annotation(cls, attribute))
            writer = writers[attribute]
            document[name] = item if writer is None else writer(item)
        return document

    return write


def _make_writer(annotation: Any) -> Writer | None:
    """What turns a field into JSON; None where it is JSON already."""
    kinds = _alternatives(annotation)
    if all(kind in _PLAIN for kind in kinds):
        return None
    if len(kinds) > 1:
        return _write_any
    kind = kinds[0]
    origin = getattr(kind, "__origin__", None)
    if origin is tuple:
        return _make_list_writer(kind.__args__[0])
    if origin is dict:
        return _make_map_writer(kind.__args__[1])
    return _write_nested


def _write_nested(value: Any) -> Any:
    return _writer_of_class(type(value))(value)


def _make_list_writer(item_type: Any) -> Writer:
    writer = _make_writer(item_type)
    if writer is None:
        return list
    return lambda items: [writer(item) for item in items]


def _make_map_writer(item_type: Any) -> Writer:
    writer = _make_writer(item_type)
    if writer is None:
        return dict
    return lambda items: {name: writer(item) for name, item in items.items()}


def _write_any(item: Any) -> Any:
    if isinstance(item, Value):
        return encode(item)
    if isinstance(item, tuple):
        return [_write_any(each) for each in item]
    if isinstance(item, dict):
        return {name: _write_any(each) for name, each in item.items()}
    return item
