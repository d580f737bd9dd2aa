"""What a registry is told at its start."""

from __future__ import annotations

from pierhead.errors import InvalidInput
from pierhead.values import Value


class Upstream(Value):
    """A registry whose contents are fetched when they are asked for.

    Fields:
        prefix: of the repositories that are fetched; "" is all of them. It is not a part of the upstream's
            names, unless ``keep_prefix``.
        url: ``https://HOST[:PORT][/PATH]``; the path comes before the upstream's names.
        keep_prefix: the upstream's names begin with it too.
    """

    prefix: str = ""
    url: str
    keep_prefix: bool = False


class Settings(Value):
    """A registry's settings.

    Fields:
        root: directory that holds everything; made if need be.
        host, port: where it listens; port 0 is any free one.
        tls_cert, tls_key: files in PEM; "" is plain HTTP.
        tls_client_ca: only clients with a certificate of these authorities are let in.
        htpasswd: file of users and hashes of passwords; "" asks nobody.
        auth: how users show who they are: ``basic`` or ``token``.
        anonymous_pull: whoever gives no name may pull.
        access_rules: TOML file that says who may do what; "" is everything for every user.
        token_service: the registry's name in tokens; "" is its address.
        token_realm: URL of /token for clients; "" is made of the address that they used.
        token_key: private key in PEM; "" is ROOT/token-key.pem, made if need be.
        upstreams: where what is missing is fetched from; the longest prefix counts.
        upstream_credentials: file of docker's form (config.json) with names and passwords for them.
        copies_bytes_most: of what came from upstreams so much is kept, the least recently used goes first;
            0 is without limit.
        copies_age_s: what came from them goes when nobody has asked for it for so long; 0 is never.
        upstream_ca: file of authorities, in PEM, that vouch for upstreams beside those of the machine.
        upstream_fresh_s: what a tag means is asked of an upstream again after this time.
        read_only: nothing is taken from clients.
        collect_every_s: garbage is collected so often; 0 is never.
        collect_untagged: manifests without tags are garbage too.
        grace_s: what nothing needs is kept for so long after it was last asked for.
        chunk_least_bytes: clients are asked for chunks of at least this size; 0 asks for nothing.
        idle_s: a client that sends nothing for so long, no request or nothing of its body, is hung up on.
        stop_s: requests have so long to end when the registry is told to stop.
        access_log: file of a line for each request; "-" is standard error, "" none.
        access_log_format: ``text`` or ``json``.
        metrics_host, metrics_port: where /metrics, /healthz and /readyz are; port -1 is beside the rest.
    """

    root: str
    host: str = "127.0.0.1"
    port: int = 5000
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    htpasswd: str = ""
    auth: str = "basic"
    anonymous_pull: bool = False
    access_rules: str = ""
    token_service: str = ""
    token_realm: str = ""
    token_key: str = ""
    upstreams: tuple[Upstream, ...] = ()
    upstream_credentials: str = ""
    upstream_ca: str = ""
    copies_bytes_most: int = 0
    copies_age_s: int = 0
    upstream_fresh_s: float = 60.0
    read_only: bool = False
    collect_every_s: float = 3600.0
    collect_untagged: bool = False
    grace_s: int = 3600
    chunk_least_bytes: int = 0
    idle_s: float = 120.0
    stop_s: float = 10.0
    access_log: str = ""
    access_log_format: str = "text"
    metrics_host: str = "127.0.0.1"
    metrics_port: int = -1


def check_settings(settings: Settings) -> None:
    """The settings go together.

    Raises:
        InvalidInput: they do not.
    """
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise InvalidInput("TLS needs both a certificate and a key", code="invalid-settings")
    if settings.tls_client_ca and not settings.tls_cert:
        raise InvalidInput("certificates of clients need TLS", code="invalid-settings")
    if settings.copies_bytes_most < 0 or settings.copies_age_s < 0:
        message = "what is kept of upstreams cannot be less than nothing"
        raise InvalidInput(message, code="invalid-settings", hint="0 is without limit")
    if settings.auth not in ("basic", "token"):
        message = f"{settings.auth!r} is no way to show who one is"
        raise InvalidInput(message, code="invalid-settings", hint="it may be basic or token")
    asks = settings.anonymous_pull or settings.access_rules or settings.auth == "token"
    if asks and not settings.htpasswd:
        message = "rules of access need a file of users"
        raise InvalidInput(message, code="invalid-settings", hint="pier registry htpasswd makes one")
    if settings.access_rules and settings.anonymous_pull:
        hint = 'give "anonymous" the action pull in a rule'
        raise InvalidInput("the file of rules says who may pull", code="invalid-settings", hint=hint)
