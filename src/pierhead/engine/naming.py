"""Names of containers: which there may be, which the engine gives, and what a reference means.

A reference is an id, a name (with or without the slash that the API puts before it), or the beginning of
an id, in this order.  Pure but for the dice.
"""

from __future__ import annotations

import random

from pierhead.errors import Conflict, InvalidInput, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping

ID_LENGTH = 64
SHORT_LENGTH = 12
_FIRST = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
_LETTERS = _FIRST | frozenset("_.-")
_NAME_MAX = 255
_TRIES = 64

_MANNERS = """
able airy amber azure bold brave breezy bright brisk calm candid clear clever cosy crisp
curious daring deft dreamy eager early easy fair fearless fine fleet fond frank fresh gentle
glad golden graceful grand happy hardy hearty honest humble jolly jovial keen kind lively loyal
lucid lucky mellow merry mighty mild modest neat nimble noble patient plucky polite proud
prudent quick quiet ready serene shiny silent silver sleek smart snug spry steady still sunny
swift tidy tranquil trusty upbeat vivid warm wise witty zesty
"""
_SHIPS = """
anchor barge bark beacon berth boat bollard bowline breakwater brig buoy canoe capstan caravel
cargo catamaran clipper coaster compass corvette crane cutter dhow dinghy dock dory ferry fjord
frigate galleon galley gangway gondola harbour hawser helm hull jetty junk kayak keel ketch
launch lighter lighthouse lugger mast mole mooring oar outrigger packet pier pilot pinnace
pontoon port prow punt quay raft rigging rudder sail sampan schooner scow sextant skiff sloop
spar steamer tender tide tiller trawler tug wharf wherry windlass yacht yawl
"""


def check_name(name: str) -> None:
    """A container may be called so.

    Raises:
        InvalidInput: it may not.
    """
    if 2 <= len(name) <= _NAME_MAX and name[0] in _FIRST and _LETTERS.issuperset(name):
        return
    hint = "at least two characters are needed" if len(name) < 2 else ""
    if len(name) > _NAME_MAX:
        hint = f"at most {_NAME_MAX} characters are possible"
    message = f"Invalid container name ({name[:80]}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    raise InvalidInput(message, code="invalid-name", hint=hint)


def choose_name(taken: Container[str], dice: random.Random | None = None) -> str:
    """A name that nobody has: a manner and something of a harbour; with a number where many are taken."""
    dice = dice or random.SystemRandom()
    for tries in range(_TRIES):
        name = f"{dice.choice(_MANNERS.split())}_{dice.choice(_SHIPS.split())}"
        if tries > _TRIES // 2:
            name += str(dice.randrange(10_000))
        if name not in taken:
            return name
    raise Conflict("every name that was tried is taken", code="no-free-name", hint="give the container one")


def resolve(reference: str, ids: Iterable[str], names: Mapping[str, str]) -> str:
    """The id that a reference means.

    Args:
        reference: see above.
        ids: all that there are.
        names: ids by names.

    Raises:
        NotFound: nothing is called so.
        InvalidInput: several ids begin so.
    """
    if len(reference) == ID_LENGTH and reference in ids:
        return reference
    named = names.get(reference.removeprefix("/"))
    if named is not None:
        return named
    found = [each for each in ids if each.startswith(reference)] if reference else []
    if len(found) > 1:
        message = f"multiple IDs found with provided prefix: {reference}"
        raise InvalidInput(message, code="ambiguous-id", hint="give more of it")
    if not found:
        raise no_such_container(reference)
    return found[0]


def no_such_container(reference: str) -> NotFound:
    """The error for a reference that means nothing; clients know these words."""
    return NotFound(
        f"No such container: {reference}", code="container-not-found", hint="pier ps --all lists them"
    )


def name_taken(name: str, container_id: str) -> Conflict:
    """The error for a name that somebody has; clients know these words."""
    return Conflict(
        f'Conflict. The container name "/{name}" is already in use by container "{container_id}".'
        " You have to remove (or rename) that container to be able to reuse that name.",
        code="name-taken",
    )
