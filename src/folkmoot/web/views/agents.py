"""Agents: the list, the form for a new one, and the page of one: its chat, its memory, its context, its settings."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from fastapi import Request, Response
from pydantic import ValidationError

from folkmoot.agents.agents import Agent, find_agent, tools_of
from folkmoot.agents.creation import choose_model
from folkmoot.agents.folders import folders_of_agent
from folkmoot.agents.listing import AgentFilter, blocks_of_agents, list_agents, tags_of_agents
from folkmoot.agents.overview import agent_names, holders_of_any
from folkmoot.agents.tool_rules import ToolRules
from folkmoot.archives.archives import Archive, ArchiveFilter, list_archives
from folkmoot.archives.attachments import AttachedArchive, archives_of_agent
from folkmoot.errors import FolkmootError
from folkmoot.files.folders import Folder, list_folders
from folkmoot.files.open_files import AgentFile, open_files_of
from folkmoot.groups.groups import Group, GroupFilter, list_groups, managed_groups
from folkmoot.groups.sleeptime import create_with_partner
from folkmoot.memory.attachments import Access, attached_rows, isolated_rows
from folkmoot.memory.blocks import Block
from folkmoot.memory.listing import BlockEntry, BlockFilter, list_entries
from folkmoot.runs.inbox import waiting_runs
from folkmoot.runs.reading import RunFilter, list_runs
from folkmoot.runs.runs import UNFINISHED, Run
from folkmoot.schedules.schedules import MOST_SCHEDULES, Schedule, list_schedules
from folkmoot.server.scanning import Scan, Scanning
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.agents import CreateAgent
from folkmoot.server.wire.common import AgentId
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import LARGEST_PAGE, Page
from folkmoot.tools.builtin import DEFAULT_TOOLS
from folkmoot.tools.tool import Tool
from folkmoot.web import code
from folkmoot.web.chats import Chat, read_chat
from folkmoot.web.colours import Palette, read_palette
from folkmoot.web.context_window import ContextUse, read_context
from folkmoot.web.forms import choices, problems_of, text_of
from folkmoot.web.namesakes import told_apart
from folkmoot.web.pictures import SHARE_OF_BODY
from folkmoot.web.responses import page_router, read_form, redirect, render
from folkmoot.web.tables import Format, Row, all_rows, as_file
from folkmoot.web.words import iso

router = page_router()

LISTED = 200
COLUMNS = ("id", "name", "description", "model", "tags", "blocks", "created_at")
RUNS_SHOWN = 8
GROUPS_SHOWN = 20


@dataclass(frozen=True, slots=True)
class _About:
    """What an agent's page shows."""

    agent: Agent
    chat: Chat
    blocks: Sequence[tuple[Block, Access]]
    """What it reads in the conversation that is shown."""
    isolated: Collection[str]
    """Those of these blocks that are the conversation's own."""
    other_blocks: Sequence[BlockEntry]
    apart: Mapping[str, str]
    """What tells those of one label apart."""
    writers: Sequence[str]
    """Who has one of its blocks too."""
    archives: Sequence[AttachedArchive]
    other_archives: Sequence[Archive]
    folders: Sequence[Folder]
    other_folders: Sequence[Folder]
    open_files: Sequence[AgentFile]
    tools: Sequence[Tool]
    groups: Sequence[Group]
    """Those that it manages, then those that it is in."""
    names: Mapping[str, str]
    """Of the agents in these groups."""
    tags: Sequence[str]
    runs: Sequence[Run]
    schedules: Sequence[Schedule]
    context: ContextUse
    palette: Palette


@dataclass(frozen=True, slots=True)
class Refused:
    """What a form of an agent's page could not do, and what it held, so that nothing has to be written again."""

    form: str = ""
    problem: str = ""
    values: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decided:
    """What somebody decided about a call while others of the same request are still open."""

    approve: bool
    reason: str | None


@router.get("/agents")
async def list_all(
    request: Request, scan: Scan, q: str = "", tag: str = "", after: str | None = None, kind: Format = None
) -> Response:
    """List agents, the newest first; as a file where one is asked for."""
    wanted = AgentFilter(query_text=q.strip() or None, tags=[tag] if tag else ())
    if kind:
        return await scan(lambda transaction: _rows(transaction, wanted), partial(as_file, "agents", kind, COLUMNS))

    async def read(transaction: Transaction) -> dict[str, Any]:
        found = await list_agents(transaction, wanted, Page(limit=LISTED, after=after, order="desc"))
        ids = [agent.id for agent in found]
        return {
            "agents": found,
            "blocks": await blocks_of_agents(transaction, ids),
            "tags": await tags_of_agents(transaction, ids),
            "running": await _running(transaction),
            "waiting": {run.agent_id for run in await waiting_runs(transaction)},
            "palette": await read_palette(transaction),
        }

    values: dict[str, Any] = {"q": q, "tag": tag, "listed": LISTED, "calls": code.moot_calls()}
    return await scan(read, lambda shown: render(request, "agents.html", **values, **shown))


