"""`docker run --help`, flag by flag: what each does in a container, or with what sentence it is refused."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.docker_cli import Docker
from tests.support.pierds import IMAGE, served
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("root", "docker", "busybox", "unshare")

SHOWN: tuple[tuple[str, str, str], ...] = (
    (
        "--add-host a:192.0.2.4 --add-host b:host-gateway --hostname box --domainname example.org",
        "grep -E '192.0.2.4|172.17.0.1|box' /etc/hosts; hostname; cat /proc/sys/kernel/domainname",
        r"192.0.2.4\ta\n172.17.0.1\tb\n\S+\tbox.example.org box\nbox\nexample.org",
    ),
    (
        "--dns 192.0.2.9 --dns-option ndots:3 --dns-search example.org",
        "cat /etc/resolv.conf",
        "nameserver 192.0.2.9\nsearch example.org\noptions ndots:3",
    ),
    ("--cap-add SYS_TIME --cap-drop CHOWN", "grep CapEff /proc/self/status", r"CapEff:\t00000000aa0425fa"),
    ("--cgroupns private", "cat /proc/self/cgroup", "(.*:/\n?)+"),
    ("--cpus 0.5 --pids-limit 50", "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>&-", "50"),
    ("--device /dev/null:/dev/nothing:rw", "echo > /dev/nothing && ls -l /dev/nothing", r"crw.* 1, +3 .*"),
    ("--env A=1 --label b=c", "echo $A", "1"),
    ("--group-add 123 --group-add daemon --user 1000:1001", "id -G", "1001 1 123"),
    ("--init", "cat /proc/1/comm", "docker-init"),
    ("--mac-address 02:42:ac:11:00:77", "cat /sys/class/net/eth0/address", "02:42:ac:11:00:77"),
    ("--ipc none", "ls -d /dev/shm 2>&1", "ls: /dev/shm: No such file or directory"),
    ("--shm-size 2m", "df -k /dev/shm | tail -1", r"\S+ +2048 .*"),
    ("--memory 64m --oom-score-adj 100", "cat /proc/self/oom_score_adj", "100"),
    (
        "--mount type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=1770",
        "stat -c %a /t; df -k /t | tail -1",
        r"1770\n\S+ +1024 .*",
    ),
    (
        "--mount type=image,source=box,target=/i,image-subpath=bin",
        "ls /i/busybox; touch /i/x 2>&1",
        "/i/busybox\ntouch: /i/x: Read-only file system",
    ),
    ("--network none", "ls /sys/class/net", "lo"),
    ("--pid host", "readlink /proc/self/ns/pid", re.escape(os.readlink("/proc/self/ns/pid"))),
    ("--privileged", "grep CapEff /proc/self/status", r"CapEff:\t0000[0-9a-f]*ffff"),
    ("--read-only --tmpfs /t", "touch /t/x; touch /x 2>&1", "touch: /x: Read-only file system"),
    (
        "--security-opt no-new-privileges --security-opt seccomp=unconfined",
        "grep -E 'NoNew|Seccomp:' /proc/self/status",
        "NoNewPrivs:\t1\nSeccomp:\t0",
    ),
    (
        "--sysctl net.ipv4.ip_forward=1 --sysctl kernel.shmmax=100000",
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmax",
        "1\n100000",
    ),
    ("--tty", "tty", "/dev/pts/0"),
    ("--ulimit nofile=100:200", "ulimit -n; ulimit -Hn", "100\n200"),
    ("--uts host", "hostname", Path("/proc/sys/kernel/hostname").read_text(encoding="ascii").strip()),
    (
        "--volume /etc:/hostetc:ro --volume /anonymous --workdir /work",
        "pwd; ls -d /anonymous; touch /hostetc/x 2>&1",
        "/work\n/anonymous\ntouch: /hostetc/x: Read-only file system",
    ),
    ("--use-api-socket", "test -S /var/run/docker.sock && echo there", "there"),
    ("--log-driver none", "echo seen", "seen"),
)
"""Flags, a script, and what it prints: a pattern."""

REFUSED: tuple[tuple[str, str], ...] = (
    ("--gpus all", 'could not select device driver "" with capabilities: [[gpu]]'),
    ("--isolation hyperv", "invalid isolation 'hyperv' on linux"),
    ("--link nobody", "links between containers are not made"),
    ("--log-driver nowhere", "no log driver named 'nowhere' is registered"),
    ("--log-driver syslog --log-opt syslog-address=unix:///nowhere", "failed to initialize logging driver"),
    ("--log-driver syslog --log-opt syslog-format=x", "Invalid syslog format: x"),
    ("--network nowhere", "network nowhere not found"),
    ("--runtime nowhere", "unknown or invalid runtime name: nowhere"),
    ("--security-opt nothing=1", "invalid --security-opt"),
    ("--storage-opt size=1G", "--storage-opt is supported only for"),
    ("--user nobody-here", "unable to find user nobody-here"),
    ("--volume-driver nowhere --volume a1:/a", "error looking up volume plugin nowhere"),
    ("--mount type=image,source=nowhere,target=/i", "No such image: nowhere"),
    ("--uts host --hostname x", "conflicting options: hostname and the UTS mode"),
)
"""Flags, and a part of the sentence by which they are refused."""


@pytest.fixture(scope="module")
def docker() -> Iterator[Docker]:
    """The command line, for a daemon with a default network."""
    with (
        tempfile.TemporaryDirectory() as directory,
        served(Path(directory), "--cgroup-parent", "/pierhead-flags") as it,
    ):
        yield Docker(f"unix://{it.socket_path}", Path(directory))


def need_known(docker: Docker, flags: str) -> None:
    """The test goes on if this client has the flags: Debian's is older than some of them."""
    known = docker.says("run", "--help")
    if flags.split(maxsplit=1)[0] not in known or ("type=image" in flags and "--use-api-socket" not in known):
        pytest.skip(f"this docker does not know {flags}")


