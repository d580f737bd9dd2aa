"""Tokens: fetched once, kept until they end, never given to the wrong one."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from pierhead.errors import Forbidden, InvalidInput
from pierhead.images.remote.auth import Authorizer
from pierhead.images.remote.challenge import Challenge, parse_challenges
from pierhead.images.remote.credentials import Credentials
from pierhead.images.remote.hosts import Endpoint

if TYPE_CHECKING:
    from collections.abc import Mapping

ENDPOINT = Endpoint(registry="r.lan", address="r.lan")
MIRROR = Endpoint(registry="r.lan", address="m.lan", is_mirror=True)
PULL = ("repository:a/b:pull",)
BEARER = parse_challenges('Bearer realm="https://t.lan/token?x=1",service="s",scope="repository:a/b:pull"')


class Server:
    """A server of tokens, a file of credentials, and a clock."""

    def __init__(self, answer: object = None, *, status: int = 200) -> None:
        self.asked: list[str] = []
        self.wanted: list[tuple[str, str]] = []
        self.now_s = 0.0
        self.credentials: Credentials | None = None
        self._answer = answer
        self._status = status
        self.authorizer = Authorizer(self._fetch, self._find, lambda: self.now_s)

    def _find(self, domain: str, repository: str) -> Credentials | None:
        self.wanted.append((domain, repository))
        return self.credentials

    async def _fetch(
        self, endpoint: Endpoint, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        await asyncio.sleep(0)
        self.asked.append(url if body is None else body.decode())
        answer = self._answer or {"token": f"t{len(self.asked)}", "expires_in": 100}
        return self._status, json.dumps(answer).encode()

    def answer(
        self, used: str = "", *, endpoint: Endpoint = ENDPOINT, challenges: tuple[Challenge, ...] = BEARER
    ) -> str:
        """The header after the registry has asked."""

        async def run() -> str:
            await self.authorizer.answer(endpoint, PULL, challenges, used)
            return await self.authorizer.header(endpoint, PULL)

        return asyncio.run(run())

    def header(self) -> str:
        """Of the next request."""
        return asyncio.run(self.authorizer.header(ENDPOINT, PULL))


def test_nothing_is_said_unasked() -> None:
    """Before the registry has asked, nobody is told who we are."""
    server = Server()
    server.credentials = Credentials(username="me", password="secret")
    assert server.header() == ""
    assert not server.wanted


def test_a_token_is_kept_until_it_ends() -> None:
    """And fetched anew shortly before, without waiting for a refusal."""
    server = Server()
    assert server.answer() == "Bearer t1"
    assert server.asked == ["https://t.lan/token?x=1&service=s&scope=repository%3Aa%2Fb%3Apull"]
    server.now_s = 89
    assert server.header() == "Bearer t1"
    server.now_s = 91
    assert server.header() == "Bearer t2"


def test_a_refused_token_is_fetched_anew_once() -> None:
    """Whoever comes with the old one later gets the new one."""
    server = Server()
    assert server.answer() == "Bearer t1"

    async def refused() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(5):
                group.create_task(server.authorizer.answer(ENDPOINT, PULL, BEARER, "Bearer t1"))

    asyncio.run(refused())
    assert server.header() == "Bearer t2"
    assert len(server.asked) == 2


def test_credentials_belong_to_their_server() -> None:
    """A mirror is not told who we are to the registry."""
    server = Server()
    server.answer(endpoint=MIRROR)
    server.answer()
    assert server.wanted == [("m.lan", "a/b"), ("r.lan", "a/b")]


def test_bearer_is_better_than_basic() -> None:
    """Where both are offered."""
    assert Server().answer(challenges=(*parse_challenges("Basic realm=x"), *BEARER)) == "Bearer t1"


@pytest.mark.parametrize("realm", ["http://t.lan/token", "ftp://t.lan", "file:///etc/passwd", ""])
def test_passwords_need_tls(realm: str) -> None:
    """A registry that is spoken to by TLS cannot send passwords elsewhere in the clear."""
    server = Server()
    server.credentials = Credentials(username="me", password="secret")
    with pytest.raises(Forbidden, match="for a token, which is not https"):
        server.answer(challenges=parse_challenges(f'Bearer realm="{realm}"'))
    assert not server.asked


@pytest.mark.parametrize("answer", [{"tokens": 1}, {"token": 3}, ["token"], {"token": "a\nb"}])
def test_no_token_in_the_answer(answer: object) -> None:
    """Is said, and nothing of the kind goes into a header."""
    with pytest.raises(InvalidInput, match="gave none"):
        Server(answer).answer()


@pytest.mark.parametrize("life", [None, 0, -5, "x"])
def test_a_token_lives_a_minute_if_it_does_not_say(life: object) -> None:
    """As the specification has it."""
    server = Server({"access_token": "a", "expires_in": life})
    assert server.answer() == "Bearer a"
    server.now_s = 49
    server.header()
    assert len(server.asked) == 1
    server.now_s = 51
    server.header()
    assert len(server.asked) == 2


def test_identity_tokens_are_posted() -> None:
    """And never in a URL."""
    server = Server({"access_token": "a"})
    server.credentials = Credentials(identity_token="refresh&me")
    assert server.answer() == "Bearer a"
    assert "refresh_token=refresh%26me" in server.asked[0]
