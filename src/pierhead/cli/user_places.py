"""Where an ordinary user's engine has its directories, for ``pierd`` and for ``pier``.  Pure but for a look.

    $XDG_DATA_HOME/pierhead      or ~/.local/share/pierhead
    $XDG_RUNTIME_DIR/pierhead    or /run/user/UID/pierhead, or ~/.local/share/pierhead/run where there is no
                                 such directory: for users whose login made none

Sources: XDG Base Directory Specification; pam_systemd(8).
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def user_data_root(environment: Mapping[str, str], user_id: int) -> str:
    """What lasts."""
    home = environment.get("HOME") or f"/home/{user_id}"
    return f"{environment.get('XDG_DATA_HOME') or f'{home}/.local/share'}/pierhead"


def user_exec_root(environment: Mapping[str, str], user_id: int) -> str:
    """What dies with the boot."""
    given = environment.get("XDG_RUNTIME_DIR")
    if given:
        return f"{given}/pierhead"
    usual = f"/run/user/{user_id}"
    if os.path.isdir(usual):
        return f"{usual}/pierhead"
    return f"{user_data_root(environment, user_id)}/run"
