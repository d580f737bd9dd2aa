"""The one table of routes."""

from __future__ import annotations

from pierhead.api import (
    routes_absent,
    routes_archives,
    routes_containers,
    routes_images,
    routes_places,
    routes_streams,
    routes_system,
)
from pierhead.api.routing import Route, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.api.routing import Perform

_REACHES_IN = ("/containers/{id}/attach/ws",)
"""Requests that only look, by their method, and give a client a process's input."""

_ROUTES: tuple[tuple[str, str, Perform], ...] = (
    ("GET", "/_ping", routes_system.ping),
    ("HEAD", "/_ping", routes_system.ping),
    ("GET", "/version", routes_system.version),
    ("GET", "/info", routes_system.info),
    ("GET", "/events", routes_system.events),
    ("GET", "/system/df", routes_system.disk_usage),
    ("POST", "/auth", routes_system.check_login),
    ("GET", "/containers/json", routes_containers.list_containers),
    ("POST", "/containers/create", routes_containers.create),
    ("POST", "/containers/prune", routes_containers.prune),
    ("GET", "/containers/{id}/json", routes_containers.inspect),
    ("GET", "/containers/{id}/top", routes_containers.top),
    ("GET", "/containers/{id}/logs", routes_streams.logs),
    ("GET", "/containers/{id}/changes", routes_containers.changes),
    ("GET", "/containers/{id}/export", routes_archives.export),
    ("GET", "/containers/{id}/stats", routes_containers.stats),
    ("POST", "/containers/{id}/resize", routes_containers.resize),
    ("POST", "/containers/{id}/start", routes_containers.start),
    ("POST", "/containers/{id}/stop", routes_containers.stop),
    ("POST", "/containers/{id}/restart", routes_containers.restart),
    ("POST", "/containers/{id}/kill", routes_containers.kill),
    ("POST", "/containers/{id}/update", routes_containers.update),
    ("POST", "/containers/{id}/rename", routes_containers.rename),
    ("POST", "/containers/{id}/pause", routes_containers.pause),
    ("POST", "/containers/{id}/unpause", routes_containers.unpause),
    ("POST", "/containers/{id}/attach", routes_streams.attach),
    ("GET", "/containers/{id}/attach/ws", routes_streams.attach_socket),
    ("POST", "/containers/{id}/wait", routes_containers.wait),
    ("DELETE", "/containers/{id}", routes_containers.remove),
    ("HEAD", "/containers/{id}/archive", routes_archives.stat),
    ("GET", "/containers/{id}/archive", routes_archives.get),
    ("PUT", "/containers/{id}/archive", routes_archives.put),
    ("POST", "/containers/{id}/exec", routes_streams.create_exec),
    ("POST", "/exec/{id}/start", routes_streams.start_exec),
    ("POST", "/exec/{id}/resize", routes_streams.resize_exec),
    ("GET", "/exec/{id}/json", routes_streams.inspect_exec),
    ("GET", "/images/json", routes_images.list_images),
    ("GET", "/images/search", routes_images.search),
    ("GET", "/images/get", routes_images.save),
    ("POST", "/images/create", routes_images.create),
    ("POST", "/images/load", routes_images.load),
    ("POST", "/images/prune", routes_images.prune),
    ("GET", "/images/{name}/json", routes_images.inspect),
    ("GET", "/images/{name}/history", routes_images.history),
    ("GET", "/images/{name}/get", routes_images.save_one),
    ("POST", "/images/{name}/push", routes_images.push),
    ("POST", "/images/{name}/tag", routes_images.tag),
    ("DELETE", "/images/{name}", routes_images.remove),
    ("POST", "/commit", routes_images.commit),
    ("GET", "/distribution/{name}/json", routes_images.distribution),
    ("GET", "/volumes", routes_places.list_volumes),
    ("POST", "/volumes/create", routes_places.create_volume),
    ("POST", "/volumes/prune", routes_places.prune_volumes),
    ("GET", "/volumes/{name}", routes_places.inspect_volume),
    ("PUT", "/volumes/{name}", routes_absent.swarm),
    ("DELETE", "/volumes/{name}", routes_places.remove_volume),
    ("GET", "/networks", routes_places.list_networks),
    ("POST", "/networks/create", routes_places.change_networks),
    ("POST", "/networks/prune", routes_places.prune_networks),
    ("GET", "/networks/{id}", routes_places.inspect_network),
    ("DELETE", "/networks/{id}", routes_places.remove_network),
    ("POST", "/networks/{id}/connect", routes_places.change_networks),
    ("POST", "/networks/{id}/disconnect", routes_places.change_networks),
    ("POST", "/build", routes_absent.build),
    ("POST", "/build/cancel", routes_absent.build),
    ("POST", "/build/prune", routes_absent.prune_builds),
    ("POST", "/session", routes_absent.build),
    ("POST", "/grpc", routes_absent.build),
    ("GET", "/plugins", routes_absent.list_plugins),
    ("GET", "/plugins/privileges", routes_absent.install_plugin),
    ("POST", "/plugins/pull", routes_absent.install_plugin),
    ("POST", "/plugins/create", routes_absent.install_plugin),
    ("GET", "/plugins/{name}/json", routes_absent.find_plugin),
    ("DELETE", "/plugins/{name}", routes_absent.find_plugin),
    *(
        ("POST", f"/plugins/{{name}}/{verb}", routes_absent.find_plugin)
        for verb in ("enable", "disable", "upgrade", "push", "set")
    ),
    ("POST", "/swarm/init", routes_absent.enter_swarm),
    ("POST", "/swarm/join", routes_absent.enter_swarm),
    ("POST", "/swarm/leave", routes_absent.leave_swarm),
    ("POST", "/swarm/unlock", routes_absent.leave_swarm),
    ("GET", "/swarm", routes_absent.swarm),
    ("POST", "/swarm/update", routes_absent.swarm),
    ("GET", "/swarm/unlockkey", routes_absent.swarm),
    *(
        ("GET", f"/{kind}", routes_absent.swarm)
        for kind in ("nodes", "services", "tasks", "secrets", "configs")
    ),
    *(("POST", f"/{kind}/create", routes_absent.swarm) for kind in ("services", "secrets", "configs")),
    *(
        ("GET", f"/{kind}/{{id}}", routes_absent.swarm)
        for kind in ("nodes", "services", "tasks", "secrets", "configs")
    ),
    *(
        (method, pattern, routes_absent.swarm)
        for kind in ("nodes", "services", "secrets", "configs")
        for method, pattern in (("DELETE", f"/{kind}/{{id}}"), ("POST", f"/{kind}/{{id}}/update"))
    ),
    ("GET", "/services/{id}/logs", routes_absent.swarm),
    ("GET", "/tasks/{id}/logs", routes_absent.swarm),
)

TABLE = Table(
    Route(
        method=method,
        pattern=pattern,
        perform=perform,
        writes=method not in ("GET", "HEAD") or pattern in _REACHES_IN,
    )
    for method, pattern, perform in _ROUTES
)
