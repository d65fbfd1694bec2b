"""Which page a browser's request comes from."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from folkmoot.server.authorization import SAFE_METHODS

DEFAULT_PORTS = {"http": 80, "https": 443}


def comes_from_elsewhere(method: str, headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether a page of another site asks for a change through its visitor's browser.

    Browsers say where a request comes from in `Sec-Fetch-Site`; those that do not, in `Origin`. Programs say neither.
    """
    if method in SAFE_METHODS:
        return False
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    if origin is None:
        return False
    try:
        named = urlsplit(origin.decode("latin-1")).netloc
    except ValueError:  # it is no address, and so not this server's
        return True
    return named.lower() != headers.get(b"host", b"").decode("latin-1").lower()


def origin_of(address: str) -> str | None:
    """Return the origin that an address belongs to, as browsers send it; None when it belongs to none.

    >>> origin_of("HTTPS://App.example.org:443/start"), origin_of("http://[::1]:3000"), origin_of("null")
    ('https://app.example.org', 'http://[::1]:3000', None)
    """
    try:
        parts = urlsplit(address)
        name, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in DEFAULT_PORTS or not name or parts.username is not None:
        return None
    shown = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{shown}" + ("" if port in (None, DEFAULT_PORTS[parts.scheme]) else f":{port}")
