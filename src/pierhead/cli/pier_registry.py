"""``pier registry serve``, ``gc``, ``htpasswd``: a registry of one's own."""

from __future__ import annotations

import gc
import os
import sys

from pierhead.cli.asking import ask_secret
from pierhead.cli.flags import BadUsage, Flag, Verb
from pierhead.errors import NotFound
from pierhead.figures import format_size, parse_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pierhead.cli.call import Call
    from pierhead.registry.settings import Settings, Upstream

_ROOT = Flag(
    name="root", value="DIR", about="where the registry keeps everything", default="below pier's own"
)
_COPIES = (
    Flag(
        name="copies-size",
        value="SIZE",
        about="of what came from upstreams keep so much, as 20g; the least recently used goes first",
        default="without limit",
    ),
    Flag(
        name="copies-age",
        kind="number",
        value="SECONDS",
        about="forget what came from them when nobody asked for it for so long",
        default="never",
    ),
)
_PASSWORD_BYTES_MAX = 4096
_HOUR_S = 3600


def _root(call: Call) -> str:
    return os.path.abspath(call.options.text("root") or f"{call.root}/registry")


# serve


def _serve(call: Call) -> int:
    import logging

    from pierhead.registry.serve import run

    gc.enable()
    logging.basicConfig(level=logging.WARNING, format="pier: %(message)s")
    settings = _settings(call)

    def tell(port: int) -> None:
        scheme = "https" if settings.tls_cert else "http"
        call.output.remark(f"listening at {scheme}://{settings.host}:{port}/v2/, keeping {settings.root}\n")

    run(settings, ready=tell)
    return 0


def _settings(call: Call) -> Settings:
    from pierhead.registry.settings import Settings

    options = call.options
    host, port = _address(options.text("listen", "127.0.0.1:5000"), "--listen")
    metrics = options.text("metrics-listen")
    metrics_host, metrics_port = _address(metrics, "--metrics-listen") if metrics else ("127.0.0.1", -1)
    return Settings(
        root=_root(call),
        host=host,
        port=port,
        tls_cert=options.text("tls-cert"),
        tls_key=options.text("tls-key"),
        tls_client_ca=options.text("tls-client-ca"),
        htpasswd=options.text("htpasswd"),
        auth=options.text("auth", "basic"),
        anonymous_pull=options.switch("anonymous-pull"),
        access_rules=options.text("access-rules"),
        token_realm=options.text("token-realm"),
        upstreams=tuple(_upstream(text) for text in options.all("upstream")),
        upstream_credentials=options.text("upstream-credentials"),
        upstream_ca=options.text("upstream-ca"),
        copies_bytes_most=_size(call, "copies-size"),
        copies_age_s=_number(call, "copies-age", 0),
        read_only=options.switch("read-only"),
        collect_every_s=_number(call, "collect-every", _HOUR_S),
        collect_untagged=options.switch("collect-untagged"),
        access_log=options.text("access-log"),
        access_log_format=options.text("access-log-format", "text"),
        metrics_host=metrics_host,
        metrics_port=metrics_port,
    )


