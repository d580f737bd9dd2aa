"""The library's configuration: its defaults, what it takes from OCI documents, its own JSON."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from pierhead.errors import InvalidInput
from pierhead.oci import runtime as oci
from pierhead.oci.default import default_spec
from pierhead.oci.document import decode
from pierhead.oci.numbers import CAPABILITY_NUMBERS
from pierhead.runtime.config import (
    Config,
    Device,
    Mount,
    Network,
    ProcessSpec,
    Route,
    config_from_document,
    config_from_spec,
    config_to_document,
    process_from_spec,
)
from pierhead.runtime.validate import check_config

EVERY_FIELD = decode(
    oci.Spec, json.loads((Path(__file__).parents[1] / "oci" / "every_field.json").read_text())
)

# The parameters that the library has promised, in its own words.
PROMISED = """
no_pivot_root parent_death_signal pivot_dir rootfs readonlyfs mounts devices mount_label hostname
domainname namespaces capabilities networks routes resources cgroup_path apparmor_profile process_label
rlimits additional_groups uid_mappings gid_mappings readonly_paths mask_paths seccomp sysctl hooks
rootfs_propagation time_offsets personality net_devices memory_policy intel_rdt annotations
no_new_privileges oom_score_adj io_priority scheduler exec_cpu_affinity no_new_keyring umask process
freezer_state
"""


def test_defaults_are_a_whole_container() -> None:
    """A root and a program suffice: six new namespaces, the usual mounts, everything safe."""
    config = Config(rootfs="/srv/root", process=ProcessSpec(args=("sh",)))
    assert check_config(config) == []
    assert [each.type for each in config.namespaces] == ["mount", "uts", "ipc", "pid", "network", "cgroup"]
    assert not any(each.path for each in config.namespaces)
    assert [mount.destination for mount in config.mounts] == [
        "/proc",
        "/dev",
        "/dev/pts",
        "/dev/shm",
        "/dev/mqueue",
        "/sys",
        "/sys/fs/cgroup",
    ]
    read_only = {mount.destination for mount in config.mounts if "ro" in mount.options}
    assert read_only == {"/sys", "/sys/fs/cgroup"}
    assert config.no_new_privileges
    assert config.seccomp == "default"
    assert config.resources.devices == (oci.DeviceRule(allow=False, access="rwm"),)
    assert "/proc/kcore" in config.mask_paths
    assert "/proc/sys" in config.readonly_paths


def test_default_capabilities() -> None:
    """Docker's fourteen, and nothing inheritable or ambient (CVE-2022-24769)."""
    capabilities = Config(rootfs="/r").capabilities
    assert len(set(capabilities.bounding)) == 14
    assert set(capabilities.bounding) <= set(CAPABILITY_NUMBERS)
    assert capabilities.bounding == capabilities.effective == capabilities.permitted
    assert capabilities.inheritable == capabilities.ambient == ()
    assert "CAP_SYS_ADMIN" not in capabilities.bounding


def test_every_promised_parameter() -> None:
    """All parameters are there, and every field of the configuration is explained."""
    assert set(PROMISED.split()) <= set(Config.fields)
    for cls in (Config, ProcessSpec, Network, Route):
        for name in cls.fields:
            assert re.search(rf"\b{name}\b", cls.__doc__ or ""), f"{cls.__name__}.{name}"


