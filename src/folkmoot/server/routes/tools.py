"""Tools: what agents can be given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from folkmoot.server.state import ServerState, State
from folkmoot.server.wire.common import ToolId, json_response, page_of
from folkmoot.server.wire.tools import ToolReply
from folkmoot.store.paging import Page, page_of_list
from folkmoot.tools.tool import Tool

router = APIRouter(prefix="/v1/tools", tags=["tools"])


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

    def takes(self, tool: Tool) -> bool:
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
        names=names or (),
        tool_ids=tool_ids or (),
        search=search,
        tool_types=tool_types or (),
        exclude_tool_types=exclude_tool_types or (),
        only_builtin=return_only_letta_tools,
    )


Wanted = Annotated[ToolFilter, Depends(read_filter)]
InOrder = Annotated[Page, Depends(page_of("asc"))]


@router.get("", response_model=list[ToolReply])
async def list_all(wanted: Wanted, page: InOrder, state: State) -> Response:
    """List tools, by name."""
    found = [tool for tool in await state.store.read(state.services.tools.all) if wanted.takes(tool)]
    return json_response(
        [
            ToolReply.of(tool, state.principal.organization_id)
            for tool in page_of_list(found, page, lambda tool: tool.id)
        ]
    )


@router.get("/count")
async def count(wanted: Wanted, state: State, exclude_letta_tools: bool = False) -> int:
    """Count tools; without the built-in ones when the request excludes them."""
    found = [tool for tool in await state.store.read(state.services.tools.all) if wanted.takes(tool)]
    return sum(not exclude_letta_tools or not tool.tool_type.startswith("letta_") for tool in found)


@router.post("/add-base-tools", response_model=list[ToolReply])
async def add_base(state: State) -> Response:
    """Return the built-in tools, which every server has from its start; nothing is left to add."""
    return json_response(
        [
            ToolReply.of(tool, state.principal.organization_id)
            for tool in await state.store.read(state.services.tools.all)
        ]
    )


@router.get("/{tool_id}", response_model=ToolReply)
async def retrieve(tool_id: ToolId, state: State) -> Response:
    """Return a tool."""
    found = await state.store.read(lambda transaction: state.services.tools.find(transaction, [tool_id]))
    return json_response(ToolReply.of(found[0], state.principal.organization_id))


def _shown(tools: Sequence[Tool], state: ServerState) -> Response:
    return json_response([ToolReply.of(tool, state.principal.organization_id) for tool in tools])
