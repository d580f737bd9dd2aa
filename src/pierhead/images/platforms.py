"""Platforms: their names, which images run on which machine, and which of an index's images is the best.

A machine runs what was built for it and for its predecessors: arm64 runs arm v8 to v5, amd64 of level v3
runs v2, v1 and 386.  The nearest is the best.

Source: https://github.com/containerd/platforms (normalisation, and the order that ``Only`` has);
image-spec image-index.md, "platform".  Pure, but for ``host_platform``.
"""

from __future__ import annotations

import os
import re

from pierhead.errors import InvalidInput, NotFound
from pierhead.oci.image import INDEX_TYPES, Descriptor, Index, Platform

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    _T = TypeVar("_T")

_SYSTEMS = frozenset(
    (
        "aix",
        "android",
        "darwin",
        "dragonfly",
        "freebsd",
        "illumos",
        "ios",
        "js",
        "linux",
        "netbsd",
        "openbsd",
        "plan9",
        "solaris",
        "wasip1",
        "windows",
    )
)
_ARCHITECTURES = {
    "i386": ("386", ""),
    "i686": ("386", ""),
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armv8l": ("arm", "v8"),
}
"""Other names of architectures, uname(2)'s among them, and the variant that they imply."""
_COMPONENT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_OLDEST_ARM, _OLDEST_ARM64 = 5, 8
_ATTESTATION = ("vnd.docker.reference.type", "attestation-manifest")


def parse_platform(text: str) -> Platform:
    """The platform that ``os/architecture[/variant]`` denotes, in its normal form; one part alone is a system
    on this machine's architecture, or an architecture with Linux.

    Raises:
        InvalidInput: it is none.
    """
    parts = text.split("/")
    if len(parts) > 3 or not all(_COMPONENT.fullmatch(part) for part in parts):
        hint = "write it as linux/amd64 or linux/arm/v7"
        raise InvalidInput(f"{text[:200]!r} is not a platform", code="invalid-platform", hint=hint)
    if len(parts) > 1:
        return normalise(
            Platform(os=parts[0], architecture=parts[1], variant=parts[2] if len(parts) > 2 else "")
        )
    if _normal_system(text) in _SYSTEMS:
        return host_platform().replace(os=_normal_system(text))
    return normalise(Platform(os="linux", architecture=text))


def format_platform(platform: Platform) -> str:
    """``os/architecture[/variant]``."""
    parts = (platform.os or "unknown", platform.architecture or "unknown", platform.variant)
    return "/".join(part for part in parts if part)


def normalise(platform: Platform) -> Platform:
    """The same platform under the names that Go has for its parts; a variant that is the default is empty,
    but that of arm, which is v7.
    """
    architecture = platform.architecture.lower()
    architecture, implied = _ARCHITECTURES.get(architecture, (architecture, ""))
    variant = platform.variant.lower() or implied
    if variant.isdecimal() and architecture.startswith("arm"):
        variant = f"v{variant}"
    if architecture == "386" or (architecture, variant) in (("amd64", "v1"), ("arm64", "v8")):
        variant = ""
    if architecture == "arm" and not variant:
        variant = "v7"
    return platform.replace(os=_normal_system(platform.os), architecture=architecture, variant=variant)


def _normal_system(name: str) -> str:
    name = name.lower()
    return "darwin" if name == "macos" else name


def host_platform() -> Platform:
    """What this machine is."""
    return normalise(Platform(os="linux", architecture=os.uname().machine))


def accepted(wanted: Platform) -> tuple[Platform, ...]:
    """The platforms whose images run on this one, the nearest first; each is in its normal form."""
    wanted = normalise(wanted)
    found = [(wanted.architecture, wanted.variant)]
    if wanted.architecture == "amd64":
        found += [("amd64", f"v{level}") for level in range(_level(wanted.variant) - 1, 0, -1)]
        found += [("386", "")]
    elif wanted.architecture == "arm":
        found += _arm_below(_level(wanted.variant))
    elif wanted.architecture == "arm64":
        found += [
            ("arm64", f"v{level}") for level in range(_level(wanted.variant) - 1, _OLDEST_ARM64 - 1, -1)
        ]
        found += [("arm", "v8"), *_arm_below(_OLDEST_ARM64)]
    return tuple(
        normalise(wanted.replace(architecture=architecture, variant=variant))
        for architecture, variant in found
    )


