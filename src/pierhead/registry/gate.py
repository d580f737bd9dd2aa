"""Who asks, and whether they may: by name and password (Basic), or by a token that they were given for those.

    open     nobody is asked
    basic    Authorization: Basic, checked against the file of passwords
    token    Authorization: Bearer; GET /token with Basic, or without for what everybody may, gives one

Source: RFC 7617, RFC 6750; Docker's "Token Authentication Specification" and "OAuth2 Token Authentication".
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import time
from urllib.parse import parse_qs

from pierhead.errors import InvalidInput
from pierhead.registry.access import ACTIONS
from pierhead.registry.faults import Fault
from pierhead.registry.replies import reply_document
from pierhead.registry.tokens import Grant, parse_scope
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp import web

    from pierhead.registry.access import Access
    from pierhead.registry.passwords import Passwords
    from pierhead.registry.tokens import Tokens

FORM_BYTES_MOST = 1 << 16
"""Of what is sent to /token."""
_FORM_FIELDS_MOST = 100


class Identity(Value):
    """Who asks: a name, "" without one; and, with a token, what it grants."""

    user: str = ""
    grants: tuple[Grant, ...] | None = None


class Gate:
    """Lets in whoever may."""

    def __init__(
        self, passwords: Passwords, access: Access, tokens: Tokens | None = None, *, realm: str = ""
    ) -> None:
        """With ``tokens`` names and passwords are taken at /token only.

        Args:
            passwords: the users'.
            access: what they may.
            tokens: makes and reads tokens; None is Basic.
            realm: URL of /token as clients reach it; "" is made of what they asked.
        """
        self._passwords = passwords
        self._access = access
        self._tokens = tokens
        self._realm = realm

    async def identify(self, request: web.BaseRequest) -> Identity:
        """Who sent the request.

        Raises:
            Fault: UNAUTHORIZED: what it says of itself is not true.
        """
        scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "basic" and self._tokens is None:
            return Identity(user=await self._login(request, *_decode_basic(rest)))
        if scheme.lower() == "bearer" and self._tokens is not None:
            try:
                user, grants = self._tokens.verify(rest.strip(), int(time.time()))
            except InvalidInput as error:
                raise self.refuse(request, "", "", error.message, problem="invalid_token") from None
            return Identity(user=user, grants=grants)
        return Identity()

    async def _login(self, request: web.BaseRequest, user: str, password: str) -> str:
        if not user or not await asyncio.to_thread(self._passwords.verify, user, password):
            raise self.refuse(request, "", "", "the name or the password is wrong")
        return user

    def may(self, identity: Identity, action: str, name: str) -> bool:
        """Whether the action is allowed; ``catalog`` has no name."""
        if identity.grants is None:
            return self._access.allows(identity.user, action, name)
        wanted = ("registry", "catalog", "*") if action == "catalog" else ("repository", name, action)
        kind, name, action = wanted
        return any((g.type, g.name) == (kind, name) and action in g.actions for g in identity.grants)

    def require(self, request: web.BaseRequest, identity: Identity, action: str, name: str) -> None:
        """The action is allowed; "" is to have a name or a token at all.

        Raises:
            Fault: UNAUTHORIZED: ask again with more; DENIED: it would not help.
        """
        if not action:
            if not identity.user and identity.grants is None:
                raise self.refuse(request, "", "", "this registry wants to know who asks")
        elif not self.may(identity, action, name):
            what = f"{action} {name}".strip()
            if identity.user and self._tokens is None:
                raise Fault("DENIED", f"{identity.user} may not {what}")
            problem = "insufficient_scope" if identity.grants is not None else ""
            raise self.refuse(request, action, name, f"{what} needs authorization", problem=problem)

    def refuse(
        self, request: web.BaseRequest, action: str, name: str, message: str, *, problem: str = ""
    ) -> Fault:
        """The error that tells a client where to become somebody."""
        challenge = 'Basic realm="registry"'
        if self._tokens is not None:
            realm = self._realm or f"{request.scheme}://{request.host}/token"
            challenge = f'Bearer realm="{realm}",service="{self._tokens.service}"'
            if action:
                challenge += f',scope="{_scope(action, name)}"'
            if problem:
                challenge += f',error="{problem}"'
        return Fault("UNAUTHORIZED", message, headers={"WWW-Authenticate": challenge})

    # /token

    async def give_token(self, request: web.BaseRequest, form: bytes) -> web.Response:
        """A token with what was asked for, as far as it is allowed; ``form`` is the request's body.

        Raises:
            Fault: UNAUTHORIZED: the name or the password is wrong; UNSUPPORTED: no tokens here.
        """
        tokens = self._tokens
        if tokens is None or request.method not in ("GET", "POST"):
            raise Fault("UNSUPPORTED", "tokens are asked for with GET or POST, where there are any")
        if request.method == "POST":
            user, scopes = await self._read_form(request, form)
        else:
            user, scopes = "", request.query.getall("scope", [])
            scheme, _, rest = request.headers.get("Authorization", "").partition(" ")
            if scheme.lower() == "basic":
                user = await self._login_for_token(request, *_decode_basic(rest))
        now_s = int(time.time())
        token = tokens.issue(user, self._granted(user, scopes), now_s)
        issued = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s))
        times = {"expires_in": tokens.lifetime_s, "issued_at": issued}
        return reply_document({"token": token, "access_token": token, **times})

    async def _login_for_token(self, request: web.BaseRequest, user: str, password: str) -> str:
        """As ``_login``; the client is to ask for a name and not to come back with a token."""
        try:
            return await self._login(request, user, password)
        except Fault as fault:
            headers = {"WWW-Authenticate": 'Basic realm="registry"'}
            raise Fault("UNAUTHORIZED", fault.message, headers=headers) from None

    async def _read_form(self, request: web.BaseRequest, raw: bytes) -> tuple[str, list[str]]:
        """The user, who has a password, and scopes (Docker's "OAuth2 Token Authentication")."""
        try:
            form = parse_qs(raw.decode(), max_num_fields=_FORM_FIELDS_MOST)
        except ValueError:
            form = {}
        if form.get("grant_type") != ["password"]:
            raise Fault("UNSUPPORTED", "only the grant type password is known here", status=400)
        name, password = (form.get(field, [""])[0] for field in ("username", "password"))
        return await self._login_for_token(request, name, password), form.get("scope", [])

    def _granted(self, user: str, scopes: Iterable[str]) -> tuple[Grant, ...]:
        grants = (parse_scope(scope) for text in scopes for scope in text.split(" "))
        allowed = (self._limited(user, grant) for grant in grants if grant is not None)
        return tuple(grant for grant in allowed if grant.actions)

    def _limited(self, user: str, grant: Grant) -> Grant:
        if (grant.type, grant.name) == ("registry", "catalog"):
            return grant.replace(actions=("*",) if self._access.allows(user, "catalog", "") else ())
        wanted = ACTIONS[:3] if "*" in grant.actions else grant.actions
        if grant.type != "repository":
            return grant.replace(actions=())
        allowed = (
            each for each in wanted if each in ACTIONS[:3] and self._access.allows(user, each, grant.name)
        )
        return grant.replace(actions=tuple(allowed))


def _scope(action: str, name: str) -> str:
    if action == "catalog":
        return "registry:catalog:*"
    # Who pushes asks what is there already.
    return f"repository:{name}:{'pull,push' if action == 'push' else action}"


def _decode_basic(text: str) -> tuple[str, str]:
    """Name and password; two empty ones if it is malformed."""
    try:
        user, _, password = base64.b64decode(text.strip(), validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return "", ""
    return user, password
