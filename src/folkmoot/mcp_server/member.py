"""Who calls, and what it reaches: the blocks by label, its access to each, the agents that it may ask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from folkmoot.access.principals import at_least
from folkmoot.agents.agents import Agent, find_agent
from folkmoot.agents.listing import agents_named
from folkmoot.archives.archives import Archive, ArchiveFilter, archives_named, kept_archives, list_archives
from folkmoot.errors import FolkmootError, Forbidden, NotFound
from folkmoot.memory.attachments import Access
from folkmoot.memory.blocks import Block, find_block
from folkmoot.memory.listing import BlockEntry, blocks_labelled, reachable_blocks, reachable_labels
from folkmoot.server.state import ServerState
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

MOST_LISTED = 100
"""Blocks that are listed at once."""

MOST_NAMED = 20
"""Blocks that an error names."""


class NotReached(FolkmootError):
    """What was named is not there, is not this member's, or is several things."""

    status = 404


@dataclass(frozen=True)
class Member:
    """Who calls: a member with grants, or anybody whose role alone limits it."""

    state: ServerState

    @property
    def name(self) -> str:
        """What histories call it."""
        return self.state.principal.name

    @property
    def block_ids(self) -> Sequence[str] | None:
        """The only blocks that it reaches; None for all of its organisation's."""
        grants = self.state.principal.grants
        return list(grants.blocks) if grants is not None else None

    @property
    def may_write(self) -> bool:
        """Whether there may be a block that it can change in some way."""
        return self._any_access("write", "append")

    @property
    def may_overwrite(self) -> bool:
        """Whether there may be a block of which it can change what stands there."""
        return self._any_access("write")

    @property
    def archive_ids(self) -> Sequence[str] | None:
        """The only archives that it reaches; None for all of its organisation's."""
        grants = self.state.principal.grants
        return list(grants.archives) if grants is not None else None

    @property
    def may_add_passages(self) -> bool:
        """Whether there may be an archive that it can add to."""
        grants = self.state.principal.grants
        if grants is None:
            return at_least(self.state.principal.role, "member")
        return any(access != "read" for access in grants.archives.values())

    @property
    def may_search_messages(self) -> bool:
        """Whether it sees what agents were told and said."""
        return self.state.principal.grants is None

    @property
    def may_ask(self) -> bool:
        """Whether there may be an agent that it can ask."""
        grants = self.state.principal.grants
        return bool(grants.agents) if grants is not None else at_least(self.state.principal.role, "member")

    def access_to(self, block: Block | BlockEntry) -> Access:
        """Return what it may do with a block; nobody changes a read-only one through this door."""
        return "read" if block.read_only else self.access_by_key(block.id)

    def access_by_key(self, block_id: str) -> Access:
        """Return what its key allows with a block, be the block read-only or not."""
        grants = self.state.principal.grants
        if grants is not None:
            return grants.blocks.get(block_id, "read")
        return "write" if at_least(self.state.principal.role, "member") else "read"

    async def blocks(
        self, transaction: Transaction, label_part: str = "", after: str | None = None
    ) -> list[BlockEntry]:
        """Return the blocks that it reaches, `MOST_LISTED` at the most, by their time of creation, without their texts.

        Args:
            transaction: where to read.
            label_part: what stands in the label of each.
            after: the identifier of the block that the ones before ended with.
        """
        return await reachable_blocks(transaction, self.block_ids, MOST_LISTED, label_part, after)

    async def block(self, transaction: Transaction, name: str) -> Block:
        """Return the block of a label or an identifier.

        Raises:
            NotReached: there is none that it reaches, or there are several.
        """
        block_id = await self.block_id(transaction, name)
        try:
            return await find_block(transaction, block_id)
        except NotFound as error:  # PostgreSQL shows each statement what was committed before it
            raise NotReached(f"The block {name!r} has just been deleted.") from error

    async def block_id(self, transaction: Transaction, name: str) -> str:
        """Return the identifier of the block of a label or an identifier.

        Raises:
            NotReached: there is none that it reaches, or there are several.
        """
        grants = self.state.principal.grants
        found = await blocks_labelled(transaction, name)
        found = [each for each in found if grants is None or each in grants.blocks]
        if len(found) == 1:
            return found[0]
        if found:
            raise NotReached(
                f"Several of your blocks are labelled {name!r}: {', '.join(found)}. Name the one that you mean by its "
                "identifier, in the place of the label."
            )
        labels = map(repr, await reachable_labels(transaction, self.block_ids, MOST_NAMED))
        raise NotReached(f"You reach no block labelled {name!r}. Your blocks: {', '.join(labels) or 'none'}.")

    async def archive_id(self, transaction: Transaction, name: str) -> str:
        """Return the identifier of the archive of a name or an identifier, to add to it.

        Raises:
            NotReached: there is none that it reaches, or there are several.
            Forbidden: it may only search it.
        """
        grants = self.state.principal.grants
        found = await archives_named(transaction, name)
        found = [each for each in found if grants is None or each in grants.archives]
        if len(found) > 1:
            raise NotReached(f"Several archives are called {name!r}: {', '.join(found)}. Name one by its identifier.")
        if not found:
            raise NotReached(f"You reach no archive {name!r}. list_memory says which you do.")
        if grants is not None and grants.archives[found[0]] == "read":
            raise Forbidden(f"You may only search the archive {name!r}. Nothing was added.")
        return found[0]

    async def archives(self, transaction: Transaction) -> list[Archive]:
        """Return the archives that it reaches, `MOST_LISTED` at the most."""
        ids = self.archive_ids
        if ids is None:
            return await list_archives(transaction, ArchiveFilter(), Page(limit=MOST_LISTED))
        return await kept_archives(transaction, ids)

    async def agent(self, transaction: Transaction, name: str) -> Agent:
        """Return the agent of a name or an identifier.

        Raises:
            NotReached: there is none that it may ask, or there are several.
        """
        grants = self.state.principal.grants
        found = await agents_named(transaction, name)
        found = [each for each in found if grants is None or each in grants.agents]
        if len(found) == 1:
            return await find_agent(transaction, found[0])
        if found:
            raise NotReached(f"Several agents are called {name!r}: {', '.join(found)}. Name one by its identifier.")
        raise NotReached(f"There is no agent {name!r} that you may ask.")

    def _any_access(self, *wanted: Access) -> bool:
        grants = self.state.principal.grants
        if grants is None:
            return at_least(self.state.principal.role, "member")
        return any(access in wanted for access in grants.blocks.values())
