"""The one error tree.  A kind decides the exit code and (in the engine) the HTTP status.

    PierheadError
    ├── NotModified    304   the object is already as the operation would make it
    ├── InvalidInput   400   what was given is wrong: a document, a name, an option
    ├── Unauthorized   401   nobody knows who the caller is
    ├── Forbidden      403   the caller lacks a right that the operation needs
    ├── NotFound       404   the named object does not exist
    ├── Conflict       409   the object's present state does not allow the operation
    ├── Unsupported    501   this kernel or machine lacks something that was asked for
    ├── Unavailable    503   something needed does not answer at the moment
    ├── TimedOut       504   a limit of time was reached
    └── OperationFailed 500  the kernel or a program refused; carries errno where there is one

A message is one sentence without a full stop and names its object; a hint says what to do. Only the edges
(the command line's output, the API's middleware) render errors; nobody else prints them.
"""

from __future__ import annotations


class PierheadError(Exception):
    """Base of every error that Pierhead raises on purpose.

    Args:
        message: one sentence that names the object and says what is wrong.
        code: stable kebab-case word for programs, e.g. ``container-not-found``.
        hint: what the reader can do about it; may be empty.
    """

    status = 500
    default_code = "internal"

    def __init__(self, message: str, *, code: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint


class NotModified(PierheadError):
    """The object is already as the operation would make it: who asks may take it for done."""

    status = 304
    default_code = "not-modified"


class InvalidInput(PierheadError):
    """Something that was given is wrong; ``path`` is its JSON path where it came from a document."""

    status = 400
    default_code = "invalid-input"

    def __init__(self, message: str, *, code: str = "", hint: str = "", path: str = "") -> None:
        super().__init__(f"{path}: {message}" if path else message, code=code, hint=hint)
        self.path = path


class Unauthorized(PierheadError):
    """Nobody knows who the caller is, or the password is wrong."""

    status = 401
    default_code = "unauthorized"


class Forbidden(PierheadError):
    """The caller lacks a right that the operation needs."""

    status = 403
    default_code = "forbidden"


class NotFound(PierheadError):
    """The named object does not exist."""

    status = 404
    default_code = "not-found"


class Conflict(PierheadError):
    """The object's present state does not allow the operation."""

    status = 409
    default_code = "conflict"


class Unsupported(PierheadError):
    """This kernel or machine lacks something that was asked for."""

    status = 501
    default_code = "unsupported"


class Unavailable(PierheadError):
    """Something needed does not answer at the moment."""

    status = 503
    default_code = "unavailable"


class TimedOut(PierheadError):
    """A limit of time was reached."""

    status = 504
    default_code = "timed-out"


class OperationFailed(PierheadError):
    """The kernel or a program refused an operation; ``errno`` is the kernel's number or 0."""

    default_code = "operation-failed"

    def __init__(self, message: str, *, errno: int = 0, code: str = "", hint: str = "") -> None:
        super().__init__(message, code=code, hint=hint)
        self.errno = errno
