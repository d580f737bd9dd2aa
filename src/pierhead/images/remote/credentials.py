"""Who we are to registries: docker's config.json, and the programs that keep passwords for it.

    {
      "auths":       { "registry.lan:5000": { "auth": base64 of USER:PASSWORD, "identitytoken": … } },
      "credsStore":  "secretservice",               kept by docker-credential-secretservice
      "credHelpers": { "gcr.io": "gcloud" }         kept by docker-credential-gcloud, for this one
    }

Docker Hub's entry is called ``https://index.docker.io/v1/``.  An entry may be for a repository or a
namespace, ``registry.lan/team``, as Podman has it: the longest that fits is taken.  What others wrote into
the file stays there.

Source: docker's cli/config; docker-credential-helpers, "Development" (the protocol); Podman's
containers-auth.json(5).
"""

from __future__ import annotations

import base64
import binascii
import os

from pierhead import jsontext
from pierhead.errors import InvalidInput, NotFound, OperationFailed
from pierhead.images.reference import DEFAULT_DOMAIN
from pierhead.linux.files import read_file, replace_file
from pierhead.linux.process import run_program
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

HUB_KEY = "https://index.docker.io/v1/"
_TOKEN_USER = "<token>"  # noqa: S105 - the name that helpers give to an identity token's user
_NOT_FOUND = "credentials not found"
_HELPER_TIMEOUT_S = 60
_SECRET_BYTES_MAX = 65536
_HELPER_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")


class Credentials(Value):
    """Who somebody is to a registry: a name and a password, or a token that stands for both."""

    username: str = ""
    password: str = ""
    identity_token: str = ""
    """Exchanged for access tokens (OAuth2's refresh token)."""
    registry_token: str = ""
    """Sent as it is."""

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r})"


class CredentialFile:
    """A file of docker's form; it need not exist."""

    def __init__(self, path: str, *, environment: Mapping[str, str] | None = None) -> None:
        """``environment`` is what helper programs get; None is ours."""
        self.path = os.path.abspath(path)
        self._environment = environment

    def find(self, domain: str, repository: str = "") -> Credentials | None:
        """Who we are to a repository of the registry; None is nobody in particular.

        Raises:
            InvalidInput: the file is damaged.
            OperationFailed: a helper is missing, or fails.
        """
        document = self._load()
        helper = self._helper(document, domain)
        if helper:
            found = self._ask(helper, _key(domain))
            if found is not None or _entry(document, "credHelpers").get(domain):
                return found
        entries = {_plain_key(key): entry for key, entry in _entry(document, "auths").items()}
        for key in _keys_for(domain, repository):
            if isinstance(entries.get(key), dict):
                found = self._read(entries[key], key)
                if found is not None:
                    return found
        return None

    def store(self, domain: str, credentials: Credentials) -> None:
        """They are there the next time: in the helper that the file names, else in the file.

        Raises:
            InvalidInput: the file is damaged; it is left as it is.
            OperationFailed: a helper is missing, or fails; the file cannot be written.
        """
        document = self._load()
        helper = self._helper(document, domain)
        entry: dict[str, str] = {}
        if helper:
            token = credentials.identity_token
            secret = {
                "ServerURL": _key(domain),
                "Username": _TOKEN_USER if token else credentials.username,
                "Secret": token or credentials.password,
            }
            self._call(helper, "store", jsontext.format_compact(secret).encode())
        else:
            pair = f"{credentials.username}:{credentials.password}".encode()
            entry["auth"] = base64.b64encode(pair).decode()
            if credentials.identity_token:
                entry["identitytoken"] = credentials.identity_token
        self._save({**document, "auths": {**_without(document, domain), _key(domain): entry}})

    def remove(self, domain: str) -> bool:
        """They are gone, from the helper too; False when there were none.

        Raises:
            InvalidInput: the file is damaged; it is left as it is.
            OperationFailed: a helper fails; the file cannot be written.
        """
        document = self._load()
        helper = self._helper(document, domain)
        known = helper and self._ask(helper, _key(domain)) is not None
        if known:
            self._call(helper, "erase", _key(domain).encode())
        kept = _without(document, domain)
        if len(kept) != len(_entry(document, "auths")):
            self._save({**document, "auths": kept})
            return True
        return bool(known)

    # The file

    def _load(self) -> dict[str, Any]:
        try:
            raw = read_file(self.path)
        except (FileNotFoundError, NotADirectoryError):
            return {}
        except OSError as error:
            raise OperationFailed(
                f"cannot read {self.path}: {error.strerror}", errno=error.errno or 0
            ) from error
        document = jsontext.parse(raw, name=self.path) if raw.strip() else {}
        if not isinstance(document, dict):
            raise InvalidInput(f"{self.path} is not a JSON object", code="invalid-credentials")
        return document

    def _save(self, document: dict[str, Any]) -> None:
        path = os.path.realpath(self.path)  # a link to a file elsewhere stays one
        directory, name = os.path.split(path)
        try:
            os.makedirs(directory, mode=0o700, exist_ok=True)
            directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                replace_file(directory_fd, name, jsontext.format_indented(document).encode(), mode=0o600)
            finally:
                os.close(directory_fd)
        except OSError as error:
            raise OperationFailed(f"cannot write {path}: {error.strerror}", errno=error.errno or 0) from error

    def _read(self, entry: dict[str, Any], key: str) -> Credentials | None:
        username, password = _text(entry, "username"), _text(entry, "password")
        if _text(entry, "auth"):
            try:
                pair = base64.b64decode(_text(entry, "auth"), validate=True).decode().strip("\0")
                username, colon, password = pair.partition(":")
            except (binascii.Error, UnicodeDecodeError):
                colon = ""
            if not colon:
                hint = "log in anew"
                message = f"{self.path}: the entry of {key} is damaged"
                raise InvalidInput(message, code="invalid-credentials", hint=hint)
        found = Credentials(
            username=username,
            password=password,
            identity_token=_text(entry, "identitytoken"),
            registry_token=_text(entry, "registrytoken"),
        )
        return None if found == Credentials() else found

    # Helpers

    def _helper(self, document: dict[str, Any], domain: str) -> str:
        helpers = _entry(document, "credHelpers")
        name = helpers.get(domain) or helpers.get(_key(domain)) or document.get("credsStore") or ""
        if not isinstance(name, str) or not _HELPER_NAME.issuperset(name):
            raise InvalidInput(f"{self.path}: {name!r} is no helper's name", code="invalid-credentials")
        return name

    def _ask(self, helper: str, key: str) -> Credentials | None:
        try:
            answer = jsontext.parse(
                self._call(helper, "get", key.encode()), name=f"the answer of {_program(helper)}"
            )
        except NotFound:
            return None
        username, secret = _text(answer, "Username"), _text(answer, "Secret")
        if username == _TOKEN_USER:
            return Credentials(identity_token=secret)
        return Credentials(username=username, password=secret)

    def _call(self, helper: str, verb: str, said: bytes) -> str:
        program = _program(helper)
        try:
            code, answer = run_program(
                (program, verb),
                environment=self._environment,
                stdin=said,
                timeout_s=_HELPER_TIMEOUT_S,
                said_bytes_max=_SECRET_BYTES_MAX,
                stderr_apart=True,
            )
        except TimeoutError:
            message = f"the credential helper {program} does not answer"
            raise OperationFailed(message, code="credential-helper") from None
        except OSError as error:
            hint = f"install it, or take {helper} out of {self.path}"
            message = f"cannot start the credential helper {program}: {error.strerror}"
            raise OperationFailed(
                message, errno=error.errno or 0, code="credential-helper", hint=hint
            ) from error
        if code == 0:
            return answer
        if _NOT_FOUND in answer:
            raise NotFound(f"{program} knows nothing of it", code="credentials-not-found")
        reason = answer.splitlines()[0] if answer else f"exit code {code}"
        raise OperationFailed(f"the credential helper {program} failed: {reason}", code="credential-helper")


