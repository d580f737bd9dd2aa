"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from tests.support.repository import ROOT, files, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LINES_MOST = 600
FUNCTION_LINES_MOST = 60
HELPER_LINES_MOST = 3310
EMPTY_NAMES = frozenset(("utils", "util", "common", "helpers", "misc", "base", "data", "handler", "manager"))
CODE = ("src", "init", "tests", "tools", "scripts", "examples")
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")
C_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
C_FUNCTION = re.compile(r"^\w[^;{}=]*\)\n\{\n(.*?)^\}\n", re.DOTALL | re.MULTILINE)
STARTS_A_PROCESS = frozenset(("os.fork", "os.forkpty", "pty.fork"))


def python_files(*folders: str) -> Iterator[Path]:
    """Python modules below these folders."""
    return files(*folders, endings=(".py",))


def helper_files() -> list[Path]:
    """The helper's own C files, without its tests."""
    return [path for path in files("init", endings=(".c", ".h")) if path.parent == ROOT / "init"]


def test_files_are_short() -> None:
    """No module is longer than 600 lines.

    The program that tests run inside containers is one C file because it is compiled alone.
    """
    too_long = {
        name_of(path): count
        for path in files(*CODE, endings=(".py", ".c", ".h"))
        if (count := path.read_text().count("\n")) > LINES_MOST and name_of(path) != "init/test/probe.c"
    }
    assert not too_long


def test_python_functions_are_short() -> None:
    """No function is longer than 60 lines, its docstring not counted."""
    too_long = {
        f"{name_of(path)} {function.name}": length
        for path in python_files(*CODE)
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := _length(function)) > FUNCTION_LINES_MOST
    }
    assert not too_long


def _length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    text = ast.get_docstring(function, clean=False)
    documented = text.count("\n") + 1 if text else 0
    return (function.end_lineno or 0) - function.lineno + 1 - documented


def test_helper_functions_are_short() -> None:
    """No function of the helper is longer than 60 lines."""
    found = [
        (name_of(path), match[0].split("\n", 1)[0], match[1].count("\n"))
        for path in helper_files()
        for match in C_FUNCTION.finditer(path.read_text())
    ]
    assert len(found) > 100, "functions are not recognised any more"
    assert not [each for each in found if each[2] > FUNCTION_LINES_MOST]


def test_helper_is_small() -> None:
    """The helper has less than 3,310 lines of code: who audits it needs a day."""
    lines = {
        name_of(path): sum(1 for line in C_COMMENT.sub("", path.read_text()).splitlines() if line.strip())
        for path in helper_files()
    }
    print(f"{sum(lines.values())} lines of code in {len(lines)} files of the helper")
    assert sum(lines.values()) < HELPER_LINES_MOST, lines


def test_names_say_something() -> None:
    """No module and no class has one of the names that would fit anything."""
    empty = [name_of(path) for path in files(*CODE, endings=(".py", ".c", ".h")) if path.stem in EMPTY_NAMES]
    empty += [
        f"{name_of(path)} {node.name}"
        for path in python_files(*CODE)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and node.name.lower() in EMPTY_NAMES
    ]
    assert not empty


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").partition(".")[0]


def test_who_talks_to_the_kernel() -> None:
    """Only pierhead.linux calls C functions or starts programs by a library of Python's."""
    where = {
        (module, name_of(path))
        for path in python_files("src")
        for module in _imports(ast.parse(path.read_text()))
        if module in ("ctypes", "subprocess", "multiprocessing")
    }
    strangers = {
        (module, name)
        for module, name in where
        if not (module == "ctypes" and name.startswith("src/pierhead/linux/"))
        and not (module == "subprocess" and name == "src/pierhead/linux/process.py")
    }
    assert "ctypes" in {module for module, _ in where}, "imports are not recognised any more"
    assert not strangers


def test_nothing_forks() -> None:
    """Python never forks: a fork in a program with threads can hang, and shares what it should not."""
    found = [
        f"{name_of(path)}:{node.lineno}"
        for path in python_files("src")
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Attribute) and ast.unparse(node) in STARTS_A_PROCESS)
        or (isinstance(node, ast.keyword) and node.arg == "preexec_fn")
    ]
    assert not found


def test_nothing_is_left_for_later() -> None:
    """No file notes what somebody meant to do: it is done, or it is an issue."""
    every = (
        *files(*CODE, "docs", endings=(".py", ".c", ".h", ".def", ".md", ".sh")),
        *files("", endings=(".md", "Makefile")),
    )
    found = [
        f"{name_of(path)}:{number}"
        for path in every
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNFINISHED.search(line)
    ]
    assert not found


def test_no_file_knows_where_it_is() -> None:
    """No file names the directory that this working tree happens to be in."""
    place = str(ROOT)
    if place.count("/") < 2:
        return  # a name like /src may stand for anything
    every = (*files(*CODE, "docs", "changes", endings=("",)), *files("", endings=("",)))
    found = [name_of(path) for path in every if place.encode() in path.read_bytes()]
    assert not [name for name in found if not name.startswith("src/pierhead/_libexec/")]


def test_debian_packages_are_explained() -> None:
    """HACKING.md says of every Debian package that make test installs what it is for."""
    wanted = [
        line.split("#")[0].strip()
        for line in (ROOT / "tests/packages.txt").read_text().splitlines()
        if line.split("#")[0].strip()
    ]
    text = (ROOT / "HACKING.md").read_text()
    assert wanted
    assert not [package for package in wanted if f"`{package}`" not in text]
