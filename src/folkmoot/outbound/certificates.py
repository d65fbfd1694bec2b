"""Which certificates are trusted, read once: each reading takes 30 ms and a megabyte that a client would keep."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl


@cache
def trusted() -> ssl.SSLContext:
    """Return certifi's certificates, or those that `SSL_CERT_FILE` or `SSL_CERT_DIR` names, for every client's TLS."""
    import ssl

    import certifi

    file, folder = os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")
    return ssl.create_default_context(cafile=file or (None if folder else certifi.where()), capath=folder or None)