def default_paths(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Where credentials are looked for: docker's file, which is also where they are stored, then Podman's."""
    home = environment.get("HOME", "/root")
    docker = environment.get("DOCKER_CONFIG") or f"{home}/.docker"
    runtime = environment.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    podman = environment.get("REGISTRY_AUTH_FILE") or f"{runtime}/containers/auth.json"
    return f"{docker}/config.json", podman


def find_credentials(
    files: Sequence[CredentialFile], domain: str, repository: str = ""
) -> Credentials | None:
    """Of the first file that has any."""
    for file in files:
        found = file.find(domain, repository)
        if found is not None:
            return found
    return None


def _program(helper: str) -> str:
    return f"docker-credential-{helper}"


def _key(domain: str) -> str:
    return HUB_KEY if domain == DEFAULT_DOMAIN else domain


def _plain_key(key: str) -> str:
    """``https://index.docker.io/v1/`` and its like as a domain and a path."""
    plain = key.partition("://")[2] or key
    if "://" in key:  # only old entries have a scheme, and they are for the whole registry
        plain = plain.partition("/")[0]
    plain = plain.rstrip("/")
    return DEFAULT_DOMAIN if plain in ("index.docker.io", "registry-1.docker.io") else plain


def _keys_for(domain: str, repository: str) -> list[str]:
    """The names that an entry for the repository may have, the narrowest first."""
    parts = repository.split("/") if repository else []
    return ["/".join((domain, *parts[:count])) for count in range(len(parts), -1, -1)]


def _entry(document: dict[str, Any], name: str) -> dict[str, Any]:
    found = document.get(name)
    return found if isinstance(found, dict) else {}


def _without(document: dict[str, Any], domain: str) -> dict[str, Any]:
    return {key: entry for key, entry in _entry(document, "auths").items() if _plain_key(key) != domain}


def _text(entry: object, name: str) -> str:
    found = entry.get(name) if isinstance(entry, dict) else None
    return found if isinstance(found, str) else ""
