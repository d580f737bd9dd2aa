"""Image references: which registry, which repository, which tag or digest.

    reference  = [domain "/"] path [":" tag] ["@" digest]
    domain     = (host name | IPv4 address | "[" IPv6 address "]") [":" port]
    path       = component {"/" component}, at most 255 characters, lower case

What people type is shorter: ``busybox`` is ``docker.io/library/busybox``, and the first part of a name is a
domain only if it has a dot or a colon or an upper-case letter, or is ``localhost``.  64 hexadecimal digits
are an image's identifier and never a name.

Source: the grammar of https://github.com/distribution/reference, which docker and containerd share.  Pure.
"""

from __future__ import annotations

import re

from pierhead.digests import check_digest, is_digest
from pierhead.errors import InvalidInput
from pierhead.values import Value

DEFAULT_DOMAIN = "docker.io"
DEFAULT_TAG = "latest"
PATH_LENGTH_MAX = 255

_LEGACY_DOMAIN = "index.docker.io"
_OFFICIAL = "library/"
_LENGTH_MAX = 1024
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*"
_PATH = rf"{_COMPONENT}(?:/{_COMPONENT})*"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}"
_DIGEST = r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}"
_REFERENCE = re.compile(rf"(?:({_DOMAIN})/)?({_PATH})(?::({_TAG}))?(?:@({_DIGEST}))?")
_NAME = re.compile(rf"(?:({_DOMAIN})/)?({_PATH})")
_IDENTIFIER = re.compile(r"[0-9a-f]{64}")


