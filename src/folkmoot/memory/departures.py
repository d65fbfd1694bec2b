"""What was deleted, or taken from an agent: for a time it is told what it was called, and who did it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from sqlalchemy import or_, select

from folkmoot.identifiers import new_id
from folkmoot.memory.authors import Author
from folkmoot.store import clock
from folkmoot.store.engine import Transaction
from folkmoot.store.tables import departures

Thing: TypeAlias = Literal["agent", "block", "archive", "folder", "conversation"]


@dataclass(frozen=True, slots=True)
class Departure:
    """That a thing was deleted, or taken from an agent, if `agent_id` names one; `at` is in microseconds.

    Of a conversation `agent_id` is whose it was; it was deleted.
    """

    thing: Thing
    id: str
    name: str
    agent_id: str | None
    author: Author
    at: int

    @property
    def is_detachment(self) -> bool:
        """Whether the thing is still there."""
        return self.agent_id is not None and self.thing != "conversation"


async def note_departure(
    transaction: Transaction, thing: Thing, thing_id: str, name: str, author: Author, agent_id: str | None = None
) -> None:
    """Note that something is deleted, or taken from an agent, in the transaction that does it.

    Args:
        transaction: that transaction.
        thing: what kind of thing it is.
        thing_id: its identifier.
        name: what it is called.
        author: who does it.
        agent_id: the agent that it is taken from; None when it is deleted. Of a conversation whose it is.
    """
    row = {
        "id": new_id("departure"),
        "thing": thing,
        "thing_id": thing_id,
        "name": name,
        "agent_id": agent_id,
        "author": author.to_json(),
        "created_at": clock.now(),
    }
    await transaction.insert(departures, [row])


async def recent_departures(
    transaction: Transaction, before: int, limit: int, agent_id: str | None = None
) -> list[Departure]:
    """Return what was deleted or taken away last, up to a moment in microseconds, the newest first.

    With `agent_id` only what was taken from this agent, and its own deletion.
    """
    statement = select(departures).where(departures.c.created_at <= before)
    if agent_id is not None:
        statement = statement.where(or_(departures.c.agent_id == agent_id, departures.c.thing_id == agent_id))
    rows = await transaction.all(
        statement.order_by(departures.c.created_at.desc(), departures.c.id.desc()).limit(limit)
    )
    return [
        Departure(
            row["thing"],
            row["thing_id"],
            row["name"],
            row["agent_id"],
            Author.from_json(row["author"]),
            row["created_at"],
        )
        for row in rows
    ]
