"""What a registry answers when it cannot do what was asked: each word of the protocol once, with its status.

Source: distribution-spec "Error Codes"; TAG_INVALID, RANGE_INVALID and PAGINATION_NUMBER_INVALID are
the reference implementation's, which clients know.  Pure.
"""

from __future__ import annotations

from pierhead.errors import PierheadError

STATUSES = {
    "BLOB_UNKNOWN": 404,
    "BLOB_UPLOAD_INVALID": 400,
    "BLOB_UPLOAD_UNKNOWN": 404,
    "DENIED": 403,
    "DIGEST_INVALID": 400,
    "MANIFEST_BLOB_UNKNOWN": 404,
    "MANIFEST_INVALID": 400,
    "MANIFEST_UNKNOWN": 404,
    "NAME_INVALID": 400,
    "NAME_UNKNOWN": 404,
    "PAGINATION_NUMBER_INVALID": 400,
    "RANGE_INVALID": 416,
    "SIZE_INVALID": 400,
    "TAG_INVALID": 400,
    "TOOMANYREQUESTS": 429,
    "UNAUTHORIZED": 401,
    "UNKNOWN": 500,
    "UNSUPPORTED": 405,
}


class Fault(PierheadError):
    """A request that a registry refuses.

    Args:
        word: the protocol's, one of ``STATUSES``; the error's code is the same in kebab-case.
        message: one sentence that names the object.
        status: of HTTP, where it is not the word's own.
        headers: further ones of the answer.
        hint: what the client's user can do.
    """

    def __init__(
        self,
        word: str,
        message: str,
        *,
        status: int = 0,
        headers: dict[str, str] | None = None,
        hint: str = "",
    ) -> None:
        super().__init__(message, code=word.lower().replace("_", "-"), hint=hint)
        self.word = word
        self.status = status or STATUSES[word]
        self.headers = headers or {}


def fault_document(error: PierheadError) -> dict[str, object]:
    """The body of the answer (distribution-spec "Error Codes")."""
    entry: dict[str, object] = {"code": getattr(error, "word", "UNKNOWN"), "message": error.message}
    if error.hint:
        entry["detail"] = {"hint": error.hint}
    return {"errors": [entry]}
