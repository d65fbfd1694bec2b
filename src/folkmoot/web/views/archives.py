"""Archives: the list, the form for a new one, and the page of one: its passages, found and added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.agents.agents import Agent
from folkmoot.agents.listing import AgentFilter, agents_of_ids, list_agents
from folkmoot.archives.archives import Archive, ArchiveFilter, count_embedded, find_archive, list_archives, tags_in
from folkmoot.archives.attachments import access_of_agents
from folkmoot.archives.passages import PassageFilter, list_passages
from folkmoot.archives.search import FoundPassage, Mode, PassageSearch, search_passages
from folkmoot.errors import FolkmootError
from folkmoot.jobs.jobs import Job, unfinished_jobs_of
from folkmoot.memory.attachments import Access
from folkmoot.server.routes import archives as api
from folkmoot.server.scanning import Scan, Scanning
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.archives import CreateArchive
from folkmoot.server.wire.common import ArchiveId
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page
from folkmoot.web import code
from folkmoot.web.colours import Palette, read_palette
from folkmoot.web.forms import choices, problems_of, text_of
from folkmoot.web.responses import page_router, read_form, redirect, render
from folkmoot.web.tables import Format, Row, all_rows, as_file
from folkmoot.web.words import iso

router = page_router()

LISTED = 200
COLUMNS = ("id", "name", "description", "passages", "embedding", "created_at")
PASSAGES_SHOWN = 50
TAGS_SHOWN = 40


@dataclass(frozen=True, slots=True)
class _About:
    """What surrounds an archive's passages."""

    archive: Archive
    tags: Sequence[tuple[str, int]]
    holders: Sequence[tuple[Agent, Access]]
    others: Sequence[Agent]
    embedded: int
    job: Job | None
    palette: Palette


@dataclass(frozen=True, slots=True)
class Adding:
    """What the form for a passage holds, and why it could not be added."""

    text: str = ""
    tags: str = ""
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Looking:
    """What is looked for on the page: words, tags that all have to be there, and how."""

    query: str = ""
    tags: Sequence[str] = ()
    mode: Mode = "hybrid"
    after: str | None = None
    found: Sequence[FoundPassage] = ()
    without_meaning: str | None = None


@router.get("/archives")
async def list_all(
    request: Request, scan: Scan, q: str = "", after: str | None = None, kind: Format = None
) -> Response:
    """List archives, the newest first; as a file where one is asked for."""
    wanted = ArchiveFilter(name_contains=q.strip() or None)
    if kind:
        return await scan(lambda transaction: _rows(transaction, wanted), partial(as_file, "archives", kind, COLUMNS))

    async def read(transaction: Transaction) -> Mapping[str, Any]:
        found = await list_archives(transaction, wanted, Page(limit=LISTED, after=after, order="desc"))
        return {"archives": found}

    values: dict[str, Any] = {"q": q, "listed": LISTED, "calls": code.archives_calls()}
    return await scan(read, lambda shown: render(request, "archives.html", **values, **shown))


async def _rows(transaction: Transaction, wanted: ArchiveFilter) -> list[Row]:
    """Return the archives of a filter as rows of a file."""

    async def of_page(page: Page) -> list[Row]:
        return [
            {
                "id": archive.id,
                "name": archive.name,
                "description": archive.description,
                "passages": archive.passage_count,
                "embedding": archive.embedding,
                "created_at": iso(archive.created_at),
            }
            for archive in await list_archives(transaction, wanted, page)
        ]

    return await all_rows(of_page)


@router.get("/archives/new")
async def new(request: Request, state: State) -> Response:
    """Show the form for a new archive."""
    return await _form(request, state, {"name": "", "description": "", "embedding": ""}, {})


