"""Archives: passages that agents share, and which agents have which."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from folkmoot.agents.deletion import remove_archive
from folkmoot.archives.archives import (
    Archive,
    ArchiveFilter,
    NewArchive,
    count_embedded,
    create_archive,
    find_archive,
    kept_archives,
    list_archives,
    update_archive,
)
from folkmoot.archives.attachments import (
    agents_of_archive,
    archives_of_agent,
    attach_archive,
    detach_archive,
)
from folkmoot.archives.passages import (
    NewPassage,
    Passage,
    PassageFilter,
    add_passages,
    delete_passage,
    list_deletions,
    list_passages,
)
from folkmoot.archives.search import Found, FoundPassage, PassageSearch, search_passages
from folkmoot.server.agent_views import Include, view_agents
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import Scan
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.agent_replies import AgentReply, AgentView, show_agent
from folkmoot.server.wire.archives import (
    ArchiveReply,
    AttachArchive,
    CreateArchive,
    CreatePassage,
    CreatePassages,
    DeletedPassageReply,
    FoundPassageReply,
    PassageReply,
    RankedReply,
    SearchPassages,
    UpdateArchive,
    embedding_config_of,
)
from folkmoot.server.wire.common import AgentId, ArchiveId, PassageId, json_response, page_of
from folkmoot.server.wire.models import EmbeddingConfig
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/archives", tags=["archives"], route_class=BodyRoute)
passages_router = APIRouter(prefix="/v1/passages", tags=["archives"], route_class=BodyRoute)
agent_router = APIRouter(prefix="/v1/agents/{agent_id}/archives", tags=["archives"], route_class=BodyRoute)

NewestFirst = Annotated[Page, Depends(page_of("desc"))]
NewestDeletions = Annotated[Page, Depends(page_of("desc", by="deleted_at"))]
OldestFirst = Annotated[Page, Depends(page_of("asc", 100))]


@router.post("", response_model=ArchiveReply)
async def create(body: CreateArchive, state: State) -> Response:
    """Create an archive; it is attached to no agent yet."""
    return json_response(ArchiveReply.of(await make(body, state)))


async def make(body: CreateArchive, state: ServerState) -> Archive:
    """Create an archive, for the API or a page.

    Raises:
        BadRequest: its embedding cannot be used.
    """
    new = NewArchive(
        name=body.name,
        description=body.description,
        embedding=await state.services.embeddings.find_handle(body.named_embedding),
        embedding_config=body.config,
        metadata=body.metadata or {},
    )
    return await state.store.write(lambda transaction: create_archive(transaction, new))


@router.get("", response_model=list[ArchiveReply])
async def list_all(page: NewestFirst, scan: Scan, name: str | None = None, agent_id: AgentId | None = None) -> Response:
    """List archives, the newest first; of one agent with what it may do with each."""
    wanted = ArchiveFilter(name=name, agent_id=agent_id)

    async def read(transaction: Transaction) -> list[ArchiveReply]:
        attached = await archives_of_agent(transaction, agent_id) if agent_id is not None else []
        access = {each.archive.id: each.access for each in attached}
        found = await list_archives(transaction, wanted, page)
        return [ArchiveReply.of(archive, access=access.get(archive.id)) for archive in found]

    return await scan(read, json_response)


@router.get("/{archive_id}", response_model=ArchiveReply)
async def retrieve(archive_id: ArchiveId, scan: Scan) -> Response:
    """Return an archive, with how many of its passages are embedded."""

    async def read(transaction: Transaction) -> ArchiveReply:
        archive = await find_archive(transaction, archive_id)
        embedded = None if archive.embedding is None else await count_embedded(transaction, archive)
        return ArchiveReply.of(archive, embedded=embedded)

    return await scan(read, json_response)


@router.patch("/{archive_id}", response_model=ArchiveReply)
async def update(archive_id: ArchiveId, body: UpdateArchive, state: State) -> Response:
    """Change an archive; with another embedding its passages are embedded anew behind, and stay searchable."""
    changes = body.changes()
    if body.names_embedding:
        named = body.named_embedding
        handle = None if named is None else await state.services.embeddings.find_handle(named)
        changes |= {"embedding": handle, "embedding_config": body.config}
    return json_response(
        ArchiveReply.of(await state.store.write(lambda transaction: update_archive(transaction, archive_id, changes)))
    )


@router.delete("/{archive_id}", status_code=204)
async def delete(archive_id: ArchiveId, state: State) -> Response:
    """Delete an archive with its passages; agents lose it."""
    await remove_archive(state.store, archive_id, state.author)
    return Response(status_code=204)


@router.get("/{archive_id}/agents", response_model=list[AgentReply])
async def list_agents(archive_id: ArchiveId, page: NewestFirst, include: Include, state: State, scan: Scan) -> Response:
    """List the agents that have the archive."""

    async def read(transaction: Transaction) -> list[AgentView]:
        await find_archive(transaction, archive_id)
        ids = await agents_of_archive(transaction, archive_id, page)
        return await view_agents(transaction, ids, include.of_listed, state)

    return await scan(read, lambda views: json_response([show_agent(view) for view in views]))


@router.post("/{archive_id}/passages", response_model=PassageReply)
async def create_passage(archive_id: ArchiveId, body: CreatePassage, state: State) -> Response:
    """Add a passage; it is found by its words at once, by its meaning soon."""
    new = await asyncio.to_thread(body.to_passage)
    (made,) = await _add(archive_id, [new], state)
    return json_response(made)


@router.post("/{archive_id}/passages/batch", response_model=list[PassageReply])
async def create_passages(archive_id: ArchiveId, body: CreatePassages, state: State) -> Response:
    """Add several passages, all of them or none."""
    new = await asyncio.to_thread(lambda: [each.to_passage() for each in body.passages])
    return json_response(await _add(archive_id, new, state))


@router.get("/{archive_id}/passages", response_model=list[PassageReply])
async def list_in(
    archive_id: ArchiveId,
    page: OldestFirst,
    scan: Scan,
    author: Annotated[str | None, Query(description="Identifier or name of who wrote them.")] = None,
    tags: Annotated[list[str] | None, Query()] = None,
    search: Annotated[str | None, Query(description="A part of the text.")] = None,
) -> Response:
    """List the archive's passages, the oldest first unless the request says otherwise."""
    wanted = PassageFilter(archive_ids=[archive_id], author=author, tags=tags or (), contains=search)

    async def read(transaction: Transaction) -> list[PassageReply]:
        config = embedding_config_of(await find_archive(transaction, archive_id))
        return [PassageReply.of(passage, config) for passage in await list_passages(transaction, wanted, page)]

    return await scan(read, json_response)


