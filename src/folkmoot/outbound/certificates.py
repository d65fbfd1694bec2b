"""Which certificates are trusted, read once: each reading takes 30 ms and a megabyte that a client would keep."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


@cache
def trusted() -> ssl.SSLContext:
    """Return the certificates that httpx comes with, or those that `SSL_CERT_FILE` names, for every client's TLS."""
    import httpx

    return httpx.create_ssl_context()
