"""What somebody meant who has mistyped a word.  Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_LATEST = ":latest"


def nearest(word: str, known: Sequence[str]) -> str:
    """The known word that somebody who typed ``word`` meant; "" if none is near."""
    from difflib import get_close_matches

    found = get_close_matches(word, known, n=1, cutoff=0.6)
    return found[0] if found else ""


def nearest_image(name: str, known: Sequence[str]) -> str:
    """The same of images' names: that both are the latest makes no two alike."""
    return nearest(name.removesuffix(_LATEST), [each.removesuffix(_LATEST) for each in known])
