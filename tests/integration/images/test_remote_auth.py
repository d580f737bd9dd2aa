"""Who we are to registries: tokens, passwords, and to whom they are never told."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from pierhead.errors import Forbidden, Unavailable
from pierhead.images.content import ContentStore
from pierhead.images.reference import parse_reference
from pierhead.images.remote.credentials import Credentials
from pierhead.images.remote.download import DownloadSettings
from pierhead.images.remote.transfer import pull, push
from tests.support.image_contents import AMD64, add_image, random_bytes
from tests.support.misbehaving import MisbehavingRegistry, answers, redirects
from tests.support.taking_registry import TakingRegistry
from tests.support.token_server import TokenServer
from tests.support.transfers import QUICK, connected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LAYERS = [random_bytes(2_000_000, 1), random_bytes(1000, 2)]
IN_RANGES = DownloadSettings(ranges_above_bytes=200_000, range_bytes=100_000, quick_bytes_per_s=1 << 60)


class Scene:
    """An image behind a guard, and a store to pull it into."""

    def __init__(self, path: Path) -> None:
        self.there = ContentStore(path / "there")
        self.here = ContentStore(path / "here")
        self.image = add_image(self.there, LAYERS)
        self.credentials: Credentials | None = None
        self.registry = MisbehavingRegistry(self.there)
        self.tokens = TokenServer()

    def pull(self, *, settings: DownloadSettings | None = None, guard: bool = True) -> None:
        """Pulls the image."""

        async def run() -> None:
            async with (
                self.registry as registry,
                self.tokens as tokens,
                connected(find_credentials=lambda *_: self.credentials) as client,
            ):
                if guard:
                    registry.guard = tokens.guard
                registry.tags["team/app:1"] = self.image.digest
                reference = parse_reference(f"{registry.address}/team/app:1")
                await pull(client, self.here, reference, platforms=(AMD64,), settings=settings)

        asyncio.run(run())

    def is_whole(self) -> bool:
        """Whether all of the image is here."""
        return dict(self.here.digests()) == dict(self.there.digests())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """A fresh one."""
    return Scene(tmp_path)


def test_one_token_for_everything(scene: Scene) -> None:
    """Nobody in particular gets a token as well; one is enough for a whole image."""
    scene.pull(settings=IN_RANGES)
    assert scene.is_whole()
    assert scene.tokens.asked == [{"user": "", "scope": ["repository:team/app:pull"], "service": "reg"}]
    assert sum("Authorization" not in each.headers for each in scene.registry.seen) <= 3


def test_passwords_go_to_the_server_of_tokens(scene: Scene) -> None:
    """And the registry sees the token only."""
    scene.tokens.users["me"] = "se:cret"
    scene.tokens.anonymous = False
    scene.credentials = Credentials(username="me", password="se:cret")
    scene.pull()
    assert scene.is_whole()
    assert [each["user"] for each in scene.tokens.asked] == ["me"]
    assert not [
        each for each in scene.registry.seen if each.headers.get("Authorization", "").startswith("Basic")
    ]


def test_refresh_tokens(scene: Scene) -> None:
    """An identity token is exchanged for an access token."""
    scene.tokens.refresh_tokens.add("refresh")
    scene.tokens.anonymous = False
    scene.credentials = Credentials(identity_token="refresh")
    scene.pull()
    assert scene.is_whole()
    (asked,) = scene.tokens.asked
    assert (asked["grant_type"], asked["scope"]) == ("refresh_token", "repository:team/app:pull")


def test_tokens_of_ones_own(scene: Scene) -> None:
    """A registry token is sent as it is; if it is refused, that is it."""
    scene.credentials = Credentials(registry_token="mine")
    with pytest.raises(Forbidden, match="did not give the manifest 1 of team/app: UNAUTHORIZED"):
        scene.pull()
    assert "Bearer mine" in {each.headers.get("Authorization") for each in scene.registry.seen}


@pytest.mark.parametrize(("settings", "uses"), [(None, 3), (IN_RANGES, 8)], ids=["stream", "ranges"])
def test_tokens_that_end_in_mid_transfer(scene: Scene, settings: DownloadSettings | None, uses: int) -> None:
    """A token that is worth nothing after some requests is fetched anew, and nothing is lost.

    It is enough for all that ask at the same time: else one of them may come too late again and again.
    """
    scene.tokens.uses = uses
    scene.pull(settings=settings)
    assert scene.is_whole()
    used_up = len(scene.registry.seen) // uses
    assert 1 < len(scene.tokens.asked) <= used_up + 1


def test_a_busy_server_of_tokens(scene: Scene) -> None:
    """Is asked again, a bounded number of times."""
    scene.tokens.failures = 2
    scene.pull()
    assert scene.is_whole()
    scene.tokens.failures = 99
    scene.here = ContentStore(scene.here.root + "2")
    with pytest.raises(Unavailable, match="which gives the tokens of the registry 127"):
        scene.pull()


def test_wrong_passwords(scene: Scene) -> None:
    """Are told as what they are, with what to do."""
    scene.credentials = Credentials(username="me", password="wrong")
    with pytest.raises(Forbidden, match="refuses: HTTP status 401") as caught:
        scene.pull()
    assert "pier login 127.0.0.1" in caught.value.hint


@pytest.mark.parametrize("password", ["secret", "wrong", None])
def test_basic_authentication(scene: Scene, password: str | None) -> None:
    """Name and password as they are; without them, or with wrong ones, a sentence."""
    expected = "Basic " + base64.b64encode(b"me:secret").decode()

    def guard(request: web.Request) -> web.StreamResponse | None:
        if request.headers.get("Authorization") == expected:
            return None
        return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="x"'})

    scene.registry.guard = guard
    scene.credentials = Credentials(username="me", password=password) if password else None
    if password == "secret":
        scene.pull(guard=False)
        assert scene.is_whole()
    else:
        with pytest.raises(Forbidden, match=r"wants a name and a password|did not give the manifest"):
            scene.pull(guard=False)
        assert len(scene.registry.seen) <= 5


@pytest.mark.parametrize("scheme", ["Negotiate", "Digest"])
def test_unknown_ways_to_log_in(scene: Scene, scheme: str) -> None:
    """Are said to be unknown."""

    def guard(request: web.Request) -> web.StreamResponse | None:
        return web.Response(status=401, headers={"WWW-Authenticate": scheme})

    scene.registry.guard = guard
    with pytest.raises(Forbidden, match="a kind that is not known here"):
        scene.pull(guard=False)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects_do_not_tell_who_we_are(scene: Scene, status: int) -> None:
    """Another host, another port even, gets no Authorization, and neither do its own redirects."""
    scene.tokens.users["me"] = "secret"
    scene.credentials = Credentials(username="me", password="secret")

    async def run() -> MisbehavingRegistry:
        async with (
            scene.registry as registry,
            MisbehavingRegistry(scene.there) as elsewhere,
            scene.tokens as tokens,
            connected(find_credentials=lambda *_: scene.credentials) as client,
        ):
            registry.guard = tokens.guard
            registry.tags["team/app:1"] = scene.image.digest
            registry.fault("GET", "/blobs/", redirects(f"http://{elsewhere.address}", status), times=99)
            reference = parse_reference(f"{registry.address}/team/app:1")
            await pull(client, scene.here, reference, platforms=(AMD64,), settings=IN_RANGES)
            return elsewhere

    elsewhere = asyncio.run(run())
    assert scene.is_whole()
    assert elsewhere.count("GET", "/blobs/") > 10
    assert not [each for each in elsewhere.seen if "Authorization" in each.headers]


def test_a_login_that_another_host_asks_for(scene: Scene) -> None:
    """Whoever we were sent to cannot ask us for a password."""
    scene.credentials = Credentials(username="me", password="secret")
    challenge = {"WWW-Authenticate": 'Basic realm="give it to me"'}

    async def run() -> None:
        async with (
            scene.registry as registry,
            MisbehavingRegistry(scene.there) as elsewhere,
            connected(find_credentials=lambda *_: scene.credentials) as client,
        ):
            registry.tags["team/app:1"] = scene.image.digest
            registry.fault("GET", "/blobs/", redirects(f"http://{elsewhere.address}"), times=99)
            elsewhere.fault("GET", "", answers(401, headers=challenge), times=99)
            with pytest.raises(Forbidden, match="did not give the content"):
                await pull(
                    client, scene.here, parse_reference(f"{registry.address}/team/app:1"), platforms=(AMD64,)
                )
            assert not [each for each in elsewhere.seen if "Authorization" in each.headers]

    asyncio.run(run())


@pytest.mark.parametrize("act", [lambda tokens: tokens.revoke(), lambda tokens: None])
def test_pushing_with_tokens(scene: Scene, tmp_path: Path, act: Callable[[TokenServer], None]) -> None:
    """The right to push is asked for, and a token that ends on the way is fetched anew."""
    registry = TakingRegistry(scene.here)

    async def run() -> None:
        async with registry, scene.tokens as tokens, connected(patience=QUICK) as client:
            registry.guard = tokens.guard
            reference = parse_reference(f"{registry.address}/team/app:1")
            await push(client, scene.there, reference, scene.image)
            act(tokens)
            again = add_image(scene.there, [random_bytes(9000, 9)])
            await push(client, scene.there, reference, again)

    asyncio.run(run())
    assert scene.is_whole()
    assert {scope for each in scene.tokens.asked for scope in each["scope"]} == {
        "repository:team/app:pull",
        "repository:team/app:pull,push",
    }
