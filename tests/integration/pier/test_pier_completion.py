"""Completion in bash and zsh at a terminal, and in fish by its own question."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.commands import Screen, program
from tests.support.daemons import daemon
from tests.support.pier import Pier, busybox_layer, write_image
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = requires("root", "busybox")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A directory with ``pier`` and the shells' scripts, where an engine has a container and an image."""
    directory = tmp_path_factory.mktemp("completion")
    layout = write_image(directory / "layout", busybox_layer(directory), Cmd=["sleep", "1000"])
    for name in ("team/box:one", "team/box:two"):
        Pier(directory / "data")("load", "--quiet", "--input", str(layout), "--name", name)
    words = " ".join(f"'{word}'" for word in program("pier"))
    (directory / "pier").write_text(f'#!/bin/sh\nexec {words} "$@"\n')
    (directory / "pier").chmod(0o755)
    for shell in ("bash", "zsh", "fish"):
        script = subprocess.run([directory / "pier", "completion", shell], check=True, capture_output=True)
        (directory / f"pier.{shell}").write_bytes(script.stdout)
    parent = f"/pierhead-completion-{directory.stat().st_ino}"
    with daemon(directory, "--bridge", "none", "--cgroup-parent", parent) as it:
        subprocess.run(
            [directory / "pier", "create", "--name", "webserver", "--network", "none", "team/box:one"],
            env={**os.environ, "DOCKER_HOST": f"unix://{it.socket_path}"},
            check=True,
            capture_output=True,
        )
        yield directory
        it.client.delete("/containers/webserver?force=1")


@pytest.fixture
def typing(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same; shells that start now find them and read no settings of anybody."""
    monkeypatch.setenv("PATH", f"{home}:{os.environ['PATH']}")
    monkeypatch.setenv("DOCKER_HOST", f"unix://{home}/exec/pierd.sock")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(home)
    return home


def _try(screen: Screen) -> None:
    """Verbs, verbs of a group, flags, names of containers, of images with their colon, paths."""
    for typed, shown in (
        ("pier volu\t", "pier volume "),
        ("pier volume cre\t", "pier volume create "),
        ("pier ps --no-t\t", "pier ps --no-trunc "),
        ("pier run --pull alw\t", "pier run --pull always "),
        ("pier rm -f webs\t", "pier rm -f webserver "),
        ("pier run --rm team/box:o\t", "pier run --rm team/box:one "),
        ("pier load -i pier.fi\t", "pier load -i pier.fish "),
    ):
        screen.type(typed)
        screen.wait_for(shown)
        screen.type("\x15")  # the line is taken back


@requires("bash")
def test_bash(typing: Path) -> None:
    """The tabulator completes in bash."""
    with Screen(["bash", "--norc", "--noprofile", "-i"], columns=200) as screen:
        screen.type(f"PS1='rea''dy> '; source {typing}/pier.bash\n")
        screen.wait_for("ready> ")
        _try(screen)


@requires("zsh")
def test_zsh(typing: Path) -> None:
    """The tabulator completes in zsh; where several fit, they are shown with their meanings."""
    with Screen(["zsh", "-f", "-i"], columns=200) as screen:
        screen.type("zle_highlight=(suffix:none); autoload -Uz compinit && compinit -u\n")
        screen.type(f"PS1='rea''dy> '; source {typing}/pier.zsh\n")
        screen.wait_for("ready> ")
        _try(screen)
        screen.type("pier volume \t")
        screen.wait_for("make a volume")


@requires("fish")
def test_fish(typing: Path) -> None:
    """Fish asks, and gets words with their meanings."""

    def complete(line: str) -> list[str]:
        words = ["fish", "--no-config", "-c", f"source {typing}/pier.fish; complete -C '{line}'"]
        return subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()

    assert "volume\tverbs of volume" in complete("pier volu")
    assert complete("pier volume cre") == ["create\tmake a volume"]
    assert complete("pier ps --no-t") == ["--no-trunc\tprint ids and commands whole"]
    assert complete("pier run --pull alw") == ["always"]
    assert complete("pier rm -f webs") == ["webserver\tteam/box:one: Created"]
    assert complete("pier run --rm team/box:o") == ["team/box:one"]
    assert "pier.fish" in complete("pier load -i pier.fi")
    assert {"webserver\tteam/box:one: Created", "team/box:two", "none"} <= set(complete("pier inspect "))


def test_nobody_is_woken(home: Path, tmp_path: Path) -> None:
    """An engine that does not run is not started by somebody who presses the tabulator."""
    words = [str(home / "pier"), "complete", "--", "--root", str(tmp_path), "rm", ""]
    alone = {**os.environ, "DOCKER_HOST": ""}
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=alone)
    assert (done.stdout, done.stderr) == ("", "")
    assert list(tmp_path.iterdir()) == []
