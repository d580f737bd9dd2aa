"""The launcher's half of a launch, in words."""

from __future__ import annotations

import pytest

from pierhead.oci.runtime import (
    DeviceRule,
    Hook,
    Hooks,
    IDMapping,
    Memory,
    NetDevice,
    Pids,
    Resources,
    Rlimit,
    Seccomp,
)
from pierhead.runtime import wire_table as wire
from pierhead.runtime.config import Config, Network, ProcessSpec, Route
from pierhead.runtime.plan.cgroups import Controllers, cgroup_writes
from pierhead.runtime.plan.launchersteps import (
    BEGIN,
    END,
    NOTED,
    CgroupPlace,
    LauncherStep,
    plan_exec_steps,
    plan_launcher,
)
from pierhead.runtime.plan.launchplan import LaunchPlan
from pierhead.runtime.wire import STAGE, Operation

PROCESS = ProcessSpec(args=("true",))
RULES = (
    DeviceRule(allow=False, access="rwm"),
    DeviceRule(allow=True, type="c", major=1, minor=3, access="r"),
)
GATE = Operation(name="gate", arguments=("gate",))
LIMITS = Operation(name="sync", arguments=(wire.SYNC_LIMITS,))


CONFIG = Config(rootfs="/r")
NOTHING = LaunchPlan(operations=())
NOWHERE = CgroupPlace()


def steps_of(
    config: Config = CONFIG,
    plan: LaunchPlan = NOTHING,
    place: CgroupPlace = NOWHERE,
    process: ProcessSpec = PROCESS,
) -> tuple[LauncherStep, ...]:
    """The steps for a new container."""
    return plan_launcher(config, process, plan, place=place, rules=RULES, directory="/run/x/web")


def words(steps: tuple[LauncherStep, ...], moment: int) -> list[str]:
    """What is done at this moment, in order."""
    return [step.what for step in steps if step.moment == moment]


def place_of(resources: Resources, controllers: Controllers, **changes: object) -> CgroupPlace:
    """A cgroup with these limits in two hierarchies."""
    trees = (("/sys/fs/cgroup/memory", "/web"), ("/sys/fs/cgroup/pids", "/web"))
    return CgroupPlace(trees=trees, writes=cgroup_writes(resources, controllers)).replace(**changes)


def test_the_least() -> None:
    """What every launch has, in its order."""
    steps = steps_of()
    assert words(steps, BEGIN) == ["claim /run/x/web", "start pier-init", "send pier-init its plan"]
    assert words(steps, NOTED) == ["write /run/x/web/state.json", "tell pier-init: commit"]
    assert len(steps) == 5


@pytest.mark.parametrize(
    ("controllers", "wanted"),
    [
        (
            Controllers(mode="v1", legacy=("memory", "pids", "devices")),
            [
                "write 64 to memory.limit_in_bytes",
                "write 5 to pids.max",
                "write a to devices.deny",
                "write c 1:3 r to devices.allow",
            ],
        ),
        (
            Controllers(mode="v2", unified=("memory", "pids")),
            ["write 64 to memory.max", "write 5 to pids.max"],
        ),
    ],
)
def test_a_cgroup_and_its_limits(controllers: Controllers, wanted: list[str]) -> None:
    """Every file and value, after the cgroup and before the plan is sent; each with its field."""
    resources = Resources(memory=Memory(limit=64), pids=Pids(limit=5), devices=RULES)
    steps = steps_of(place=place_of(resources, controllers))
    assert words(steps, BEGIN)[2:-1] == ["make cgroup /web\nin /sys/fs/cgroup: memory pids", *wanted]
    manuals = {step.what: step.manual for step in steps}
    assert manuals["write 5 to pids.max"] == "OCI runtime-spec, linux.resources.pids.limit"


def test_neighbours_in_one_file() -> None:
    """Several values for one file are one step, as they are one open file."""
    rules = (*RULES, DeviceRule(allow=True, type="c", major=1, minor=5, access="rw"))
    place = place_of(Resources(devices=rules), Controllers(mode="v1", legacy=("devices",)))
    assert "write to devices.allow\nc 1:3 r, c 1:5 rw" in words(steps_of(place=place), BEGIN)


