"""The package's modules from one file: what is taken from it is what the sources say, or nothing is."""

from __future__ import annotations

import importlib.util
import os
import pkgutil
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pierhead
from pierhead.pack import MAGIC, Pack
from pierhead.packing import write_pack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

SOURCE = "def answer():\n    return 41\n"
LATER = "def answer():\n    return 42\n"
HOUR_NS = 3600 * 10**9


class Packed:
    """A small package with a pack that was made an hour after its sources."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.path = directory / "__pycache__/pack.bin"
        (directory / "inner").mkdir(parents=True)
        self.path.parent.mkdir()
        for name in ("__init__.py", "inner/__init__.py"):
            (directory / name).write_text("")
        self.source = directory / "inner/one.py"
        self.source.write_text(SOURCE)

    def write(self) -> bool:
        """Whether there is a new pack."""
        return write_pack(str(self.path), str(self.directory), now_ns=time.time_ns() + HOUR_NS)

    def open(self) -> Pack:
        """As a command has it."""
        return Pack(str(self.path), str(self.directory))


@pytest.fixture
def packed(tmp_path: Path) -> Packed:
    """A package with a pack."""
    package = Packed(tmp_path / "package")
    assert package.write()
    return package


@pytest.fixture
def pack(packed: Packed) -> Iterator[Pack]:
    """Its pack."""
    opened = packed.open()
    yield opened
    opened.close()


def load(pack: Pack, name: str) -> ModuleType | None:
    """The module as the pack has it, or None."""
    spec = pack.find_spec(name)
    if spec is None:
        return None
    module = importlib.util.module_from_spec(spec)
    pack.exec_module(module)
    return module


def test_a_module_comes_from_the_pack(packed: Packed, pack: Pack) -> None:
    """It runs, and knows its source."""
    module = load(pack, "pierhead.inner.one")
    assert module is not None
    assert module.answer() == 41
    assert module.__file__ == module.answer.__code__.co_filename == str(packed.source)
    assert module.__package__ == "pierhead.inner"
    assert not pack.stale


def test_packages_and_modules(packed: Packed, pack: Pack) -> None:
    """Packages have the directory in which Python looks for modules that the pack lacks."""
    package, module = pack.find_spec("pierhead.inner"), pack.find_spec("pierhead.inner.one")
    assert package is not None
    assert package.submodule_search_locations == [str(packed.directory / "inner")]
    assert module is not None
    assert module.submodule_search_locations is None


def _write(source: Path) -> None:
    source.write_text(LATER)


def _replace(source: Path) -> None:
    source.with_suffix(".new").write_text(LATER)
    source.with_suffix(".new").rename(source)


def _replace_by_the_same(source: Path) -> None:
    source.with_suffix(".new").write_text(SOURCE)
    source.with_suffix(".new").rename(source)


def _remove(source: Path) -> None:
    source.unlink()


@pytest.mark.parametrize("change", [_write, _replace, _replace_by_the_same, _remove])
def test_another_source(packed: Packed, pack: Pack, change: Callable[[Path], None]) -> None:
    """A source that was written, replaced or removed is not taken from the pack, whatever its times say."""
    before = packed.source.stat()
    change(packed.source)
    if packed.source.exists():
        os.utime(packed.source, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert packed.source.stat().st_size == before.st_size
    assert load(pack, "pierhead.inner.one") is None
    assert pack.stale
    assert load(pack, "pierhead.inner") is not None


def test_a_new_module(packed: Packed, pack: Pack) -> None:
    """What the pack does not know is left to Python, and is in the next one."""
    (packed.directory / "two.py").write_text(LATER)
    assert load(pack, "pierhead.two") is None
    assert pack.stale
    assert packed.write()
    again = packed.open()
    module = load(again, "pierhead.two")
    again.close()
    assert module is not None
    assert module.answer() == 42


def test_modules_of_others(pack: Pack) -> None:
    """They are none of the pack's business."""
    assert pack.find_spec("json") is None
    assert pack.find_spec("pierheads") is None
    assert not pack.stale


def test_a_package_that_was_moved(packed: Packed) -> None:
    """The pack goes with its package; tracebacks name the place where the source is now."""
    moved = packed.directory.rename(packed.directory.with_name("moved"))
    pack = Pack(str(moved / "__pycache__/pack.bin"), str(moved))
    module = load(pack, "pierhead.inner.one")
    pack.close()
    assert module is not None
    assert module.answer.__code__.co_filename == str(moved / "inner/one.py")


def test_a_source_that_has_just_been_changed(packed: Packed) -> None:
    """It may change again and have the same times, so nothing is packed yet, and nothing is left."""
    packed.path.unlink()
    packed.source.write_text(LATER)
    assert not write_pack(
        str(packed.path), str(packed.directory), now_ns=packed.source.stat().st_ctime_ns + 1
    )
    assert list(packed.path.parent.iterdir()) == []


