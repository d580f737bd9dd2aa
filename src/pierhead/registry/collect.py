"""Garbage of a registry: what nothing needs any more is removed, while the registry serves.

What is needed: manifests, until they are deleted (or, if that is wanted, as long as a tag leads to them);
blobs that a manifest of their repository needs; contents that any repository has.  What was uploaded,
mounted or asked for within the time of grace is kept as well: its manifest may be on its way.

Nothing that is needed is lost, whatever else happens meanwhile, in this process or another:

    rows go first, in one change; a manifest that comes later finds its blobs gone, and is refused
    a content is removed in a change that has seen that nobody has it
    a content appears in the change that gives it to a repository, so none is seen before it has an owner
"""

from __future__ import annotations

import os

from pierhead.registry.uploads import USE_STEP_S
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pierhead.registry.storage import Storage

UPLOAD_AGE_S = 7 * 24 * 3600
"""An upload that nothing came for in a week is given up."""


class Collected(Value):
    """What was removed: how many of each, and the bytes that were freed."""

    uploads: int
    manifests: int
    blobs: int
    contents: int
    freed_bytes: int


def collect(
    storage: Storage,
    *,
    grace_s: int,
    upload_age_s: int = UPLOAD_AGE_S,
    untagged: bool = False,
    give_up: Callable[[], bool] = lambda: False,
) -> Collected:
    """What nothing needs is gone.

    Args:
        storage: the registry's.
        grace_s: what was asked for within this time is kept.
        upload_age_s: uploads and unfinished copies are kept for so long after something came for them.
        untagged: remove manifests as well that no tag, index or subject leads to.
        give_up: asked again and again: whether to leave the rest to the next collection.
    """
    now_s = storage.index.now_s()
    # A note of a blob's use may be this much older than its last use.
    before_s = now_s - grace_s - (USE_STEP_S if grace_s else 0)
    uploads = storage.uploads.remove_forgotten(now_s - upload_age_s)
    with storage.index.change() as change:
        manifests = change.remove_untagged_manifests(before_s) if untagged else 0
        blobs = change.remove_forgotten_blobs(before_s)
        change.forget_origins()
        change.remove_empty_repositories()
    contents, freed_bytes = 0, _remove_old_parts(storage, now_s - upload_age_s)
    for digest, _ in list(storage.content.digests()):
        if give_up():
            break
        if not storage.index.is_wanted(digest):
            freed = remove_unwanted(storage, digest)
            contents += freed >= 0
            freed_bytes += max(freed, 0)
    return Collected(
        uploads=uploads, manifests=manifests, blobs=blobs, contents=contents, freed_bytes=freed_bytes
    )


def _remove_old_parts(storage: Storage, before_s: int) -> int:
    """What nobody went on with since then is gone; returns the bytes that were freed."""
    freed = 0
    for path, _ in list(storage.content.parts()):
        try:
            if os.stat(path).st_mtime < before_s:
                freed += storage.content.remove_part(path)
        except FileNotFoundError:
            continue
    storage.content.remove_locks()
    return freed


def remove_unwanted(storage: Storage, digest: str) -> int:
    """The content's size in bytes if it was removed; -1 if somebody has it by now."""
    with storage.index.change() as change:
        return -1 if change.is_wanted(digest) else storage.content.remove(digest)
