"""Ports, volumes, mounts and devices as docker's flags write them, as documents of the API.  Pure."""

from __future__ import annotations

import os

from pierhead.cli.words import unfit
from pierhead.figures import parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pierhead.cli.flags import Options

    Document = dict[str, Any]

_PORT_MAX = 65535
_PORT_FORM = "write it as 8080:80, 127.0.0.1:8080:80/udp or 8000-8010:8000-8010"
_MOUNT_FORM = "write it as type=bind,source=/here,target=/there,readonly"
_NAMES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}


# Ports


def _range(text: str, flag: str, whole: str) -> range:
    first, dash, last = text.partition("-")
    if not first.isdecimal() or (dash and not last.isdecimal()):
        raise unfit(flag, whole, _PORT_FORM)
    found = range(int(first), int(last if dash else first) + 1)
    if not found or found[-1] > _PORT_MAX:
        raise unfit(flag, whole, _PORT_FORM)
    return found


def exposed(text: str, flag: str = "expose") -> list[str]:
    """``80``, ``80/udp``, ``8000-8010`` as ``80/tcp`` and so on."""
    ports, _, protocol = text.partition("/")
    if protocol not in ("", "tcp", "udp", "sctp"):
        raise unfit(flag, text, _PORT_FORM)
    return [f"{port}/{protocol or 'tcp'}" for port in _range(ports, flag, text)]


def published(text: str) -> list[tuple[str, Document]]:
    """``[[ADDRESS:]PORT:]PORT[/PROTOCOL]``: ports of the container, each with its binding."""
    place, slash, protocol = text.partition("/")
    before, _, inside = place.rpartition(":")
    address, _, outside = before.rpartition(":")
    if before.endswith("]"):  # an IPv6 address, and the port is chosen
        address, outside = before, ""
    keys = exposed(f"{inside}{slash}{protocol}", "publish")
    ports: list[str]
    if not outside:
        ports = [""] * len(keys)
    else:
        found = _range(outside, "publish", text)
        if len(keys) == 1 and len(found) > 1:
            ports = [outside]
        elif len(found) == len(keys):
            ports = [str(port) for port in found]
        else:
            raise unfit("publish", text, "the two ranges of ports must have one length")
    address = address.removeprefix("[").removesuffix("]")
    return [(key, {"HostIp": address, "HostPort": port}) for key, port in zip(keys, ports, strict=True)]


def ports_of(options: Options) -> tuple[Document, Document]:
    """``ExposedPorts`` and ``PortBindings``."""
    bindings: dict[str, list[Document]] = {}
    for text in options.all("publish"):
        for key, binding in published(text):
            bindings.setdefault(key, []).append(binding)
    keys = [key for text in options.all("expose") for key in exposed(text)]
    return {key: {} for key in (*keys, *bindings)}, bindings


# Volumes and mounts


def volumes_of(options: Options) -> tuple[Document, list[str]]:
    """``Volumes`` (those without a source) and ``Binds``."""
    nameless: Document = {}
    binds = []
    for text in options.all("volume"):
        source, colon, rest = text.partition(":")
        if not colon:
            if not text.startswith("/"):
                raise unfit("volume", text, "write it as /in/the/container, or NAME:/in/the/container")
            nameless[text] = {}
            continue
        if not rest.startswith("/") or not source:
            hint = "write it as NAME:/there or /here:/there, with :ro to only read it"
            raise unfit("volume", text, hint)
        if source.startswith((".", "~")):
            source = os.path.abspath(os.path.expanduser(source))
        elif "/" in source and not source.startswith("/"):
            hint = f"a directory begins with / or ./, as in ./{source}:{rest}"
            raise unfit("volume", text, hint)
        binds.append(f"{source}:{rest}")
    return nameless, binds