def test_a_unit_of_systemd() -> None:
    """Its maker needs the process: unit and limits come when that waits, after its id maps."""
    mapping = (IDMapping(container_id=0, host_id=1000, size=5),)
    plan = LaunchPlan(operations=(), uid_mappings=mapping, gid_mappings=mapping, oom_score_adj=7)
    place = place_of(
        Resources(pids=Pids(limit=5)), Controllers(mode="v2", unified=("pids",)), unit="x.scope in y.slice"
    )
    steps = steps_of(plan=plan, place=place)
    assert words(steps, wire.SYNC_MAPS) == [
        "write 0 1000 5 to uid_map",
        "write 0 1000 5 to gid_map",
        "start unit x.scope in y.slice",
        "make cgroup /web\nin /sys/fs/cgroup: memory pids",
        "write 5 to pids.max",
        "write 7 to oom_score_adj",
    ]


def test_device_rules_of_a_program() -> None:
    """Where rules are a program, they are shown beside it: its instructions say little."""
    program = Operation(name="device_program", arguments=("device cgroup", b""), place=STAGE)
    steps = steps_of(plan=LaunchPlan(operations=(program,)))
    assert "compile device rules\ndeny a, allow c 1:3 r" in words(steps, BEGIN)


def test_hooks_at_their_moments() -> None:
    """Those of the host's side, each where it runs; poststart is start's where there is a gate."""
    hooks = Hooks(
        prestart=(Hook(path="/a"),),
        create_runtime=(Hook(path="/b", args=("b", "1"), timeout=3),),
        create_container=(Hook(path="/not-the-launchers"),),
        poststart=(Hook(path="/c"),),
        poststop=(Hook(path="/d"),),
    )
    steps = steps_of(Config(rootfs="/r", hooks=hooks), LaunchPlan(operations=(GATE,)))
    assert words(steps, wire.SYNC_HOOKS) == ["hook /a", "hook /b\nb 1\nat most 3 s"]
    assert words(steps, END) == ["hook /c", "hook /d"]
    why = {step.what: step.why for step in steps}
    assert why["hook /c"] == "poststart: the program runs, after start"
    assert why["hook /a"].startswith("prestart: ")


def test_networks() -> None:
    """Links, devices of the host and routes, with all that was asked for."""
    veth = Network(
        type="veth", name="eth0", bridge="br0", address="10.0.0.2/24", gateway="10.0.0.1", mtu=1400
    )
    config = Config(
        rootfs="/r",
        networks=(Network(type="loopback"), veth),
        net_devices={"ens1": NetDevice(name="data"), "ens2": NetDevice()},
        routes=(Route(destination="10.9.0.0/16", gateway="10.0.0.9"), Route(interface_name="eth0")),
    )
    outside = "outside veth…, in bridge br0, mtu 1400, address 10.0.0.2/24, default route by 10.0.0.1"
    assert words(steps_of(config), wire.SYNC_NETWORK) == [
        f"make link eth0\n{outside}",
        "move link ens1 into it\nas data",
        "move link ens2 into it",
        "add route 10.9.0.0/16 by 10.0.0.9",
        "add route default over eth0",
    ]


def test_the_rest() -> None:
    """Limits that the process may not set by itself, and who is asked by the filter."""
    limits = (Rlimit(type="RLIMIT_NOFILE", soft=5, hard=2**64 - 1),)
    process = PROCESS.replace(rlimits=limits)
    seccomp = Seccomp(default_action="SCMP_ACT_ALLOW", listener_path="/run/agent")
    steps = steps_of(Config(rootfs="/r", seccomp=seccomp), LaunchPlan(operations=(LIMITS,)), process=process)
    assert words(steps, wire.SYNC_LIMITS) == ["rlimit RLIMIT_NOFILE soft 5 hard unlimited"]
    assert words(steps, wire.SYNC_SECCOMP) == ["send the filter's descriptor to /run/agent"]
    assert words(steps_of(process=process), wire.SYNC_LIMITS) == []


def test_a_further_process() -> None:
    """It needs no cgroup, no hooks and no note."""
    process = PROCESS.replace(rlimits=(Rlimit(type="RLIMIT_NOFILE", soft=5, hard=6),))
    steps = plan_exec_steps(process, LaunchPlan(operations=(LIMITS,), oom_score_adj=-3))
    assert [step.what for step in steps] == [
        "start pier-init",
        "send pier-init its plan",
        "write -3 to oom_score_adj",
        "rlimit RLIMIT_NOFILE soft 5 hard 6",
        "tell pier-init: commit",
    ]
