"""How libpod's clients are understood."""

from __future__ import annotations

from pierhead.api.dialects import Dialect
from pierhead.api.libpod.errors import reply_error
from pierhead.api.libpod.routes import TABLE
from pierhead.api.libpod.versions import NEWEST, parse_version

LIBPOD = Dialect(table=TABLE, newest=NEWEST, parse_version=parse_version, reply_error=reply_error)