def mount_of(text: str) -> Document:
    """``type=…,source=…,target=…`` and options of that type."""
    found: Document = {"Type": "volume"}
    kinds: dict[str, Document] = {"bind": {}, "volume": {}, "tmpfs": {}, "image": {}}
    for field in text.split(","):
        name, equals, value = field.strip().partition("=")
        name = _NAMES.get(name.lower(), name.lower())
        if name == "type":
            found["Type"] = value
        elif name in ("source", "target"):
            found[name.capitalize()] = value
        elif name == "readonly":
            found["ReadOnly"] = _truth(value if equals else "true", text)
        elif name == "consistency":
            found["Consistency"] = value
        else:
            _mount_option(kinds, name, value if equals else "true", text)
    kind = found["Type"]
    if kind not in kinds or not found.get("Target"):
        raise unfit("mount", text, _MOUNT_FORM)
    if any(options for other, options in kinds.items() if other != kind):
        raise unfit("mount", text, f"an option of it is not for the type {kind}")
    if kind == "bind" and found.get("Source", "").startswith("."):
        found["Source"] = os.path.abspath(found["Source"])
    if kinds[kind]:
        found[f"{kind.capitalize()}Options"] = kinds[kind]
    return found


def _mount_option(kinds: dict[str, Document], name: str, value: str, text: str) -> None:
    kind, _, option = name.partition("-")
    if kind == "bind":
        _bind_option(kinds["bind"], option, value, text)
    elif kind == "volume":
        _volume_option(kinds["volume"], option, value, text)
    elif name == "image-subpath":
        kinds["image"]["Subpath"] = value
    elif name == "tmpfs-size" and (size := parse_size(value)) is not None:
        kinds["tmpfs"]["SizeBytes"] = size
    elif name == "tmpfs-mode" and value and all(digit in "01234567" for digit in value):
        kinds["tmpfs"]["Mode"] = int(value, 8)
    else:
        raise unfit("mount", text, _MOUNT_FORM)


def _bind_option(bind: Document, option: str, value: str, text: str) -> None:
    if option == "propagation":
        bind["Propagation"] = value
    elif option == "recursive" and value in ("enabled", "disabled", "writable", "readonly"):
        bind["NonRecursive"] = value == "disabled"
        bind["ReadOnlyNonRecursive"] = value == "writable"
        bind["ReadOnlyForceRecursive"] = value == "readonly"
    elif option == "nonrecursive":
        bind["NonRecursive"] = _truth(value, text)
    elif option == "create-src":
        bind["CreateMountpoint"] = _truth(value, text)
    else:
        raise unfit("mount", text, _MOUNT_FORM)


def _volume_option(volume: Document, option: str, value: str, text: str) -> None:
    key, _, content = value.partition("=")
    driver = volume.get("DriverConfig", {})
    if option == "nocopy":
        volume["NoCopy"] = _truth(value, text)
    elif option == "subpath":
        volume["Subpath"] = value
    elif option == "label":
        volume.setdefault("Labels", {})[key] = content
    elif option == "driver":
        volume["DriverConfig"] = {**driver, "Name": value}
    elif option == "opt":
        options = {**driver.get("Options", {}), key: content}
        volume["DriverConfig"] = {**driver, "Options": options}
    else:
        raise unfit("mount", text, _MOUNT_FORM)


def _truth(value: str, text: str) -> bool:
    if value.lower() in ("true", "1"):
        return True
    if value.lower() in ("false", "0"):
        return False
    raise unfit("mount", text, _MOUNT_FORM)


# Devices


def device_of(text: str) -> Document:
    """``DEVICE[:PATH[:rwm]]``."""
    outside, *rest = text.split(":")
    inside, rights = outside, "rwm"
    if rest and set(rest[-1]) <= set("rwm") and rest[-1]:
        rights = rest.pop()
    if rest:
        inside = rest.pop(0)
    if rest or not outside.startswith("/"):
        raise unfit("device", text, "write it as /dev/null:/dev/other:rwm")
    return {"PathOnHost": outside, "PathInContainer": inside, "CgroupPermissions": rights}


def gpus_of(text: str) -> list[Document]:
    """``all``, a number, or ``device=ID`` as requests for devices."""
    if not text:
        return []
    request: Document = {"Driver": "", "Capabilities": [["gpu"]], "Count": 0, "DeviceIDs": []}
    if text == "all":
        request["Count"] = -1
    elif text.isdecimal():
        request["Count"] = int(text)
    elif text.startswith("device="):
        request["DeviceIDs"] = text.removeprefix("device=").split(",")
    else:
        raise unfit("gpus", text, "write it as all, 2 or device=0")
    return [request]
