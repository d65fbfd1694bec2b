"""An agent's archival memory: the passages of all its archives."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query, Response

from folkmoot.agents.agents import find_agent
from folkmoot.archives.archives import Archive
from folkmoot.archives.attachments import archives_of_agent
from folkmoot.archives.passages import (
    Passage,
    PassageFilter,
    add_passages,
    archive_for,
    delete_passage,
    list_passages,
)
from folkmoot.archives.search import LONGEST_QUERY, Mode, PassageSearch, search_passages
from folkmoot.errors import Conflict
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.archives import (
    ArchivalResult,
    ArchivalResults,
    CreatePassage,
    PassageReply,
    embedding_config_of,
    shown_time,
)
from folkmoot.server.wire.common import AgentId, Deleted, json_response, page_of
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page

router = APIRouter(prefix="/v1/agents/{agent_id}/archival-memory", tags=["archives"], route_class=BodyRoute)

OldestFirst = Annotated[Page, Depends(page_of("asc", 100))]

DEFAULT_RESULTS = 5


@router.get("", response_model=list[PassageReply])
async def list_all(
    agent_id: AgentId,
    page: OldestFirst,
    scan: Scan,
    search: Annotated[str | None, Query(description="A part of the text.")] = None,
    author: Annotated[str | None, Query(description="Identifier or name of who wrote them.")] = None,
    ascending: bool | None = None,
) -> Response:
    """List the passages of the agent's archives, the oldest first unless the request says otherwise."""
    if ascending is not None:
        page = Page(page.limit, page.after, page.before, "asc" if ascending else "desc")

    async def read(transaction: Transaction) -> list[PassageReply]:
        archives = await _archives(transaction, agent_id)
        configs = {archive.id: embedding_config_of(archive) for archive in archives}
        wanted = PassageFilter(archive_ids=list(configs), contains=search, author=author)
        found = await list_passages(transaction, wanted, page)
        return [PassageReply.of(passage, configs[passage.archive_id]) for passage in found]

    return await scan(read, json_response)


@router.post("", response_model=list[PassageReply])
async def create(agent_id: AgentId, body: CreatePassage, state: State) -> Response:
    """Add a passage to the agent's archive, which is made if it has none; return it, in a list."""
    new = await asyncio.to_thread(body.to_passage)
    services = state.services

    async def write(transaction: Transaction) -> tuple[Archive, list[Passage]]:
        agent = await find_agent(transaction, agent_id, lock=True)
        embedding = services.embeddings.usable(agent.named_embedding)
        archive = await archive_for(transaction, agent.id, agent.name, embedding)
        if archive is None:
            raise Conflict(f"Agent {agent_id} may only search its archives. Attach one with access `write`.")
        return archive, await add_passages(transaction, archive.id, [new], state.author)

    archive, added = await state.store.write(write)
    return json_response([PassageReply.of(passage, embedding_config_of(archive)) for passage in added])


@router.get("/search", response_model=ArchivalResults)
async def search(
    agent_id: AgentId,
    state: State,
    scan: Scan,
    query: Annotated[str, Query(max_length=LONGEST_QUERY)],
    tags: Annotated[list[str] | None, Query()] = None,
    tag_match_mode: Literal["any", "all"] = "any",
    top_k: Annotated[int, Query(ge=1, description="How many to return; 1000 at the most.")] = DEFAULT_RESULTS,
    start_datetime: str | None = None,
    end_datetime: str | None = None,
    author: Annotated[str | None, Query(description="Identifier or name of who wrote it.")] = None,
    search_mode: Mode = "hybrid",
) -> Response:
    """Search the agent's archives, as its tool does; nothing is found for an empty query."""
    start, end = shown_time("start_datetime", start_datetime), shown_time("end_datetime", end_datetime)
    archives = await state.store.read(lambda transaction: _archives(transaction, agent_id))
    among = PassageFilter(
        archive_ids=tuple(archive.id for archive in archives),
        tags=tags or (),
        match_all_tags=tag_match_mode == "all",
        start=start,
        end=end,
        author=author,
    )
    wanted = PassageSearch(query, among, search_mode, min(top_k, LARGEST_PAGE))
    found = await scan.while_here(search_passages(state.store, state.services.embeddings, wanted))

    def shown() -> Response:
        results = [ArchivalResult.of(each) for each in found.passages]
        return json_response(
            ArchivalResults(results=results, count=len(results), without_meaning=found.without_meaning)
        )

    return await asyncio.to_thread(shown)


@router.delete("/{memory_id}")
async def delete(agent_id: AgentId, memory_id: str, state: State) -> Deleted:
    """Delete a passage of the agent's archives; that it was there, and who deleted it, is recorded."""

    async def write(transaction: Transaction) -> None:
        await find_agent(transaction, agent_id)
        attached = await archives_of_agent(transaction, agent_id)
        # What a tool may delete is what its agent may write.
        archives = [each.archive.id for each in attached if state.errand is None or each.access == "write"]
        await delete_passage(transaction, memory_id, archives, state.author)

    await state.store.write(write)
    return Deleted(message=f"Memory id={memory_id} successfully deleted")


async def _archives(transaction: Transaction, agent_id: str) -> list[Archive]:
    """Return the agent's archives.

    Raises:
        NotFound: there is no such agent.
    """
    await find_agent(transaction, agent_id)
    return [each.archive for each in await archives_of_agent(transaction, agent_id)]
