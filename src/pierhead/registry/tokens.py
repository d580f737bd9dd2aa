"""Tokens that say what their bearer may do, signed by the registry itself (JWT with ES256).

    {"iss": SERVICE, "aud": SERVICE, "sub": USER, "iat": ..., "nbf": ..., "exp": ..., "jti": ...,
     "access": [{"type": "repository", "name": NAME, "actions": ["pull", ...]}, ...]}

Source: RFC 7515, RFC 7518 section 3.4, RFC 7519; Docker's "Token Authentication Specification" and
"Token Authentication Implementation".
"""

from __future__ import annotations

import base64
import os
import secrets

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from pierhead import jsontext
from pierhead.errors import InvalidInput
from pierhead.linux.files import replace_file
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NUMBER_BYTES = 32
_SKEW_S = 60
_MALFORMED = (ValueError, LookupError, TypeError, AttributeError, InvalidSignature, InvalidInput)
_HEADER = {"alg": "ES256", "typ": "JWT"}


class Grant(Value):
    """Actions on one thing: of type ``repository`` with its name, or ``registry`` and ``catalog``."""

    type: str
    name: str
    actions: tuple[str, ...]


def parse_scope(text: str) -> Grant | None:
    """What a scope asks for (``repository:NAME:pull,push``); None if it is malformed.

    A name may hold colons (a host's port), a type may have a class in parentheses.
    """
    kind, _, rest = text.partition(":")
    name, colon, actions = rest.rpartition(":")
    if not (colon and name and actions):
        return None
    return Grant(type=kind.partition("(")[0], name=name, actions=tuple(dict.fromkeys(actions.split(","))))


class Tokens:
    """Makes tokens and tells its own from others'."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, service: str, lifetime_s: int = 900) -> None:
        """``service`` is the registry's name in tokens."""
        self._key = key
        self.service = service
        self.lifetime_s = lifetime_s

    def issue(self, user: str, grants: tuple[Grant, ...], now_s: int) -> str:
        """A token for the user, "" without a name."""
        claims = {
            "iss": self.service,
            "aud": self.service,
            "sub": user,
            "iat": now_s,
            "nbf": now_s,
            "exp": now_s + self.lifetime_s,
            "jti": secrets.token_hex(16),
            "access": [{"type": g.type, "name": g.name, "actions": list(g.actions)} for g in grants],
        }
        signed = f"{_encode_part(_HEADER)}.{_encode_part(claims)}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        raw = r.to_bytes(_NUMBER_BYTES, "big") + s.to_bytes(_NUMBER_BYTES, "big")
        return f"{signed}.{_encode(raw)}"

    def verify(self, token: str, now_s: int) -> tuple[str, tuple[Grant, ...]]:
        """The user and what is granted.

        Raises:
            InvalidInput: the token is not ours, or not of this time.
        """
        try:
            user, grants, begins_s, ends_s = self._read(token)
        except _MALFORMED:
            raise InvalidInput("the token is not this registry's", code="invalid-token") from None
        if not begins_s - _SKEW_S <= now_s < ends_s:
            raise InvalidInput("the token is not valid at this time", code="invalid-token")
        return user, grants

    def _read(self, token: str) -> tuple[str, tuple[Grant, ...], int, int]:
        """User, grants, and the seconds at which the token begins and ends to be valid; any of
        ``_MALFORMED`` if it is not ours.
        """
        signed, _, signature = token.rpartition(".")
        raw = _decode(signature)
        header, claims = (jsontext.parse(_decode(part)) for part in signed.split("."))
        # The algorithm is ours and not the token's choice (RFC 8725 section 3.1).
        if header["alg"] != _HEADER["alg"] or len(raw) != 2 * _NUMBER_BYTES:
            raise ValueError("another algorithm")
        numbers = (int.from_bytes(raw[:_NUMBER_BYTES], "big"), int.from_bytes(raw[_NUMBER_BYTES:], "big"))
        public = self._key.public_key()
        public.verify(encode_dss_signature(*numbers), signed.encode(), ec.ECDSA(hashes.SHA256()))
        if (claims["iss"], claims["aud"]) != (self.service, self.service):
            raise ValueError("for another registry")
        grants = tuple(
            Grant(type=each["type"], name=each["name"], actions=tuple(each["actions"]))
            for each in claims["access"]
        )
        return claims["sub"], grants, claims["nbf"], claims["exp"]


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _encode_part(document: dict[str, Any]) -> str:
    return _encode(jsontext.format_compact(document).encode())


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def load_key(path: str) -> ec.EllipticCurvePrivateKey:
    """The key of a PEM file; a new one is made where there is no such file.

    Raises:
        InvalidInput: the file holds something else.
    """
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        return _make_key(path)
    try:
        key = serialization.load_pem_private_key(raw, password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        hint = "openssl ecparam -name prime256v1 -genkey -noout makes one"
        raise InvalidInput(f"{path} does not hold a private key of the curve P-256", hint=hint)
    return key


def _make_key(path: str) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8
    raw = key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption())
    directory, name = os.path.split(os.path.abspath(path))
    directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        replace_file(directory_fd, name, raw, mode=0o600, durable=True)
    finally:
        os.close(directory_fd)
    return key
