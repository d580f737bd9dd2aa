"""Names that people and programs give to containers."""

from __future__ import annotations

from pierhead.errors import InvalidInput

_CONTAINER_ID_MAX = 1024
_CONTAINER_ID_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-")


def check_container_id(container_id: str) -> None:
    """The id can name a container: 1 to 1024 characters of ``A-Z a-z 0-9 _ + . -``, but not ``.``, ``..``.

    Raises:
        InvalidInput: it cannot; ids become names of directories and cgroups.
    """
    shown = repr(container_id if len(container_id) <= 80 else container_id[:77] + "...")
    if not container_id:
        raise InvalidInput("a container's id cannot be empty", code="invalid-id")
    if len(container_id) > _CONTAINER_ID_MAX:
        message = f"container id {shown} is longer than {_CONTAINER_ID_MAX} characters"
        raise InvalidInput(message, code="invalid-id")
    if container_id in (".", "..") or not _CONTAINER_ID_LETTERS.issuperset(container_id):
        hint = "use letters, digits and the characters _ + . -"
        raise InvalidInput(f"invalid container id {shown}", code="invalid-id", hint=hint)
