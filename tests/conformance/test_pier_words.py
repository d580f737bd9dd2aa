"""``pier`` has the verbs and flags of docker's command line, but for those of other systems and of swarms."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest

from pierhead.cli.flags import BadUsage
from pierhead.cli.pier import PROGRAM
from pierhead.cli.program import find_verb
from tests.support.peers import find_program
from tests.support.requires import requires

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = requires("docker")
_FLAG = re.compile(r"^\s+(?:-(\w), )?\s*--([a-z0-9-]+)", re.MULTILINE)
_GROUPS = ("container", "context", "image", "network", "system", "volume")
_VERBS = (
    *("attach", "commit", "cp", "create", "diff", "events", "exec", "export", "history", "images", "import"),
    *("info", "inspect", "kill", "load", "login", "logout", "logs", "pause", "port", "ps", "pull", "push"),
    *("rename", "restart", "rm", "rmi", "run", "save", "search", "start", "stats", "stop", "tag", "top"),
    *("unpause", "update", "version", "wait"),
)
_RENAMED = {"time": "timeout"}
"""Flags whose letter is today's name's."""
_ABSENT = {
    "image build": "images are not built yet",
    "volume update": "of swarms",
}
_OTHERS = {
    "rm --link": "links between containers are not kept",
    "network inspect --verbose": "of swarms",
    "context create --default-stack-orchestrator": "of swarms and Kubernetes",
    "context create --kubernetes": "of Kubernetes",
    "context export --kubeconfig": "of Kubernetes",
    "context update --default-stack-orchestrator": "of swarms and Kubernetes",
    "context update --kubernetes": "of Kubernetes",
    "version --kubeconfig": "of Kubernetes",
    "network create --config-from": "of swarms",
    "network create --config-only": "of swarms",
    "network create --ingress": "of swarms",
    "network create --aux-address": "our engine has no networks of one's own",
    "network connect --link-local-ip": "our engine has no networks of one's own",
    "network connect --gw-priority": "our engine has no networks of one's own",
    "network create --ipv4": "our engine has no networks of one's own",
    "start --checkpoint": "no checkpoints",
    "start --checkpoint-dir": "no checkpoints",
    "search --automated": "docker has given it up",
    "search --stars": "docker has given it up",
    "load --platform": "an archive's images are kept whole",
    "push --platform": "an image is pushed whole",
    "rmi --platform": "a name stands for all platforms",
    "images --tree": "an experiment of docker's",
    **{
        f"{verb} --{flag}": why
        for verb in ("create", "run")
        for flag, why in (
            ("cpu-count", "of Windows"),
            ("cpu-percent", "of Windows"),
            ("io-maxbandwidth", "of Windows"),
            ("io-maxiops", "of Windows"),
            ("isolation", "of Windows"),
            ("kernel-memory", "no kernel of today has it"),
            ("link-local-ip", "our engine has no networks of one's own"),
            ("use-api-socket", "an experiment of docker's"),
        )
    },
    **{
        f"volume create --{flag}": "of swarms"
        for flag in ("availability", "group", "limit-bytes", "required-bytes", "scope", "secret", "sharing")
    },
    **{
        f"volume create --{flag}": "of swarms" for flag in ("topology-preferred", "topology-required", "type")
    },
    "volume ls --cluster": "of swarms",
    "update --kernel-memory": "no kernel of today has it",
}


def _help(*words: str) -> str:
    call = [find_program("docker"), *words, "--help"]
    return subprocess.run(call, capture_output=True, text=True, check=True, timeout=60).stdout


def _verbs() -> Iterator[str]:
    yield from _VERBS
    for group in _GROUPS:
        commands = _help(group).partition("Commands:")[2].splitlines()
        yield from (f"{group} {line.split()[0]}" for line in commands if line.startswith("  "))


def test_verbs_and_flags() -> None:
    """Each one that docker's help names is known, with its letter; what is not has its reason here."""
    missing, read = [], set()
    verbs = list(_verbs())
    assert {f"{group} ls" for group in _GROUPS if group != "system"} < set(verbs), "groups are not read"
    for name in verbs:
        if name in _ABSENT:
            continue
        try:
            verb = find_verb(PROGRAM, name)
        except BadUsage:
            missing.append(name)
            continue
        known = {flag.name: flag.short for flag in verb.flags} | {"help": ""}
        for short, flag in _FLAG.findall(_help(*name.split())):
            read.add(flag)
            fits = flag in known and short in ("", known[_RENAMED.get(flag, flag)])
            if not fits and f"{verb.name} --{flag}" not in _OTHERS:
                missing.append(f"{name} --{flag} -{short}")
    assert missing == []
    assert read > {"all", "detach", "filter", "format", "publish", "volume"}, "flags are not read"


@pytest.mark.parametrize("name", sorted(_ABSENT))
def test_absent_verbs(name: str) -> None:
    """What has its reason to be absent is absent."""
    with pytest.raises(BadUsage):
        find_verb(PROGRAM, name)