@pytest.mark.parametrize(("flags", "script", "printed"), SHOWN, ids=[each[0].split()[0] for each in SHOWN])
def test_what_a_flag_does(docker: Docker, flags: str, script: str, printed: str) -> None:
    """The container's own process sees it."""
    need_known(docker, flags)
    done: subprocess.CompletedProcess[bytes] = subprocess.run(
        [*docker.words, "run", "--rm", *flags.split(), IMAGE, "sh", "-c", script],
        env=docker.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        timeout=60,
    )
    shown = done.stdout.decode().replace("\r\n", "\n").strip()
    assert re.fullmatch(printed, shown), (shown, done.stderr)


@pytest.mark.parametrize(("flags", "sentence"), REFUSED, ids=[each[0].split()[0] for each in REFUSED])
def test_what_is_refused(docker: Docker, flags: str, sentence: str) -> None:
    """Nothing runs, the sentence says why, and nobody takes it for a missing image."""
    need_known(docker, flags)
    said = docker.refuses("run", "--rm", *flags.split(), IMAGE, "true", status=125)
    assert sentence in said
    assert "Unable to find image" not in said
    assert docker.lines("ps", "--all", "--quiet") == []


def test_every_flag_is_known(docker: Docker, tmp_path: Path) -> None:
    """What a container shows of itself where nothing is to be seen inside."""
    cidfile = tmp_path / "cid"
    flags = """--attach stdout --blkio-weight 300 --cpu-period 50000 --cpu-quota 25000 --cpu-shares 512
        --cpuset-cpus 0 --cpuset-mems 0 --expose 80 --health-cmd true --health-interval 1s --health-retries 2
        --health-timeout 1s --health-start-period 1s --interactive --memory 64m --memory-reservation 32m
        --memory-swap 128m --publish-all --pull never --restart on-failure:3 --runtime pierhead
        --stop-signal INT --stop-timeout 3 --userns host --volumes-from first:ro --device-cgroup-rule"""
    docker("create", "--name", "first", "--volume", "kept:/kept", IMAGE)
    docker("create", "--name", "whole", "--cidfile", str(cidfile), *flags.split(), "c 1:3 rwm", IMAGE, "true")
    form = (
        "{{.HostConfig.CpuQuota}} {{.HostConfig.CpusetCpus}} {{.Config.StopSignal}} {{.Config.StopTimeout}} "
        "{{.HostConfig.RestartPolicy.MaximumRetryCount}} {{.HostConfig.UsernsMode}} {{(index .Mounts 0).RW}} "
        "{{.HostConfig.DeviceCgroupRules}} {{.Config.Healthcheck.Retries}} {{.Id}}"
    )
    shown = docker.says("inspect", "--format", form, "whole")
    assert shown == f"25000 0 INT 3 3 host false [c 1:3 rwm] 2 {cidfile.read_text()}"
    docker("rm", "--volumes", "first", "whole")
    docker("volume", "rm", "kept")


def test_annotations(docker: Docker) -> None:
    """They are the runtime's to see, and are shown with the container."""
    need_known(docker, "--annotation d=e")
    docker("create", "--name", "noted", "--annotation", "d=e", IMAGE, "true")
    assert docker.says("inspect", "--format", "{{.HostConfig.Annotations}}", "noted") == "map[d:e]"
    docker("rm", "noted")


def test_what_images_take(docker: Docker) -> None:
    """Nothing of an image that a container has can be reclaimed, and nothing is less than nothing."""
    docker("create", "--name", "user", IMAGE)
    (line,) = (each for each in docker.lines("system", "df") if each.startswith("Images"))
    assert line.endswith("0B (0%)")
    docker("rm", "user")
