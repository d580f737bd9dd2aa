"""Images of an engine elsewhere, against the API with an engine that runs nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pierhead.cli.call import Call
from pierhead.cli.engine_images import push_image
from pierhead.cli.flags import Options
from pierhead.cli.output import Output
from pierhead.client.address import Address
from pierhead.client.engine import Engine
from tests.support.api_server import served
from tests.support.fake_engine import FakeEngine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("image", "wanted"),
    [
        ("127.0.0.1:5000/box", "127.0.0.1:5000/box:latest"),
        ("127.0.0.1:5000/box:2", "127.0.0.1:5000/box:2"),
    ],
)
def test_one_tag_is_pushed(tmp_path: Path, image: str, wanted: str) -> None:
    """A name without one is that of latest, and never all that the engine has of the repository."""
    fake = FakeEngine()
    call = Call(options=Options(()), arguments=(), output=Output("pier"), root="")
    with served(fake, tmp_path) as api:
        push_image(call, Engine(Address(path=api.path)), image, quiet=True)
    verb, given = fake.last()
    assert (verb, given["reference"], given["all_tags"]) == ("push_image", wanted, False)
