"""Changes to what an image runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import InvalidInput
from pierhead.images.changes import apply_changes
from pierhead.oci.image import Execution, Healthcheck


def test_every_instruction() -> None:
    """Each sets its field; later ones go before earlier ones."""
    changes = (
        'CMD ["/bin/sh", "-l"]',
        'entrypoint ["/init"]',
        "ENV A=1 B='two words'",
        "ENV A 3 and more",
        'LABEL a=b "c d"=e',
        "EXPOSE 80 53/UDP 90-91",
        'VOLUME ["/data", "/more"]',
        "VOLUME /other",
        "USER app:app",
        "WORKDIR /srv",
        "STOPSIGNAL SIGINT",
        "ONBUILD RUN true",
        "HEALTHCHECK --interval=1m30s --retries=3 CMD wget -q localhost",
    )
    assert apply_changes(Execution(env=("A=0", "Z=z")), changes) == Execution(
        env=("Z=z", "B=two words", "A=3 and more"),
        cmd=("/bin/sh", "-l"),
        entrypoint=("/init",),
        labels={"a": "b", "c d": "e"},
        exposed_ports={"80/tcp": {}, "53/udp": {}, "90/tcp": {}, "91/tcp": {}},
        volumes={"/data": {}, "/more": {}, "/other": {}},
        user="app:app",
        working_dir="/srv",
        stop_signal="SIGINT",
        on_build=("RUN true",),
        healthcheck=Healthcheck(test=("CMD-SHELL", "wget -q localhost"), interval=90_000_000_000, retries=3),
    )


def test_nothing_is_something() -> None:
    """An empty list takes away what was run before; another entrypoint the command, which was not its own."""
    before = Execution(entrypoint=("/init",), cmd=("serve",))
    assert apply_changes(before, ["ENTRYPOINT []"]) == Execution(cmd=("serve",))
    assert apply_changes(before, ["CMD []"]) == Execution(entrypoint=("/init",))
    assert apply_changes(before, ['ENTRYPOINT ["/other"]']) == Execution(entrypoint=("/other",))
    assert apply_changes(before, ["CMD x", 'ENTRYPOINT ["/other"]']).cmd == ("/bin/sh", "-c", "x")


@pytest.mark.parametrize(
    ("change", "entry"),
    [
        ("ENV PATH=$PATH:/opt/bin", "PATH=/bin:/opt/bin"),
        ("ENV PATH ${PATH}:/opt/bin and more", "PATH=/bin:/opt/bin and more"),
        ("""ENV X='$PATH' Y="$PATH \\"\\$\" """, "X=$PATH"),
        ("ENV X=\\$PATH\\ more", "X=$PATH more"),
        ("ENV X=${NONE:-other}", "X=other"),
        ("ENV X=${PATH:+there}", "X=there"),
        ("ENV X=$NONE", "X="),
        ("ENV X=1$ Y=$-", "X=1$"),
    ],
)
def test_variables(change: str, entry: str) -> None:
    """Those of the image's environment stand for their values, but for quotes and escapes."""
    assert entry in apply_changes(Execution(env=("PATH=/bin",)), [change]).env


def test_variables_elsewhere() -> None:
    """In users, directories, volumes, ports, labels and signals too; not in what a shell will read."""
    changes = ("USER $A", "WORKDIR sub/$A", "VOLUME /$A", "EXPOSE $N", "LABEL l=$A", "CMD echo $A")
    found = apply_changes(Execution(env=("A=b", "N=80"), working_dir="/srv"), changes)
    assert (found.user, found.working_dir, found.cmd[-1]) == ("b", "/srv/sub/b", "echo $A")
    assert (found.volumes, found.exposed_ports, found.labels) == ({"/b": {}}, {"80/tcp": {}}, {"l": "b"})


def test_looking_after_health() -> None:
    """In a list or for a shell, or not at all."""
    assert _health('HEALTHCHECK CMD ["/look", "-q"]') == Healthcheck(test=("CMD", "/look", "-q"))
    assert _health("HEALTHCHECK none") == Healthcheck(test=("NONE",))
    assert _health("HEALTHCHECK --start-period=5s CMD x") == Healthcheck(
        test=("CMD-SHELL", "x"), start_period=5_000_000_000
    )


def _health(change: str) -> Healthcheck | None:
    return apply_changes(Execution(), [change]).healthcheck


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
        ('LABEL a="b', "no closing quotation"),
        ("EXPOSE web", "EXPOSE cannot be 'web'"),
        ("EXPOSE 9-8", "EXPOSE cannot be"),
        ("EXPOSE 70000", "EXPOSE cannot be"),
        ("HEALTHCHECK x", "HEALTHCHECK cannot be 'x'"),
        ("HEALTHCHECK CMD", "HEALTHCHECK cannot be 'CMD'"),
        ("HEALTHCHECK --interval=x CMD y", "HEALTHCHECK cannot have '--interval=x'"),
        ("HEALTHCHECK --retries=1s CMD y", "HEALTHCHECK cannot have '--retries=1s'"),
        ("HEALTHCHECK --retries=1 NONE", "HEALTHCHECK cannot be"),
    ],
)
def test_what_is_none(change: str, message: str) -> None:
    """Is refused with what there is."""
    with pytest.raises(InvalidInput, match=message):
        apply_changes(Execution(), [change])


@given(
    st.sampled_from(("CMD", "ENV", "LABEL", "VOLUME", "EXPOSE", "USER", "WORKDIR", "HEALTHCHECK")),
    st.text(max_size=20),
)
def test_any_text(word: str, rest: str) -> None:
    """Gives an execution, or an error of ours."""
    try:
        apply_changes(Execution(), [f"{word} {rest}"])
    except InvalidInput:
        return
