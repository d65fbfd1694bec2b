"""Who may use the pages when the server has an API key: a cookie that is made from the key and is not the key.

The cookie holds when it ends and a MAC of that under the API key, so that every server process accepts it, none keeps a
list, and a new key ends all sessions. A browser sends it by itself, so whatever it may change is also checked for
where the request comes from (`comes_from_elsewhere`).
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

COOKIE = "folkmoot_session"

LASTS = 30 * 24 * 3600
"""Seconds that a session lasts."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Sessions:
    """Makes and checks the cookies of one API key."""

    def __init__(self, api_key: str | None) -> None:
        """Guard with `api_key`; None lets everybody in."""
        self._key = api_key.encode() if api_key is not None else None

    @property
    def needed(self) -> bool:
        """Whether the server has a key at all."""
        return self._key is not None

    def is_key(self, given: bytes) -> bool:
        """Tell whether somebody knows the API key."""
        return self._key is not None and hmac.compare_digest(given, self._key)

    def begin(self) -> str:
        """Return the value of a new session's cookie."""
        end = str(int(time.time()) + LASTS)
        return f"{end}.{self._mac(end)}"

    def admits(self, headers: Mapping[bytes, bytes]) -> bool:
        """Tell whether a request carries the API key or a session's cookie."""
        return not self.needed or self.has_key(headers) or self.has_session(headers)

    def has_key(self, headers: Mapping[bytes, bytes]) -> bool:
        """Tell whether a request carries the API key as a bearer token."""
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        return scheme.lower() == b"bearer" and self.is_key(given.strip())

    def has_session(self, headers: Mapping[bytes, bytes]) -> bool:
        """Tell whether a request carries a session's cookie that still holds."""
        end, _, mac = _cookie(headers).partition(".")
        if not end.isascii() or not end.isdigit() or len(end) > 12 or not mac.isascii():
            return False
        return hmac.compare_digest(mac, self._mac(end)) and int(end) > time.time()

    def _mac(self, end: str) -> str:
        assert self._key is not None
        return hmac.new(self._key, f"folkmoot page session until {end}".encode(), hashlib.sha256).hexdigest()


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
    return urlsplit(origin.decode("latin-1")).netloc.lower() != headers.get(b"host", b"").decode("latin-1").lower()


def _cookie(headers: Mapping[bytes, bytes]) -> str:
    try:
        morsel = SimpleCookie(headers.get(b"cookie", b"").decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""
