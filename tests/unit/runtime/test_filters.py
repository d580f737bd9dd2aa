"""Compiled filters that are kept for the next process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import pierhead
from pierhead.errors import InvalidInput
from pierhead.oci.runtime import Seccomp, Syscall
from pierhead.runtime.filters import COMPILER, FilterStore, compile_once, key_of, observe_compiler
from pierhead.runtime.plan.seccomp import compile_filter, filter_flags, notifies
from tests.support.requires import requires

if TYPE_CHECKING:
    from pierhead.runtime.filters import Filter

MACHINE = "x86_64"
PROFILE = Seccomp(
    default_action="SCMP_ACT_ERRNO",
    syscalls=(Syscall(names=("read", "write"), action="SCMP_ACT_ALLOW"),),
)
OTHER = PROFILE.replace(default_action="SCMP_ACT_ALLOW")
FILTER: Filter = (b"program!", 3, True)


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where a store may be made."""
    return tmp_path / "pierhead/filters"


@pytest.fixture
def store(directory: Path) -> FilterStore:
    """An empty store."""
    return FilterStore(str(directory))


def test_a_filter_is_what_the_compiler_makes(store: FilterStore) -> None:
    """The first time and from the store."""
    made = compile_filter(PROFILE, MACHINE), filter_flags(PROFILE), notifies(PROFILE)
    assert compile_once(PROFILE, MACHINE, store) == made
    assert store.find(key_of(PROFILE, MACHINE)) == made
    assert compile_once(PROFILE, MACHINE, store) == made


def test_the_next_process_finds_it(store: FilterStore, directory: Path) -> None:
    """What was kept is what is found, and nothing is compiled."""
    store.keep(key_of(PROFILE, MACHINE), FILTER)
    assert compile_once(PROFILE, MACHINE, FilterStore(str(directory))) == FILTER


def test_another_profile_or_machine(store: FilterStore) -> None:
    """Each has a filter of its own."""
    store.keep(key_of(PROFILE, MACHINE), FILTER)
    assert store.find(key_of(OTHER, MACHINE)) is None
    assert store.find(key_of(PROFILE, "aarch64")) is None


def test_another_compiler(store: FilterStore, tmp_path: Path) -> None:
    """What a former compiler made is not found, though the files have the same sizes and times."""
    for name in COMPILER:
        (tmp_path / name).write_text("old")
    old = observe_compiler(str(tmp_path))
    store.keep(key_of(PROFILE, MACHINE, old), FILTER)
    changed = tmp_path / COMPILER[-1]
    times = changed.stat()
    changed.with_suffix(".new").write_text("new")
    changed.with_suffix(".new").rename(changed)
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert store.find(key_of(PROFILE, MACHINE, old)) == FILTER
    assert store.find(key_of(PROFILE, MACHINE, observe_compiler(str(tmp_path)))) is None


def test_the_compilers_files_are_all_observed() -> None:
    """No file that decides what a filter is has been forgotten."""
    source = str(Path(pierhead.__file__).parents[1])
    code = (
        f"import sys; sys.path.insert(0, {source!r})\n"
        "from pierhead.runtime.plan import seccomp\n"
        "for machine, abis in seccomp.MACHINES.items():\n"
        "    [seccomp.load_table(abi, machine) for abi in abis]\n"
        "print(*[name for name in sys.modules if name.startswith('pierhead.')])"
    )
    done = subprocess.run([sys.executable, "-ISc", code], capture_output=True, text=True, check=True)
    plan = "pierhead.runtime.plan."
    loaded = {f"{name.removeprefix(plan)}.py" for name in done.stdout.split() if name.startswith(plan)}
    assert loaded == set(COMPILER)
    elsewhere = {name for name in done.stdout.split() if not name.startswith(plan)}
    assert elsewhere == {"pierhead.errors", "pierhead.values", "pierhead.runtime", "pierhead.runtime.plan"}


def test_a_profile_that_cannot_be_compiled(store: FilterStore, directory: Path) -> None:
    """It is refused each time, and nothing is kept of it."""
    bad = PROFILE.replace(default_action="SCMP_ACT_NOTIFY")
    for _ in range(2):
        with pytest.raises(InvalidInput):
            compile_once(bad, MACHINE, store)
    assert not directory.exists()


def test_the_store_is_the_users_own(store: FilterStore, directory: Path) -> None:
    """Nobody else reads or writes it."""
    store.keep(key_of(PROFILE, MACHINE), FILTER)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in directory.iterdir()] == [0o600]


@pytest.mark.parametrize("mode", [0o777, 0o770, 0o720, 0o702, 0o1777])
def test_a_store_that_others_may_write(store: FilterStore, directory: Path, mode: int) -> None:
    """What is in it may be theirs: it is neither used nor added to."""
    key = key_of(PROFILE, MACHINE)
    store.keep(key, FILTER)
    directory.chmod(mode)
    assert store.find(key) is None
    store.keep(key_of(OTHER, MACHINE), FILTER)
    assert len(list(directory.iterdir())) == 1


@requires("root")
def test_a_store_of_somebody_else(store: FilterStore, directory: Path) -> None:
    """The same, though nobody else may write there now."""
    key = key_of(PROFILE, MACHINE)
    store.keep(key, FILTER)
    os.chown(directory, 65534, 65534)
    assert store.find(key) is None


def test_a_store_that_is_a_link(store: FilterStore, directory: Path, tmp_path: Path) -> None:
    """It leads to what somebody else chose."""
    key = key_of(PROFILE, MACHINE)
    store.keep(key, FILTER)
    directory.rename(tmp_path / "elsewhere")
    directory.symlink_to(tmp_path / "elsewhere")
    assert store.find(key) is None
    store.keep(key_of(OTHER, MACHINE), FILTER)
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_a_file_that_is_cut_off_or_changed(store: FilterStore, directory: Path) -> None:
    """It counts as none, wherever it ends, and the filter is compiled anew."""
    key = key_of(PROFILE, MACHINE)
    store.keep(key, FILTER)
    (path,) = directory.iterdir()
    whole = path.read_bytes()
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        assert store.find(key) is None, end
    path.write_bytes(whole + b"x")
    assert store.find(key) is None
    path.write_bytes(whole.replace(b"read", b"bpf!"))
    assert store.find(key) is None


def test_a_hash_that_two_keys_share(store: FilterStore, directory: Path) -> None:
    """The name of a file is a hint: the key in it decides."""
    key, other = key_of(PROFILE, MACHINE), key_of(OTHER, MACHINE)
    store.keep(key, FILTER)
    (path,) = directory.iterdir()
    store.keep(other, (b"another!", 0, False))
    (second,) = set(directory.iterdir()) - {path}
    path.replace(second)
    assert store.find(other) is None


def test_the_store_stays_small(store: FilterStore, directory: Path) -> None:
    """Programs that make up profiles do not fill the memory."""
    for number in range(200):
        store.keep(f"key {number}".encode(), FILTER)
    assert len(list(directory.iterdir())) <= 64
    assert store.find(b"key 199") == FILTER


def test_where_nothing_can_be_kept(tmp_path: Path) -> None:
    """Filters are compiled all the same."""
    (tmp_path / "file").write_text("")
    store = FilterStore(str(tmp_path / "file/filters"))
    assert compile_once(PROFILE, MACHINE, store)[0] == compile_filter(PROFILE, MACHINE)
