"""Resources as cgroup writes: the whole table, for cgroup v1, hybrid and v2, in order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pierhead.errors import Conflict, InvalidInput, PierheadError, Unsupported
from pierhead.linux.cgroupfs import Hierarchies, Hierarchy
from pierhead.oci.runtime import (
    BlockIO,
    Cpu,
    DeviceRule,
    HugepageLimit,
    InterfacePriority,
    Memory,
    Network,
    Pids,
    Rdma,
    Resources,
    ThrottleDevice,
    WeightDevice,
)
from pierhead.runtime.plan.cgroups import (
    CgroupWrite,
    Controllers,
    CurrentLimits,
    cgroup_writes,
    controllers_of,
    unified_controllers,
    weight_of_shares,
)

ALL_V1 = (
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "net_cls",
    "net_prio",
    "hugetlb",
    "rdma",
    "name=systemd",
)
V1 = Controllers(mode="v1", legacy=ALL_V1)
HYBRID = Controllers(
    mode="hybrid", legacy=("cpu", "memory", "devices", "blkio"), unified=("hugetlb", "pids", "rdma")
)
V2 = Controllers(mode="v2", unified=("cpuset", "cpu", "io", "memory", "hugetlb", "pids", "rdma", "misc"))
BARE = Controllers(mode="v2")


def table(
    resources: Resources, controllers: Controllers, current: CurrentLimits | None = None
) -> list[tuple[str, str]]:
    """File and value of each write; a fallback stands behind a bar, a question mark after the optional."""
    writes = cgroup_writes(resources, controllers, current=current or CurrentLimits())
    return [
        (write.file + "?" * write.optional, "|".join([write.value, *(write.instead or ())]))
        for write in writes
    ]


FULL = Resources(
    memory=Memory(limit=100, reservation=50, swap=300, kernel_tcp=70, swappiness=60, disable_oom_killer=True),
    cpu=Cpu(shares=512, quota=20000, period=50000, burst=10000, cpus="0-1", mems="0", idle=0),
    pids=Pids(limit=64),
    block_io=BlockIO(
        weight=100,
        weight_device=(WeightDevice(major=8, minor=0, weight=1000),),
        throttle_read_bps_device=(ThrottleDevice(major=8, minor=0, rate=600),),
        throttle_write_iops_device=(ThrottleDevice(major=8, minor=16, rate=0),),
    ),
    hugepage_limits=(HugepageLimit(page_size="2MB", limit=4194304),),
    rdma={"mlx5_1": Rdma(hca_handles=3, hca_objects=10000)},
)


def test_everything_for_v1() -> None:
    """One file per setting, in v1's names and units."""
    assert table(FULL, V1) == [
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("cpu.idle", "0"),
        ("cpu.shares", "512"),
        ("cpu.cfs_period_us", "50000"),
        ("cpu.cfs_quota_us", "20000"),
        ("cpu.cfs_burst_us", "10000"),
        ("memory.limit_in_bytes", "100"),
        ("memory.memsw.limit_in_bytes", "300"),
        ("memory.soft_limit_in_bytes", "50"),
        ("memory.kmem.tcp.limit_in_bytes", "70"),
        ("memory.oom_control", "1"),
        ("memory.swappiness", "60"),
        ("pids.max", "64"),
        ("blkio.weight", "100|blkio.bfq.weight|100"),
        ("blkio.weight_device", "8:0 1000|blkio.bfq.weight_device|8:0 1000"),
        ("blkio.throttle.read_bps_device", "8:0 600"),
        ("blkio.throttle.write_iops_device", "8:16 0"),
        ("hugetlb.2MB.limit_in_bytes", "4194304"),
        ("hugetlb.2MB.rsvd.limit_in_bytes?", "4194304"),
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"),
    ]


def test_everything_for_v2() -> None:
    """Weights on their own scales, swap alone, quota and period in one file."""
    assert table(FULL, V2) == [
        ("cpuset.cpus", "0-1"),
        ("cpuset.mems", "0"),
        ("cpu.idle", "0"),
        ("cpu.weight", "59"),
        ("cpu.max", "20000 50000"),
        ("cpu.max.burst", "10000"),
        ("memory.swap.max", "200"),
        ("memory.max", "100"),
        ("memory.low", "50"),
        ("pids.max", "64"),
        ("io.bfq.weight", "100|io.weight|910"),
        ("io.bfq.weight", "8:0 1000|io.weight|8:0 10000"),
        ("io.max", "8:0 rbps=600"),
        ("io.max", "8:16 wiops=max"),
        ("hugetlb.2MB.max", "4194304"),
        ("hugetlb.2MB.rsvd.max?", "4194304"),
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"),
    ]


