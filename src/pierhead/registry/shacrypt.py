"""Hashes of passwords of the forms ``$5$`` and ``$6$`` (SHA-crypt), which every Unix understands.  Pure.

Source: Ulrich Drepper, "Unix crypt using SHA-256 and SHA-512", version 0.6; the steps' numbers are its own.
"""

from __future__ import annotations

import hashlib
import re

_FORM = re.compile(r"\$(5|6)\$(?:rounds=(\d{1,9})\$)?([^$:\n]{0,16})(?:\$([./0-9A-Za-z]+))?")
_ROUNDS_DEFAULT = 5000
_ROUNDS = (1000, 999_999_999)
_ALPHABET = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ALGORITHMS = {"5": "sha256", "6": "sha512"}


def is_sha_crypt(entry: str) -> bool:
    """Whether the text is such a hash."""
    match = _FORM.fullmatch(entry)
    return match is not None and match[4] is not None


def sha_crypt(password: bytes, setting: str) -> str:
    """The hash of the password with the kind, rounds and salt of ``setting``, another hash perhaps.

    Raises:
        ValueError: the setting is of another form.
    """
    match = _FORM.match(setting)
    if match is None:
        raise ValueError(f"{setting[:40]!r} is no setting of SHA-crypt")
    kind, given, salt = match[1], match[2], match[3]
    rounds = min(max(int(given), _ROUNDS[0]), _ROUNDS[1]) if given else _ROUNDS_DEFAULT
    digest = _digest(_ALGORITHMS[kind], password, salt.encode(), rounds)
    middle = f"rounds={rounds}$" if given else ""
    return f"${kind}${middle}{salt}${_encode(digest)}"


def _digest(algorithm: str, password: bytes, salt: bytes, rounds: int) -> bytes:
    def hashed(data: bytes) -> bytes:
        return hashlib.new(algorithm, data).digest()

    def stretched(data: bytes, length: int) -> bytes:
        return (data * (length // len(data) + 1))[:length]

    other = hashed(password + salt + password)  # 4 to 8
    start = password + salt + stretched(other, len(password))  # 1 to 3, 9, 10
    bits = len(password)
    while bits:  # 11
        start += other if bits & 1 else password
        bits >>= 1
    current = hashed(start)  # 12
    long_password = stretched(hashed(password * len(password)), len(password))  # 13 to 16
    long_salt = stretched(hashed(salt * (16 + current[0])), len(salt))  # 17 to 20
    for number in range(rounds):  # 21
        odd = number & 1
        parts = [long_password if odd else current]
        parts += [long_salt] if number % 3 else []
        parts += [long_password] if number % 7 else []
        parts.append(current if odd else long_password)
        current = hashed(b"".join(parts))
    return current


def _encode(digest: bytes) -> str:
    """Three bytes at a time in an order of the algorithm's own, six bits a character, lowest first."""
    size = len(digest)
    third = size // 3
    triples = []
    a, b, c = 0, third, 2 * third
    for _ in range(third):
        triples.append((digest[a] << 16 | digest[b] << 8 | digest[c], 4))
        a, b, c = (b + 1, c + 1, a + 1) if size == 64 else (c + 1, a + 1, b + 1)
    triples.append((digest[63], 2) if size == 64 else (digest[31] << 8 | digest[30], 3))
    return "".join(_ALPHABET[number >> 6 * k & 63] for number, count in triples for k in range(count))
