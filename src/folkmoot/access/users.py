"""Users whom another server knew: principals who cannot sign in until they are given a key.

Each is a row among the keys (`keys.py`), under the identifier that it has in the histories that came with it, so that
what it wrote there and what it writes here with a key is one principal's.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import bindparam, select

from folkmoot.access.keys import Key
from folkmoot.errors import InvalidInput
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.tables import api_keys

_is_user = api_keys.c.id.startswith("user-")
_users = select(api_keys).where(_is_user)
_named = _users.where((api_keys.c.id == bindparam("named")) | (api_keys.c.name == bindparam("named"))).limit(2)


def row_of_user(user_id: str, name: str, created_at: int, created_by: str) -> dict[str, Any]:
    """Return the row of a user without a key.

    Args:
        user_id: as histories name it.
        name: what it is called.
        created_at: when the other server first knew it, in microseconds.
        created_by: what brought it.
    """
    about = {"id": user_id, "name": name, "created_at": created_at, "created_by": created_by}
    return {**about, "hash": "", "prefix": "", "role": "member"}


async def list_users(transaction: Transaction, page: Page) -> list[Key]:
    """Return users, the oldest first, those who were given a key too (`prefix` then says how it begins)."""
    return [Key.from_row(row) for row in await fetch_page(transaction, _users, api_keys, page, scope=_is_user)]


async def users_named(transaction: Transaction, which: str) -> list[Key]:
    """Return the user of an identifier, or those of a name, two at the most."""
    return [Key.from_row(row) for row in await transaction.all(_named, named=which)]


async def find_user(transaction: Transaction, which: str) -> Key:
    """Return a user by its identifier or its name.

    Raises:
        InvalidInput: there is none, or there are several of that name.
    """
    found = await users_named(transaction, which)
    if not found:
        raise InvalidInput(f"user: no user {which!r} came from another server; leave it out for a key of nobody yet.")
    if len(found) > 1:
        raise InvalidInput(f"user: there are several users {which!r}; name one by its identifier.")
    return found[0]
