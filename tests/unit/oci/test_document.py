"""JSON to values and back."""

from __future__ import annotations

import json
from inspect import get_annotations
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pierhead.errors import InvalidInput
from pierhead.oci import runtime
from pierhead.oci.document import check_types, decode, encode, json_name, member
from pierhead.oci.runtime import Spec
from pierhead.runtime import config
from pierhead.values import Value

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

LEAST = {"ociVersion": "1.0.2"}


def values_of(annotation: Any) -> SearchStrategy[Any]:
    """Everything that a field of the given annotation can hold."""
    if type(annotation).__name__ == "UnionType":
        return st.one_of([values_of(each) for each in annotation.__args__])
    origin = getattr(annotation, "__origin__", None)
    if origin is tuple:
        return st.lists(values_of(annotation.__args__[0]), max_size=2).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(max_size=5), values_of(annotation.__args__[1]), max_size=2)
    if issubclass(annotation, Value):
        return instances(annotation)
    return {
        str: st.text(max_size=8),
        int: st.integers(0, 511),
        bool: st.booleans(),
        float: st.floats(allow_nan=False),
        type(None): st.none(),
    }[annotation]


def instances(cls: type[Value]) -> SearchStrategy[Any]:
    """Values of a class with any field left out that can be."""
    annotations = {name: value for base in cls.__mro__ for name, value in get_annotations(base).items()}
    fields = {name: values_of(annotations[name]) for name in cls.fields}
    return st.fixed_dictionaries(
        {name: strategy for name, strategy in fields.items() if name not in cls.defaults},
        optional={name: strategy for name, strategy in fields.items() if name in cls.defaults},
    ).map(lambda fields: cls(**fields))


DOCUMENTS = [
    *(each for each in vars(runtime).values() if isinstance(each, type) and issubclass(each, Value)),
    *(each for each in vars(config).values() if isinstance(each, type) and issubclass(each, Value)),
]
SMALL = sorted({cls for cls in DOCUMENTS if cls.fields}, key=lambda cls: (cls.__module__, cls.__name__))


@pytest.mark.parametrize("cls", SMALL, ids=lambda cls: f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}")
def test_round_trip(cls: type[Value]) -> None:
    """What is written is read back as the same value, also through JSON text; and its types are right."""

    @given(value=instances(cls))
    @settings(max_examples=8)
    def check(value: Value) -> None:
        assert decode(cls, json.loads(json.dumps(encode(value)))) == value
        check_types(value)

    check()


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    ["ociVersion", "process", "linux", "mounts", "user", "args", "hooks", "seccomp", "x"]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=20,
    )
)
@settings(max_examples=150)
def test_any_json_is_read_or_refused(document: object) -> None:
    """Whatever a document holds, it becomes a Spec or an InvalidInput that says where."""
    unknown: list[str] = []
    paths = unknown
    try:
        decode(Spec, document, unknown=unknown)
    except InvalidInput as error:
        paths = [error.path, str(error), *unknown]
    assert all(path.startswith("$") for path in paths)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ([], "$: expected an object, found a list"),
        (None, "$: expected an object, found null"),
        ("text", "$: expected an object, found a string"),
        ({}, "$.ociVersion: is missing"),
        ({"ociVersion": None}, "$.ociVersion: is missing"),
        ({"ociVersion": 1}, "$.ociVersion: expected a string, found a whole number"),
        ({"hostname": True}, "$.hostname: expected a string, found true or false"),
        ({"process": {}}, "$.process.cwd: is missing"),
        (
            {"process": {"cwd": "/", "terminal": 1}},
            "$.process.terminal: expected true or false, found a whole number",
        ),
        (
            {"process": {"cwd": "/", "user": {"uid": "0"}}},
            "$.process.user.uid: expected a whole number, found a string",
        ),
        (
            {"process": {"cwd": "/", "user": {"uid": True}}},
            "$.process.user.uid: expected a whole number, found true or false",
        ),
        (
            {"process": {"cwd": "/", "user": {"uid": 1.0}}},
            "$.process.user.uid: expected a whole number, found a number with a fraction",
        ),
        (
            {"process": {"cwd": "/", "user": {"uid": -1}}},
            "$.process.user.uid: expected 0 to 4294967295, found -1",
        ),
        (
            {"process": {"cwd": "/", "user": {"additionalGids": [1, 4294967296]}}},
            "$.process.user.additionalGids[1]: expected 0 to 4294967295, found 4294967296",
        ),
        (
            {"linux": {"resources": {"memory": {"swappiness": -60}}}},
            "$.linux.resources.memory.swappiness: expected 0 to 18446744073709551615, found -60",
        ),
        ({"process": {"cwd": "/", "args": "sh"}}, "$.process.args: expected a list, found a string"),
        (
            {"process": {"cwd": "/", "args": ["sh", 1]}},
            "$.process.args[1]: expected a string, found a whole number",
        ),
        ({"process": {"cwd": "/", "args": [None]}}, "$.process.args[0]: expected a string, found null"),
        ({"mounts": [{}]}, "$.mounts[0].destination: is missing"),
        ({"mounts": [{"destination": "/"}, 5]}, "$.mounts[1]: expected an object, found a whole number"),
        ({"mounts": {}}, "$.mounts: expected a list, found an object"),
        ({"annotations": []}, "$.annotations: expected an object, found a list"),
        ({"annotations": {"a.b": 1}}, '$.annotations["a.b"]: expected a string, found a whole number'),
        (
            {"linux": {"timeOffsets": {"boottime": {"secs": "x"}}}},
            "$.linux.timeOffsets.boottime.secs: expected a whole number, found a string",
        ),
        ({"linux": {"rootFS": 1}}, "$.linux.rootFS: unknown field"),
        ({"process": {"cwd": "/", "user": {"odd name": 1}}}, '$.process.user["odd name"]: unknown field'),
    ],
)
def test_wrong_documents(part: object, message: str) -> None:
    """A document of the wrong shape is refused with the JSON path of what is wrong."""
    document = {**LEAST, **part} if isinstance(part, dict) and part and "ociVersion" not in part else part
    with pytest.raises(InvalidInput) as caught:
        decode(Spec, document)
    assert str(caught.value) == message


