"""The engine as libpod's clients read it, made of Docker's documents.  Pure.

Source: the API's description (``Info``, ``SystemComponentVersion``, ``SystemDfReport``, ``Event``).
"""

from __future__ import annotations

from pierhead.api.libpod.image_documents import bare_id, full_name
from pierhead.api.libpod.versions import OLDEST_RELEASE, RELEASE
from pierhead.engine.moments import format_moment

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.api.versions import Version
    from pierhead.engine.record import Event

    Document = dict[str, Any]

_NS = 1_000_000_000
_EPOCH = "Thu Jan  1 00:00:00 1970"


def version(document: Document) -> Document:
    """The answer of ``GET /libpod/version``."""
    details = document["Components"][0]["Details"]
    engine = {
        "Name": "Podman Engine",  # clients take the versions of the component of this name
        "Version": RELEASE,
        "Details": {**details, "APIVersion": RELEASE, "MinAPIVersion": OLDEST_RELEASE, "BuildTime": _EPOCH},
    }
    return {
        **document,
        "Components": [engine, *document["Components"][1:]],
        "Version": RELEASE,
        "BuildTime": _EPOCH,
    }


def info(document: Document, version_document: Document, volume_path: str) -> Document:
    """The answer of ``GET /libpod/info``."""
    return {
        "host": _host(document, version_document),
        "store": _store(document, volume_path),
        "registries": {},
        "plugins": {
            "volume": document["Plugins"]["Volume"],
            "network": ["bridge"],
            "log": document["Plugins"]["Log"],
            "authorization": None,
        },
        "version": {
            "APIVersion": RELEASE,
            "Version": RELEASE,
            "GoVersion": "",
            "GitCommit": "",
            "BuiltTime": _EPOCH,
            "Built": 0,
            "OsArch": f"linux/{version_document['Arch']}",
            "Os": "linux",
        },
    }


def _host(document: Document, version_document: Document) -> Document:
    options = " ".join(document["SecurityOptions"])
    return {
        "arch": version_document["Arch"],
        "buildahVersion": "",
        "cgroupManager": document["CgroupDriver"],
        "cgroupVersion": f"v{document['CgroupVersion']}",
        "cgroupControllers": [],
        "conmon": {"package": "", "path": "", "version": document["InitBinary"]},
        "cpus": document["NCPU"],
        "distribution": {"distribution": document["OperatingSystem"], "version": document["OSVersion"]},
        "eventLogger": "file",
        "hostname": document["Name"],
        "idMappings": {"gidmap": None, "uidmap": None},
        "kernel": document["KernelVersion"],
        "logDriver": document["LoggingDriver"],
        "memFree": 0,
        "memTotal": document["MemTotal"],
        "networkBackend": "netavark",
        "ociRuntime": {
            "name": document["DefaultRuntime"],
            "package": "",
            "path": "",
            "version": version_document["Platform"]["Name"],
        },
        "os": "linux",
        "remoteSocket": {"exists": True, "path": ""},
        "rootlessNetworkCmd": "",
        "serviceIsRemote": True,
        "security": {
            "apparmorEnabled": "apparmor" in options,
            "capabilities": "",
            "rootless": "rootless" in options,
            "seccompEnabled": "seccomp" in options,
            "seccompProfilePath": "",
            "selinuxEnabled": "selinux" in options,
        },
        "swapFree": 0,
        "swapTotal": 0,
        "uptime": "",
        "linkmode": "",
    }


def _store(document: Document, volume_path: str) -> Document:
    return {
        "configFile": "",
        "containerStore": {
            "number": document["Containers"],
            "paused": document["ContainersPaused"],
            "running": document["ContainersRunning"],
            "stopped": document["ContainersStopped"],
        },
        "graphDriverName": document["Driver"],
        "graphOptions": {},
        "graphRoot": document["DockerRootDir"],
        "graphRootAllocated": 0,
        "graphRootUsed": 0,
        "graphStatus": dict(document["DriverStatus"]),
        "imageCopyTmpDir": "",
        "imageStore": {"number": document["Images"]},
        "runRoot": "",
        "volumePath": volume_path,
        "transientStore": False,
    }


