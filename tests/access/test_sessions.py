"""Sessions end with their time, with their key, and when they are ended."""

from __future__ import annotations

import pytest

from folkmoot.access.keys import Key, create_key, give_key, revoke_key
from folkmoot.access.principals import ADMIN, Role
from folkmoot.access.sessions import LASTS, Sessions
from folkmoot.access.users import find_user, row_of_user
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.tables import api_keys


def cookie(value: str) -> bytes:
    return f"other=1; folkmoot_session={value}".encode()


async def test_a_session_ends_with_its_time_and_with_its_key(opened: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = Sessions(b"one"), Sessions(b"two")
    value = cookie(await one.begin(opened, ADMIN))
    found = await one.find(opened, value)
    assert found is not None
    assert (found.name, found.kind) == ("admin", "session")
    assert await two.find(opened, value) is None
    assert await Sessions(None).find(opened, value) is None
    assert await one.find(opened, value.partition(b".")[0]) is None, "without the MAC it is nobody's"

    later = clock.now() + LASTS * 1_000_000
    monkeypatch.setattr(clock, "now", lambda: later)
    assert await one.find(opened, value) is None
    again = cookie(await one.begin(opened, ADMIN))
    assert await one.find(opened, again) not in (None, found)


async def test_a_session_that_was_ended_stays_so_and_the_others_go_on(opened: Store) -> None:
    sessions = Sessions(b"one")
    ended, other = cookie(await sessions.begin(opened, ADMIN)), cookie(await sessions.begin(opened, ADMIN))
    found = await sessions.find(opened, ended)
    assert found is not None
    await sessions.end(opened, found)
    await sessions.end(opened, found)
    assert await sessions.find(opened, ended) is None
    assert await sessions.find(opened, other) is not None


async def test_a_stored_keys_session_ends_with_it(opened: Store) -> None:
    sessions = Sessions(None)
    key, _ = await opened.write(lambda transaction: create_key(transaction, "ada", "reader", None, "admin"))
    value = cookie(await sessions.begin(opened, key.principal()))
    found = await sessions.find(opened, value)
    assert found is not None
    assert (found.name, found.role, found.id, found.kind) == ("ada", "reader", key.id, "session")
    await opened.write(lambda transaction: revoke_key(transaction, key.id))
    assert await sessions.find(opened, value) is None


async def test_a_users_next_key_opens_no_session_of_the_one_before(opened: Store) -> None:
    """Users who came from another server keep their row, so that a session that named it could come back to life."""
    sessions, row = Sessions(None), row_of_user("user-1", "grace", 1, "folkmoot import")
    await opened.write(lambda transaction: transaction.insert(api_keys, [row]))

    async def give(role: Role) -> Key:
        key, _ = await opened.write(lambda each: _give(each, role))
        return key

    async def _give(transaction: Transaction, role: Role) -> tuple[Key, str]:
        return await give_key(transaction, await find_user(transaction, "user-1"), "grace", role, None)

    first = await give("reader")
    value = cookie(await sessions.begin(opened, first.principal()))
    assert await sessions.find(opened, value) is not None
    await opened.write(lambda transaction: revoke_key(transaction, first.id))
    second = await give("admin")
    assert await sessions.find(opened, value) is None
    assert await sessions.find(opened, cookie(await sessions.begin(opened, second.principal()))) is not None