async def _rows(transaction: Transaction, wanted: AgentFilter) -> list[Row]:
    """Return the agents of a filter as rows of a file."""

    async def of_page(page: Page) -> list[Row]:
        agents = await list_agents(transaction, wanted, page)
        ids = [agent.id for agent in agents]
        blocks, tags = await blocks_of_agents(transaction, ids), await tags_of_agents(transaction, ids)
        return [
            {
                "id": agent.id,
                "name": agent.name,
                "description": agent.description,
                "model": agent.model,
                "tags": ", ".join(tags.get(agent.id, ())),
                "blocks": ", ".join(block.label for block, _ in blocks.get(agent.id, ())),
                "created_at": iso(agent.created_at),
            }
            for agent in agents
        ]

    return await all_rows(of_page)


@router.get("/agents/new")
async def new(request: Request, state: State, model: str = "") -> Response:
    """Show the form for a new agent, which may have a model already."""
    values: dict[str, Any] = {
        "name": "",
        "model": model,
        "system": "",
        "tags": "",
        "tools": DEFAULT_TOOLS,
        "blocks": (),
        "sleeptime": False,
    }
    return await _form(request, state, values, {})


@router.post("/agents/new")
async def create(request: Request, state: State) -> Response:
    """Create an agent, or say what is wrong where."""
    form = await read_form(request)
    values: dict[str, Any] = {name: text_of(form, name).strip() for name in ("name", "model", "system", "tags")}
    values |= {"tools": form.get("tools", []), "blocks": form.get("blocks", []), "sleeptime": "sleeptime" in form}
    try:
        body = CreateAgent.model_validate(
            {
                "name": values["name"] or None,
                "model": values["model"] or None,
                "system": values["system"] or None,
                "tags": choices(values["tags"]),
                "tools": values["tools"],
                "block_ids": values["blocks"],
                "include_base_tools": False,
                "enable_sleeptime": values["sleeptime"] or None,
            }
        )
        plan = body.to_plan()
        model = await choose_model(plan, state.services)
        agent = await state.store.write(
            lambda transaction: create_with_partner(transaction, plan, model, state.services, state.author)
        )
    except (ValidationError, FolkmootError) as error:
        return await _form(request, state, values, _problems(error, values), 422)
    return redirect(f"/agents/{agent.id}")


@router.get("/agents/{agent_id}")
async def show(
    request: Request,
    agent_id: AgentId,
    state: State,
    conversation: str = "",
    before: str | None = None,
    edit: str | None = None,
) -> Response:
    """Show an agent in one of its conversations; `edit` names what is to be said again, differently."""
    return await agent_page(request, agent_id, state, conversation=conversation, before=before, edit=edit)


async def agent_page(
    request: Request,
    agent_id: str,
    state: ServerState,
    status: int = 200,
    *,
    conversation: str = "",
    before: str | None = None,
    edit: str | None = None,
    refused: Refused | None = None,
    decisions: Mapping[str, Decided] | None = None,
) -> Response:
    """Return an agent's page.

    Args:
        request: what it answers.
        agent_id: whose page.
        state: the server's.
        status: the response's status.
        conversation: which of its conversations; its main one when empty.
        before: a message; the page shows those before it.
        edit: the message that is to be said again, differently.
        refused: the form that could not do what it was asked to.
        decisions: what was decided so far about calls that wait, by the call.
    """
    all_tools = await state.store.read(state.services.tools.entries)

    def shown(about: _About) -> Response:
        return render(
            request,
            "agent.html",
            status,
            about=about,
            refused=refused or Refused(),
            decisions=decisions or {},
            agent=about.agent,
            palette=about.palette,
            chat=about.chat,
            largest_together=int(state.services.settings.max_body * SHARE_OF_BODY),
            before=before,
            rules=ToolRules.read(about.agent.configuration.get("tool_rules") or ()),
            other_tools=[entry for entry in all_tools if entry.id not in {tool.id for tool in about.tools}],
            calls=code.agent_calls(agent_id, about.agent.model),
        )

    scan = Scanning(state.store, request)
    return await scan(lambda transaction: _read(transaction, agent_id, conversation, before, edit, state), shown)


async def refuse(
    request: Request,
    agent_id: str,
    state: ServerState,
    error: ValidationError | FolkmootError,
    form: str,
    values: Mapping[str, str],
    **shown: Any,
) -> Response:
    """Return the agent's page with what a form held and why that could not be done; `shown` is as for `agent_page`."""
    status = error.status if isinstance(error, FolkmootError) else 422
    problem = " ".join(problems_of(error, ()).values())
    return await agent_page(request, agent_id, state, status, refused=Refused(form, problem, values), **shown)


