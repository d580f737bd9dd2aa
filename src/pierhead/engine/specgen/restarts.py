"""Restart policies as they may be asked for.  Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.errors import InvalidInput

if TYPE_CHECKING:
    from pierhead.engine.documents import RestartPolicy

POLICIES = ("no", "always", "on-failure", "unless-stopped")


def check_restart_policy(policy: RestartPolicy) -> None:
    """The policy is one, and its number belongs to it.

    Raises:
        InvalidInput: with Docker's sentence.
    """
    retries = policy.maximum_retry_count
    if policy.name and policy.name not in POLICIES:
        words = "', '".join(POLICIES[:-1])
        raise _refuse(f"unknown policy '{policy.name}'; use one of '{words}', or '{POLICIES[-1]}'")
    if policy.name != "on-failure" and retries:
        tail = " and cannot be negative" if retries < 0 else ""
        raise _refuse(f"maximum retry count can only be used with 'on-failure'{tail}")
    if retries < 0:
        raise _refuse("maximum retry count cannot be negative")


def _refuse(message: str) -> InvalidInput:
    return InvalidInput(f"invalid restart policy: {message}", code="bad-restart-policy")