def _address(text: str, flag: str) -> tuple[str, int]:
    """``HOST:PORT``, ``[IPV6]:PORT`` or ``:PORT``."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise BadUsage(f"{flag} cannot be {text!r}", hint="write it as 127.0.0.1:5000")
    return host.strip("[]") or "0.0.0.0", int(port)  # noqa: S104 - whoever leaves the host out wants them all


def _upstream(text: str) -> Upstream:
    """``URL``, or ``PREFIX=URL`` for repositories that begin so."""
    from pierhead.registry.settings import Upstream

    prefix, equals, url = text.partition("=")
    if not equals:
        prefix, url = "", text
    if not url.startswith(("http://", "https://")):
        hint = "write it as https://registry.example.com or hub=https://registry.example.com"
        raise BadUsage(f"--upstream cannot be {text!r}", hint=hint)
    return Upstream(prefix=prefix, url=url)


# gc, htpasswd


def _gc(call: Call) -> int:
    from pierhead.registry.collect import collect
    from pierhead.registry.evict import Room, evict
    from pierhead.registry.storage import Storage

    root = _root(call)
    if not os.path.isdir(root):
        raise NotFound(
            f"there is no registry in {root}", code="registry-not-found", hint="name it with --root"
        )
    room = Room(bytes_most=_size(call, "copies-size"), age_s=_number(call, "copies-age", 0))
    with Storage(root) as storage:
        found = collect(
            storage,
            grace_s=_number(call, "grace", _HOUR_S),
            untagged=call.options.switch("untagged"),
        )
        evicted = evict(storage, room)
    counts = [
        (found.manifests, "manifest", "manifests"),
        (found.blobs, "blob", "blobs"),
        (found.uploads, "upload", "uploads"),
        *(
            [(evicted.copies, "copy of an upstream's content", "copies of upstreams' contents")]
            if room
            else ()
        ),
    ]
    removed = ", ".join(f"{count} {one if count == 1 else many}" for count, one, many in counts)
    call.output.print(f"removed {removed}; freed {format_size(found.freed_bytes + evicted.freed_bytes)}\n")
    return 0


def _number(call: Call, name: str, default: int) -> int:
    given = call.options.number(name)
    return default if given is None else given


def _size(call: Call, name: str) -> int:
    """In bytes; 0 if it was not given."""
    text = call.options.text(name, "0")
    size = parse_size(text)
    if size is None:
        raise BadUsage(f"--{name} cannot be {text!r}", hint="write it as 20g, 500m or a number of bytes")
    return size


def _htpasswd(call: Call) -> int:
    from pierhead.registry.passwords import set_password

    path, user = call.arguments
    if sys.stdin.isatty():
        hint = "or write one to standard input"
        password = ask_secret(f"Password of {user}: ", "a password", hint=hint)
    else:
        password = sys.stdin.read(_PASSWORD_BYTES_MAX).rstrip("\r\n")
    if not password:
        raise BadUsage("there is no password on standard input")
    set_password(path, user, password)
    return 0


VERBS = {
    "registry serve": Verb(
        name="registry serve",
        about="be a registry",
        text="Speaks the distribution protocol of the Open Container Initiative, for every client. Garbage "
        "is collected while it serves. SIGTERM lets requests end first; SIGHUP begins a new access log.",
        flags=(
            Flag(name="listen", value="HOST:PORT", about="where it listens", default="127.0.0.1:5000"),
            _ROOT,
            Flag(name="htpasswd", value="FILE", about="users and hashes of their passwords"),
            Flag(
                name="auth",
                value="WAY",
                about="how users show who they are",
                default="basic",
                choices=("basic", "token"),
            ),
            Flag(name="anonymous-pull", kind="switch", about="let everybody pull"),
            Flag(name="access-rules", value="FILE", about="rules of who may do what, in TOML"),
            Flag(name="token-realm", value="URL", about="where clients get tokens", default="this registry"),
            Flag(name="tls-cert", value="FILE", about="certificate, in PEM"),
            Flag(name="tls-key", value="FILE", about="its private key"),
            Flag(name="tls-client-ca", value="FILE", about="let in only clients with a certificate of these"),
            Flag(
                name="upstream",
                kind="list",
                value="[PREFIX=]URL",
                about="a registry from which what is missing is fetched",
            ),
            Flag(
                name="upstream-credentials",
                value="FILE",
                about="names and passwords for them, in the form of docker's config.json",
            ),
            Flag(name="upstream-ca", value="FILE", about="further authorities that vouch for them, in PEM"),
            *_COPIES,
            Flag(name="read-only", kind="switch", about="take nothing from clients"),
            Flag(
                name="collect-every",
                kind="number",
                value="SECONDS",
                about="collect garbage so often; 0 is never",
                default="3600",
            ),
            Flag(name="collect-untagged", kind="switch", about="manifests without tags are garbage too"),
            Flag(name="access-log", value="FILE", about="a line for each request; - is standard error"),
            Flag(
                name="access-log-format",
                value="FORMAT",
                about="of its lines",
                default="text",
                choices=("text", "json"),
            ),
            Flag(
                name="metrics-listen", value="HOST:PORT", about="where /metrics is", default="beside the rest"
            ),
        ),
        examples=(("registry serve --listen :5000 --htpasswd users", "for those who have a password"),),
        perform=_serve,
    ),
    "registry gc": Verb(
        name="registry gc",
        about="remove what no manifest needs",
        text="The registry may serve meanwhile.",
        flags=(
            _ROOT,
            Flag(name="untagged", kind="switch", about="remove manifests without tags as well"),
            *_COPIES,
            Flag(
                name="grace",
                kind="number",
                value="SECONDS",
                about="keep what was asked for within this time",
                default="3600",
            ),
        ),
        perform=_gc,
    ),
    "registry htpasswd": Verb(
        name="registry htpasswd",
        arguments="FILE USER",
        least=2,
        most=2,
        about="set a user's password in a file",
        text="The password is asked for, or read from standard input. A registry that runs reads the file "
        "anew.",
        perform=_htpasswd,
    ),
}
