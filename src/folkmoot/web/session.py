"""Sessions of the pages, where the server has an API key: a cookie that is made from the key and is not the key.

The cookie names a row in the store and proves with a MAC under the API key that this server gave it out: made-up ones
never reach the store, what the store holds opens nothing, and a new key ends all sessions. Without its row a session is
over, in every process and for good. A browser sends the cookie by itself, so whatever it may change is also checked for
where the request comes from (`comes_from_elsewhere`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from http.cookies import CookieError, SimpleCookie

from sqlalchemy import bindparam, delete, select

from folkmoot.store import clock
from folkmoot.store.engine import Row, Store, Transaction
from folkmoot.store.tables import sessions

COOKIE = "folkmoot_session"

LASTS = 30 * 24 * 3600
"""Seconds that a session lasts."""

_this_one = sessions.c.id == bindparam("session_id")
_unended = select(sessions.c.id).where(_this_one, sessions.c.expires_at > bindparam("now"))
_end = delete(sessions).where(_this_one)
_forget_expired = delete(sessions).where(sessions.c.expires_at <= bindparam("now"))


class Sessions:
    """Begins, finds and ends the sessions of one API key."""

    def __init__(self, key: bytes) -> None:
        """Make cookies with `key`."""
        self._key = key

    async def begin(self, store: Store) -> str:
        """Begin a session and return its cookie's value.

        Raises:
            StoreError: it cannot be stored.
        """
        session_id, now = secrets.token_hex(16), clock.now()

        async def work(transaction: Transaction) -> None:
            await transaction.run(_forget_expired, now=now)
            row = {"id": session_id, "expires_at": now + LASTS * 1_000_000}
            await transaction.insert(sessions, [row])

        await store.write(work)
        return f"{session_id}.{self._mac(session_id)}"

    async def find(self, store: Store, cookies: bytes) -> str | None:
        """Return the identifier of the session that a `Cookie` header names; None when there is none or it is over.

        Raises:
            StoreUnavailable: it cannot be looked up.
        """
        session_id, _, mac = _read_cookie(cookies).partition(".")
        if not session_id.isascii() or not mac.isascii() or not hmac.compare_digest(mac, self._mac(session_id)):
            return None

        async def look(transaction: Transaction) -> Row | None:
            return await transaction.first(_unended, session_id=session_id, now=clock.now())

        return session_id if await store.read(look) is not None else None

    async def end(self, store: Store, session_id: str) -> None:
        """End a session for good.

        Raises:
            StoreError: that cannot be stored.
        """

        async def work(transaction: Transaction) -> None:
            await transaction.run(_end, session_id=session_id)

        await store.write(work)

    def _mac(self, session_id: str) -> str:
        return hmac.new(self._key, f"folkmoot page session {session_id}".encode(), hashlib.sha256).hexdigest()


def _read_cookie(cookies: bytes) -> str:
    try:
        morsel = SimpleCookie(cookies.decode("latin-1")).get(COOKIE)
    except CookieError:
        return ""
    return morsel.value if morsel is not None else ""