def test_whoever_interrupts_it(packed: Packed) -> None:
    """Ctrl-C means the command, which has done its work by then: no word, and nothing is left."""
    packed.path.unlink()
    packed.source.unlink()
    os.mkfifo(packed.source)  # whoever opens it to read waits
    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        assert not packed.write()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert list(packed.path.parent.iterdir()) == []


def test_a_source_that_is_not_python(packed: Packed) -> None:
    """The old pack stays: its other modules are good."""
    old = packed.path.read_bytes()
    packed.source.write_text("def answer(:")
    assert not packed.write()
    assert packed.path.read_bytes() == old
    assert list(packed.path.parent.iterdir()) == [packed.path]


def test_where_nobody_may_write(packed: Packed) -> None:
    """A command goes on without a pack."""
    shutil.rmtree(packed.path.parent)
    assert not packed.write()
    pack = packed.open()
    assert load(pack, "pierhead.inner.one") is None
    pack.close()


@pytest.mark.parametrize("rest", [0, 1, len(MAGIC), len(MAGIC) + 4, len(MAGIC) + 8, len(MAGIC) + 20, -1])
def test_a_pack_that_is_cut_off(packed: Packed, rest: int) -> None:
    """It counts as none."""
    packed.path.write_bytes(packed.path.read_bytes()[:rest])
    pack = packed.open()
    assert load(pack, "pierhead.inner.one") is None
    assert pack.stale
    pack.close()


@pytest.mark.parametrize("content", [b"\0" * 4096, MAGIC + b"\0" * 4096, MAGIC + b"\xff" * 8])
def test_a_file_that_is_no_pack(packed: Packed, content: bytes) -> None:
    """It counts as none, as does one of another interpreter."""
    packed.path.write_bytes(content)
    pack = packed.open()
    assert load(pack, "pierhead.inner.one") is None
    pack.close()


def test_another_interpreters_pack(packed: Packed) -> None:
    """Bytecode is of one version of Python."""
    packed.path.write_bytes(packed.path.read_bytes().replace(b"pierhead pack", b"pierhead pock", 1))
    pack = packed.open()
    assert load(pack, "pierhead.inner.one") is None
    pack.close()


def test_low_descriptors_stay_free(pack: Pack) -> None:
    """They are those that callers pass on to the container."""
    numbers = [
        int(name)
        for name in os.listdir("/proc/self/fd")
        if os.path.realpath(f"/proc/self/fd/{name}").endswith("/pack.bin")
    ]
    assert numbers
    assert min(numbers) >= 200
    assert pack.find_spec("pierhead.inner") is not None


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A copy of the whole package with a pack; the directory that it lies in."""
    own = Path(pierhead.__file__).parent
    copy = tmp_path / "pierhead"
    shutil.copytree(own, copy, ignore=shutil.ignore_patterns("__pycache__"))
    (copy / "__pycache__").mkdir()
    path = copy / f"__pycache__/pack.{sys.implementation.cache_tag}.bin"
    assert write_pack(str(path), str(copy), now_ns=time.time_ns() + HOUR_NS)
    return tmp_path


def run(installed: Path, code: str) -> str:
    """What a command of the installed package prints."""
    begin = (
        f"import sys; sys.path.insert(0, {str(installed)!r}); from pierhead import pack; p = pack.install(); "
    )
    command = [sys.executable, "-IS", "-c", begin + code]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout


def test_every_module_is_packed(installed: Path) -> None:
    """Whatever a command loads, it finds in the pack."""
    names = [info.name for info in pkgutil.walk_packages([str(installed / "pierhead")], "pierhead.")]
    assert len(names) > 90
    told = run(installed, f"print([name for name in {names!r} if p.find_spec(name) is None])")
    assert told.strip() == "[]"


def test_a_command_runs_what_is_written(installed: Path) -> None:
    """From the pack, and after a change of a source from the source."""
    code = "from pierhead.cli import runtime as r; print(r._ROOT, r.__cached__, p.stale)"
    root, cached, stale = run(installed, code).split()
    assert cached.endswith(f"pack.{sys.implementation.cache_tag}.bin")
    assert stale == "False"
    source = installed / "pierhead/cli/runtime.py"
    before = source.stat()
    source.write_text(source.read_text().replace(f'"{root}"', '"/changed"'))
    os.utime(source, ns=(before.st_atime_ns, before.st_mtime_ns))
    changed, cached, stale = run(installed, code).split()
    assert (changed, stale) == ("/changed", "True")
    assert not cached.endswith(".bin")
