"""The table of libpod's routes."""

from __future__ import annotations

from pierhead.api.libpod import (
    routes_absent,
    routes_archives,
    routes_containers,
    routes_images,
    routes_places,
    routes_streams,
    routes_system,
    routes_transfers,
)
from pierhead.api.libpod.routes_absent import refuse
from pierhead.api.routing import Route, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.api.routing import Perform

_SYSTEM: tuple[tuple[str, str, Perform], ...] = (
    ("GET", "/_ping", routes_system.ping),
    ("HEAD", "/_ping", routes_system.ping),
    ("GET", "/version", routes_system.tell_version),
    ("GET", "/info", routes_system.tell_info),
    ("GET", "/events", routes_system.events),
    ("GET", "/system/df", routes_system.tell_disk_usage),
    ("POST", "/system/prune", routes_system.prune),
)

_CONTAINERS: tuple[tuple[str, str, Perform], ...] = (
    ("POST", "/containers/create", routes_containers.create),
    ("GET", "/containers/json", routes_containers.list_containers),
    ("GET", "/containers/stats", routes_streams.stats),
    ("GET", "/containers/showmounted", routes_absent.no_mounts),
    ("POST", "/containers/prune", routes_containers.prune),
    ("GET", "/containers/{id}/json", routes_containers.inspect),
    ("GET", "/containers/{id}/exists", routes_containers.exists),
    ("POST", "/containers/{id}/init", routes_containers.init),
    ("POST", "/containers/{id}/start", routes_containers.start),
    ("POST", "/containers/{id}/attach", routes_streams.attach),
    ("POST", "/containers/{id}/resize", routes_containers.resize),
    ("POST", "/containers/{id}/wait", routes_streams.wait),
    ("POST", "/containers/{id}/shouldrestart", routes_containers.should_restart),
    ("POST", "/containers/{id}/stop", routes_containers.stop),
    ("POST", "/containers/{id}/kill", routes_containers.kill),
    ("POST", "/containers/{id}/restart", routes_containers.restart),
    ("POST", "/containers/{id}/pause", routes_containers.pause),
    ("POST", "/containers/{id}/unpause", routes_containers.unpause),
    ("POST", "/containers/{id}/rename", routes_containers.rename),
    ("POST", "/containers/{id}/update", routes_containers.update),
    ("DELETE", "/containers/{id}", routes_containers.remove),
    ("GET", "/containers/{id}/logs", routes_streams.logs),
    ("GET", "/containers/{id}/top", routes_containers.top),
    ("GET", "/containers/{id}/changes", routes_containers.changes),
    ("GET", "/containers/{id}/healthcheck", routes_streams.check_health),
    ("HEAD", "/containers/{id}/archive", routes_archives.stat),
    ("GET", "/containers/{id}/archive", routes_archives.get),
    ("PUT", "/containers/{id}/archive", routes_archives.put),
    ("GET", "/containers/{id}/export", routes_archives.export),
    ("POST", "/containers/{id}/exec", routes_streams.create_exec),
    ("POST", "/exec/{id}/start", routes_streams.start_exec),
    ("POST", "/exec/{id}/resize", routes_streams.resize_exec),
    ("GET", "/exec/{id}/json", routes_streams.inspect_exec),
    ("POST", "/exec/{id}/remove", routes_streams.remove_exec),
    ("POST", "/commit", routes_images.commit),
)

_IMAGES: tuple[tuple[str, str, Perform], ...] = (
    ("GET", "/images/json", routes_images.list_images),
    ("GET", "/images/search", routes_images.search),
    ("GET", "/images/export", routes_images.save),
    ("POST", "/images/pull", routes_transfers.pull),
    ("POST", "/images/load", routes_images.load),
    ("POST", "/images/import", routes_images.import_image),
    ("POST", "/images/prune", routes_images.prune),
    ("DELETE", "/images/remove", routes_images.remove),
    ("GET", "/images/{name}/json", routes_images.inspect),
    ("GET", "/images/{name}/exists", routes_images.exists),
    ("GET", "/images/{name}/history", routes_images.history),
    ("GET", "/images/{name}/get", routes_images.save_one),
    ("POST", "/images/{name}/push", routes_transfers.push),
    ("POST", "/images/{name}/tag", routes_images.tag),
    ("POST", "/images/{name}/untag", routes_images.untag),
    ("DELETE", "/images/{name}", routes_images.remove_one),
)

