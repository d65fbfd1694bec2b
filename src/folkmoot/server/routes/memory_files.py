"""An agent's blocks as files: which there are, how one came to be, what it said in a version."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response

from folkmoot.agents.agents import find_agent
from folkmoot.errors import BadRequest, NotFound
from folkmoot.memory.attachments import attached_rows
from folkmoot.memory.history import find_version, list_versions
from folkmoot.server.scanning import Scan
from folkmoot.server.wire.common import AgentId, json_response
from folkmoot.server.wire.memory_files import (
    ENDING,
    HEAD,
    Commit,
    Directory,
    FileContent,
    FileHistory,
    entries_below,
    label_of,
)
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import LARGEST_PAGE

router = APIRouter(prefix="/v1/agents/{agent_id}/memory-files", tags=["shared memory"])

DEEPEST = 20

FilePath = Annotated[str, Query(alias="file_path", description="The block's label, with or without `.md`.")]


@router.get("/directory", response_model=Directory)
async def directory(
    agent_id: AgentId,
    scan: Scan,
    path: str = "",
    depth: Annotated[int, Query(ge=1, le=DEEPEST)] = 1,
    ref: Annotated[str | None, Query(description="Only HEAD: what the agent has now.")] = None,
) -> Response:
    """List the files and folders that the agent's blocks are."""
    if ref not in (None, HEAD):
        raise BadRequest(f"ref: {ref!r} names no version: each block has versions of its own. Leave it out.")

    async def read(transaction: Transaction) -> Directory:
        await find_agent(transaction, agent_id)
        labels = [row["label"] for row in await attached_rows(transaction, agent_id)]
        return Directory(path=path, entries=entries_below(labels, path, depth), depth=depth)

    return await scan(read, json_response)


@router.get("/history", response_model=FileHistory)
async def history(
    agent_id: AgentId, scan: Scan, file_path: FilePath, limit: Annotated[int, Query(ge=1, le=LARGEST_PAGE)] = 50
) -> Response:
    """List the versions of a block, the newest first; a version's `sha` is its number."""

    async def read(transaction: Transaction) -> FileHistory:
        block = await _block(transaction, agent_id, file_path)
        versions = await list_versions(transaction, block["id"], limit)
        return FileHistory(path=_path(block), commits=[Commit.of(version) for version in versions])

    return await scan(read, json_response)


@router.get("/content", response_model=FileContent)
async def content(
    agent_id: AgentId,
    scan: Scan,
    file_path: FilePath,
    ref: Annotated[str | None, Query(description="The number of a version; the newest when left out.")] = None,
) -> Response:
    """Return a block's text, as it is or as it was in a version."""

    async def read(transaction: Transaction) -> FileContent:
        block = await _block(transaction, agent_id, file_path)
        if ref in (None, HEAD):
            return FileContent(path=_path(block), content=block["value"], ref=str(block["version"]))
        version, text = await find_version(transaction, block["id"], _number(ref or ""))
        return FileContent(path=_path(block), content=text, ref=str(version.number))

    return await scan(read, json_response)


async def _block(transaction: Transaction, agent_id: str, path: str) -> Row:
    await find_agent(transaction, agent_id)
    label = label_of(path)
    for row in await attached_rows(transaction, agent_id):
        if row["label"] == label:
            return row
    raise NotFound(f"file_path: agent {agent_id} has no block labelled {label!r}.")


def _path(block: Row) -> str:
    return f"{block['label']}{ENDING}"


def _number(ref: str) -> int:
    if not ref.isascii() or not ref.isdigit() or len(ref) > 9:
        raise BadRequest(f"ref: {ref!r} is no version; name its number, as the history tells it, or HEAD.")
    return int(ref)
