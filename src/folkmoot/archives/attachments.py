"""Which agent has which archive, with which access, and what it is told of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update

from folkmoot.archives.archives import Archive, find_archive, tags_in
from folkmoot.memory.attachments import Access, hold_agent
from folkmoot.memory.authors import Author
from folkmoot.memory.departures import note_departure
from folkmoot.store import clock
from folkmoot.store.deletions import is_kept
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page, fetch_page
from folkmoot.store.tables import agent_archives, agents, archives

MOST_TAGS = 20
"""Tags of an archive that an agent is told of."""


@dataclass(frozen=True, slots=True)
class AttachedArchive:
    """An archive as one agent has it: it may write it, only add to it, or only search it."""

    archive: Archive
    access: Access

    @property
    def takes(self) -> bool:
        """Whether the agent may add passages."""
        return self.access != "read"


@dataclass(frozen=True, slots=True)
class ShownArchive:
    """What an agent is told of one of its archives."""

    name: str
    description: str | None
    access: Access
    passage_count: int
    tags: Sequence[tuple[str, int]]


_of_agent = (
    select(*archives.c, agent_archives.c.access)
    .join(agent_archives, agent_archives.c.archive_id == archives.c.id)
    .where(agent_archives.c.agent_id == bindparam("agent_id"), is_kept(archives.c.id))
    .order_by(agent_archives.c.attached_at, archives.c.id)
)
_of_archive = (
    select(agent_archives.c.agent_id, agent_archives.c.access)
    .join(agents, agents.c.id == agent_archives.c.agent_id)
    .where(agent_archives.c.archive_id == bindparam("archive_id"), is_kept(agents.c.id))
    .order_by(agents.c.created_at, agents.c.id)
)
_set_access = (
    update(agent_archives)
    .where(agent_archives.c.agent_id == bindparam("of_agent"), agent_archives.c.archive_id == bindparam("of_archive"))
    .values(access=bindparam("new_access"))
)
_detach = delete(agent_archives).where(
    agent_archives.c.agent_id == bindparam("of_agent"), agent_archives.c.archive_id == bindparam("of_archive")
)


async def archives_of_agent(transaction: Transaction, agent_id: str) -> list[AttachedArchive]:
    """Return the agent's archives in the order they were attached."""
    rows = await transaction.all(_of_agent, agent_id=agent_id)
    return [AttachedArchive(Archive.from_row(row), row["access"]) for row in rows]


async def shown_archives(transaction: Transaction, agent_id: str) -> list[ShownArchive]:
    """Return what an agent is told of its archives."""
    return [
        ShownArchive(
            name=each.archive.name,
            description=each.archive.description,
            access=each.access,
            passage_count=each.archive.passage_count,
            tags=await tags_in(transaction, each.archive.id, MOST_TAGS),
        )
        for each in await archives_of_agent(transaction, agent_id)
    ]


async def attach_archive(
    transaction: Transaction, agent_id: str, archive_id: str, access: Access | None = None
) -> None:
    """Give the agent the archive; again, only to change its access, when one is named.

    Raises:
        NotFound: there is no such agent or archive.
    """
    await hold_agent(transaction, agent_id)
    await find_archive(transaction, archive_id)
    row = {"agent_id": agent_id, "archive_id": archive_id, "access": access or "write", "attached_at": clock.now()}
    await transaction.insert(agent_archives, [row], or_keep=True)
    if access is not None:
        await transaction.run(_set_access, of_agent=agent_id, of_archive=archive_id, new_access=access)


async def detach_archive(transaction: Transaction, agent_id: str, archive_id: str, author: Author) -> None:
    """Take the archive from the agent; one that it does not have is no error, and the archive itself stays.

    Raises:
        NotFound: there is no such agent or archive.
    """
    await hold_agent(transaction, agent_id)
    archive = await find_archive(transaction, archive_id)
    if await transaction.run(_detach, of_agent=agent_id, of_archive=archive_id):
        await note_departure(transaction, "archive", archive_id, archive.name, author, agent_id)


async def access_of_agents(transaction: Transaction, archive_id: str) -> dict[str, Access]:
    """Return what each agent that has the archive may do with it."""
    rows = await transaction.all(_of_archive, archive_id=archive_id)
    return {row["agent_id"]: row["access"] for row in rows}


async def agents_of_archive(transaction: Transaction, archive_id: str, page: Page) -> list[str]:
    """Return a page of the identifiers of the agents that have the archive, by the agents' time of creation."""
    statement = (
        select(agents.c.id, agents.c.created_at)
        .join(agent_archives, agent_archives.c.agent_id == agents.c.id)
        .where(agent_archives.c.archive_id == archive_id, is_kept(agents.c.id))
    )
    return [row["id"] for row in await fetch_page(transaction, statement, agents, page)]