def test_hybrid_takes_each_controller_where_it_is() -> None:
    """Memory and cpu in v1's files, pids and hugetlb in cgroup2's."""
    resources = FULL.replace(cpu=Cpu(shares=512))
    files = [file for file, _ in table(resources, HYBRID)]
    assert "memory.limit_in_bytes" in files
    assert "cpu.shares" in files
    assert "hugetlb.2MB.max" in files
    writes = cgroup_writes(resources, HYBRID)
    assert unified_controllers(writes, HYBRID) == {"hugetlb", "pids", "rdma"}


def test_each_write_says_who_asked_for_it_and_why() -> None:
    """The JSON path and words, for errors and for --explain."""
    (write,) = cgroup_writes(Resources(pids=Pids(limit=9)), V2)
    assert write == CgroupWrite(
        controller="pids",
        file="pids.max",
        value="9",
        field="$.linux.resources.pids.limit",
        why="processes and threads at most",
    )


def test_warnings_name_what_has_no_effect() -> None:
    """What runtimes ignore is said, not silently dropped: on v2 more than on v1."""
    memory = Memory(
        limit=5, kernel=1, use_hierarchy=False, swappiness=10, disable_oom_killer=True, kernel_tcp=7
    )
    found: dict[str, list[str]] = {}
    for name, controllers in (("v1", V1), ("v2", V2)):
        warnings: list[str] = []
        cgroup_writes(Resources(memory=memory), controllers, warnings=warnings)
        found[name] = [text.partition(":")[0].removeprefix("$.linux.resources.memory.") for text in warnings]
    assert found == {
        "v1": ["kernel", "useHierarchy"],
        "v2": ["kernel", "useHierarchy", "disableOOMKiller", "swappiness", "kernelTCP"],
    }


@pytest.mark.parametrize(
    ("resources", "field", "controller"),
    [
        (Resources(memory=Memory(limit=1)), "memory.limit", "memory"),
        (Resources(memory=Memory(swappiness=1)), "memory.swappiness", "memory"),
        (Resources(cpu=Cpu(shares=2)), "cpu.shares", "cpu"),
        (Resources(cpu=Cpu(period=50000)), "cpu.period", "cpu"),
        (Resources(cpu=Cpu(cpus="0")), "cpu.cpus", "cpuset"),
        (Resources(pids=Pids(limit=0)), "pids.limit", "pids"),
        (Resources(block_io=BlockIO(weight=10)), "blockIO.weight", "blkio"),
        (
            Resources(block_io=BlockIO(throttle_read_bps_device=(ThrottleDevice(major=8, minor=0, rate=1),))),
            "blockIO.throttleReadBpsDevice[0]",
            "blkio",
        ),
        (
            Resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=1),)),
            "hugepageLimits[0]",
            "hugetlb",
        ),
        (Resources(network=Network(class_id=1)), "network.classID", "net_cls"),
        (
            Resources(network=Network(priorities=(InterfacePriority(name="eth0", priority=1),))),
            "network.priorities[0]",
            "net_prio",
        ),
        (Resources(rdma={"m": Rdma(hca_handles=1)}), "rdma.m", "rdma"),
    ],
)
def test_a_limit_without_its_controller_is_refused_by_name(
    resources: Resources, field: str, controller: str
) -> None:
    """The message begins with the JSON path and says which controller is missing."""
    with pytest.raises(Unsupported) as caught:
        cgroup_writes(resources, BARE)
    assert (
        caught.value.message
        == f"$.linux.resources.{field}: this machine has no {controller} cgroup controller"
    )


