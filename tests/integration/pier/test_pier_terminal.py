"""``pier`` at a terminal: keys are the container's, and whatever happens the terminal is as it was before."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Screen
from tests.support.pier import Pier, busybox_layer, write_image
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "busybox")


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pier]:
    """Over a store with an image called box."""
    directory = tmp_path_factory.mktemp("terminal")
    layout = write_image(directory / "layout", busybox_layer(directory), Cmd=["sh"], Env=["PATH=/bin"])
    with pytest.MonkeyPatch.context() as patch, Pier(directory / "p") as made:
        patch.setenv(
            "PIER_BRIDGE", "none"
        )  # for calls at a terminal, which start an engine where one has died
        made("load", "--quiet", "--input", str(layout), "--name", "box")
        yield made


@pytest.fixture
def pier(serving: Pier) -> Iterator[Pier]:
    """The same; a container called web runs, and is gone at the end."""
    serving("run", "-d", "--name", "web", "--network", "none", "box", "sleep", "1000")
    yield serving
    serving("rm", "--force", *serving.lines("ps", "--all", "--quiet"))


@contextmanager
def shell(pier: Pier, *words: str) -> Iterator[Screen]:
    """A shell in a container, at a terminal that is as before at the end; it has said its prompt."""
    with Screen([*pier.words, *words], rows=31, columns=97) as screen:
        screen.wait_for("# ")
        assert screen.attributes() != screen.before
        yield screen
        assert screen.attributes() == screen.before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_an_exec(pier: Pier, number: signal.Signals) -> None:
    """Pier leaves, and gives the terminal back; the container goes on."""
    with shell(pier, "exec", "-it", "web", "sh") as screen:
        os.kill(screen.process.pid, number)
        screen.wait()
    assert pier.lines("ps", "--format", "{{.Names}}") == ["web"]


def test_signals_that_are_not_passed_on(pier: Pier) -> None:
    """Without the proxy they detach; with it they are the container's."""
    run = ("run", "-it", "--network", "none")
    with shell(pier, *run, "--name", "kept", "--sig-proxy=false", "box", "sh") as screen:
        os.kill(screen.process.pid, signal.SIGTERM)
        screen.wait()
    assert "kept" in pier.lines("ps", "--format", "{{.Names}}")
    with shell(
        pier, *run, "--rm", "box", "sh", "-c", "trap 'exit 9' TERM; while read -p '# ' x; do :; done"
    ) as screen:
        os.kill(screen.process.pid, signal.SIGTERM)
        screen.type("\n")
        status = screen.wait()
        assert status == 9, screen.text


def test_the_engine_dies(pier: Pier) -> None:
    """Pier gives the terminal back. The shell's own terminal was the engine's and has hung up. Pier asks how
    it ended: the next engine knows, also where the dying one took the question and said nothing.
    """
    ends = "trap 'exit 9' HUP; read -p '# ' x; exit 9"
    with shell(pier, "exec", "-it", "web", "sh", "-c", ends) as screen:
        os.kill(pier.engine_pid(), signal.SIGKILL)
        assert screen.wait() == 9, screen.text
    assert pier.lines("ps", "--format", "{{.Names}}") == ["web"]


def test_detach_keys(pier: Pier) -> None:
    """Those that were chosen detach; the usual ones and half of the chosen are keys like others."""
    words = ("run", "-it", "--network", "none", "--name", "own", "--detach-keys", "ctrl-a,d", "box", "sh")
    with shell(pier, *words) as screen:
        screen.type("stty -echo; cat -v\n\x01x\x10y\n")
        screen.wait_for("^Ax^Py")  # by cat: it runs
        screen.type("\x03")  # ends cat, and not pier
        screen.wait_for("# ")
        screen.type("echo $((40 + 2))\n")
        screen.wait_for("42")
        screen.type("\x01d")
        assert screen.wait() == 0
    assert "own" in pier.lines("ps", "--format", "{{.Names}}")
    refused = pier.result("attach", "--detach-keys", "ctrl-ä", "own")
    assert "hint: write them as ctrl-p,ctrl-q" in refused.stderr


def test_sizes_of_an_exec(pier: Pier) -> None:
    """The terminal's size is ours from the beginning, and follows it."""
    with shell(pier, "exec", "-it", "web", "sh") as screen:
        screen.type("stty size\n")
        screen.wait_for("31 97")
        screen.resize(20, 60)
        screen.type("until stty size | grep '20 [6]0'; do :; done\n")
        screen.wait_for("20 60")
        screen.type("exit 7\n")
        assert screen.wait() == 7


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("exec", "web", "no-such-program"), 127),
        (("exec", "web", "/etc"), 126),
        (("exec", "webb", "true"), 1),
        (("exec", "--no-such-flag", "web", "true"), 1),
        (("start", "--attach", "nobody"), 1),
        (("run", "--rm", "--network", "none", "--entrypoint", "/nothing", "box"), 127),
        (("run", "--rm", "--memory", "1", "box"), 125),
    ],
)
def test_exit_statuses(pier: Pier, words: tuple[str, ...], status: int) -> None:
    """As docker's: 126 and 127 of a command that cannot be run, 125 of the engine, 1 of the rest."""
    done = pier.result(*words)
    assert (done.returncode, done.stdout) == (status, ""), done
    assert done.stderr