_PLACES: tuple[tuple[str, str, Perform], ...] = (
    ("GET", "/volumes/json", routes_places.list_volumes),
    ("POST", "/volumes/create", routes_places.create_volume),
    ("POST", "/volumes/prune", routes_places.prune_volumes),
    ("GET", "/volumes/{name}/json", routes_places.inspect_volume),
    ("GET", "/volumes/{name}/exists", routes_places.volume_exists),
    ("DELETE", "/volumes/{name}", routes_places.remove_volume),
    ("GET", "/networks/json", routes_places.list_networks),
    ("POST", "/networks/create", routes_places.change_networks),
    ("POST", "/networks/prune", routes_places.prune_networks),
    ("GET", "/networks/{name}/json", routes_places.inspect_network),
    ("GET", "/networks/{name}/exists", routes_places.network_exists),
    ("DELETE", "/networks/{name}", routes_places.remove_network),
    *(
        ("POST", f"/networks/{{name}}/{verb}", routes_places.change_networks)
        for verb in ("connect", "disconnect", "update")
    ),
)

_PODS = refuse("pods are", "join namespaces of another container with --network container:NAME")
_KUBE = refuse("Kubernetes files are")
_CHECKPOINTS = refuse("checkpoints are")
_MOUNTS = refuse("mounting a container's files on the host is", "copy them with cp")
_MANIFESTS = refuse("making manifest lists is", "make them with skopeo or buildah, and push them")
_SECRETS = refuse("secrets are", "give a file with --volume")

_ABSENT: tuple[tuple[str, str, Perform], ...] = (
    ("GET", "/pods/json", routes_absent.list_none),
    ("GET", "/pods/stats", routes_absent.list_none),
    ("POST", "/pods/create", _PODS),
    ("POST", "/pods/prune", routes_absent.no_reports),
    ("DELETE", "/pods/{name}", routes_absent.find_pod),
    *(("GET", f"/pods/{{name}}/{verb}", routes_absent.find_pod) for verb in ("json", "exists", "top")),
    *(
        ("POST", f"/pods/{{name}}/{verb}", routes_absent.find_pod)
        for verb in ("start", "stop", "restart", "kill", "pause", "unpause")
    ),
    ("GET", "/secrets/json", routes_absent.list_none),
    ("POST", "/secrets/create", _SECRETS),
    ("GET", "/secrets/{name}/json", routes_absent.find_secret),
    ("GET", "/secrets/{name}/exists", routes_absent.find_secret),
    ("DELETE", "/secrets/{name}", routes_absent.find_secret),
    ("GET", "/manifests/{name}/json", routes_absent.find_manifest),
    ("GET", "/manifests/{name}/exists", routes_absent.find_manifest),
    *(
        (method, pattern, _MANIFESTS)
        for method, pattern in (
            ("POST", "/manifests/create"),
            ("POST", "/manifests/{name}"),
            ("PUT", "/manifests/{name}"),
            ("DELETE", "/manifests/{name}"),
        )
    ),
    ("POST", "/play/kube", _KUBE),
    ("DELETE", "/play/kube", _KUBE),
    ("POST", "/kube/apply", _KUBE),
    ("GET", "/generate/kube", _KUBE),
    ("GET", "/generate/{id}/systemd", refuse("units of systemd are", "give a --restart policy")),
    ("POST", "/containers/{id}/checkpoint", _CHECKPOINTS),
    ("POST", "/containers/{id}/restore", _CHECKPOINTS),
    ("POST", "/containers/{id}/mount", _MOUNTS),
    ("POST", "/containers/{id}/unmount", _MOUNTS),
    ("POST", "/build", refuse("building images over libpod's API is", "use docker's command line")),
    ("GET", "/images/{name}/tree", refuse("the tree of an image is", "see its history")),
    ("GET", "/images/{name}/changes", refuse("the changes of an image are", "see its history")),
    ("POST", "/images/scp/{name}", refuse("copying images to other machines is", "save and load them")),
    ("GET", "/volumes/{name}/export", refuse("exporting a volume is", "copy it with cp")),
    ("POST", "/volumes/{name}/import", refuse("importing a volume is", "copy into it with cp")),
)

SERVED = (*_SYSTEM, *_CONTAINERS, *_IMAGES, *_PLACES)
"""Method, path and what answers, of what this engine does."""

TABLE = Table(
    Route(
        method=method,
        pattern=f"/libpod{pattern}",
        perform=perform,
        writes=method not in ("GET", "HEAD") or pattern.endswith("/healthcheck"),
    )
    for method, pattern, perform in (*SERVED, *_ABSENT)
)