def test_null_is_absent() -> None:
    """Go writes null for an empty list or map; it is read as if the field were not there."""
    document = {
        **LEAST,
        "mounts": None,
        "annotations": {"a": None},
        "process": None,
        "linux": {"sysctl": None},
    }
    assert decode(Spec, document) == Spec(oci_version="1.0.2", linux=runtime.Linux())


def test_unknown_fields_are_collected() -> None:
    """A runtime must not refuse properties it does not know: their paths are for a warning."""
    unknown: list[str] = []
    document = {**LEAST, "windows": {}, "linux": {"new": 1, "namespaces": [{"type": "pid", "odd.key": 2}]}}
    spec = decode(Spec, document, unknown=unknown)
    assert spec.linux is not None
    assert spec.linux.namespaces == (runtime.Namespace(type="pid"),)
    assert unknown == ["$.windows", "$.linux.new", '$.linux.namespaces[0]["odd.key"]']


def test_path_of_a_part() -> None:
    """A part of a document is read with the path that it has in the whole."""
    with pytest.raises(InvalidInput, match=r"^\$\.process\.user\.gid: "):
        decode(runtime.User, {"gid": "x"}, path="$.process.user")


def test_values_do_not_share_the_document() -> None:
    """Changing the parsed JSON afterwards does not change the value."""
    document: dict[str, Any] = {**LEAST, "annotations": {"a": "b"}}
    spec = decode(Spec, document)
    document["annotations"]["a"] = "c"
    assert spec.annotations == {"a": "b"}


def test_json_names() -> None:
    """Names are camelCase of the attribute unless the class says otherwise."""
    assert json_name(runtime.Process, "no_new_privileges") == "noNewPrivileges"
    assert json_name(runtime.Memory, "disable_oom_killer") == "disableOOMKiller"
    assert json_name(config.Config, "mask_paths") == "mask_paths"


def test_member() -> None:
    """A name that is no word is quoted in a JSON path."""
    assert member("$.a", "b") == "$.a.b"
    assert member("$", 'x.y"\\') == '$["x.y\\"\\\\"]'


def test_unions_by_json_type() -> None:
    """A field that may be text or an object is read by what it is."""
    text = decode(config.ProcessSpec, {"args": ["x"], "user": "www-data", "additional_groups": ["adm", 5]})
    assert (text.user, text.additional_groups) == ("www-data", ("adm", 5))
    number = decode(config.ProcessSpec, {"args": ["x"], "user": {"uid": 5}})
    assert number.user == runtime.User(uid=5)
    with pytest.raises(
        InvalidInput, match=r"^\$\.user: expected an object or a string, found a whole number"
    ):
        decode(config.ProcessSpec, {"args": ["x"], "user": 5})


def test_annotations_without_a_json_form() -> None:
    """A class that JSON cannot express is the programmer's error, at its first use."""

    class Odd(Value):
        pair: Any

    Odd.__annotations__["pair"] = set
    with pytest.raises(TypeError, match="no JSON form"):
        decode(Odd, {"pair": 1})

    class Twice(Value):
        pair: Any

    Twice.__annotations__["pair"] = runtime.Box | runtime.User
    with pytest.raises(TypeError, match="both an object in JSON"):
        decode(Twice, {"pair": {}})
