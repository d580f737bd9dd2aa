"""What a cgroup's files say now: updates are planned with it, and taken back to it when they fail."""

from pierhead.errors import PierheadError
from pierhead.linux import cgroupfs

_NO_LIMIT_V1 = 2**62
"""v1 shows "no limit" as the greatest multiple of a page in 63 bits."""


def content(directory: str, file: str) -> str | None:
    """The file's text; None where there is none, or it cannot be read (device rules)."""
    try:
        return cgroupfs.read_text(directory, file)
    except PierheadError:
        return None


def write_back(texts: dict[tuple[str, str], str | None], cause: BaseException) -> None:
    """Files hold their texts again, the last first; one that does not is noted on the cause.

    A limit of a single device that was none before stays, and is noted.
    """
    for (directory, file), text in reversed(texts.items()):
        if text is None or content(directory, file) == text:
            continue
        try:
            cgroupfs.write_lines(directory, file, text.splitlines() or [""])
        except PierheadError as error:
            cause.add_note(f"and while taking it back: {error}")
        else:
            if content(directory, file) != text:
                cause.add_note(f"and while taking it back: {file} of cgroup {directory} stays changed")


def _number(directory: str, file: str) -> int | None:
    """The file's number; -1 for what stands for "no limit"; None where there is no such file."""
    text = (cgroupfs.read_text(directory, file) or "").strip()
    if not text:
        return None
    value = -1 if text == "max" else int(text)
    return -1 if value >= _NO_LIMIT_V1 else value


def memory(directory: str, version: int) -> dict[str, int | None]:
    """Limits and usage in bytes, in v1's way of counting swap."""
    if version == 1:
        return {
            "memory": _number(directory, "memory.limit_in_bytes"),
            "swap": _number(directory, "memory.memsw.limit_in_bytes"),
            "usage": _number(directory, "memory.usage_in_bytes"),
        }
    memory, swap = _number(directory, "memory.max"), _number(directory, "memory.swap.max")
    both = None if memory is None or swap is None else -1 if -1 in (memory, swap) else memory + swap
    return {"memory": memory, "swap": both, "usage": _number(directory, "memory.current")}


def bandwidth(directory: str, version: int) -> dict[str, int | None]:
    """Quota, period and burst in µs."""
    if version == 1:
        return {
            "quota": _number(directory, "cpu.cfs_quota_us"),
            "period": _number(directory, "cpu.cfs_period_us"),
            "burst": _number(directory, "cpu.cfs_burst_us"),
        }
    text = (cgroupfs.read_text(directory, "cpu.max") or "max 100000").split()
    quota = -1 if text[0] == "max" else int(text[0])
    return {"quota": quota, "period": int(text[1]), "burst": _number(directory, "cpu.max.burst")}


def memory_in_use(directory: str) -> str:
    """A remark on how much its processes use, if that is known."""
    usage = _number(directory, "memory.usage_in_bytes")
    return f" (its processes use {usage} bytes)" if usage else ""