class Reference(Value):
    """An image's name, whole: as ``parse_reference`` gives it, ``domain`` is never empty."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """Registry and repository, without tag and digest."""
        return f"{self.domain}/{self.path}" if self.domain else self.path

    @property
    def identifier(self) -> str:
        """What a registry is asked for: the digest, else the tag, else ``latest``."""
        return self.digest or self.tag or DEFAULT_TAG

    def canonical(self) -> Reference:
        """The form under which an image is kept: by its digest alone, else by its tag."""
        return self.replace(tag="") if self.digest else self.replace(tag=self.tag or DEFAULT_TAG)

    def familiar_name(self) -> str:
        """The shortest name that ``parse_reference`` understands as this one's."""
        if self.domain != DEFAULT_DOMAIN:
            return self.name
        short = self.path.removeprefix(_OFFICIAL)
        for candidate in (short, self.path):
            if not is_identifier(candidate) and _split_domain(candidate) == (self.domain, self.path):
                return candidate
        return self.name

    def familiar(self) -> str:
        """As people write it: ``busybox:1.36``."""
        return self.familiar_name() + self._rest()

    def __str__(self) -> str:
        return self.name + self._rest()

    def _rest(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return f"{tag}@{self.digest}" if self.digest else tag


def is_identifier(text: str) -> bool:
    """Whether the text is an image's identifier, the hexadecimal part of a digest, whole."""
    return _IDENTIFIER.fullmatch(text) is not None


def parse_reference(text: str) -> Reference:
    """The reference that a person's text denotes; tag and digest stay empty if it has none.

    Raises:
        InvalidInput: it is none; the sentence says what is wrong with it.
    """
    if is_identifier(text):
        hint = "a name has other letters than 0-9 a-f, or fewer or more than 64"
        raise InvalidInput(
            f"{text!r} is an image's identifier and not a name", code="invalid-reference", hint=hint
        )
    domain, rest = _split_domain(text)
    return _parse(f"{domain}/{rest}" if rest else text, given=text)


def parse_exact(text: str) -> Reference:
    """The reference of the grammar's whole form; without the familiar names' rules, ``domain`` may be empty.

    Raises:
        InvalidInput: it is none.
    """
    return _parse(text, given=text)


def _parse(text: str, *, given: str) -> Reference:
    """As ``parse_exact``; the message shows what was given."""
    if not given:
        raise InvalidInput("an image's name is empty", code="invalid-reference")
    match = _REFERENCE.fullmatch(text) if len(text) <= _LENGTH_MAX else None
    if match is None:
        raise _refusal(given)
    domain, path, tag, digest = match.groups(default="")
    if len(path) > PATH_LENGTH_MAX:
        reason = f"its path is longer than {PATH_LENGTH_MAX} characters"
        raise InvalidInput(f"{_shown(given)} is no image name: {reason}", code="invalid-reference")
    if digest:
        check_digest(digest)
    return Reference(domain=domain, path=path, tag=tag, digest=digest)


def parse_any(text: str) -> Reference | str:
    """What a person means by an image: a reference, or the digest that an identifier or a digest names.

    Raises:
        InvalidInput: neither.
    """
    if is_identifier(text):
        return f"sha256:{text}"
    return text if is_digest(text) else parse_reference(text)


def is_repository(path: str) -> bool:
    """Whether the text is a repository's path inside a registry."""
    return len(path) <= PATH_LENGTH_MAX and re.fullmatch(_PATH, path) is not None


def is_tag(text: str) -> bool:
    """Whether the text is a tag."""
    return re.fullmatch(_TAG, text) is not None


def is_domain(text: str) -> bool:
    """Whether the text is a registry's domain, with or without a port."""
    return len(text) <= _LENGTH_MAX and re.fullmatch(_DOMAIN, text) is not None


def matches(reference: Reference, pattern: str) -> bool:
    """Whether the familiar form, with or without its tag, is of the pattern: ``*`` and ``?`` stay within one
    component, ``[a-z]`` and ``[^a-z]`` are sets of characters.

    Raises:
        InvalidInput: the pattern has an open bracket or a backslash at its end.
    """
    wanted = _compile_pattern(pattern)
    forms = (reference.familiar_name(), reference.familiar(), reference.name, str(reference))
    return any(wanted.fullmatch(form) for form in forms)


def _split_domain(text: str) -> tuple[str, str]:
    """Domain and rest as the familiar names' rules have it."""
    first, slash, rest = text.partition("/")
    is_host = "." in first or ":" in first or first == "localhost" or first != first.lower()
    if not slash or not is_host:
        first, rest = DEFAULT_DOMAIN, text
    if first == _LEGACY_DOMAIN:
        first = DEFAULT_DOMAIN
    if first == DEFAULT_DOMAIN and rest and "/" not in rest:
        rest = _OFFICIAL + rest
    return first, rest


def _refusal(text: str) -> InvalidInput:
    name = text.partition("@")[0]
    lower = _NAME.match(name.lower())
    hint = ""
    if "://" in text:
        hint = "leave out the scheme: an image's name begins with the registry's host"
    elif name != name.lower() and lower is not None and _REFERENCE.fullmatch(text.lower()):
        hint = f"repositories are in lower case: {text.lower()[:200]}"
    return InvalidInput(f"{_shown(text)} is no image name", code="invalid-reference", hint=hint)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 200 else text[:197] + "...")


def _compile_pattern(pattern: str) -> re.Pattern[str]:
    parts: list[str] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        position += 1
        if character == "*":
            parts.append("[^/]*" if not parts or parts[-1] != "[^/]*" else "")
        elif character == "?":
            parts.append("[^/]")
        elif character == "[":
            end = pattern.find("]", position + 1)
            inside = pattern[position:end]
            if end < 0 or inside in ("", "^"):
                raise InvalidInput(
                    f"the pattern {_shown(pattern)} has an open bracket", code="invalid-pattern"
                )
            negated = inside.startswith("^")
            chosen = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside.removeprefix("^"))
            parts.append(f"[{'^/' if negated else ''}{chosen}]")
            position = end + 1
        elif character == "\\":
            if position == len(pattern):
                raise InvalidInput(
                    f"the pattern {_shown(pattern)} ends in a backslash", code="invalid-pattern"
                )
            parts.append(re.escape(pattern[position]))
            position += 1
        else:
            parts.append(re.escape(character))
    try:
        return re.compile("".join(parts))
    except re.error:
        raise InvalidInput(
            f"the pattern {_shown(pattern)} has a set in reverse", code="invalid-pattern"
        ) from None
