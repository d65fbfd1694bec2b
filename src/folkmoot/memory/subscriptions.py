"""Which blocks a session from elsewhere is told of: kept, since each of its requests may reach another process."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, select, update

from folkmoot.errors import Conflict
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import mcp_subscriptions

KEEP_SECONDS = 86_400.0
"""How long the subscriptions of a session are kept that nobody listens to."""

NOTE_SECONDS = 3600.0
"""How often it is noted that somebody listens."""

MOST_OF_SESSION = 100
MOST_OF_MEMBER = 10_000
"""Subscriptions of all sessions of a member that are kept."""

_of_session = (mcp_subscriptions.c.session == bindparam("of_session")) & (
    mcp_subscriptions.c.member == bindparam("of_member")
)
_select = select(mcp_subscriptions).where(_of_session)
_count = select(func.count().label("all_of_them"), func.count().filter(_of_session).label("of_this")).where(
    mcp_subscriptions.c.member == bindparam("of_member")
)
_delete_one = delete(mcp_subscriptions).where(_of_session, mcp_subscriptions.c.address == bindparam("of_address"))
_delete_old = delete(mcp_subscriptions).where(mcp_subscriptions.c.heard_at < bindparam("before"))
_hear = update(mcp_subscriptions).where(_of_session).values(heard_at=bindparam("now"))


@dataclass(frozen=True, slots=True)
class Session:
    """A session, and whose it is: nobody else is told anything by knowing its identifier."""

    id: str
    member: str
    """The key's identifier; empty for who needs none."""

    @property
    def topic(self) -> str:
        """What is signalled when it subscribes to something else."""
        return f"mcp-session:{self.id}"


@dataclass(frozen=True, slots=True)
class Subscription:
    """A resource, and which block in which version stood behind it when it was subscribed to; None for none."""

    address: str
    block: tuple[str, int] | None


async def subscribe(transaction: Transaction, session: Session, subscription: Subscription) -> None:
    """Let a session be told of a resource's changes from now on.

    Raises:
        Conflict: it, or its member, has subscribed to as many as it may.
    """
    await transaction.run(_delete_old, before=clock.now() - int(KEEP_SECONDS * 1_000_000))
    await unsubscribe(transaction, session, subscription.address)
    counted = await transaction.first(_count, of_session=session.id, of_member=session.member)
    assert counted is not None
    if counted["of_this"] >= MOST_OF_SESSION or counted["all_of_them"] >= MOST_OF_MEMBER:
        raise Conflict(
            f"A session subscribes to {MOST_OF_SESSION} resources at the most, and a member to {MOST_OF_MEMBER}; "
            "unsubscribe from some."
        )
    block_id, version = subscription.block or (None, None)
    row = {
        "session": session.id,
        "member": session.member,
        "address": subscription.address,
        "seen_block": block_id,
        "seen_version": version,
        "heard_at": clock.now(),
    }
    await transaction.insert(mcp_subscriptions, [row])
    transaction.signal(session.topic)


async def unsubscribe(transaction: Transaction, session: Session, address: str) -> None:
    """Let a session not be told of a resource's changes any more."""
    await transaction.run(_delete_one, of_session=session.id, of_member=session.member, of_address=address)
    transaction.signal(session.topic)


async def subscriptions_of(transaction: Transaction, session: Session) -> list[Subscription]:
    """Return what a session has subscribed to."""
    rows = await transaction.all(_select, of_session=session.id, of_member=session.member)
    return [
        Subscription(
            row["address"], (row["seen_block"], row["seen_version"]) if row["seen_block"] is not None else None
        )
        for row in rows
    ]


async def note_heard(transaction: Transaction, session: Session) -> None:
    """Take note that somebody listens to a session."""
    await transaction.run(_hear, of_session=session.id, of_member=session.member, now=clock.now())