@pytest.mark.parametrize(
    "resources",
    [
        Resources(),
        Resources(memory=Memory()),
        Resources(memory=Memory(limit=-1, swap=-1)),
        Resources(
            memory=Memory(limit=0, reservation=0, swap=0, swappiness=2**64 - 1, disable_oom_killer=False)
        ),
        Resources(cpu=Cpu(shares=0, quota=0, period=0, realtime_runtime=0)),
        Resources(pids=Pids()),
        Resources(pids=Pids(limit=-1)),
        Resources(block_io=BlockIO(weight=0)),
        Resources(network=Network(class_id=0)),
        Resources(devices=(DeviceRule(allow=True),)),
    ],
)
def test_what_asks_for_nothing_needs_no_controller(resources: Resources) -> None:
    """Zeros that mean "not given" and "no limit" are kept by any machine: callers write them always."""
    assert cgroup_writes(resources, Controllers(mode="v1")) == ()
    assert cgroup_writes(None, BARE) == ()


# Memory -----------------------------------------------------------------------------------------------------

MIB = 2**20


@pytest.mark.parametrize(
    ("limit", "swap", "now", "order"),
    [
        (100, 200, CurrentLimits(), ["memory", "memsw"]),
        (100, 200, CurrentLimits(memory=-1, swap=-1), ["memory", "memsw"]),
        (100, 200, CurrentLimits(memory=50, swap=50), ["memsw", "memory"]),
        (100, 200, CurrentLimits(memory=300, swap=400), ["memory", "memsw"]),
        (100, -1, CurrentLimits(memory=50, swap=50), ["memsw", "memory"]),
        (-1, None, CurrentLimits(memory=50, swap=50), ["memsw", "memory"]),
        (100, None, CurrentLimits(memory=50, swap=200), ["memory"]),
        (None, 200, CurrentLimits(memory=50, swap=100), ["memsw"]),
    ],
)
def test_v1_memory_and_swap_go_in_the_order_that_the_kernel_takes(
    limit: int | None, swap: int | None, now: CurrentLimits, order: list[str]
) -> None:
    """Raising: the sum first; lowering: memory first."""
    writes = table(Resources(memory=Memory(limit=limit, swap=swap)), V1, now)
    assert ["memsw" if "memsw" in file else "memory" for file, _ in writes] == order


@given(
    limit=st.integers(min_value=1, max_value=50),
    extra=st.integers(min_value=0, max_value=50),
    now=st.tuples(st.integers(1, 50), st.integers(0, 50)) | st.just((-1, 0)),
)
def test_v1_memory_never_passes_its_sum_with_swap_on_the_way(
    limit: int, extra: int, now: tuple[int, int]
) -> None:
    """After every single write memory ≤ memory+swap holds, from any state to any other."""
    infinite = 10**9
    state = {"memory": now[0] if now[0] > 0 else infinite, "memsw": sum(now) if now[0] > 0 else infinite}
    current = CurrentLimits(memory=now[0], swap=sum(now) if now[0] > 0 else -1)
    for file, value in table(Resources(memory=Memory(limit=limit, swap=limit + extra)), V1, current):
        state["memsw" if "memsw" in file else "memory"] = int(value)
        assert state["memory"] <= state["memsw"]


def test_no_limit_of_swap_may_lack_its_file() -> None:
    """A kernel that does not count swap cannot limit it, nor needs to be told that there is no limit."""
    assert table(Resources(memory=Memory(limit=-1)), V1) == [
        ("memory.limit_in_bytes", "-1"),
        ("memory.memsw.limit_in_bytes?", "-1"),
    ]
    assert table(Resources(memory=Memory(limit=-1)), V2) == [
        ("memory.swap.max?", "max"),
        ("memory.max", "max"),
    ]
    assert table(Resources(memory=Memory(limit=9, swap=9)), V2) == [
        ("memory.swap.max?", "0"),
        ("memory.max", "9"),
    ]
    assert table(Resources(memory=Memory(limit=9, swap=10)), V2)[0] == ("memory.swap.max", "1")


def test_v2_swap_alone_counts_on_the_present_memory_limit() -> None:
    """An update that gives only memory+swap is taken apart with the limit that stands."""
    resources = Resources(memory=Memory(swap=300))
    assert table(resources, V2, CurrentLimits(memory=100)) == [("memory.swap.max", "200")]
    assert table(resources, V2, CurrentLimits(memory=-1)) == [("memory.swap.max", "300")]
    with pytest.raises(InvalidInput, match=r"memory\.swap: needs memory\.limit"):
        table(resources, V2)
    with pytest.raises(InvalidInput, match="below the memory limit 400"):
        table(resources, V2, CurrentLimits(memory=400))


