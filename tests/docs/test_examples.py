"""The examples in the documentation do what it says."""

from __future__ import annotations

import fcntl
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.pages import (
    blocks,
    commands,
    is_as_promised,
    make_rootfs,
    pages,
    perform,
    perform_commands,
    program,
    promised_output,
)
from tests.support.repository import name_of
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

_RUN = """
import pathlib, runpy, sys
runpy.run_path(sys.argv[1])
print(*pathlib.Path("/run").rglob("state.json"))
"""
_LOCK = Path("/tmp/pierhead-documentation.lock")


def pages_with(language: str) -> list[object]:
    """The pages that have such a block, named after themselves."""
    return [
        pytest.param(page, id=name_of(page))
        for page in pages()
        if any(block.language == language for block in blocks(page))
    ]


@pytest.fixture(scope="session")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root file system that examples find at /srv/busybox: what the first tutorial makes."""
    directory = tmp_path_factory.mktemp("documentation")
    make_rootfs(directory)
    return directory


@pytest.fixture(autouse=True)
def alone() -> Iterator[None]:
    """Examples name their containers as people do: one run of them at a time has their cgroups."""
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@requires("root", "unshare")
@pytest.mark.parametrize("page", pages_with("python"))
def test_python(page: Path, rootfs: Path, tmp_path: Path) -> None:
    """The page's Python blocks run, one after the other, print what the page says and leave no container."""
    script = tmp_path / page.name.replace(".md", ".py")
    script.write_text(program(page))
    status, said = perform(("python3", "-c", _RUN, str(script)), rootfs, tmp_path)
    assert status == 0, f"{name_of(page)} (lines are the page's):\n{said}"
    output = said.splitlines()
    assert not output[-1], f"containers are left: {output[-1]}"
    promised = promised_output(page)
    loose = [part for line in promised for part in ("…", line)] + ["…"]
    assert is_as_promised(output, loose), (
        f"{name_of(page)} promises\n{chr(10).join(promised)}\nand not\n{said}"
    )


@requires("root", "unshare")
@pytest.mark.parametrize("page", pages_with("console"))
def test_console(page: Path, rootfs: Path, tmp_path: Path) -> None:
    """The page's commands do what it shows."""
    done = perform_commands(page, rootfs, tmp_path)
    for (command, promised, line), (status, said) in zip(commands(page), done, strict=True):
        where = f"{name_of(page)}:{line}: {command}"
        if promised:
            assert is_as_promised(said.splitlines(), promised), f"{where}\n{said}"
        else:
            assert (status, said) == (0, ""), f"{where}\n{said}"


def test_no_example_is_passed_over() -> None:
    """Every block of a language that is performed is found, however it is written; its commands are, too."""
    for page in pages():
        performed = [block for block in blocks(page) if block.language in ("python", "console", "output")]
        written = re.findall(
            r"^[ \t>]*(?:`{3,}|~{3,})\s*(?:python|console|output)\b", page.read_text(), re.MULTILINE
        )
        assert len(performed) == len(written), name_of(page)
        for block in performed:
            assert block.language != "console" or block.text.startswith("$ "), f"{name_of(page)}:{block.line}"


def test_promises_are_read_right() -> None:
    """An ellipsis is anything within a line, or any number of lines; the rest is exact."""
    assert is_as_promised(["a 12 b", "c"], ["a … b", "c"])
    assert is_as_promised(["a", "b", "c"], ["…", "c"])
    assert is_as_promised(["a"], ["a", "…"])
    assert not is_as_promised(["a", "b"], ["a"])
    assert not is_as_promised(["ab"], ["a"])
    assert not is_as_promised([], ["a"])
