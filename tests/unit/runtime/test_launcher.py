"""What the launcher reads of the host."""

from __future__ import annotations

from pierhead.runtime.launcher import undo_list, whole_views

MOUNTINFO = """\
21 1 254:0 / / rw - ext4 /dev/vda rw
22 21 0:5 / /proc rw shared:1 - proc proc rw
23 21 0:6 / /sys rw shared:2 master:3 - sysfs sysfs rw
24 22 0:5 /sys /proc/sys ro - proc proc rw
25 21 0:7 / /srv/with\\040space\\134proc rw - proc proc rw
26 25 0:8 / /srv/with\\040space\\134proc/scsi rw - tmpfs tmpfs rw
27 21 0:5 / /srv/root/proc rw - proc proc rw
28 21 0:5 / /srv/rootless/proc rw - proc proc rw
29 22 0:9 / /proc/inner rw - sysfs sysfs rw
"""


def test_whole_views() -> None:
    """Whole mounts of procfs and sysfs count, inner ones first; parts and what is in the root do not."""
    assert whole_views(MOUNTINFO, "/srv/root") == (
        "/proc/inner",
        "/srv/rootless/proc",
        "/srv/with space\\proc",
        "/sys",
        "/proc",
    )


def test_undo_list() -> None:
    """A container's own cgroups are waited for, from the inside out; one above them, which others may use by
    now, is not; then the state's files go, and their directory.
    """
    entries = undo_list(("/cpu/all", "/cpu/all/web", "/pids/web"), "/run/web").split(b"\0")
    assert entries[:3] == [b"d/pids/web", b"d/cpu/all/web", b"p/cpu/all"]
    assert all(entry.startswith(b"f/run/web/") for entry in entries[3:-2])
    assert entries[-2:] == [b"d/run/web", b""]