def _arm_below(level: int) -> list[tuple[str, str]]:
    return [("arm", f"v{older}") for older in range(level - 1, _OLDEST_ARM - 1, -1)]


def _level(variant: str) -> int:
    """The whole number in ``v7`` or ``v9.2``; 0 if there is none."""
    digits = variant.removeprefix("v").partition(".")[0]
    return int(digits) if digits.isdecimal() and len(digits) < 4 else 0


def find_rank(wanted: Platform, candidate: Platform) -> int | None:
    """How near the candidate is to what is wanted, 0 the nearest; None if its images do not run there."""
    candidate = normalise(candidate)
    for rank, platform in enumerate(accepted(wanted)):
        same = (platform.os, platform.architecture, platform.variant)
        if same == (candidate.os, candidate.architecture, candidate.variant):
            version = wanted.os_version
            return rank if not version or _same_build(version, candidate.os_version) else None
    return None


def _same_build(wanted: str, found: str) -> bool:
    """Whether versions of Windows, ``10.0.BUILD.REVISION``, are of one build."""
    return not found or wanted.split(".")[:3] == found.split(".")[:3]


def is_attestation(descriptor: Descriptor) -> bool:
    """Whether the manifest tells of another one and is no image: its platform is unknown/unknown."""
    key, value = _ATTESTATION
    platform = descriptor.platform
    unknown = platform is not None and platform.os == platform.architecture == "unknown"
    return unknown or descriptor.annotations.get(key) == value


def find_nearest(
    candidates: Iterable[_T], wanted: Platform, platform_of: Callable[[_T], Platform | None]
) -> _T | None:
    """What is nearest to what is wanted, the first among equals; None if nothing runs there.

    One that does not say what it is for is taken when no other will do: its configuration says it.

    Args:
        candidates: things that are for platforms.
        wanted: a platform.
        platform_of: says which one a candidate is for; None if it does not say.
    """
    best, silent = None, None
    best_rank = -1
    for candidate in candidates:
        platform = platform_of(candidate)
        if platform is None or not platform.architecture:
            silent = silent or candidate
            continue
        rank = find_rank(wanted, platform)
        if rank is not None and (best is None or rank < best_rank):
            best, best_rank = candidate, rank
    return best or silent


def choose(manifests: Iterable[Descriptor], wanted: Platform) -> Descriptor | None:
    """The image that is nearest to what is wanted; see ``find_nearest``."""
    images = (descriptor for descriptor in manifests if not is_attestation(descriptor))
    return find_nearest(images, wanted, lambda descriptor: descriptor.platform)


def select(index: Index, platforms: tuple[Platform, ...] | None, *, name: str) -> tuple[Descriptor, ...]:
    """The manifests, or further indexes, of an index that these platforms need; all of them for None.

    Args:
        index: the list.
        platforms: what is wanted, each of which must be there.
        name: the image's, for the message.

    Raises:
        NotFound: none is for one of the platforms; the message lists what there is.
    """
    if platforms is None:
        return index.manifests
    chosen: dict[str, Descriptor] = {}
    nested = [each for each in index.manifests if each.media_type in INDEX_TYPES and each.platform is None]
    plain = [each for each in index.manifests if each not in nested]
    for platform in platforms:
        found = choose(plain, platform)
        if found is None and not nested:
            there = ", ".join(sorted({format_platform(each) for each in offered(index)})) or "none"
            hint = f"there is: {there}"
            message = f"the image {name} has nothing for {format_platform(normalise(platform))}"
            raise NotFound(message, code="platform-not-found", hint=hint)
        for each in (found,) if found is not None else nested:
            chosen[each.digest] = each
    return tuple(chosen.values())


def offered(index: Index) -> tuple[Platform, ...]:
    """The platforms that the index has images for, as it says."""
    return tuple(
        normalise(each.platform)
        for each in index.manifests
        if each.platform is not None and not is_attestation(each)
    )