async def _read(
    transaction: Transaction, agent_id: str, conversation: str, before: str | None, edit: str | None, state: ServerState
) -> _About:
    agent = await find_agent(transaction, agent_id)
    chat = await read_chat(transaction, agent_id, conversation, before, edit)
    tools = await tools_of(transaction, agent_id, state.services.tools)
    rows = await attached_rows(transaction, agent_id, chat.conversation.id)
    isolated = {row["id"] for row in await isolated_rows(transaction, chat.conversation.id)}
    held = {row["id"] for row in await attached_rows(transaction, agent_id)}
    everything = await list_entries(transaction, BlockFilter(), Page(limit=LARGEST_PAGE, order="desc"))
    others = [block for block in everything if block.id not in held | isolated]
    archives = await archives_of_agent(transaction, agent_id)
    library = await list_archives(transaction, ArchiveFilter(), Page(limit=LARGEST_PAGE, order="desc"))
    folders = await folders_of_agent(transaction, agent_id)
    all_folders = await list_folders(transaction, Page(limit=LARGEST_PAGE, order="desc"))
    runs = await list_runs(transaction, RunFilter(agent_ids=[agent_id]), Page(limit=RUNS_SHOWN, order="desc"))
    managed = (await managed_groups(transaction, [agent_id])).get(agent_id, [])
    groups = [*managed, *await list_groups(transaction, GroupFilter(agent_id=agent_id), Page(limit=GROUPS_SHOWN))]
    here = [run for run in runs if run.conversation_id == chat.conversation.id]
    counted = next((usage["context_tokens"] for run in here if (usage := run.details.get("usage"))), None)
    return _About(
        agent=agent,
        chat=chat,
        blocks=[(Block.from_row(row), row["access"]) for row in rows],
        isolated=isolated,
        other_blocks=others,
        apart=await told_apart(transaction, others),
        writers=await holders_of_any(transaction, held),
        archives=archives,
        other_archives=[each for each in library if each.id not in {held.archive.id for held in archives}],
        folders=folders,
        other_folders=[each for each in all_folders if each.id not in {folder.id for folder in folders}],
        open_files=await open_files_of(transaction, agent_id),
        tools=tools,
        groups=groups,
        names=await agent_names(transaction, [each for group in groups for each in group.everybody]),
        tags=(await tags_of_agents(transaction, [agent_id])).get(agent_id, []),
        runs=runs,
        schedules=await list_schedules(transaction, agent_id, Page(limit=MOST_SCHEDULES, order="asc")),
        context=await read_context(transaction, agent, chat.conversation, tools, _window(agent, state), counted),
        palette=await read_palette(transaction),
    )


def _window(agent: Agent, state: ServerState) -> int:
    """Return the tokens that the agent's context may hold."""
    chosen = agent.configuration.get("context_window_limit")
    return int(chosen or state.services.catalogue.describe(agent.model).context_window)


async def _running(transaction: Transaction) -> Mapping[str, Run]:
    """Return each agent's run that is under way."""
    found = await list_runs(transaction, RunFilter(statuses=UNFINISHED), Page(limit=LARGEST_PAGE, order="desc"))
    return {run.agent_id: run for run in found}


async def _form(
    request: Request, state: ServerState, values: Mapping[str, Any], problems: Mapping[str, str], status: int = 200
) -> Response:
    newest = Page(limit=LARGEST_PAGE, order="desc")

    async def read(transaction: Transaction) -> tuple[Sequence[BlockEntry], Mapping[str, str]]:
        found = await list_entries(transaction, BlockFilter(), newest)
        return found, await told_apart(transaction, found)

    blocks, apart = await state.store.scan(read)
    default = await state.services.catalogue.default_model()
    return render(
        request,
        "agent_new.html",
        status,
        values=values,
        problems=problems,
        blocks=blocks,
        apart=apart,
        models=[model.handle for model in await state.services.catalogue.models()],
        default_model=default,
        all_tools=await state.store.read(state.services.tools.entries),
        calls=code.new_agent_calls(default),
    )


def _problems(error: ValidationError | FolkmootError, values: Mapping[str, Any]) -> dict[str, str]:
    """Return what is wrong by the form's fields."""
    problems = problems_of(error, [*values, "block_ids"])
    if "block_ids" in problems:
        problems["blocks"] = problems.pop("block_ids")
    text = problems.get("", "")
    if "label" in text and "Two blocks" in text:
        problems["blocks"] = problems.pop("")
    elif "odel" in text or "rovider" in text:
        problems["model"] = problems.pop("")
    return problems
