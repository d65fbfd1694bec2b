"""Tools on the wire."""

from __future__ import annotations

from typing import Any

from folkmoot.identifiers import user_of
from folkmoot.server.wire.common import Reply
from folkmoot.tools.tool import Tool


class ToolReply(Reply):
    """A tool that agents can be given."""

    id: str
    tool_type: str
    description: str | None
    source_type: str | None = "python"
    name: str
    tags: list[str]
    source_code: str | None = None
    json_schema: dict[str, Any]
    args_json_schema: dict[str, Any] | None = None
    return_char_limit: int
    pip_requirements: list[dict[str, Any]] | None = None
    npm_requirements: list[dict[str, Any]] | None = None
    default_requires_approval: bool | None = None
    enable_parallel_execution: bool
    created_by_id: str | None
    last_updated_by_id: str | None
    metadata_: dict[str, Any] = {}
    project_id: str | None = None

    @classmethod
    def of(cls, tool: Tool, organization_id: str) -> ToolReply:
        """Show a tool to an organisation."""
        schema, user = tool.schema, user_of(organization_id)
        return cls(
            created_by_id=user,
            last_updated_by_id=user,
            id=tool.id,
            tool_type=tool.tool_type,
            description=schema.description,
            name=tool.name,
            tags=list(tool.tags),
            json_schema={
                "name": schema.name,
                "description": schema.description,
                "parameters": schema.parameters,
            },
            return_char_limit=tool.return_limit,
            enable_parallel_execution=not tool.in_step and tool.tool_type != "letta_multi_agent_core",
        )
