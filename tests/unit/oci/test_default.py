"""The document that ``spec`` prints."""

from __future__ import annotations

import os

from pierhead.oci.default import default_spec
from pierhead.oci.document import decode, encode
from pierhead.oci.runtime import IDMapping, Spec
from pierhead.oci.validate import check_spec


def namespaces(spec: Spec) -> set[str]:
    """The types of namespaces that a document asks for."""
    assert spec.linux is not None
    return {each.type for each in spec.linux.namespaces}


def test_is_valid() -> None:
    """Both forms pass every check without a warning, and survive being written."""
    for rootless in (False, True):
        spec = default_spec(rootless=rootless)
        assert check_spec(spec) == []
        assert decode(Spec, encode(spec)) == spec


def test_content() -> None:
    """It runs a shell on a terminal in a read-only ``rootfs`` with few capabilities and no devices."""
    document = encode(default_spec())
    assert document["process"] == {
        "terminal": True,
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
        "cwd": "/",
        "capabilities": {
            name: ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"]
            for name in ("bounding", "effective", "permitted")
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
        "noNewPrivileges": True,
    }
    assert document["root"] == {"path": "rootfs", "readonly": True}
    assert document["linux"]["resources"] == {"devices": [{"allow": False, "access": "rwm"}]}
    destinations = [mount["destination"] for mount in document["mounts"]]
    assert destinations == ["/proc", "/dev", "/dev/pts", "/dev/shm", "/dev/mqueue", "/sys", "/sys/fs/cgroup"]
    assert namespaces(default_spec()) == {"pid", "network", "ipc", "uts", "mount", "cgroup"}


def test_rootless() -> None:
    """Without privileges: a user namespace for the caller, the host's network and /sys, no limits."""
    spec = default_spec(rootless=True)
    assert spec.linux is not None
    assert namespaces(spec) == {"pid", "ipc", "uts", "mount", "cgroup", "user"}
    assert spec.linux.resources is None
    assert spec.linux.uid_mappings == (IDMapping(container_id=0, host_id=os.geteuid(), size=1),)
    assert spec.linux.gid_mappings == (IDMapping(container_id=0, host_id=os.getegid(), size=1),)
    mounts = {mount.destination: mount for mount in spec.mounts}
    assert (mounts["/sys"].type, mounts["/sys"].source) == ("none", "/sys")
    assert "rbind" in mounts["/sys"].options
    assert not [option for mount in spec.mounts for option in mount.options if option.startswith("gid=")]


def test_rootless_covers_the_host_cgroups() -> None:
    """CVE-2023-25809: what rbind brings along from /sys would leave the host's cgroups writable."""
    spec = default_spec(rootless=True)
    destinations = [mount.destination for mount in spec.mounts]
    assert destinations.index("/sys/fs/cgroup") > destinations.index("/sys")
    assert "cgroup" in namespaces(spec)


def test_rootless_for_someone_else() -> None:
    """A caller can ask for the document of another user."""
    spec = default_spec(rootless=True, uid=1000, gid=100)
    assert spec.linux is not None
    assert (spec.linux.uid_mappings[0].host_id, spec.linux.gid_mappings[0].host_id) == (1000, 100)
