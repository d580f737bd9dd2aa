"""Several things of a kind at once, by threads: for what hashes and writes, and lets others run meanwhile."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    T = TypeVar("T")
    U = TypeVar("U")


def side_by_side(function: Callable[[T], U], things: Sequence[T], *, at_once: int = 0) -> list[U]:
    """What the function returns for each, in their order.

    Args:
        function: called by several threads at once.
        things: those that come first are begun first.
        at_once: how many; 0 is as many as there are processors.

    Raises:
        Exception: what it raised for the first one that failed.  None is begun any more then, and those that
            were have ended.
    """
    threads = min(len(things), at_once or os.cpu_count() or 1)
    if threads < 2:
        return [function(each) for each in things]
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        running = [pool.submit(function, each) for each in things]
        try:
            return [each.result() for each in running]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