def test_from_spec() -> None:
    """Everything that an OCI document says arrives."""
    spec = EVERY_FIELD.replace(oci_version="1.0.2")  # nothing of it is what it would be by itself
    assert spec.process is not None
    assert spec.linux is not None
    config = config_from_spec(spec, "/bundle")
    assert config.rootfs == "/bundle/rootfs"
    assert config.bundle == "/bundle"
    assert config.readonlyfs
    assert config.mounts[1] == Mount(
        destination="/data",
        type="bind",
        source="/bundle/data",
        options=("rbind", "rro", "idmap"),
        uid_mappings=(oci.IDMapping(container_id=0, host_id=1000, size=10),),
        gid_mappings=(oci.IDMapping(container_id=0, host_id=1000, size=10),),
    )
    assert config.devices == (
        Device(
            path="/dev/fuse", type="c", major=10, minor=229, file_mode=0o666, uid=0, gid=0, permissions=""
        ),
    )
    for name in ("hostname", "domainname", "hooks", "annotations", "oci_version"):
        assert getattr(config, name) == getattr(spec, name), name
    for name in (
        "uid_mappings",
        "gid_mappings",
        "sysctl",
        "resources",
        "namespaces",
        "net_devices",
        "seccomp",
        "rootfs_propagation",
        "readonly_paths",
        "mount_label",
        "intel_rdt",
        "memory_policy",
        "personality",
        "time_offsets",
    ):
        assert getattr(config, name) == getattr(spec.linux, name), name
    assert (config.cgroup_path, config.mask_paths) == (spec.linux.cgroups_path, spec.linux.masked_paths)
    for name in (
        "capabilities",
        "no_new_privileges",
        "apparmor_profile",
        "rlimits",
        "oom_score_adj",
        "scheduler",
        "io_priority",
        "exec_cpu_affinity",
    ):
        assert getattr(config, name) == getattr(spec.process, name), name
    assert config.process_label == spec.process.selinux_label
    assert config.process is not None
    for name in ("args", "env", "cwd", "user", "terminal", "console_size"):
        assert getattr(config.process, name) == getattr(spec.process, name), name


def test_from_spec_takes_nothing_from_the_defaults() -> None:
    """What a document leaves out is not there: no namespace, no mask, no capability, no filter."""
    spec = oci.Spec(oci_version="1.0.0", root=oci.Root(path="/r"), process=oci.Process(cwd="/", args=("sh",)))
    config = config_from_spec(spec, "/b")
    assert config.rootfs == "/r"
    assert not config.namespaces
    assert not config.mounts
    assert not config.mask_paths
    assert not config.readonly_paths
    assert not config.networks
    assert config.capabilities == oci.Capabilities()
    assert config.seccomp == "unconfined"
    assert config.resources == oci.Resources()
    assert not config.no_new_privileges
    assert config.process == ProcessSpec(args=("sh",), env=())


def test_from_spec_brings_loopback_up() -> None:
    """A new network namespace has its lo up, as runc does it; one that is joined is left alone."""
    spec = default_spec()
    assert config_from_spec(spec, "/b").networks == (Network(type="loopback"),)
    joined = spec.replace(linux=oci.Linux(namespaces=(oci.Namespace(type="network", path="/run/netns/a"),)))
    assert config_from_spec(joined, "/b").networks == ()


def test_paths_are_relative_to_the_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The root and the sources of bind mounts, however the bundle is given; other sources are words."""
    monkeypatch.chdir(tmp_path)
    spec = default_spec().replace(
        mounts=(
            oci.Mount(destination="/a", source="data/x", options=("bind",)),
            oci.Mount(destination="/b", type="bind", source="../y"),
            oci.Mount(destination="/c", type="none", source="/abs", options=("rbind",)),
            oci.Mount(destination="d", type="tmpfs", source="tmpfs"),
        )
    )
    for bundle in ("b", tmp_path / "b", "./x/../b"):
        config = config_from_spec(spec, bundle)
        assert config.rootfs == f"{tmp_path}/b/rootfs"
        assert [mount.source for mount in config.mounts] == [
            f"{tmp_path}/b/data/x",
            f"{tmp_path}/y",
            "/abs",
            "tmpfs",
        ]
        assert config.mounts[3].destination == "/d"


def test_systemd_properties() -> None:
    """Annotations that begin with org.systemd.property. are the scope's properties."""
    spec = default_spec().replace(annotations={"org.systemd.property.TimeoutStopUSec": "uint64 5", "a": "b"})
    assert config_from_spec(spec, "/b").systemd_properties == {"TimeoutStopUSec": "uint64 5"}


