"""Tools: what agents can be given."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from folkmoot.agents.agents import tool_of_id
from folkmoot.server.state import State
from folkmoot.server.wire.common import ToolId, json_response, page_of
from folkmoot.server.wire.tools import ToolReply
from folkmoot.store.paging import Page, page_of_list
from folkmoot.tools.builtin import BUILTIN_TOOLS
from folkmoot.tools.tool import Tool

router = APIRouter(prefix="/v1/tools", tags=["tools"])


async def read_wanted(
    name: str | None = None,
    names: Annotated[list[str] | None, Query()] = None,
    tool_ids: Annotated[list[str] | None, Query()] = None,
    search: str | None = None,
    tool_types: Annotated[list[str] | None, Query()] = None,
    exclude_tool_types: Annotated[list[str] | None, Query()] = None,
    return_only_letta_tools: Annotated[bool, Query(description="Only built-in ones; all are, so far.")] = False,
) -> list[Tool]:
    """Return the tools that the query asks for, by name."""

    def is_wanted(tool: Tool) -> bool:
        return (
            (not return_only_letta_tools or tool.name in BUILTIN_TOOLS)
            and (name is None or tool.name == name)
            and (not names or tool.name in names)
            and (not tool_ids or tool.id in tool_ids)
            and (not search or search.lower() in tool.name)
            and (not tool_types or tool.tool_type in tool_types)
            and (not exclude_tool_types or tool.tool_type not in exclude_tool_types)
        )

    return sorted(filter(is_wanted, BUILTIN_TOOLS.values()), key=lambda tool: tool.name)


Wanted = Annotated[list[Tool], Depends(read_wanted)]
InOrder = Annotated[Page, Depends(page_of("asc"))]


@router.get("", response_model=list[ToolReply])
async def list_all(wanted: Wanted, page: InOrder, state: State) -> Response:
    """List tools, by name."""
    return json_response([ToolReply.of(tool) for tool in page_of_list(wanted, page, lambda tool: tool.id)])


@router.get("/count")
async def count(wanted: Wanted, exclude_letta_tools: bool = False) -> int:
    """Count tools; without the built-in ones when the request excludes them."""
    return 0 if exclude_letta_tools else len(wanted)


@router.get("/{tool_id}", response_model=ToolReply)
async def retrieve(tool_id: ToolId) -> Response:
    """Return a tool."""
    return json_response(ToolReply.of(tool_of_id(tool_id)))
