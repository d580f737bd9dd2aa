"""What the kernel refuses becomes one sentence."""

from __future__ import annotations

import errno
import os

import pytest

from pierhead.errors import Conflict, OperationFailed
from pierhead.linux.refusals import Refusals


@pytest.mark.parametrize(
    ("error", "words", "hint"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "cannot paint: no space left on device", ""),
        (FileNotFoundError(errno.ENOENT, "No such file", "/x"), "cannot paint: /x: no such file", ""),
        (OSError(errno.EMFILE, "Too many open files", 5), "cannot paint: too many open files", "ulimit -n"),
        (OSError("odd"), "cannot paint: odd", ""),
    ],
)
def test_refusals(error: OSError, words: str, hint: str) -> None:
    """The sentence says what was done, to which file, and why not; the cause and its notes are kept."""
    error.add_note("and this")
    with pytest.raises(OperationFailed) as caught, Refusals("paint"):
        raise error
    assert str(caught.value) == words
    assert hint in caught.value.hint
    assert caught.value.errno == (error.errno or 0)
    assert caught.value.__cause__ is error
    assert caught.value.__notes__ == ["and this"]


def test_other_errors_pass() -> None:
    """What is an error of ours already stays as it is."""
    with pytest.raises(Conflict, match=r"^wet$"), Refusals("paint"):
        raise Conflict("wet")
