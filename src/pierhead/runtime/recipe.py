"""What launches of one configuration have in common: checked and planned once, used for every container made
of it.

A program that starts many containers gives the same ``Config`` again and again. Only what can change in
between is looked at each time: where the rootfs really is, and what its passwd file says of the user.
"""

import os
from errno import EMFILE, ENFILE

from pierhead import jsontext
from pierhead.errors import InvalidInput, NotFound, OperationFailed, Unsupported
from pierhead.linux import facts, files
from pierhead.oci.validate_linux import namespace_of_sysctl
from pierhead.runtime import resolve
from pierhead.runtime.config import Config, ProcessSpec, config_to_document
from pierhead.runtime.plan.launch import LaunchView, plan_container
from pierhead.runtime.validate import check_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.runtime.plan.launchplan import LaunchPlan

_RECIPES_MAX = 64
_PLANS_MAX = 4


class Recipe:
    """A configuration with every choice made, and the plans made from it.

    Attributes:
        config: checked; rootfs is its real path, users are numbers, profiles are no words.
        process: its first process, resolved.
        warnings: what is strange about it, but no error.
    """

    def __init__(self, source: Config, rootfs: str, process: ProcessSpec, warnings: list[str]) -> None:
        """Args: source is kept, so that no other configuration can come to have its identity."""
        self.source = source
        self.rootfs = rootfs
        self.process = process
        self.warnings = warnings
        _check_support(source)
        self.config = resolve.resolve_seccomp(source.replace(rootfs=rootfs, process=process), process)
        self._document = ""
        self._plans: list[tuple[LaunchView, LaunchPlan]] = []

    @property
    def document(self) -> str:
        """The configuration as JSON text, for the state file; made when it is first asked for."""
        if not self._document:
            self._document = jsontext.format_compact(config_to_document(self.config))
        return self._document

    def plan(self, view: LaunchView) -> "LaunchPlan":
        """The plan for this view of the machine."""
        for known, plan in self._plans:
            if known == view:
                return plan
        made = plan_container(self.config, self.process, view)
        self._plans = [*self._plans[-(_PLANS_MAX - 1) :], (view, made)]
        return made


def _check_support(config: Config) -> None:
    if config.intel_rdt is not None:
        raise Unsupported(
            "$.linux.intelRdt: sharing of cache and memory bandwidth (Intel RDT) is not supported",
            code="no-intel-rdt",
        )
    supported = facts.namespace_types()
    for number, namespace in enumerate(config.namespaces):
        if namespace.type not in supported:
            raise Unsupported(
                f"$.linux.namespaces[{number}]: this kernel has no {namespace.type} namespaces",
                code="no-such-namespace",
            )


_recipes: dict[int, Recipe] = {}


def recipe_for(config: Config) -> Recipe:
    """The recipe of a configuration.

    Raises:
        InvalidInput: the configuration is not usable.
        NotFound: its rootfs does not exist.
    """
    known = _recipes.get(id(config))
    if known is not None and known.source is not config:
        known = None
    warnings = check_config(config) if known is None else known.warnings
    rootfs, process = resolve_first(config)
    if known is not None and known.rootfs == rootfs and known.process == process:
        return known
    if len(_recipes) >= _RECIPES_MAX:
        _recipes.clear()
    made = Recipe(config, rootfs, process, warnings)
    _recipes[id(config)] = made
    return made


def process_of(config: Config) -> ProcessSpec:
    """The configuration's first process."""
    if config.process is None:
        raise InvalidInput("the configuration names no process to run", path="$.process", code="no-process")
    return config.process


def _check_settings(config: Config) -> None:
    """Nothing would be set in the caller's own namespaces, whatever path they are joined by.

    Looked at for every container: paths may be bound anew.
    """
    joined = {item.type: item.path for item in config.namespaces if item.path}
    if not joined:
        return
    settings = {f'$.sysctl["{name}"]': namespace_of_sysctl(name) for name in config.sysctl}
    settings |= {f"$.{name}": "uts" for name in ("hostname", "domainname") if getattr(config, name)}
    for path, kind in settings.items():
        if kind in joined and facts.is_own_namespace(kind, joined[kind]):
            message = f"would change the host's, whose {kind} namespace {joined[kind]} is"
            raise InvalidInput(message, path=path, code="host-namespace")


def resolve_first(config: Config) -> tuple[str, ProcessSpec]:
    """Where the rootfs really is, and the first process by the passwd file that its layers have.

    Raises:
        InvalidInput: there is no such user, or no process; settings would be the host's.
        NotFound: the rootfs does not exist.
    """
    wanted = process_of(config)
    _check_settings(config)
    rootfs = os.path.realpath(config.rootfs)
    opened: list[int] = []
    try:
        opened.append(_open_directory("rootfs", rootfs, config.rootfs))
        overlay = config.root_overlay
        if overlay is None:
            return rootfs, resolve.resolve_process(
                config, wanted, lambda path: files.read_text_in_root(opened[0], path)
            )
        from pierhead.linux.layers import read_text_in_layers

        layers = (overlay.upper, *overlay.lower) if overlay.upper else overlay.lower
        opened += (_open_directory("layer", layer, layer) for layer in layers)

        return rootfs, resolve.resolve_process(
            config, wanted, lambda path: read_text_in_layers(opened[1:], path)
        )
    finally:
        files.close_all(opened)


def _open_directory(what: str, path: str, given: str) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        reason = os.strerror(error.errno or 0).lower()
        if error.errno in (EMFILE, ENFILE):
            raise OperationFailed(f"cannot open {given}: {reason}", errno=error.errno) from None
        raise NotFound(f"{what} {given}: {reason}", code=f"{what}-missing") from None
