"""An agent's folders, and what it has open of the files in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from folkmoot.agents.agents import find_agent
from folkmoot.agents.folders import attach_folder, detach_folder, folders_of_agent
from folkmoot.errors import NotFound
from folkmoot.files.open_files import (
    AgentFile,
    close_all,
    close_file,
    find_agent_file,
    list_agent_files,
    most_open,
    open_file,
    view_characters,
)
from folkmoot.files.views import view_lines
from folkmoot.server.agent_views import changed_agent
from folkmoot.server.scanning import Scan
from folkmoot.server.state import State
from folkmoot.server.wire.agent_replies import AgentReply
from folkmoot.server.wire.common import AgentId, Deleted, FileId, FolderId, json_response, page_of
from folkmoot.server.wire.folders import AgentFileReply, AgentFilesReply, SourceReply
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page

router = APIRouter(prefix="/v1/agents/{agent_id}", tags=["agents"])

NewestFirst = Annotated[Page, Depends(page_of("desc", largest=100))]
ByAge = Annotated[Page, Depends(page_of("desc", largest=20))]


@router.get("/folders", response_model=list[SourceReply])
@router.get("/sources", response_model=list[SourceReply])
async def list_folders(agent_id: AgentId, page: NewestFirst, state: State) -> Response:
    """List the agent's folders."""
    found = await state.store.read(lambda transaction: folders_of_agent(transaction, agent_id, page))
    return json_response([SourceReply.of(folder) for folder in found])


@router.patch("/folders/attach/{folder_id}", response_model=AgentReply)
@router.patch("/sources/attach/{folder_id}", response_model=AgentReply)
async def attach(agent_id: AgentId, folder_id: FolderId, state: State) -> Response:
    """Give the agent a folder, and with its first one the tools to read files."""
    return await changed_agent(agent_id, state, lambda transaction: attach_folder(transaction, agent_id, folder_id))


@router.patch("/folders/detach/{folder_id}", response_model=AgentReply)
@router.patch("/sources/detach/{folder_id}", response_model=AgentReply)
async def detach(agent_id: AgentId, folder_id: FolderId, state: State) -> Response:
    """Take a folder from the agent, and with its last one the tools to read files."""
    return await changed_agent(agent_id, state, lambda transaction: detach_folder(transaction, agent_id, folder_id))


@router.get("/files", response_model=AgentFilesReply)
async def list_files(
    agent_id: AgentId,
    page: ByAge,
    scan: Scan,
    cursor: Annotated[str | None, Query(description="The older name of after.")] = None,
    is_open: Annotated[bool | None, Query(description="Only open files, or only closed ones.")] = None,
) -> Response:
    """List the files of the agent's folders, with what it is shown of those that are open."""
    wanted = replace(page, limit=page.limit + 1, after=page.after or cursor)

    async def read(transaction: Transaction) -> list[AgentFileReply]:
        agent = await find_agent(transaction, agent_id)
        held = await list_agent_files(transaction, agent_id, wanted, is_open=is_open)
        room = view_characters(agent.configuration)
        return [AgentFileReply.of(each, await _visible(transaction, each, room)) for each in held]

    def show(found: list[AgentFileReply]) -> Response:
        shown, has_more = found[: page.limit], len(found) > page.limit
        cursor = shown[-1].id if shown else None
        return json_response(AgentFilesReply(files=shown, next_cursor=cursor, has_more=has_more))

    return await scan(read, show)


@router.patch("/files/close-all")
async def close_every_file(agent_id: AgentId, state: State) -> list[str]:
    """Close every file that the agent has open; return their names."""

    async def close(transaction: Transaction) -> list[AgentFile]:
        await find_agent(transaction, agent_id, lock=True)
        return await close_all(transaction, agent_id)

    return [each.file.path for each in await state.store.write(close)]


@router.patch("/files/{file_id}/open")
async def open_for_agent(agent_id: AgentId, file_id: FileId, state: State) -> list[str]:
    """Open a file for the agent, from its beginning; return the names of the files that were closed for it."""

    async def open_(transaction: Transaction) -> list[AgentFile]:
        agent = await find_agent(transaction, agent_id, lock=True)
        held = await _find(transaction, agent_id, file_id)
        return await open_file(transaction, agent_id, held.file, most_open(agent.configuration))

    return [each.file.path for each in await state.store.write(open_)]


@router.patch("/files/{file_id}/close")
async def close_for_agent(agent_id: AgentId, file_id: FileId, state: State) -> Deleted:
    """Close a file; one that is not open is no error."""

    async def close(transaction: Transaction) -> None:
        await find_agent(transaction, agent_id, lock=True)
        await _find(transaction, agent_id, file_id)
        await close_file(transaction, agent_id, file_id)

    await state.store.write(close)
    return Deleted(message=f"File id={file_id} successfully closed")


async def _find(transaction: Transaction, agent_id: str, file_id: str) -> AgentFile:
    held = await find_agent_file(transaction, agent_id, file_id)
    if held is None:
        raise NotFound(f"File with id={file_id} not found in the folders of agent {agent_id}")
    return held


async def _visible(transaction: Transaction, held: AgentFile, room: int) -> str | None:
    if not held.is_open:
        return None
    return (await view_lines(transaction, held.file, held.first_line, held.last_line, room)).render()
