"""Answers in the shape of older versions of the API.  Pure.

The engine gives documents of the newest version.  Each line of ``CHANGES`` undoes one change of the API's
history for clients below the version that brought it; they are applied from the newest to the oldest.
Source: docs/api/version-history.md of moby, and the handlers of moby 28.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pierhead.api.versions import Version

    Document = dict[str, Any]
    Change = Callable[[Any], Any]

_NONE_TAG, _NONE_DIGEST = "<none>:<none>", "<none>@<none>"
_LEGACY_CONFIG: Document = {
    "Hostname": "",
    "Domainname": "",
    "AttachStdin": False,
    "AttachStdout": False,
    "AttachStderr": False,
    "Tty": False,
    "OpenStdin": False,
    "StdinOnce": False,
    "Image": "",
}


def without(*names: str) -> Change:
    """Members that were not there yet are left out."""
    gone = frozenset(names)
    return lambda document: {name: item for name, item in document.items() if name not in gone}


def each(change: Change) -> Change:
    """The change of every document of a list."""
    return lambda documents: [change(document) for document in documents]


def within(name: str, change: Change) -> Change:
    """The change of one member, where it is there and not null."""

    def changed(document: Document) -> Document:
        if document.get(name) is None:
            return document
        return {**document, name: change(document[name])}

    return changed


def with_virtual_size(image: Document) -> Document:
    """``VirtualSize`` was the size until 1.44, and always the same as ``Size``."""
    return {**image, "VirtualSize": image.get("Size", 0)}


def with_placeholders(image: Document) -> Document:
    """An image without a name was called so until 1.43."""
    if image.get("RepoTags") or image.get("RepoDigests"):
        return image
    return {**image, "RepoTags": [_NONE_TAG], "RepoDigests": [_NONE_DIGEST]}


def with_dns_names_as_aliases(container: Document) -> Document:
    """Until 1.45 the names by which an endpoint is found were all aliases."""
    settings = container.get("NetworkSettings") or {}
    networks = {name: _with_aliases(endpoint) for name, endpoint in (settings.get("Networks") or {}).items()}
    return {**container, "NetworkSettings": {**settings, "Networks": networks}}


def _with_aliases(endpoint: Document) -> Document:
    names = [*(endpoint.get("Aliases") or ()), *(endpoint.get("DNSNames") or ())]
    return {**without("DNSNames")(endpoint), "Aliases": list(dict.fromkeys(names)) or None}


def with_commit_expected(info: Document) -> Document:
    """Until 1.44 a program's commit came with the one that was expected."""
    commits = {
        name: {**info[name], "Expected": info[name].get("ID", "")}
        for name in ("ContainerdCommit", "RuncCommit", "InitCommit")
        if isinstance(info.get(name), dict)
    }
    return {**info, **commits}


def with_plain_security_options(info: Document) -> Document:
    """Until 1.25 ``name=seccomp,profile=builtin`` was ``seccomp``."""
    options = [option.partition(",")[0].removeprefix("name=") for option in info.get("SecurityOptions") or ()]
    return {**info, "SecurityOptions": options, "ExecutionDriver": "<not supported>"}


def with_container_config(image: Document) -> Document:
    """Until 1.45 an image told of the container that it was made of; the classic builder's are forgotten."""
    return {"Container": "", "ContainerConfig": dict(_LEGACY_CONFIG), **image}


CHANGES: tuple[tuple[Version, str, Change], ...] = (
    ((1, 50), "image-inspect", within("Config", lambda config: {**_LEGACY_CONFIG, **config})),
    ((1, 50), "info", without("DiscoveredDevices")),
    ((1, 49), "info", without("FirewallBackend")),
    ((1, 48), "container-inspect", without("ImageManifestDescriptor")),
    ((1, 48), "container-list", each(without("ImageManifestDescriptor"))),
    ((1, 48), "image-inspect", without("Descriptor", "Manifests")),
    ((1, 48), "image-list", each(without("Descriptor"))),
    ((1, 47), "image-list", each(without("Manifests"))),
    ((1, 46), "container-list", each(within("HostConfig", without("Annotations")))),
    ((1, 46), "info", without("Containerd")),
    ((1, 45), "container-inspect", with_dns_names_as_aliases),
    ((1, 45), "image-inspect", with_container_config),
    ((1, 44), "image-inspect", with_virtual_size),
    ((1, 44), "image-list", each(with_virtual_size)),
    ((1, 44), "disk-usage", within("Images", each(with_virtual_size))),
    ((1, 44), "info", with_commit_expected),
    ((1, 43), "image-list", each(with_placeholders)),
    ((1, 43), "disk-usage", within("Images", each(with_placeholders))),
    ((1, 42), "info", lambda info: {"KernelMemory": False, "KernelMemoryTCP": False, **info}),
    ((1, 25), "info", with_plain_security_options),
)


def shape(kind: str, version: Version, document: Any) -> Any:
    """The document as a client of this version knows it; what was given is not changed."""
    for below, of_kind, change in CHANGES:
        if of_kind == kind and version < below:
            document = change(document)
    return document
