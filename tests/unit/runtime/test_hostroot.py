"""The running host as a root: what is hidden, and what holds the command that runs there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pierhead.oci.default import default_spec
from pierhead.oci.validate import check_spec
from pierhead.runtime.hostroot import SECRET_DIRECTORIES, SECRET_FILES, host_secrets, host_spec

if TYPE_CHECKING:
    from pathlib import Path


def test_secrets_to_come_are_hidden(tmp_path: Path) -> None:
    """A document is kept: what does not exist when it is written is hidden all the same."""
    hidden = host_secrets(str(tmp_path))
    assert set(hidden) >= {*SECRET_DIRECTORIES, *SECRET_FILES, "/var/lib/pierhead", "/etc/wireguard"}
    assert "/etc/ssh/ssh_host_ed25519_key" in hidden


def test_keys_of_unusual_names(tmp_path: Path) -> None:
    """Keys are hidden by whatever name they have, each once; the rest of /etc/ssh is not."""
    directory = tmp_path / "etc/ssh"
    directory.mkdir(parents=True)
    for name in ("ssh_host_rsa_key", "ssh_host_my_own_key", "ssh_config"):
        (directory / name).touch()
    hidden = [path for path in host_secrets(str(tmp_path)) if path.startswith("/etc/ssh/")]
    assert sorted(hidden) == sorted(set(hidden))
    assert "/etc/ssh/ssh_host_my_own_key" in hidden
    assert "/etc/ssh/ssh_config" not in hidden


def test_a_document_has_filter_and_limits() -> None:
    """A command of somebody else's can neither use every system call nor all of the host's memory."""
    spec = host_spec(default_spec())
    assert spec.linux is not None
    assert spec.linux.seccomp is not None
    assert spec.linux.seccomp.default_action == "SCMP_ACT_ERRNO"
    resources = spec.linux.resources
    assert resources is not None
    assert resources.memory is not None
    assert resources.memory.limit == 1 << 30
    assert resources.pids is not None
    assert resources.pids.limit == 1024
    assert resources.devices
    assert check_spec(spec) == []


def test_a_user_without_privileges_has_no_limits() -> None:
    """They could not be set: the filter is there nevertheless."""
    linux = host_spec(default_spec(rootless=True, uid=1000, gid=1000)).linux
    assert linux is not None
    assert linux.resources is None
    assert linux.seccomp is not None
