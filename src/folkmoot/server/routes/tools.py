"""Tools: what agents can be given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response

from folkmoot.errors import BadRequest
from folkmoot.server.bodies import BodyRoute
from folkmoot.server.scanning import Scan
from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import ToolId, json_response, page_of
from folkmoot.server.wire.tools import (
    TOOL_TYPES,
    CreateTool,
    FoundToolReply,
    GenerateSchema,
    SearchTools,
    ToolReply,
    UpdateTool,
)
from folkmoot.store.engine import Transaction
from folkmoot.store.paging import Page, page_of_list
from folkmoot.tools.builtin import BUILTIN_TOOLS
from folkmoot.tools.custom.languages import in_turn
from folkmoot.tools.custom.making import change_tool, describe, make_tool, refuse_builtin_id
from folkmoot.tools.custom.packages import Packages, begin_to_install, packages_of_tool, state_of
from folkmoot.tools.custom.search import search_tools
from folkmoot.tools.stored import ToolEntry, remove_tool
from folkmoot.tools.tool import Tool

router = APIRouter(prefix="/v1/tools", tags=["tools"], route_class=BodyRoute)


@dataclass(frozen=True, slots=True)
class ToolFilter:
    """Which tools are wanted; what is None or empty does not matter."""

    name: str | None = None
    names: Sequence[str] = ()
    tool_ids: Sequence[str] = ()
    search: str | None = None
    tool_types: Sequence[str] = ()
    exclude_tool_types: Sequence[str] = ()
    only_builtin: bool = False

    def takes(self, tool: ToolEntry) -> bool:
        """Tell whether a tool is wanted."""
        return (
            (not self.only_builtin or tool.tool_type.startswith("letta_"))
            and (self.name is None or tool.name == self.name)
            and (not self.names or tool.name in self.names)
            and (not self.tool_ids or tool.id in self.tool_ids)
            and (not self.search or self.search.lower() in tool.name.lower())
            and (not self.tool_types or tool.tool_type in self.tool_types)
            and (not self.exclude_tool_types or tool.tool_type not in self.exclude_tool_types)
        )


async def read_filter(
    name: str | None = None,
    names: Annotated[list[str] | None, Query()] = None,
    tool_ids: Annotated[list[str] | None, Query()] = None,
    search: str | None = None,
    tool_types: Annotated[list[str] | None, Query()] = None,
    exclude_tool_types: Annotated[list[str] | None, Query()] = None,
    return_only_letta_tools: Annotated[bool, Query(description="Only built-in ones.")] = False,
) -> ToolFilter:
    """Read from the query which tools are wanted."""
    return ToolFilter(
        name=name,
        names=_split(names),
        tool_ids=_split(tool_ids),
        search=search,
        tool_types=_types("tool_types", tool_types),
        exclude_tool_types=_types("exclude_tool_types", exclude_tool_types),
        only_builtin=return_only_letta_tools,
    )


def _split(values: Sequence[str] | None) -> list[str]:
    """Return what a parameter names that is repeated, or whose values are separated by commas."""
    return [each.strip() for value in values or () for each in value.split(",")]


def _types(field: str, values: Sequence[str] | None) -> list[str]:
    wanted = _split(values)
    for value in wanted:
        if value not in TOOL_TYPES:
            raise BadRequest(f"{field}: {value!r} is no type of tools. There are: {', '.join(TOOL_TYPES)}.")
    return wanted


Wanted = Annotated[ToolFilter, Depends(read_filter)]
NewestFirst = Annotated[Page, Depends(page_of("desc"))]


@router.get("", response_model=list[ToolReply])
async def list_all(wanted: Wanted, page: NewestFirst, state: State, scan: Scan) -> Response:
    """List tools: those that were made here, the newest first, and behind them the built-in ones by name."""

    async def read(transaction: Transaction) -> list[Tool]:
        found = [entry for entry in await state.services.tools.entries(transaction) if wanted.takes(entry)]
        # The list's own order is what `desc` asks for.
        turned = replace(page, order="asc" if page.order == "desc" else "desc")
        ids = [entry.id for entry in page_of_list(found, turned, lambda entry: entry.id)]
        return await state.services.tools.find(transaction, ids)

    return await scan(read, lambda tools: show_tools(tools, state))


@router.get("/count")
async def count(wanted: Wanted, state: State, scan: Scan, exclude_letta_tools: bool = False) -> int:
    """Count tools; without the built-in ones when the request excludes them."""

    def counted(entries: Sequence[ToolEntry]) -> int:
        found = [entry for entry in entries if wanted.takes(entry)]
        return sum(not exclude_letta_tools or not entry.tool_type.startswith("letta_") for entry in found)

    return await scan(state.services.tools.entries, counted)


@router.post("/add-base-tools", response_model=list[ToolReply])
async def add_base(state: State) -> Response:
    """Return the built-in tools, which every server has from its start; nothing is left to add."""
    return show_tools([tool for _, tool in sorted(BUILTIN_TOOLS.items())], state)


@router.post("/search", response_model=list[FoundToolReply])
async def search(body: SearchTools, state: State, scan: Scan) -> Response:
    """Find tools by words and meaning, the best first; without a query all of them, in the order of lists."""
    wanted, tags = ToolFilter(tool_types=_types("tool_types", body.tool_types)), set(body.tags or ())

    async def read(transaction: Transaction) -> list[Tool]:
        entries = [entry for entry in await state.services.tools.entries(transaction) if wanted.takes(entry)]
        return await state.services.tools.find(transaction, [entry.id for entry in entries])

    tools = await scan(read, lambda found: [tool for tool in found if tags <= set(tool.tags)])
    embeddings = state.services.embeddings
    handle = embeddings.usable(None)
    found = await scan.while_here(search_tools(tools, body.query, body.search_mode, body.limit, embeddings, handle))
    return json_response([FoundToolReply.of(each, state.principal.organization_id) for each in found])


@router.post("/generate-schema")
async def generate_schema(body: GenerateSchema) -> dict[str, Any]:
    """Return the schema that a tool of this source would have; nothing is stored, and the source is not run."""
    fields = {"source_code": body.code, "source_type": body.source_type}
    return dict((await in_turn(describe, fields)).json_schema)


@router.post("", response_model=ToolReply)
@router.put("", response_model=ToolReply)
async def create(body: CreateTool, state: State) -> Response:
    """Make a tool of source code, which is read and not run; one that has its name already is changed to it."""
    stored = await make_tool(state.store, body.fields(), state.author)
    await begin_to_install(state.services.sandbox.environments, packages_of_tool(stored))
    return await _shown(stored.id, state)


@router.patch("/{tool_id}", response_model=ToolReply)
async def update(tool_id: ToolId, body: UpdateTool, state: State) -> Response:
    """Change a tool; its name and schema follow its source."""
    refuse_builtin_id(tool_id)
    stored = await change_tool(state.store, tool_id, body.fields(), state.author)
    await begin_to_install(state.services.sandbox.environments, packages_of_tool(stored))
    return await _shown(tool_id, state)


@router.delete("/{tool_id}")
async def delete(tool_id: ToolId, state: State) -> None:
    """Delete a tool; the agents that have it lose it."""
    refuse_builtin_id(tool_id)
    await remove_tool(state.store, tool_id)


@router.get("/{tool_id}", response_model=ToolReply)
async def retrieve(tool_id: ToolId, state: State) -> Response:
    """Return a tool."""
    return await _shown(tool_id, state)


async def _shown(tool_id: str, state: ServerState) -> Response:
    found = await state.store.read(lambda transaction: state.services.tools.find(transaction, [tool_id]))
    stored = found[0].stored
    packages = packages_of_tool(stored) if stored is not None else Packages()
    environment = await state_of(state.services.sandbox.environments, packages)
    return json_response(ToolReply.of(found[0], state.principal.organization_id, environment))


def show_tools(tools: Sequence[Tool], state: ServerState) -> Response:
    """Return a list of tools as a response."""
    return json_response([ToolReply.of(tool, state.principal.organization_id) for tool in tools])
