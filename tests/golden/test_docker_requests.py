"""Bodies of ``POST /containers/create`` to what the runtime is to make, whole.

``requests/NAME.json`` has the body, and the ground it is planned on where it is a special one.  Beside it
stands ``NAME.config.json``: the configuration, and warnings.  ``PIERHEAD_REWRITE_GOLDEN=1`` writes it anew.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from pierhead.engine.record import MountPoint, Record
from pierhead.engine.specgen import Ground, Root, fill_host, plan_config
from pierhead.oci.document import decode
from pierhead.runtime.config import Device, Network, RootOverlay, config_to_document
from pierhead.runtime.validate import check_config
from tests.support.requests import CONTAINER_ID, MACHINE, SETTINGS, read_request

REQUESTS = Path(__file__).parent / "requests"
NAMES = sorted(path.stem for path in REQUESTS.glob("*.json") if not path.stem.endswith(".config"))


def ground_of(document: dict[str, Any]) -> Ground:
    """A ground from a test's JSON."""
    overlay = RootOverlay(lower=("/layers/1",), upper="/upper", work="/work")
    return Ground(
        root=Root(rootfs="/mnt/root", overlay=overlay),
        hosts="/c/hosts",
        hostname_file="/c/hostname",
        resolv_conf="/c/resolv.conf",
        shm_path=document.get("shm_path", ""),
        init_path="/data/pier-init",
        namespaces=document.get("namespaces", {}),
        interfaces=tuple(decode(Network, each) for each in document.get("interfaces", ())),
        devices=tuple(decode(Device, each) for each in document.get("devices", ())),
        device_numbers={path: tuple(pair) for path, pair in document.get("device_numbers", {}).items()},
        sources=document.get("sources", {}),
        cgroup_path=f"/pierhead/{CONTAINER_ID}",
        machine=MACHINE,
    )


def plan(case: dict[str, Any]) -> dict[str, Any]:
    """What is made of a request."""
    config, host = read_request(case["request"])
    host, warnings = fill_host(config, host, SETTINGS, machine=MACHINE)
    ground = ground_of(case.get("ground", {}))
    mounts = tuple(decode(MountPoint, each) for each in case.get("mounts", ()))
    record = Record(
        id=CONTAINER_ID, name="box", created_ns=1, image="x", config=config, host=host, mounts=mounts
    )
    made = plan_config(record, ground)
    assert check_config(made) == []
    return {"warnings": list(warnings), "config": config_to_document(made)}


@pytest.mark.parametrize("name", NAMES)
def test_request(name: str) -> None:
    """The request becomes this configuration, which the runtime accepts."""
    found = plan(json.loads((REQUESTS / f"{name}.json").read_text()))
    expected = REQUESTS / f"{name}.config.json"
    if os.environ.get("PIERHEAD_REWRITE_GOLDEN"):
        expected.write_text(json.dumps(found, indent=1) + "\n")
    assert json.loads(json.dumps(found)) == json.loads(expected.read_text())


def test_there_are_requests() -> None:
    """None of the cases is lost."""
    assert len(NAMES) >= 8
