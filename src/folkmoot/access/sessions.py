"""Sessions of the pages: a cookie that is given out for a key and is not the key.

The cookie is 32 random bytes, of which the store keeps the hash, so that what the store holds opens nothing. One that
was begun with FOLKMOOT_API_KEY also carries a MAC under it: a new key ends all of them, and no other server's counts.
One that was begun with a stored key names it, and ends with it. Without its row a session is over, in every process and
for good. A browser sends the cookie by itself, so whatever it may change is also checked for where the request comes
from (`comes_from_elsewhere`).
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import replace

from sqlalchemy import bindparam, delete, select

from folkmoot.access.keys import CHANGED, Key, hash_of
from folkmoot.access.principals import ADMIN, Principal
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.tables import api_keys, sessions

COOKIE = "folkmoot_session"

LASTS = 30 * 24 * 3600
"""Seconds that a session lasts."""

_this_one = sessions.c.id == bindparam("session_id")
_unended = select(sessions).where(_this_one, sessions.c.expires_at > bindparam("now"))
_key_of = select(api_keys).where(api_keys.c.organization_id == bindparam("whose"), api_keys.c.id == bindparam("key_id"))
_end = delete(sessions).where(_this_one)
_forget_expired = delete(sessions).where(sessions.c.expires_at <= bindparam("now"))


class Sessions:
    """Begins, finds and ends the sessions of a server."""

    def __init__(self, key: bytes | None) -> None:
        """Bind what is begun with FOLKMOOT_API_KEY to `key`; None where there is none."""
        self._key = key

    async def begin(self, store: Store, principal: Principal) -> str:
        """Begin a session for who has shown a key, and return its cookie's value.

        Raises:
            StoreError: it cannot be stored.
        """
        secret, now = secrets.token_urlsafe(32), clock.now()

        async def work(transaction: Transaction) -> None:
            await transaction.run(_forget_expired, now=now)
            row = {"id": hash_of(secret), "key_id": principal.id, "expires_at": now + LASTS * 1_000_000}
            await transaction.insert(sessions, [row])

        await store.of(principal.organization_id).write(work)
        return secret if principal.id is not None else f"{secret}.{self._mac(secret)}"

    async def find(self, store: Store, cookies: bytes) -> Principal | None:
        """Return who began the session that a `Cookie` header names; None when there is none or it is over.

        Raises:
            StoreUnavailable: it cannot be looked up.
        """
        secret, _, mac = _read_cookie(cookies).partition(".")
        if not secret or not secret.isascii() or not mac.isascii():
            return None
        if mac and (self._key is None or not hmac.compare_digest(mac, self._mac(secret))):
            return None
        session_id = hash_of(secret)

        async def look(transaction: Transaction) -> Principal | None:
            row = await transaction.first(_unended, session_id=session_id, now=clock.now())
            if row is None or (row["key_id"] is None) is not bool(mac):
                return None
            if row["key_id"] is None:
                return ADMIN
            found = await transaction.first(_key_of, whose=row["organization_id"], key_id=row["key_id"])
            key = Key.from_row(found) if found is not None else None
            return key.principal() if key is not None and key.is_valid(clock.now()) else None

        principal = await store.everywhere.read(look)
        return replace(principal, kind="session", session_id=session_id) if principal is not None else None

    async def end(self, store: Store, principal: Principal) -> None:
        """End a principal's session for good.

        Raises:
            StoreError: that cannot be stored.
        """

        async def work(transaction: Transaction) -> None:
            await transaction.run(_end, session_id=principal.session_id)
            transaction.signal(CHANGED)

        await store.of(principal.organization_id).write(work)

    def _mac(self, secret: str) -> str:
        assert self._key is not None
        return hmac.new(self._key, f"folkmoot page session {secret}".encode(), hashlib.sha256).hexdigest()


def _read_cookie(cookies: bytes) -> str:
    """Return the session's cookie, whatever stands beside it: other programs of the same host have cookies too.

    Of several the last is ours: browsers send those first that are for a part of the host only.
    """
    found = ""
    for cookie in cookies.decode("latin-1").split(";"):
        name, _, value = cookie.strip().partition("=")
        if name == COOKIE:
            found = value
    return found
