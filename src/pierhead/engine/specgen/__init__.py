"""From Docker's words to the runtime's: what a request asks for, checked and filled in, and what is run.

    ContainerConfig + image   ── merge_image ──▶ ContainerConfig
    HostConfig                ── fill_host ────▶ HostConfig, warnings
    Record + Ground           ── plan_config ──▶ runtime.Config
    Record + ExecConfig       ── plan_exec ────▶ runtime.ProcessSpec
    HostConfig + UpdateConfig ── plan_update ──▶ HostConfig, limits

Pure: what has to be asked of this machine comes as a value (``Machine``, ``Ground``), and whoever has the
values asks (``engine.hostdevices``, ``engine.volumes``).
"""

from pierhead.engine.specgen.fill import fill_host
from pierhead.engine.specgen.ground import Ground, Machine, Root, root_of_host
from pierhead.engine.specgen.imagemerge import merge_image
from pierhead.engine.specgen.plan import plan_config
from pierhead.engine.specgen.processes import plan_exec
from pierhead.engine.specgen.updates import plan_update
from pierhead.engine.specgen.usermaps import plan_user_maps

__all__ = [
    "Ground",
    "Machine",
    "Root",
    "fill_host",
    "merge_image",
    "plan_config",
    "plan_exec",
    "plan_update",
    "plan_user_maps",
    "root_of_host",
]