@pytest.mark.parametrize(
    ("memory", "field"),
    [
        (Memory(limit=-2), "memory.limit"),
        (Memory(swap=-5), "memory.swap"),
        (Memory(limit=10, swap=9), "memory.swap"),
        (Memory(limit=10, reservation=-3), "memory.reservation"),
    ],
)
@pytest.mark.parametrize("controllers", [V1, V2], ids=["v1", "v2"])
def test_memory_that_makes_no_sense_is_refused(memory: Memory, field: str, controllers: Controllers) -> None:
    """Before anything is written, by the JSON path."""
    with pytest.raises(InvalidInput) as caught:
        cgroup_writes(Resources(memory=memory), controllers)
    assert caught.value.path == f"$.linux.resources.{field}"


def test_a_limit_above_the_present_sum_asks_for_swap_too() -> None:
    """v1 would answer EINVAL, which tells nobody anything."""
    with pytest.raises(InvalidInput, match="above the present memory\\+swap limit 80"):
        table(Resources(memory=Memory(limit=100)), V1, CurrentLimits(memory=50, swap=80))


@pytest.mark.parametrize("controllers", [V1, V2], ids=["v1", "v2"])
def test_check_before_update_compares_with_the_usage(controllers: Controllers) -> None:
    """Only when it is asked for: otherwise the kernel reclaims or kills, as it always did."""
    now = CurrentLimits(memory=100 * MIB, swap=100 * MIB, usage=50 * MIB)
    asked = Memory(limit=40 * MIB, swap=40 * MIB)
    assert table(Resources(memory=asked), controllers, now)
    with pytest.raises(Conflict, match=r"memory\.limit: .* not above the .* bytes in use"):
        table(Resources(memory=asked.replace(check_before_update=True)), controllers, now)
    assert table(
        Resources(memory=Memory(limit=60 * MIB, swap=60 * MIB, check_before_update=True)), controllers, now
    )


def test_swappiness_has_a_range() -> None:
    """0 is a value, above 100 there is none."""
    assert table(Resources(memory=Memory(swappiness=0)), V1) == [("memory.swappiness", "0")]
    with pytest.raises(InvalidInput):
        table(Resources(memory=Memory(swappiness=101)), V1)


# Processor --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shares", "weight"),
    [
        (1, 1),
        (2, 1),
        (64, 12),
        (128, 21),
        (256, 35),
        (512, 59),
        (1024, 100),
        (2048, 174),
        (4096, 303),
        (262144, 10000),
    ],
)
def test_shares_become_weights_by_the_curve_of_runc_and_crun(shares: int, weight: int) -> None:
    """Both defaults meet: 1024 shares are a weight of 100."""
    assert weight_of_shares(shares) == weight


@given(st.integers(min_value=2, max_value=262144))
def test_more_shares_never_weigh_less(shares: int) -> None:
    """Monotonic, and within the kernel's range."""
    assert 1 <= weight_of_shares(shares) <= weight_of_shares(min(shares + 1, 262144)) <= 10000


@pytest.mark.parametrize(
    ("cpu", "now", "expected"),
    [
        (Cpu(quota=50000), CurrentLimits(), [("cpu.cfs_quota_us", "50000")]),
        (Cpu(quota=-1), CurrentLimits(), [("cpu.cfs_quota_us", "-1")]),
        (Cpu(period=20000), CurrentLimits(), [("cpu.cfs_period_us", "20000")]),
        (
            Cpu(quota=1000, period=20000),
            CurrentLimits(quota=50000, period=100000, burst=0),
            [("cpu.cfs_quota_us", "1000"), ("cpu.cfs_period_us", "20000")],
        ),
        (
            Cpu(quota=50000, period=200000),
            CurrentLimits(quota=50000, period=100000, burst=0),
            [("cpu.cfs_period_us", "200000"), ("cpu.cfs_quota_us", "50000")],
        ),
        (
            Cpu(quota=5000, burst=0),
            CurrentLimits(quota=50000, period=100000, burst=20000),
            [("cpu.cfs_burst_us", "0"), ("cpu.cfs_quota_us", "5000")],
        ),
        (
            Cpu(quota=90000, burst=60000),
            CurrentLimits(quota=50000, period=100000, burst=20000),
            [("cpu.cfs_quota_us", "90000"), ("cpu.cfs_burst_us", "60000")],
        ),
        (
            Cpu(realtime_runtime=5000, realtime_period=10000),
            CurrentLimits(),
            [("cpu.rt_period_us", "10000"), ("cpu.rt_runtime_us", "5000")],
        ),
    ],
)
def test_v1_bandwidth_passes_only_through_valid_states(
    cpu: Cpu, now: CurrentLimits, expected: list[tuple[str, str]]
) -> None:
    """A ratio never above the old and the new one, a burst never above the quota."""
    assert table(Resources(cpu=cpu), V1, now) == expected


