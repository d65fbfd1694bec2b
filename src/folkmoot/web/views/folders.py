"""Folders: the list, the form for a new one, and the page of one: its files, how far they are read, who reads them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.agents.agents import Agent
from folkmoot.agents.folders import agents_of_folder
from folkmoot.agents.listing import AgentFilter, agents_of_ids, list_agents
from folkmoot.errors import FolkmootError
from folkmoot.files.chunks import chunks_of_lines
from folkmoot.files.files import File, find_file, list_files
from folkmoot.files.folders import Folder, FolderUse, create_folder, find_folder, folder_uses
from folkmoot.files.open_files import open_in_folder
from folkmoot.jobs.jobs import Job, JobFilter, list_jobs
from folkmoot.server.scanning import Scan, Scanning
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import FileId, FolderId
from folkmoot.server.wire.folders import CreateFolder
from folkmoot.store.engine import Row, Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page
from folkmoot.web import code, tables
from folkmoot.web.colours import Palette, read_palette
from folkmoot.web.forms import problems_of, text_of
from folkmoot.web.responses import page_router, read_form, redirect, render
from folkmoot.web.tables import Format, as_file
from folkmoot.web.words import iso

router = page_router()

COLUMNS = ("id", "name", "description", "files", "bytes", "created_at")
FILES_SHOWN = 200
CHUNKS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class _About:
    """What a folder's page shows."""

    folder: Folder
    files: Sequence[File]
    jobs: Mapping[str, Job]
    """The job that reads or embeds a file, by the file."""

    holders: Sequence[Agent]
    others: Sequence[Agent]
    opened: Mapping[str, Sequence[str]]
    """Who has a file open, by the file."""

    palette: Palette


@router.get("/folders")
async def list_all(request: Request, scan: Scan, q: str = "", kind: Format = None) -> Response:
    """List folders, the newest first; as a file where one is asked for."""

    async def read(transaction: Transaction) -> list[FolderUse]:
        found = await folder_uses(transaction)
        return [use for use in reversed(found) if q.strip().lower() in use.folder.name.lower()]

    if kind:
        return await scan(read, lambda uses: as_file("folders", kind, COLUMNS, [_row(use) for use in uses]))
    calls = code.folders_calls()
    return await scan(read, lambda uses: render(request, "folders.html", q=q, uses=uses, calls=calls))


def _row(use: FolderUse) -> tables.Row:
    """Return a folder as a row of a file."""
    return {
        "id": use.folder.id,
        "name": use.folder.name,
        "description": use.folder.description,
        "files": use.files,
        "bytes": use.size,
        "created_at": iso(use.folder.created_at),
    }


@router.get("/folders/new")
async def new(request: Request, state: State) -> Response:
    """Show the form for a new folder."""
    return await _form(request, state, {"name": "", "description": "", "instructions": "", "embedding": ""}, {})


@router.post("/folders/new")
async def create(request: Request, state: State) -> Response:
    """Create a folder, or say what is wrong where."""
    form = await read_form(request)
    values = {name: text_of(form, name).strip() for name in ("name", "description", "instructions", "embedding")}
    try:
        body = CreateFolder.model_validate(
            {name: value or None for name, value in values.items()} | {"name": values["name"]}
        )
        folder = await state.store.write(lambda transaction: create_folder(transaction, body.fields()))
    except (ValidationError, FolkmootError) as error:
        return await _form(request, state, values, problems_of(error, values), 422)
    return redirect(f"/folders/{folder.id}")


@router.get("/folders/{folder_id}")
async def show(
    request: Request, folder_id: FolderId, state: State, after: str | None = None, ask: str = ""
) -> Response:
    """Show a folder; `ask` opens a question about it, such as whether to delete it."""
    return await folder_page(request, folder_id, state, after=after, ask=ask)


async def folder_page(
    request: Request,
    folder_id: str,
    state: ServerState,
    status: int = 200,
    *,
    after: str | None = None,
    ask: str = "",
    problem: str = "",
) -> Response:
    """Return a folder's page.

    Args:
        request: what it answers.
        folder_id: whose page.
        state: the server's.
        status: the response's status.
        after: a file; the page shows those behind it.
        ask: the question that is open: `delete`, or none.
        problem: why a file could not be uploaded.
    """
    scan = Scanning(state.store, request)
    about = await scan(lambda transaction: _read(transaction, folder_id, after), lambda found: found)
    return render(
        request,
        "folder.html",
        status,
        about=about,
        folder=about.folder,
        palette=about.palette,
        after=after,
        ask=ask,
        problem=problem,
        page_size=FILES_SHOWN,
        models=[model.handle for model in await state.services.catalogue.embedding_models()],
        calls=code.folder_calls(folder_id),
    )


@router.get("/folders/{folder_id}/files/{file_id}")
async def show_file(request: Request, folder_id: FolderId, file_id: FileId, scan: Scan, line: int = 1) -> Response:
    """Show a file's text in its chunks, from the one with a line on."""

    async def read(transaction: Transaction) -> tuple[File, Sequence[Row]]:
        file = await find_file(transaction, file_id, folder_id)
        return file, await chunks_of_lines(transaction, file, max(line, 1), CHUNKS_SHOWN)

    return await scan(
        read,
        lambda found: render(
            request,
            "file.html",
            file=found[0],
            chunks=found[1],
            line=line,
            page_size=CHUNKS_SHOWN,
            calls=code.file_calls(folder_id, file_id),
        ),
    )


async def _read(transaction: Transaction, folder_id: str, after: str | None) -> _About:
    folder = await find_folder(transaction, folder_id)
    files = await list_files(transaction, folder_id, Page(limit=FILES_SHOWN, after=after, order="desc"))
    jobs = await list_jobs(transaction, JobFilter(parent_id=folder_id, unfinished=True), Page(limit=LARGEST_PAGE))
    holders = await agents_of_folder(transaction, folder_id, Page(limit=LARGEST_PAGE))
    everybody = await list_agents(transaction, AgentFilter(), Page(limit=LARGEST_PAGE))
    return _About(
        folder=folder,
        files=files,
        jobs={job.subject_id: job for job in jobs if job.kind != "file_tidying"},
        holders=await agents_of_ids(transaction, holders),
        others=[agent for agent in everybody if agent.id not in holders],
        opened=await open_in_folder(transaction, folder_id),
        palette=await read_palette(transaction),
    )


async def _form(
    request: Request, state: ServerState, values: Mapping[str, Any], problems: Mapping[str, str], status: int = 200
) -> Response:
    return render(
        request,
        "folder_new.html",
        status,
        values=values,
        problems=problems,
        models=[model.handle for model in await state.services.catalogue.embedding_models()],
        default_embedding=state.services.settings.default_embedding,
        calls=code.new_folder_calls(),
    )
