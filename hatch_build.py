"""Builds the helper program `pier-init` and puts it into the wheel, and makes the commands of one script."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HELPER = "src/pierhead/_libexec/pier-init"
SCRIPT = "scripts/program"
PROGRAMS = {"pier": "pier", "pierd": "daemon", "pier-runtime": "runtime", "nsinit": "nsinit"}
"""Commands, and the modules of pierhead.cli that are theirs."""


class BuildHook(BuildHookInterface[Any]):
    """Runs make in init/ for every wheel; the wheel is for this machine's platform and any Python 3."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """The helper is built and listed as a part of the wheel."""
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        subprocess.run(["make", "-C", str(root / "init")], check=True, stdout=subprocess.DEVNULL)
        helper = root / HELPER
        helper.parent.mkdir(exist_ok=True)
        new = helper.with_suffix(f".{os.getpid()}")
        shutil.copy2(root / "init/build/pier-init", new)
        new.rename(helper)
        build_data["artifacts"].append(HELPER)
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["shared_scripts"].update(self._make_scripts(root))
        build_data["tag"] = f"py3-none-{platform}"

    def _make_scripts(self, root: Path) -> dict[str, str]:
        """Each command's own copy of the script, and its name."""
        made = {}
        for name, module in PROGRAMS.items():
            path = root / "build/scripts" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text((root / SCRIPT).read_text().replace("@MODULE@", module))
            path.chmod(0o755)
            made[str(path)] = name
        return made