@pytest.mark.parametrize(
    ("cpu", "now", "expected"),
    [
        (Cpu(quota=50000), CurrentLimits(), [("cpu.max", "50000")]),
        (Cpu(quota=-1), CurrentLimits(quota=5000), [("cpu.max", "max")]),
        (Cpu(period=20000), CurrentLimits(), [("cpu.max", "max 20000")]),
        (Cpu(period=20000), CurrentLimits(quota=7000, period=100000), [("cpu.max", "7000 20000")]),
        (Cpu(quota=5, burst=0), CurrentLimits(burst=9), [("cpu.max.burst", "0"), ("cpu.max", "5")]),
        (Cpu(burst=9), CurrentLimits(burst=0), [("cpu.max.burst", "9")]),
    ],
)
def test_v2_bandwidth_keeps_what_is_not_given(
    cpu: Cpu, now: CurrentLimits, expected: list[tuple[str, str]]
) -> None:
    """An update of the period alone does not lift the quota."""
    assert table(Resources(cpu=cpu), V2, now) == expected


def test_realtime_limits_need_v1() -> None:
    """cgroup2 has none; better said than dropped."""
    with pytest.raises(Unsupported, match=r"cpu\.realtimeRuntime: cgroup v2 has no realtime limits"):
        table(Resources(cpu=Cpu(realtime_runtime=5)), V2)


def test_an_idle_group_has_no_weight() -> None:
    """The kernel refuses a weight while it is idle; leaving idleness comes before the weight."""
    for controllers, file in ((V1, "cpu.shares"), (V2, "cpu.weight")):
        warnings: list[str] = []
        writes = cgroup_writes(Resources(cpu=Cpu(idle=1, shares=1024)), controllers, warnings=warnings)
        assert [(write.file, write.value) for write in writes] == [("cpu.idle", "1")]
        assert "cpu.shares" in warnings[0]
        assert [entry[0] for entry in table(Resources(cpu=Cpu(idle=0, shares=1024)), controllers)] == [
            "cpu.idle",
            file,
        ]
    with pytest.raises(InvalidInput):
        table(Resources(cpu=Cpu(idle=2)), V2)


# The others -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "value"), [(10, "10"), (1, "1"), (0, "1"), (-1, "max"), (-7, "max")])
@pytest.mark.parametrize("controllers", [V1, V2], ids=["v1", "v2"])
def test_pids(limit: int, value: str, controllers: Controllers) -> None:
    """-1 is no limit; 0 lets nothing fork, as 1 does, which systemd can say too."""
    assert table(Resources(pids=Pids(limit=limit)), controllers) == [("pids.max", value)]


def test_leaf_weights_are_v1s() -> None:
    """On cgroup2 they have no effect, which a warning says."""
    resources = Resources(
        block_io=BlockIO(
            leaf_weight=20, weight_device=(WeightDevice(major=8, minor=0, weight=10, leaf_weight=30),)
        )
    )
    assert table(resources, V1) == [
        ("blkio.leaf_weight", "20"),
        ("blkio.weight_device", "8:0 10|blkio.bfq.weight_device|8:0 10"),
        ("blkio.leaf_weight_device", "8:0 30"),
    ]
    warnings: list[str] = []
    assert len(cgroup_writes(resources, V2, warnings=warnings)) == 1
    assert len(warnings) == 2


@pytest.mark.parametrize("weight", [1, 9, 1001])
def test_block_weights_have_a_range(weight: int) -> None:
    """10 to 1000, in the specification's scale."""
    with pytest.raises(InvalidInput, match=r"blockIO\.weight: weight"):
        table(Resources(block_io=BlockIO(weight=weight)), V2)