@router.post("/archives/new")
async def create(request: Request, state: State) -> Response:
    """Create an archive, or say what is wrong where."""
    form = await read_form(request)
    values = {name: text_of(form, name).strip() for name in ("name", "description", "embedding")}
    try:
        body = CreateArchive.model_validate(
            {
                "name": values["name"],
                "description": values["description"] or None,
                "embedding": values["embedding"] or None,
            }
        )
        archive = await api.make(body, state)
    except (ValidationError, FolkmootError) as error:
        return await _form(request, state, values, problems_of(error, values), 422)
    return redirect(f"/archives/{archive.id}")


@router.get("/archives/{archive_id}")
async def show(
    request: Request,
    archive_id: ArchiveId,
    state: State,
    q: str = "",
    tags: str = "",
    mode: Mode = "hybrid",
    after: str | None = None,
    ask: str = "",
) -> Response:
    """Show an archive: its newest passages, or those that are looked for; `ask` opens a question about it."""
    looking = Looking(q.strip(), choices(tags), mode, after)
    return await archive_page(request, archive_id, state, looking=looking, ask=ask)


async def archive_page(
    request: Request,
    archive_id: str,
    state: ServerState,
    status: int = 200,
    *,
    looking: Looking | None = None,
    adding: Adding | None = None,
    ask: str = "",
) -> Response:
    """Return an archive's page.

    Args:
        request: what it answers.
        archive_id: whose page.
        state: the server's.
        status: the response's status.
        looking: what is looked for.
        adding: what the form for a passage holds.
        ask: the question that is open: `delete`, or none.
    """
    scan = Scanning(state.store, request)
    about = await scan(lambda transaction: _read(transaction, archive_id), lambda found: found)
    looked = await scan.while_here(_look(state, archive_id, looking or Looking()))
    models = [model.handle for model in await state.services.catalogue.embedding_models()]
    return render(
        request,
        "archive.html",
        status,
        about=about,
        archive=about.archive,
        palette=about.palette,
        looking=looked,
        adding=adding or Adding(),
        ask=ask,
        models=models,
        page_size=PASSAGES_SHOWN,
        calls=code.archive_calls(archive_id),
    )


async def _read(transaction: Transaction, archive_id: str) -> _About:
    archive = await find_archive(transaction, archive_id)
    access = await access_of_agents(transaction, archive_id)
    holders = await agents_of_ids(transaction, list(access))
    everybody = await list_agents(transaction, AgentFilter(), Page(limit=LARGEST_PAGE))
    return _About(
        archive=archive,
        tags=await tags_in(transaction, archive_id, TAGS_SHOWN),
        holders=[(agent, access[agent.id]) for agent in holders],
        others=[agent for agent in everybody if agent.id not in access],
        embedded=await count_embedded(transaction, archive),
        job=next(iter(await unfinished_jobs_of(transaction, archive_id)), None),
        palette=await read_palette(transaction),
    )


async def _look(state: ServerState, archive_id: str, looking: Looking) -> Looking:
    """Return what was looked for with what was found: without words the newest passages."""
    among = PassageFilter(archive_ids=[archive_id], tags=looking.tags, match_all_tags=True)
    if looking.query:
        search = PassageSearch(looking.query, among, looking.mode, PASSAGES_SHOWN)
        try:
            found = await search_passages(state.store, state.services.embeddings, search)
        except FolkmootError as error:
            if looking.mode != "vector":
                raise
            return replace(looking, after=None, without_meaning=error.message)
        return replace(looking, after=None, found=found.passages, without_meaning=found.without_meaning)
    page = Page(limit=PASSAGES_SHOWN, after=looking.after, order="desc")
    listed = await state.store.scan(lambda transaction: list_passages(transaction, among, page))
    return replace(looking, found=[FoundPassage(passage, 0.0) for passage in listed])


async def _form(
    request: Request, state: ServerState, values: Mapping[str, Any], problems: Mapping[str, str], status: int = 200
) -> Response:
    models = [model.handle for model in await state.services.catalogue.embedding_models()]
    default = state.services.settings.default_embedding
    return render(
        request,
        "archive_new.html",
        status,
        values=values,
        problems=problems,
        models=models,
        default_embedding=default,
        calls=code.new_archive_calls(),
    )
