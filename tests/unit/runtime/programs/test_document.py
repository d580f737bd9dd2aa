"""The library's configuration as an OCI document."""

from __future__ import annotations

import pytest

from pierhead.errors import Unsupported
from pierhead.oci.document import encode
from pierhead.oci.runtime import Capabilities, IDMapping, Namespace, Seccomp, User
from pierhead.oci.validate import check_spec
from pierhead.runtime.config import (
    DEFAULT_NAMESPACES,
    Config,
    Device,
    Mount,
    ProcessSpec,
    config_from_spec,
)
from pierhead.runtime.programs.document import process_of, spec_of

FILTER = Seccomp(default_action="SCMP_ACT_ALLOW")
PROCESS = ProcessSpec(
    args=("/bin/sh", "-c", "true"),
    env=("PATH=/bin", "HOME=/"),
    cwd="/work",
    user=User(uid=7, gid=8, additional_gids=(9,)),
    additional_groups=(),
    capabilities=Capabilities(bounding=("CAP_CHOWN",)),
    rlimits=(),
    no_new_privileges=True,
    apparmor_profile="",
    process_label="",
    oom_score_adj=5,
)
CONFIG = Config(
    rootfs="/srv/root",
    process=PROCESS,
    seccomp=FILTER,
    hostname="web",
    sysctl={"net.ipv4.ip_forward": "1"},
    cgroup_path="/pierhead/web",
    devices=(Device(path="/dev/x", type="c", major=1, minor=3, permissions="r"),),
    annotations={"a": "b"},
)


def test_the_way_back_leads_to_the_same() -> None:
    """What a program is told is what the library would be told by the same document."""
    spec = spec_of(CONFIG, "/srv/root")
    assert not check_spec(spec)
    back = config_from_spec(spec, "/bundle")
    same = ("rootfs", "namespaces", "hostname", "sysctl", "cgroup_path", "mask_paths", "readonly_paths")
    for name in (*same, "seccomp", "annotations"):
        assert getattr(back, name) == getattr(CONFIG, name), name
    assert back.mounts == CONFIG.mounts
    assert back.process is not None
    assert (back.process.args, back.process.user, back.process.cwd) == (PROCESS.args, PROCESS.user, "/work")
    assert (back.capabilities, back.oom_score_adj) == (PROCESS.capabilities, 5)


def test_device_rules_are_complete() -> None:
    """Nothing is allowed but what every container has, and what the configuration gives."""
    linux = spec_of(CONFIG, "/srv/root").linux
    assert linux is not None
    assert linux.resources is not None
    rules = linux.resources.devices
    assert (rules[0].allow, rules[0].access) == (False, "rwm")
    assert any((rule.major, rule.minor, rule.access) == (1, 3, "r") for rule in rules)


def test_what_is_ours_is_left_out() -> None:
    """Labels of mounts and permissions of devices are not the specification's."""
    spec = spec_of(
        CONFIG.replace(mounts=(Mount(destination="/x", type="tmpfs", label="l"),)), "/r", readonly=True
    )
    document = encode(spec)
    assert document["mounts"] == [{"destination": "/x", "type": "tmpfs"}]
    assert document["root"] == {"path": "/r", "readonly": True}
    assert document["ociVersion"] == "1.0.2"
    assert "permissions" not in document["linux"]["devices"][0]


def test_a_size_is_said_of_terminals_only() -> None:
    """Without a terminal there is nothing that could have a size."""
    assert process_of(PROCESS).console_size is None


def test_user_namespaces_are_refused() -> None:
    """A program cannot be told how owners of layers are mapped."""
    spaces = (*DEFAULT_NAMESPACES, Namespace(type="user"))
    maps = (IDMapping(container_id=0, host_id=100000, size=1000),)
    config = CONFIG.replace(namespaces=spaces, uid_mappings=maps, gid_mappings=maps)
    with pytest.raises(Unsupported, match="in a user namespace cannot be made by a runtime program"):
        spec_of(config, "/srv/root")
