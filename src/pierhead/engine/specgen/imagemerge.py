"""What an image says below what a request says.  Pure.

Source: image-spec config.md, "Conversion to OCI runtime configuration"; Docker's `docker run` reference,
"Overriding image defaults".
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from pierhead.engine.documents import Empty, HealthConfig

if TYPE_CHECKING:
    from pierhead.engine.documents import ContainerConfig
    from pierhead.oci.image import Execution, Healthcheck


def merge_image(config: ContainerConfig, execution: Execution | None) -> ContainerConfig:
    """The request's configuration with the image's where the request says nothing.

    A request that says an entrypoint has no command of the image's: it would be another program's.

    Args:
        config: as it was asked for.
        execution: the image's; None for an image that says nothing.
    """
    entrypoint, cmd = as_list(config.entrypoint), as_list(config.cmd)
    if execution is None:
        return config.replace(
            entrypoint=_real_entrypoint(entrypoint), cmd=cmd, working_dir=_cleaned(config.working_dir)
        )
    args_escaped = config.args_escaped
    if not entrypoint:
        if not cmd:
            cmd, args_escaped = execution.cmd or None, execution.args_escaped
        if entrypoint is None:
            entrypoint = execution.entrypoint or None
    return config.replace(
        user=config.user or execution.user,
        exposed_ports=_joined(execution.exposed_ports, config.exposed_ports),
        env=_merge_env(config.env, execution.env),
        labels={**execution.labels, **config.labels},
        entrypoint=_real_entrypoint(entrypoint),
        cmd=cmd,
        args_escaped=args_escaped,
        healthcheck=_merge_health(config.healthcheck, execution.healthcheck),
        volumes=_joined(execution.volumes, config.volumes),
        working_dir=_cleaned(config.working_dir or execution.working_dir),
        stop_signal=config.stop_signal or execution.stop_signal,
        shell=config.shell or execution.shell or None,
    )


def as_list(words: tuple[str, ...] | str | None) -> tuple[str, ...] | None:
    """A program and its arguments; Docker takes one word for a list of one."""
    return (words,) if isinstance(words, str) else words


def _cleaned(path: str) -> str:
    """Without ``.`` and ``..``, as Docker keeps it; a relative one is left to be refused."""
    return posixpath.normpath(path).replace("//", "/") if path.startswith("/") else path


def _real_entrypoint(entrypoint: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """``--entrypoint ""`` comes as a list of one empty word and takes the image's away."""
    return None if entrypoint in ((), ("",)) else entrypoint


def _joined(below: dict[str, dict[str, str]], above: dict[str, Empty]) -> dict[str, Empty]:
    return {**{name: Empty() for name in below}, **above}


def _merge_env(above: tuple[str, ...], below: tuple[str, ...]) -> tuple[str, ...]:
    """The request's variables, then the image's of other names."""
    given = {entry.partition("=")[0] for entry in above}
    return (*above, *(entry for entry in below if entry.partition("=")[0] not in given))


def _merge_health(above: HealthConfig | None, below: Healthcheck | None) -> HealthConfig | None:
    if below is None:
        return above
    image = HealthConfig(**below.__dict__)
    if above is None:
        return image
    return image.replace(**{name: value for name, value in above.__dict__.items() if value})