def disk_usage(document: Document) -> Document:
    """The answer of ``GET /libpod/system/df``."""
    containers = document["Containers"] or []
    return {
        "ImagesSize": document["LayersSize"],
        "Images": [entry for each in document["Images"] or () for entry in _image_usage(each)],
        "Containers": [_container_usage(each) for each in containers],
        "Volumes": [_volume_usage(each) for each in document["Volumes"] or ()],
    }


def _image_usage(image: Document) -> list[Document]:
    shared = max(image["SharedSize"], 0)
    names = [full_name(name) for name in image["RepoTags"] or ()] or ["<none>:<none>"]
    return [
        {
            "Repository": repository,
            "Tag": tag,
            "ImageID": bare_id(image["Id"]),
            "Created": format_moment(image["Created"] * _NS),
            "Size": image["Size"],
            "SharedSize": shared,
            "UniqueSize": max(image["Size"] - shared, 0),
            "Containers": max(image["Containers"], 0),
        }
        for repository, _, tag in (name.rpartition(":") for name in names)
    ]


def _container_usage(container: Document) -> Document:
    return {
        "ContainerID": container["Id"],
        "Image": bare_id(container["ImageID"]),
        "Command": container["Command"].split(),
        "LocalVolumes": sum(mount["Type"] == "volume" for mount in container["Mounts"]),
        "Size": container.get("SizeRootFs", 0),
        "RWSize": container.get("SizeRw", 0),
        "Created": format_moment(container["Created"] * _NS),
        "Status": container["State"],
        "Names": container["Names"][0].removeprefix("/"),
    }


def _volume_usage(volume: Document) -> Document:
    usage = volume.get("UsageData") or {}
    size, users = max(usage.get("Size", 0), 0), max(usage.get("RefCount", 0), 0)
    return {
        "VolumeName": volume["Name"],
        "Links": users,
        "Size": size,
        "ReclaimableSize": 0 if users else size,
    }


# Events

_ACTIONS = {
    "container": {
        "die": "died",
        "destroy": "remove",
        "exec_start": "exec",
        "exec_die": "exec_died",
        "health_status": "health_status",
        **{
            word: word
            for word in ("attach", "commit", "create", "export", "kill", "pause", "rename", "restart")
        },
        **{word: word for word in ("start", "stop", "unpause", "update")},
    },
    "image": {
        "delete": "remove",
        "load": "loadfromarchive",
        **{word: word for word in ("import", "pull", "push", "save", "tag", "untag")},
    },
    "volume": {"create": "create", "destroy": "remove", "prune": "prune"},
    "network": {"connect": "connect", "disconnect": "disconnect", "create": "create", "destroy": "remove"},
}
"""Docker's words to libpod's; clients stop at one that they do not know, so there are no others."""


_SINCE: dict[str, Version] = {"update": (5, 0)}


def event(happened: Event, version: Version) -> Document | None:
    """A line of ``GET /libpod/events``; None for what libpod, in the client's version, has no word for."""
    action = _ACTIONS.get(happened.kind, {}).get(happened.action.partition(":")[0])
    if action is None or version < _SINCE.get(action, version):
        return None
    attributes = {name: value for name, value in happened.attributes.items() if name != "exitCode"}
    attributes.setdefault("name", happened.actor)
    if happened.kind == "container":
        attributes["image"] = full_name(attributes.get("image", ""))
    # Clients of the fourth version read a number here, whatever has happened.
    attributes["containerExitCode"] = happened.attributes.get("exitCode", "0")
    if action == "health_status":
        attributes["health_status"] = happened.action.partition(":")[2].strip()
    return {
        "status": action,
        "id": happened.actor,
        **({"from": attributes["image"]} if happened.kind == "container" else {}),
        "Type": happened.kind,
        "Action": action,
        "Actor": {"ID": bare_id(happened.actor), "Attributes": attributes},
        "scope": "local",
        "time": happened.time_ns // _NS,
        "timeNano": happened.time_ns,
        "HealthStatus": attributes.get("health_status", ""),
    }


def event_filters(filters: dict[str, list[str]]) -> dict[str, list[str]]:
    """Filters of events in Docker's words; names that it does not have are left for it to refuse."""
    found = dict(filters)
    if "event" in found:
        found["event"] = [word for each in found["event"] for word in _docker_actions(each)]
    return found


def _docker_actions(word: str) -> list[str]:
    named = {docker for words in _ACTIONS.values() for docker, libpod in words.items() if libpod == word}
    return sorted(named) or [word]
