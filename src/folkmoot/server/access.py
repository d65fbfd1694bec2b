"""Who sends a request: one function, `Access.identify`, with one result, a `Caller`."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from folkmoot.store.engine import Store
from folkmoot.web.session import Sessions

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Caller:
    """Somebody who may use the server, and what tells so."""

    known_by: Literal["nothing", "key", "session"]
    """`nothing` where the server has no key, so that everybody may."""

    session_id: str | None = None


ANYBODY = Caller("nothing")
KEY_HOLDER = Caller("key")


class Access:
    """Tells callers by the server's API key and by the sessions that were begun with it."""

    def __init__(self, api_key: str | None) -> None:
        """Guard with `api_key`; None lets everybody in."""
        self._key = api_key.encode() if api_key is not None else None
        self.sessions = Sessions(self._key) if self._key is not None else None

    @property
    def needs_key(self) -> bool:
        """Whether the server has a key at all."""
        return self._key is not None

    def is_key(self, given: bytes) -> bool:
        """Tell whether somebody knows the API key."""
        return self._key is not None and hmac.compare_digest(given, self._key)

    async def identify(self, headers: Mapping[bytes, bytes], store: Store | None) -> Caller | None:
        """Return who sends a request; None when nothing in it tells.

        Args:
            headers: the request's.
            store: where sessions are looked up; None where a session makes no difference.

        Raises:
            StoreUnavailable: the session cannot be looked up.
        """
        if self.sessions is None:
            return ANYBODY
        scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
        if scheme.lower() == b"bearer" and self.is_key(given.strip()):
            return KEY_HOLDER
        if store is None or b"cookie" not in headers:
            return None
        session_id = await self.sessions.find(store, headers[b"cookie"])
        return Caller("session", session_id) if session_id is not None else None


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
