"""Where the engine of a call is: as flags, variables or a context say it, else this machine's own."""

from __future__ import annotations

import os

from pierhead.client.address import Address, parse_address
from pierhead.errors import InvalidInput
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call

HOST, DOCKER_HOST, CONTEXT = "PIER_HOST", "DOCKER_HOST", "PIER_CONTEXT"
DEFAULT_CONTEXT = "default"
_SOCKET = "pierd.sock"
_PATH_BYTES_MAX = 100  # of a unix socket: 108 with the final zero (unix(7)), and some for the monitors'


class EnginePlace(Value):
    """Where an engine is.

    Fields:
        address: where it listens.
        data_root, exec_root: its directories where it is ours to start; else "".
        apart: whether it is one of its own, beside the machine's.
        certificates: directory of ca.pem, cert.pem and key.pem for TLS; "" without.
        verify: whether the engine's certificate has to be the authority's.
    """

    address: Address
    data_root: str = ""
    exec_root: str = ""
    apart: bool = False
    certificates: str = ""
    verify: bool = True

    @property
    def ours(self) -> bool:
        """Whether we start it where nobody answers."""
        return bool(self.data_root)


def find_place(call: Call) -> EnginePlace:
    """Where the call's engine is.

    Raises:
        InvalidInput: what says it has not the form of an address, or names no context.
    """
    flags = call.program
    named = flags.text("host") if flags is not None else ""
    context = flags.text("context") if flags is not None else ""
    if named and context:
        raise InvalidInput("--host and --context contradict each other", code="bad-usage")
    if not named and not context:
        if flags is not None and flags.given("root"):
            return own_place(call.root, f"{call.root}/run", apart=True)
        named = os.environ.get(HOST) or os.environ.get(DOCKER_HOST) or ""
    if named:
        return _named_place(call, named)
    from pierhead.cli.contexts import context_place, current_context

    chosen = context or current_context()
    return context_place(chosen) if chosen != DEFAULT_CONTEXT else own_place(call.root, default_exec_root())


def _named_place(call: Call, text: str) -> EnginePlace:
    flags = call.program
    given = flags is not None and (flags.switch("tls") or flags.switch("tlsverify"))
    verify = bool(os.environ.get("DOCKER_TLS_VERIFY")) or (flags is not None and flags.switch("tlsverify"))
    tls = given or verify
    where = flags.text("tls-certs") if flags is not None else ""
    where = where or os.environ.get("DOCKER_CERT_PATH") or os.path.expanduser("~/.docker")
    address = parse_address(text, tls=tls)
    if not tls or address.path:
        return EnginePlace(address=address)
    return EnginePlace(address=address, certificates=where, verify=verify)


def default_exec_root() -> str:
    """Where the machine's engine has its socket; for others than root, their own."""
    if os.geteuid() == 0:
        return "/run/pierhead"
    from pierhead.cli.user_places import user_exec_root

    return user_exec_root(os.environ, os.geteuid())


def own_place(data_root: str, exec_root: str, *, apart: bool = False) -> EnginePlace:
    """An engine of this machine, which is started when it is needed.

    Raises:
        InvalidInput: its socket's path would be too long for the kernel.
    """
    path = f"{exec_root}/{_SOCKET}"
    if len(path.encode()) > _PATH_BYTES_MAX:
        hint = f"choose a --root of at most {_PATH_BYTES_MAX - len('/run/') - len(_SOCKET)} bytes"
        raise InvalidInput(f"the path {path} is too long for a socket", code="path-too-long", hint=hint)
    return EnginePlace(address=Address(path=path), data_root=data_root, exec_root=exec_root, apart=apart)