@pytest.mark.parametrize("size", ["", "2M", "../../x", "MB", "2MB/..", "-1MB", "2 MB", "²MB"])
def test_page_sizes_become_file_names_only_when_they_are_sizes(size: str) -> None:
    """A size is part of a file's name: nothing else may be."""
    with pytest.raises(InvalidInput, match="pageSize"):
        table(Resources(hugepage_limits=(HugepageLimit(page_size=size, limit=1),)), V1)


def test_networks_classes_and_priorities() -> None:
    """v1 alone has them."""
    network = Network(class_id=1048577, priorities=(InterfacePriority(name="eth0", priority=500),))
    assert table(Resources(network=network), V1) == [
        ("net_cls.classid", "1048577"),
        ("net_prio.ifpriomap", "eth0 500"),
    ]


def test_unified_files_are_written_as_given_and_last() -> None:
    """In their order, line by line, after the settings proper, which they may refine."""
    resources = Resources(
        pids=Pids(limit=5),
        unified={"memory.high": "100", "io.max": "8:0 rbps=1\n8:16 rbps=2\n", "cgroup.max.depth": "3"},
    )
    assert table(resources, V2) == [
        ("pids.max", "5"),
        ("memory.high", "100"),
        ("io.max", "8:0 rbps=1"),
        ("io.max", "8:16 rbps=2"),
        ("cgroup.max.depth", "3"),
    ]
    assert unified_controllers(cgroup_writes(resources, V2), V2) == {"pids", "memory", "io"}


@pytest.mark.parametrize(
    ("name", "controllers"),
    [("memory.high", V1), ("memory.high", HYBRID), ("cgroup.max.depth", V1), ("nonsense.x", V2)],
)
def test_unified_files_need_the_controller_in_cgroup2(name: str, controllers: Controllers) -> None:
    """On a hybrid machine those controllers that cgroup2 has can be used that way, others not."""
    with pytest.raises(Unsupported, match=rf"unified\.{name}"):
        table(Resources(unified={name: "1"}), controllers)
    assert table(Resources(unified={"hugetlb.2MB.max": "1"}), HYBRID) == [("hugetlb.2MB.max", "1")]


@pytest.mark.parametrize("name", ["", "memory", ".max", "memory.", "../memory.max", "memory.x/../../y"])
def test_unified_names_are_names_of_files(name: str) -> None:
    """A slash would leave the container's cgroup."""
    with pytest.raises(InvalidInput, match="the name of a cgroup v2 file"):
        table(Resources(unified={name: "1"}), V2)


def test_controllers_come_from_the_mounted_trees() -> None:
    """v1's by mount, cgroup2's by its file; version_of tells them apart."""
    found = controllers_of(
        Hierarchies(
            mode="hybrid",
            trees=(
                Hierarchy(version=1, mountpoint="/a", controllers=("cpu", "cpuacct")),
                Hierarchy(version=2, mountpoint="/b", controllers=("hugetlb",)),
            ),
        )
    )
    assert [found.version_of(name) for name in ("cpuacct", "hugetlb", "memory")] == [1, 2, 0]


NUMBERS = st.none() | st.integers(min_value=-3, max_value=10) | st.integers(min_value=0, max_value=2**62)


@given(
    memory=st.builds(Memory, limit=NUMBERS, reservation=NUMBERS, swap=NUMBERS, swappiness=NUMBERS),
    cpu=st.builds(Cpu, shares=NUMBERS, quota=NUMBERS, period=NUMBERS, burst=NUMBERS, idle=NUMBERS),
    now=st.builds(CurrentLimits, memory=NUMBERS, swap=NUMBERS, quota=NUMBERS, period=NUMBERS, burst=NUMBERS),
    controllers=st.sampled_from([V1, HYBRID, V2, BARE]),
)
def test_anything_is_planned_or_refused_in_words(
    memory: Memory, cpu: Cpu, now: CurrentLimits, controllers: Controllers
) -> None:
    """No combination ends in another exception, and no write leaves the cgroup's directory."""
    try:
        writes = cgroup_writes(Resources(memory=memory, cpu=cpu), controllers, current=now)
    except PierheadError:
        return
    assert all(write.value and "/" not in write.file for write in writes)
