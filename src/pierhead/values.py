"""Frozen, typed value types that cost next to nothing to import.

The command line starts a container in the time that ``import dataclasses`` alone takes (it pulls in
``inspect``), so values are declared with this small base class instead.  Type checkers see it as a frozen,
keyword-only dataclass (PEP 681), with checked constructors.

    class Mount(Value):
        destination: str
        options: tuple[str, ...] = ()

    Mount(destination="/proc")          # Mount(destination='/proc', options=())
    mount.replace(options=("ro",))      # a changed copy

Knows nothing of JSON; ``pierhead.oci.document`` reads values from documents by their annotations.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self, dataclass_transform
else:

    def dataclass_transform(**_):  # noqa: D103 - stands in for typing's, which only type checkers need
        return lambda cls: cls


@dataclass_transform(frozen_default=True, kw_only_default=True, eq_default=True)
class Value:
    """An immutable record: compares, hashes and prints by its fields; unknown or missing fields raise
    TypeError.
    """

    fields: tuple[str, ...] = ()
    _field_set: frozenset[str] = frozenset()
    defaults: dict[str, Any] = {}  # noqa: RUF012 - replaced for every class, changed for none

    def __init_subclass__(cls) -> None:
        members = cls.__dict__
        own = members.get("__annotations__", {})
        inherited = cls.fields
        cls.fields = (*inherited, *[name for name in own if name not in inherited])
        cls._field_set = frozenset(cls.fields)
        cls.defaults = {**cls.defaults, **{name: members[name] for name in own if name in members}}

    def __init__(self, **given: Any) -> None:
        state = self.__dict__
        state.update(self.defaults)
        state.update(given)
        if state.keys() != self._field_set:
            self._reject(given)

    def _reject(self, given: dict[str, Any]) -> None:
        unknown = [name for name in given if name not in self.fields]
        missing = [name for name in self.fields if name not in self.__dict__]
        what = f"has no field {unknown[0]!r}" if unknown else f"needs the field {missing[0]!r}"
        raise TypeError(f"{type(self).__name__} {what}")

    def replace(self, **changes: Any) -> Self:
        """A copy in which the given fields have the given values."""
        return type(self)(**{**self.__dict__, **changes})

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be set")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"{type(self).__name__} is immutable: {name} cannot be deleted")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self.__dict__ == other.__dict__

    def __hash__(self) -> int:
        return hash((type(self), *(self.__dict__[name] for name in self.fields)))

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={self.__dict__[name]!r}" for name in self.fields)
        return f"{type(self).__name__}({shown})"
