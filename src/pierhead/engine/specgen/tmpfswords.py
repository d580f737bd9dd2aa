"""Options of file systems in memory, as ``--tmpfs`` and ``--mount type=tmpfs`` say them.  Pure.

Source: tmpfs(5), mount(8).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.errors import InvalidInput
from pierhead.runtime.plan.mountoptions import ATTRIBUTES, PROPAGATION

if TYPE_CHECKING:
    from pierhead.engine.documents import TmpfsOptions

DEFAULTS = ("noexec", "nosuid", "nodev")
_DATA = frozenset(("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "mpol", "huge"))
_OPPOSITES = {"exec": "noexec", "suid": "nosuid", "dev": "nodev"}


def parse_tmpfs(text: str) -> tuple[str, ...]:
    """The options of a ``--tmpfs`` text above the default ones.

    Raises:
        InvalidInput: one is not known.
    """
    return _merged(tuple(option for option in text.split(",") if option))


def tmpfs_options(options: TmpfsOptions | None, *, read_only: bool) -> tuple[str, ...]:
    """The options of a mount of the kind tmpfs.

    Raises:
        InvalidInput: they cannot be options.
    """
    given: list[str] = ["ro"] if read_only else []
    if options is not None:
        if options.size_bytes < 0 or not 0 <= options.mode <= 0o7777:
            raise InvalidInput('invalid mount config for type "tmpfs": bad size or mode', code="bad-mount")
        if options.size_bytes:
            given.append(f"size={options.size_bytes}")
        if options.mode:
            given.append(f"mode={options.mode:o}")
        for words in options.options:
            if not 1 <= len(words) <= 2:
                raise InvalidInput(
                    'invalid mount config for type "tmpfs": invalid option array length', code="bad-mount"
                )
            given.append("=".join(words))
    return _merged(tuple(given))


def _merged(given: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [
        option
        for option in given
        if option not in ATTRIBUTES and option not in PROPAGATION and option.partition("=")[0] not in _DATA
    ]
    if unknown:
        raise InvalidInput(f'Invalid tmpfs option "{unknown[0]}"', code="bad-mount")
    undone = {_OPPOSITES[option] for option in given if option in _OPPOSITES}
    return (*(option for option in DEFAULTS if option not in undone and option not in given), *given)
