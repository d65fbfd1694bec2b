"""New messages wait to be indexed together on SQLite; a search finds each that was committed before it all the same."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from typing import cast

import pytest

from folkmoot.conversations.conversations import append_messages, delete_message, start_conversation
from folkmoot.conversations.messages import Message
from folkmoot.conversations.search import MessageSearch, rewrite_message, search_for
from folkmoot.errors import StoreUnavailable
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.sqlite import SqliteEngine
from folkmoot.store.sqlite_writer import INDEXED_TOGETHER
from support.stores import insert_agent, open_default

pytestmark = pytest.mark.parametrize("store", ["sqlite"], indirect=True)

TALK = "agent-1"


def said(*words: str) -> list[Message]:
    return [Message("user_message", {"content": each}) for each in words]


async def begin(store: Store) -> None:
    """Make an agent, whose conversation is empty."""

    async def make(transaction: Transaction) -> None:
        await insert_agent(transaction, TALK)
        await start_conversation(transaction, TALK, TALK, [Message("system_message", {"content": "s"})])

    await store.write(make)


async def add(store: Store, new: Sequence[Message]) -> None:
    await store.write(lambda transaction: append_messages(transaction, TALK, new, None))


async def found(store: Store, query: str) -> list[str]:
    work = await search_for(store, MessageSearch(query=query, limit=1000))
    return sorted(each.message.id for each in await store.scan(work))


def waiting(database_url: str) -> int:
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
        return int(connection.execute("SELECT count(*) FROM messages_fulltext_waiting").fetchone()[0])


async def test_what_waits_is_found_changed_and_deleted(opened: Store, database_url: str) -> None:
    await begin(opened)
    heron, kite, swan = said("a heron", "a kite", "a swan")
    await add(opened, [heron])
    assert waiting(database_url) == 1, "it is not indexed alone"
    assert await found(opened, "heron") == [heron.id]
    assert waiting(database_url) == 0
    await add(opened, [kite, swan])
    await opened.write(lambda each: delete_message(each, TALK, kite.id))
    await opened.write(lambda each: rewrite_message(each, swan.id, {"content": "a goose"}))
    await opened.write(lambda each: rewrite_message(each, heron.id, {"content": "an egret"}))
    for query, ids in (("kite", []), ("swan", []), ("goose", [swan.id]), ("heron", []), ("egret", [heron.id])):
        assert await found(opened, query) == ids, query
    await opened.write(lambda each: delete_message(each, TALK, heron.id))
    assert await found(opened, "egret") == []
    with closing(sqlite3.connect(database_url.removeprefix("sqlite:///"))) as connection:
        connection.execute("INSERT INTO messages_fulltext(messages_fulltext) VALUES ('integrity-check')")


async def test_many_are_indexed_before_anybody_searches_and_some_outlive_the_process(
    opened: Store, database_url: str
) -> None:
    await begin(opened)
    many = said(*(f"word {number}" for number in range(INDEXED_TOGETHER)))
    await add(opened, many[:-1])
    assert waiting(database_url) == INDEXED_TOGETHER - 1
    await add(opened, many[-1:])
    assert waiting(database_url) == 0
    (last,) = said("a word behind")
    await add(opened, [last])
    await opened.close()
    again = await open_default(database_url)
    assert await found(again, "word") == sorted(each.id for each in [*many, last])
    await again.close()


async def test_who_searches_while_others_commit_misses_nothing_that_was_committed_before(
    opened: Store, database_url: str
) -> None:
    await begin(opened)

    async def write_and_look(number: int) -> None:
        (new,) = said(f"token{number}")
        await add(opened, [new])
        assert await found(opened, f"token{number}") == [new.id]

    await asyncio.gather(*(write_and_look(number) for number in range(40)))


async def test_a_search_that_comes_while_a_commit_fails_is_not_taken_for_served(
    opened: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    await begin(opened)
    (heron,) = said("a heron")
    await add(opened, [heron])
    writer = cast("SqliteEngine", opened.engine)._writer
    index, under_way, searched = writer._index_texts, asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def index_and_fail(fewest: int) -> None:
        monkeypatch.setattr(writer, "_index_texts", index)
        loop.call_soon_threadsafe(under_way.set)
        searched.wait()
        index(fewest)
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr(writer, "_index_texts", index_and_fail)
    failing = asyncio.create_task(add(opened, said("lost")))
    await under_way.wait()
    search = asyncio.create_task(found(opened, "heron"))
    while not writer._queue:
        await asyncio.sleep(0)
    searched.set()
    with pytest.raises(StoreUnavailable):
        await failing
    assert await search == [heron.id]
