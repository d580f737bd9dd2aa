"""A server of tokens, and the guard of a registry that wants them.

async with TokenServer() as tokens:
registry.guard = tokens.guard
tokens.users["me"] = "secret"          nobody in particular gets a token too, if ``anonymous``
tokens.revoke()                        every token that was given is worth nothing from now on
"""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from aiohttp import web

if TYPE_CHECKING:
    from typing import Self


class TokenServer:
    """Gives tokens, and remembers who asked for what."""

    def __init__(self) -> None:
        self.users: dict[str, str] = {}
        self.refresh_tokens: set[str] = set()
        self.anonymous = True
        self.life_s: int | None = 300
        self.asked: list[dict[str, Any]] = []
        self.failures = 0
        """So many requests get 503 first."""
        self.uses: int | None = None
        """After so many uses a token is worth nothing."""
        self.address = ""
        self._valid: dict[str, int] = {}
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_get("/token", self._get)
        application.router.add_post("/token", self._post)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = f"127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def revoke(self) -> None:
        """No token that was given is valid any more."""
        self._valid.clear()

    def guard(self, request: web.Request) -> web.StreamResponse | None:
        """Lets in who has a valid token."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Bearer" and self._valid.get(token, 0) > 0:
            self._valid[token] -= 1
            return None
        scope = "repository:team/app:pull"
        challenge = f'Bearer realm="http://{self.address}/token",service="reg",scope="{scope}"'
        error = {"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}
        return web.json_response(error, status=401, headers={"WWW-Authenticate": challenge})

    def _give(self, key: str) -> web.StreamResponse:
        token = f"token-{len(self.asked)}"
        self._valid[token] = self.uses or 1 << 30
        return web.json_response({key: token} | ({"expires_in": self.life_s} if self.life_s else {}))

    async def _get(self, request: web.Request) -> web.StreamResponse:
        scheme, _, pair = request.headers.get("Authorization", "").partition(" ")
        name, _, password = base64.b64decode(pair).decode().partition(":")
        query = request.query
        self.asked.append({"user": name, "scope": query.getall("scope", []), "service": query.get("service")})
        if self.failures:
            self.failures -= 1
            return web.Response(status=503)
        if self.users.get(name) == password if scheme else self.anonymous:
            return self._give("token")
        return web.json_response({"details": "incorrect username or password"}, status=401)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        form = await request.post()
        self.asked.append(dict(form))
        if form["grant_type"] == "refresh_token" and form["refresh_token"] in self.refresh_tokens:
            return self._give("access_token")
        return web.json_response({}, status=401)
