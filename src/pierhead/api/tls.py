"""Who may connect over TCP: certificates, and what they allow.

openssl req … -subj /CN=ci                      everything
openssl req … -subj /CN=dashboard/OU=read-only  only to look
"""

from __future__ import annotations

import ssl

from pierhead.errors import InvalidInput
from pierhead.values import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

READ_ONLY = "read-only"
"""The organizational unit whose clients may only look; also the name of their role."""


class TlsSettings(Value):
    """Files in PEM.

    Fields:
        certificate, key: the server's.
        authority: whose certificates clients must show; "" asks for none.
    """

    certificate: str
    key: str
    authority: str = ""


def make_context(settings: TlsSettings) -> ssl.SSLContext:
    """TLS 1.2 and newer, as the files say.

    Raises:
        InvalidInput: a file cannot be read, or has something else.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(settings.certificate, settings.key)
        if settings.authority:
            context.load_verify_locations(settings.authority)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # also what is no certificate: SSLError
        names = ", ".join(name for name in (settings.certificate, settings.key, settings.authority) if name)
        reason = (error.strerror or str(error)).lower()
        raise InvalidInput(f"cannot use {names}: {reason}", code="bad-certificate") from error
    return context


def role_of(certificate: Mapping[str, Any]) -> str:
    """``read-only`` if an organizational unit of the subject says so, else ``full``.

    Args:
        certificate: as ssl.SSLSocket.getpeercert has it; empty if none was asked for.
    """
    names = [pair for part in certificate.get("subject", ()) for pair in part]
    units = [value for name, value in names if name == "organizationalUnitName"]
    return READ_ONLY if READ_ONLY in units else "full"
