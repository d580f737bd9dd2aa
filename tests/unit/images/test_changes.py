"""Changes to what an image runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import InvalidInput
from pierhead.images.changes import apply_changes
from pierhead.oci.image import Execution


def test_every_instruction() -> None:
    """Each sets its field; later ones go before earlier ones."""
    changes = (
        'CMD ["/bin/sh", "-l"]',
        'entrypoint ["/init"]',
        "ENV A=1 B='two words'",
        "ENV A 3 and more",
        'LABEL a=b "c d"=e',
        "EXPOSE 80 53/udp",
        'VOLUME ["/data", "/more"]',
        "VOLUME /other",
        "USER app:app",
        "WORKDIR /srv",
        "STOPSIGNAL SIGINT",
    )
    assert apply_changes(Execution(env=("A=0", "Z=z")), changes) == Execution(
        env=("Z=z", "B=two words", "A=3 and more"),
        cmd=("/bin/sh", "-l"),
        entrypoint=("/init",),
        labels={"a": "b", "c d": "e"},
        exposed_ports={"80/tcp": {}, "53/udp": {}},
        volumes={"/data": {}, "/more": {}, "/other": {}},
        user="app:app",
        working_dir="/srv",
        stop_signal="SIGINT",
    )


def test_a_command_for_a_shell() -> None:
    """What is no JSON list of texts is for the shell, as in a Dockerfile."""
    assert apply_changes(Execution(), ["CMD echo $HOME"]).cmd == ("/bin/sh", "-c", "echo $HOME")
    assert apply_changes(Execution(), ["CMD [1]"]).cmd == ("/bin/sh", "-c", "[1]")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("", "says nothing"),
        ("CMD", "says nothing"),
        ("FROM scratch", "'FROM' is no change"),
        ("RUN true", "'RUN' is no change"),
        ("ENV A", "has no value"),
        ("ENV A=1 B", "not of the form NAME=VALUE"),
        ("ENV =1", "not of the form NAME=VALUE"),
        ("LABEL a='b", "no closing quotation"),
    ],
)
def test_what_is_none(change: str, message: str) -> None:
    """Is refused with what there is."""
    with pytest.raises(InvalidInput, match=message):
        apply_changes(Execution(), [change])


@given(st.sampled_from(("CMD", "ENV", "LABEL", "VOLUME", "EXPOSE", "USER")), st.text(max_size=20))
def test_any_text(word: str, rest: str) -> None:
    """Gives an execution, or an error of ours."""
    try:
        apply_changes(Execution(), [f"{word} {rest}"])
    except InvalidInput:
        return
