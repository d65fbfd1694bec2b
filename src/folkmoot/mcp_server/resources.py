"""Blocks as resources, `memory://<label>`, and who is told of their changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TypeAlias
from urllib.parse import quote, unquote

from folkmoot.access.keys import CHANGED, find_key
from folkmoot.errors import NotFound
from folkmoot.mcp_server.lists import Lists, lists_of
from folkmoot.mcp_server.member import Member, NotReached
from folkmoot.memory.blocks import labels_topic, topic, version_of
from folkmoot.memory.listing import BlockEntry
from folkmoot.memory.subscriptions import (
    MOST_OF_SESSION,
    NOTE_SECONDS,
    Session,
    Subscription,
    note_heard,
    subscriptions_of,
)
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.signals import wait_or_look_again

SCHEME = "memory://"
LOOK_AGAIN_SECONDS = 5.0
"""How often subscribed blocks are looked at without a wake-up, should one from another process be lost."""

IDLE_SECONDS = 30.0
"""The same for who has subscribed to nothing."""

LONGEST_ADDRESS = 3_000
"""Characters of a resource: a label of 200 characters, each of up to four bytes, three letters to a byte."""

MOST_SUBSCRIBED = MOST_OF_SESSION
"""Resources of one subscription."""


def address_of(block: BlockEntry) -> str:
    """Return a block's resource.

    >>> from types import SimpleNamespace
    >>> address_of(SimpleNamespace(label="team notes"))  # type: ignore[arg-type]
    'memory://team%20notes'
    """
    return SCHEME + quote(block.label, safe="")


def name_in(address: str) -> str:
    """Return the label or identifier that a resource names.

    Raises:
        NotReached: it is no resource of ours.

    >>> name_in("memory://team%20notes")
    'team notes'
    """
    if len(address) > LONGEST_ADDRESS:
        raise NotReached(f"{address[:80]!r}… is longer than the {LONGEST_ADDRESS:,} characters of any resource here.")
    if not address.startswith(SCHEME):
        raise NotReached(f"{address!r} is no resource of this server; they are called {SCHEME}<label>.")
    return unquote(address.removeprefix(SCHEME).rstrip("/"))


@dataclass(frozen=True, slots=True)
class Updated:
    """A block that was subscribed to has changed, or is no longer there or reached."""

    address: str


@dataclass(frozen=True, slots=True)
class ListsChanged:
    """The member is listed other tools or resources: its key reaches something else, or a block is no more."""

    tools: bool
    resources: bool


Change: TypeAlias = Updated | ListsChanged

Seen: TypeAlias = Mapping[str, tuple[str, int] | None]
"""Identifier and version of the block behind each address; None where none is reached."""


async def look(member: Member, addresses: Collection[str]) -> Seen:
    """Return what stands behind each address now."""
    return await member.state.store.read(lambda transaction: _look(member, transaction, addresses))


async def standing_behind(member: Member, transaction: Transaction, address: str) -> Subscription:
    """Return what stands behind an address now.

    Raises:
        NotReached: nothing that the member reaches.
    """
    return Subscription(address, await _standing(member, transaction, address))


async def _standing(member: Member, transaction: Transaction, address: str) -> tuple[str, int]:
    """Return which block stands behind an address, in which version. Its text, which may be long, is not read.

    Raises:
        NotReached: none that the member reaches.
    """
    block_id = await member.block_id(transaction, name_in(address))
    try:
        return block_id, await version_of(transaction, block_id)
    except NotFound as error:  # PostgreSQL shows each statement what was committed before it
        raise NotReached(f"{address!r} has just been deleted.") from error


async def changes(
    member: Member, seen: Seen, *, listed: Lists | None = None, session: Session | None = None
) -> AsyncIterator[Change]:
    """Yield what changes of the blocks that are subscribed to, and of what the member is listed.

    Each change is told once, however many versions it took; what there is to see is then read anew.

    Args:
        member: who subscribed.
        seen: what stood behind each address before the subscription was acknowledged: whatever changes later is told.
        listed: what the member was listed before; None when it does not want to know.
        session: whose subscriptions are followed, as they are at each moment.
    """
    store = member.state.store
    listing = (CHANGED, labels_topic(store.organization_id))
    always = listing if session is None else (*listing, session.topic)
    with store.signals.listening(*listing) as relisted, ExitStack() as listening:
        relist = True
        woken = listening.enter_context(store.signals.listening(*always))
        heard: set[str] = set()
        note_at = 0
        while True:
            if session is not None:
                if clock.now() >= note_at:
                    await store.write(partial(note_heard, session=session))
                    note_at = clock.now() + int(NOTE_SECONDS * 1_000_000)
                seen = await _followed(member, session, seen)
            now = await look(member, seen)
            new = {block[0] for block in now.values() if block is not None} - heard
            if new:
                heard |= new
                listening.pop_all().close()
                woken = listening.enter_context(store.signals.listening(*always, *map(topic, heard)))
                continue  # it may have changed before we listened
            for address in now:
                if now[address] != seen[address]:
                    yield Updated(address)
            seen = now
            if listed is not None and relist and (lists := await lists_of(member)) != listed:
                yield ListsChanged(lists.tools != listed.tools, lists.resources != listed.resources)
                listed = lists
            await wait_or_look_again(woken, LOOK_AGAIN_SECONDS if seen else IDLE_SECONDS)
            relist = relisted.is_set() or not woken.is_set()  # or a wake-up may have been lost
            woken.clear()
            relisted.clear()
            member = await _as_it_is_now(member)


async def _followed(member: Member, session: Session, seen: Seen) -> Seen:
    """Return what was last seen of what a session has subscribed to; of what is new to us, what stood there then."""
    subscribed = await member.state.store.read(lambda transaction: subscriptions_of(transaction, session))
    return {each.address: seen.get(each.address, each.block) for each in subscribed}


async def _look(member: Member, transaction: Transaction, addresses: Collection[str]) -> Seen:
    found: dict[str, tuple[str, int] | None] = {}
    for address in addresses:
        try:
            found[address] = await _standing(member, transaction, address)
        except NotReached:
            found[address] = None
    return found


async def _as_it_is_now(member: Member) -> Member:
    """Return the member with what its key reaches now; the gate ends the streams of a key that is over."""
    principal = member.state.principal
    if principal.id is None or principal.grants is None:
        return member
    key_id = principal.id
    key = await member.state.store.read(lambda transaction: find_key(transaction, key_id))
    state = member.state.of(replace(principal, grants=key.grants), member.state.user_agent)
    return Member(state)


async def until_stopped(changes: AsyncIterator[Change], stopped: asyncio.Event) -> AsyncIterator[Change]:
    """Yield changes until the server is stopped."""
    stopping = asyncio.ensure_future(stopped.wait())
    following: asyncio.Future[Change] | None = None
    try:
        while True:
            following = asyncio.ensure_future(anext(changes))
            await asyncio.wait((following, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not following.done():
                return
            yield following.result()
    finally:  # also when the reader has gone: a step under way would keep looking for changes, for ever
        left = [future for future in (following, stopping) if future is not None]
        for future in left:
            future.cancel()
        await asyncio.gather(*left, return_exceptions=True)