def test_from_spec_without_root() -> None:
    """A document without a root cannot become a configuration."""
    with pytest.raises(InvalidInput, match=r"^\$\.root: is missing"):
        config_from_spec(default_spec().replace(root=None), "/b")


def test_process_from_spec() -> None:
    """A process of exec --process has what its document says, and the container's where it says nothing."""
    assert EVERY_FIELD.process is not None
    process = process_from_spec(EVERY_FIELD.process)
    assert process.capabilities == EVERY_FIELD.process.capabilities
    assert process.process_label == EVERY_FIELD.process.selinux_label
    bare = process_from_spec(oci.Process(args=("x",), cwd="/tmp"))
    assert bare == ProcessSpec(args=("x",), cwd="/tmp", env=(), no_new_privileges=False)
    assert bare.capabilities is None
    assert bare.rlimits is None


@pytest.mark.parametrize(
    "config",
    [
        Config(rootfs="/r"),
        Config(
            rootfs="/r",
            process=ProcessSpec(args=("a",), user="www-data:adm", additional_groups=("x", 5), rlimits=()),
            mounts=(Mount(destination="/x", label="l"),),
            devices=(Device(path="/dev/fuse", type="c", major=10, minor=229),),
            networks=(Network(type="veth", name="eth0", address="10.0.0.2/24", hairpin_mode=True),),
            routes=(Route(destination="10.1.0.0/16", interface_name="eth0"),),
            seccomp=oci.Seccomp(default_action="SCMP_ACT_ALLOW"),
            capabilities=oci.Capabilities(),
            namespaces=(),
        ),
        config_from_spec(EVERY_FIELD, "/b"),
        config_from_spec(default_spec(rootless=True), "/b"),
    ],
    ids=["least", "own", "every field", "rootless"],
)
def test_own_document(config: Config) -> None:
    """A configuration survives its own JSON."""
    document = json.loads(json.dumps(config_to_document(config)))
    assert config_from_document(document) == config


def test_own_document_by_hand() -> None:
    """A container.json has the library's own names; parts of OCI documents keep theirs."""
    config = config_from_document(
        {
            "rootfs": "/r",
            "readonlyfs": True,
            "mask_paths": [],
            "networks": [{"type": "veth", "bridge": "br0", "tx_queue_len": 100}],
            "resources": {"memory": {"limit": 1048576}, "blockIO": {"weight": 100}},
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 5}],
            "process": {"args": ["sh"], "user": "nobody", "no_new_privileges": False},
        }
    )
    assert config.readonlyfs
    assert config.mask_paths == ()
    assert config.networks == (Network(type="veth", bridge="br0", tx_queue_len=100),)
    assert config.resources.block_io == oci.BlockIO(weight=100)
    assert config.process == ProcessSpec(args=("sh",), user="nobody", no_new_privileges=False)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "$.rootfs: is missing"),
        ({"rootfs": "/r", "rootFs": "/x"}, "$.rootFs: unknown field"),
        ({"rootfs": "/r", "maskPaths": []}, "$.maskPaths: unknown field"),
        ({"rootfs": "/r", "process": {"args": [], "argv": []}}, "$.process.argv: unknown field"),
        ({"rootfs": "/r", "networks": [{"name": "a"}]}, "$.networks[0].type: is missing"),
        ({"rootfs": "/r", "seccomp": 5}, "$.seccomp: expected an object or a string, found a whole number"),
        ({"rootfs": "/r", "umask": "022"}, "$.umask: expected a whole number, found a string"),
        (
            {"rootfs": "/r", "additional_groups": [True]},
            "$.additional_groups[0]: expected a whole number or a string, found true or false",
        ),
    ],
)
def test_wrong_own_documents(document: dict[str, object], message: str) -> None:
    """The library's own documents are its own: what it does not know is refused."""
    with pytest.raises(InvalidInput) as caught:
        config_from_document(document)
    assert str(caught.value) == message


def test_bundle_may_be_a_path() -> None:
    """Paths are text or path objects."""
    assert config_from_spec(default_spec(), Path("/b")).bundle == os.fspath("/b")