@router.delete("/{archive_id}/passages/{passage_id}", status_code=204)
async def delete_in(archive_id: ArchiveId, passage_id: PassageId, state: State) -> Response:
    """Delete a passage; that it was there, and who deleted it, is recorded."""

    async def write(transaction: Transaction) -> None:
        await find_archive(transaction, archive_id)
        await delete_passage(transaction, passage_id, [archive_id], state.author)

    await state.store.write(write)
    return Response(status_code=204)


@router.get("/{archive_id}/deletions", response_model=list[DeletedPassageReply])
async def list_deleted(archive_id: ArchiveId, page: NewestDeletions, scan: Scan) -> Response:
    """List which passages were deleted, by whom, the newest deletion first."""

    async def read(transaction: Transaction) -> list[DeletedPassageReply]:
        await find_archive(transaction, archive_id)
        return [DeletedPassageReply.of(each) for each in await list_deletions(transaction, archive_id, page)]

    return await scan(read, json_response)


@passages_router.post("/search", response_model=list[FoundPassageReply])
async def search(body: SearchPassages, state: State, scan: Scan) -> Response:
    """Find passages by their words, by their meaning, or by both, the best first."""

    async def read(transaction: Transaction) -> list[str] | None:
        return await _archives_named(transaction, body)

    among = body.among(await state.store.read(read))
    if (body.query or "").strip():
        wanted = PassageSearch(body.query or "", among, body.search_mode, body.limit)
        found = await scan.while_here(search_passages(state.store, state.services.embeddings, wanted))
    else:
        page = Page(body.limit)
        listed = await state.store.scan(lambda transaction: list_passages(transaction, among, page))
        found = Found([FoundPassage(passage, 0.0) for passage in listed])
    ids = list({each.passage.archive_id for each in found.passages})
    held = await state.store.read(lambda transaction: kept_archives(transaction, ids))
    configs = {archive.id: embedding_config_of(archive) for archive in held}
    return json_response([_shown(each, configs) for each in found.passages if each.passage.archive_id in configs])


@agent_router.patch("/attach/{archive_id}")
async def attach(agent_id: AgentId, archive_id: ArchiveId, state: State, body: AttachArchive | None = None) -> None:
    """Give the agent the archive; again, to change its access."""
    access = body.access if body is not None else None
    await state.store.write(lambda transaction: attach_archive(transaction, agent_id, archive_id, access))


@agent_router.patch("/detach/{archive_id}")
async def detach(agent_id: AgentId, archive_id: ArchiveId, state: State) -> None:
    """Take the archive from the agent; the archive stays."""
    await state.store.write(lambda transaction: detach_archive(transaction, agent_id, archive_id, state.author))


async def _add(archive_id: str, new: list[NewPassage], state: State) -> list[PassageReply]:
    async def write(transaction: Transaction) -> tuple[Archive, list[Passage]]:
        added = await add_passages(transaction, archive_id, new, state.author)
        return await find_archive(transaction, archive_id), added

    archive, added = await state.store.write(write)
    config = embedding_config_of(archive)
    return [PassageReply.of(passage, config) for passage in added]


async def _archives_named(transaction: Transaction, body: SearchPassages) -> list[str] | None:
    """Return the archives that a search names; None for all.

    Raises:
        NotFound: it names one that is not there.
    """
    if body.archive_id is not None:
        await find_archive(transaction, body.archive_id)
    if body.agent_id is None:
        return None if body.archive_id is None else [body.archive_id]
    ids = [each.archive.id for each in await archives_of_agent(transaction, body.agent_id)]
    return ids if body.archive_id is None else [each for each in ids if each == body.archive_id]


def _shown(found: FoundPassage, configs: dict[str, EmbeddingConfig | None]) -> FoundPassageReply:
    why: dict[str, Any] = RankedReply.of(found).model_dump()
    passage = PassageReply.of(found.passage, configs[found.passage.archive_id])
    return FoundPassageReply(passage=passage, score=found.score, metadata=why)
