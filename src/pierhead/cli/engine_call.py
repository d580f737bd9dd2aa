"""The engine of a call: connected, started if need be, its errors with the near misses of names."""

from __future__ import annotations

import os

from pierhead.cli.engine_place import find_place
from pierhead.client.engine import Engine
from pierhead.errors import NotFound, Unavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from typing import Any

    from pierhead.cli.call import Call
    from pierhead.cli.engine_place import EnginePlace
    from pierhead.errors import PierheadError

HOST_IMAGE, HOST_WORD = "pierhead/host", "@host"
_NO_CONTAINER, _NO_IMAGE = "No such container: ", "No such image: "


class OwnEngine(Engine):
    """This machine's engine, which is started when nobody answers."""

    def __init__(self, place: EnginePlace, call: Call) -> None:
        super().__init__(place.address)
        self._place = place
        self._call = call

    def _connect(self) -> Any:
        try:
            return super()._connect()
        except Unavailable:
            from pierhead.cli.engine_start import start_engine

            pid = start_engine(self._place)
            if pid:
                self._call.output.debug(f"started pierd (process {pid}) at {self.address}")
            return super()._connect()


def open_engine(call: Call) -> Engine:
    """The engine of the call; nothing is asked yet."""
    place = find_place(call)
    call.output.debug(f"the engine is at {place.address}")
    if place.ours:
        return OwnEngine(place, call)
    return Engine(place.address, tls=_tls(place))


def open_running(call: Call) -> Engine:
    """The engine of the call, which is not started where nobody answers."""
    place = find_place(call)
    return Engine(place.address, tls=_tls(place))


def _tls(place: EnginePlace) -> ssl.SSLContext | None:
    if not place.certificates:
        return None
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = place.verify
    context.verify_mode = ssl.CERT_REQUIRED if place.verify else ssl.CERT_NONE
    try:
        if place.verify:
            context.load_verify_locations(f"{place.certificates}/ca.pem")
        if os.path.exists(f"{place.certificates}/cert.pem"):
            context.load_cert_chain(f"{place.certificates}/cert.pem", f"{place.certificates}/key.pem")
    except OSError as error:
        raise Unavailable(
            f"cannot read the certificates in {place.certificates}: {error.strerror or error}",
            code="no-certificates",
            hint="ca.pem, cert.pem and key.pem stand there",
        ) from None
    return context


def near_miss(engine: Engine, error: NotFound) -> str:
    """A hint with the nearest name to that of the container or image which is missing; "" if none is near."""
    from pierhead.nearest import nearest, nearest_image

    near = ""
    if error.message.startswith(_NO_CONTAINER):
        wanted = error.message.removeprefix(_NO_CONTAINER)
        found = engine.get("/containers/json", all=True)
        near = nearest(wanted, [name.lstrip("/") for each in found for name in each.get("Names") or ()])
    elif error.message.startswith(_NO_IMAGE):
        wanted = error.message.removeprefix(_NO_IMAGE)
        tags = [tag for each in engine.get("/images/json") for tag in each.get("RepoTags") or ()]
        near = nearest_image(wanted, tags)
    return f"did you mean {near}?" if near else ""


def with_near_miss(engine: Engine, error: PierheadError) -> PierheadError:
    """The error; where no container or image has the name, with the nearest name that one has."""
    if isinstance(error, NotFound) and error.message.startswith(_NO_CONTAINER):
        error.hint = near_miss(engine, error) or "pier ps --all lists those that there are"
    elif isinstance(error, NotFound) and error.message.startswith(_NO_IMAGE):
        wanted = error.message.removeprefix(_NO_IMAGE)
        error.hint = near_miss(engine, error) or f"pull it: pier pull {wanted}"
    return error


def on_each(
    call: Call,
    engine: Engine,
    names: Iterable[str],
    perform: Callable[[str], Any],
    *,
    may_be_gone: bool = False,
) -> int:
    """Each was performed, and named unless it said something else; 1 if one failed, after all the others.

    Args:
        call: whose output hears of it.
        engine: has the objects.
        names: of them.
        perform: does it; returns what is printed, None for the name.
        may_be_gone: of what is not there that is said, and it is no failure.
    """
    from pierhead.errors import PierheadError as AnyError

    status = 0
    for name in names:
        try:
            said = perform(name)
        except Unavailable:
            raise
        except AnyError as error:
            call.output.error(with_near_miss(engine, error))
            if not (may_be_gone and isinstance(error, NotFound)):
                status = 1
        else:
            call.output.print(f"{name if said is None else said}\n")
    return status


def ask(engine: Engine, perform: Callable[[], Any]) -> Any:
    """What it gives; an error comes with the near misses of a name.

    Raises:
        PierheadError: as the engine raised it.
    """
    try:
        return perform()
    except NotFound as error:
        raise with_near_miss(engine, error) from None


def find_far_engine(call: Call) -> Engine | None:
    """The engine of the call, where its images are not those of our own store; None where they are."""
    return None if find_place(call).ours else open_engine(call)


def has_engine(call: Call) -> bool:
    """Whether an engine can have anything: one of this machine that never was has no containers."""
    place = find_place(call)
    return not place.ours or os.path.exists(f"{place.data_root}/engine.db")


def image_name(text: str) -> str:
    """The image's name for the engine: ``@host`` is its name for the machine it runs on."""
    return HOST_IMAGE if text == HOST_WORD else text
