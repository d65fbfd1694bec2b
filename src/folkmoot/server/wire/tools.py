"""Tools on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from folkmoot.errors import InvalidInput
from folkmoot.identifiers import user_of
from folkmoot.sandbox.calls import check_limits
from folkmoot.sandbox.environments import State
from folkmoot.sandbox.reach import read_hosts
from folkmoot.server.wire.common import MOST_ITEMS, JsonObject, Reply, Request, Tag, Text, storable_json_of
from folkmoot.tools.custom.running import VARIABLE_NAME
from folkmoot.tools.custom.search import FoundTool
from folkmoot.tools.custom.source import LONGEST_SOURCE
from folkmoot.tools.tool import TEXT_ALONE, Tool, ToolResult

TOOL_TYPES = (
    "custom",
    "letta_core",
    "letta_memory_core",
    "letta_multi_agent_core",
    "letta_sleeptime_core",
    "letta_voice_sleeptime_core",
    "letta_builtin",
    "letta_files_core",
    "external_langchain",
    "external_composio",
    "external_mcp",
)
"""The wire format's kinds of tools."""

MOST_REQUIREMENTS = 100
LONGEST_DESCRIPTION = 50_000

SourceCode = Annotated[Text, Field(max_length=LONGEST_SOURCE)]


LONGEST_ARGUMENTS = 1_000_000
"""Characters, about, of a call's arguments as JSON."""

Arguments = Annotated[dict[str, Any], BeforeValidator(storable_json_of(LONGEST_ARGUMENTS))]

VariableName = Annotated[str, Field(pattern=VARIABLE_NAME, max_length=200)]
"""The name of an environment variable."""


class Requirement(Request):
    """A package that a tool's source needs."""

    name: Annotated[Text, Field(min_length=1, max_length=200)]
    version: Annotated[Text, Field(max_length=200)] | None = None


Requirements = Annotated[list[Requirement], Field(max_length=MOST_REQUIREMENTS)]


def readable_hosts(hosts: Any) -> list[str]:
    """Return hosts that a call may reach, or say what is wrong with them."""
    if not isinstance(hosts, list) or not all(isinstance(host, str) for host in hosts):
        raise ValueError("allowed_hosts: has to be a list of hosts such as api.example.org")
    try:
        read_hosts(hosts)
    except InvalidInput as error:
        raise ValueError(error.message) from error
    return hosts


def _readable(metadata: dict[str, Any]) -> dict[str, Any]:
    readable_hosts(metadata.get("allowed_hosts", []))
    try:
        check_limits(metadata.get("limits") or {})
    except InvalidInput as error:
        raise ValueError(error.message) from error
    return metadata


class UpdateTool(Request):
    """What to change of a tool; what is left out stays as it is."""

    description: Annotated[Text, Field(max_length=LONGEST_DESCRIPTION)] | None = None
    tags: list[Tag] | None = Field(None, max_length=MOST_ITEMS)
    source_code: SourceCode | None = None
    source_type: str | None = None
    json_schema: JsonObject | None = Field(
        None, description="What models are told: name, description, parameters; read from the source when left out."
    )
    args_json_schema: JsonObject | None = Field(
        None, description="The JSON Schema of the arguments, as pydantic makes it of a model."
    )
    return_char_limit: int | None = Field(None, ge=1, le=1_000_000)
    pip_requirements: Requirements | None = None
    npm_requirements: Requirements | None = None
    metadata_: Annotated[JsonObject, AfterValidator(_readable)] | None = Field(
        None,
        description="What its maker keeps with it; in `allowed_hosts` the hosts that the tool may reach, "
        "in `limits` what its calls may use where that is less than the server allows.",
    )
    default_requires_approval: bool | None = None
    enable_parallel_execution: bool | None = None

    def fields(self) -> dict[str, Any]:
        """Return what was sent, by the names of a stored tool; null where only a value makes sense is not sent."""
        sent = self.model_dump(exclude_unset=True)
        for name in ("tags", "source_code", "source_type", "json_schema", "return_char_limit"):
            if sent.get(name, ...) is None:
                del sent[name]
        if "metadata_" in sent:
            sent["metadata"] = sent.pop("metadata_")
        if "enable_parallel_execution" in sent:
            sent["enable_parallel_execution"] = bool(sent["enable_parallel_execution"])
        return sent


class CreateTool(UpdateTool):
    """A tool to make of source code; one that has its name already becomes this."""

    source_code: SourceCode


class SearchTools(Request):
    """Which tools are looked for."""

    query: Text | None = Field(None, max_length=2000)
    search_mode: Literal["vector", "fts", "hybrid"] = "hybrid"
    tool_types: list[str] | None = Field(None, max_length=MOST_ITEMS)
    tags: list[Tag] | None = Field(None, max_length=MOST_ITEMS)
    limit: int = Field(50, ge=1, le=100)


class GenerateSchema(Request):
    """Source code whose schema is wanted."""

    code: SourceCode
    source_type: str | None = None


class RunSource(Request):
    """Source code to run once as a tool."""

    source_code: SourceCode
    args: Arguments
    env_vars: dict[VariableName, Text] = Field(default={}, max_length=MOST_ITEMS)
    name: Text | None = Field(None, description="The function that is meant; the last one when left out.")
    source_type: str | None = None
    json_schema: JsonObject | None = None
    args_json_schema: JsonObject | None = None
    pip_requirements: Requirements | None = None
    npm_requirements: Requirements | None = None


class RunTool(Request):
    """What to call a tool with."""

    args: Arguments = {}


class ToolRunReply(Reply):
    """What a tool call came to that somebody asked for."""

    status: Literal["success", "error"]
    func_return: Any = None
    agent_state: None = None
    stdout: list[str] | None = None
    stderr: list[str] | None = None
    sandbox_config_fingerprint: str | None = None

    @classmethod
    def of(cls, result: ToolResult) -> ToolRunReply:
        """Show a result."""
        if result.failed:
            stderr = list(result.stderr) if result.stderr else [result.text]
            return cls(status="error", stdout=_listed(result.stdout), stderr=stderr)
        value = result.text if result.value is TEXT_ALONE else result.value
        stderr_or_none = _listed(result.stderr)
        return cls(status="success", func_return=value, stdout=_listed(result.stdout), stderr=stderr_or_none)


class EnvironmentReply(Reply):
    """How far the installation of a tool's packages is; `reason` says why it failed."""

    state: Literal["unmade", "making", "ready", "failed"]
    reason: str | None


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
    environment: EnvironmentReply | None = None

    @classmethod
    def of(cls, tool: Tool, organization_id: str, environment: State | None = None) -> ToolReply:
        """Show a tool to an organisation.

        Args:
            tool: the tool.
            organization_id: whose it is.
            environment: how far the installation of its packages is, where that is shown.
        """
        schema, user, stored = tool.schema, user_of(organization_id), tool.stored
        common = {"id": tool.id, "tool_type": tool.tool_type, "name": tool.name, "tags": list(tool.tags)}
        if stored is None:
            told = {"name": schema.name, "description": schema.description, "parameters": schema.parameters}
            return cls(
                **common,
                created_by_id=user,
                last_updated_by_id=user,
                description=schema.description,
                json_schema=told,
                return_char_limit=tool.return_limit,
                enable_parallel_execution=tool.runs_beside_others
                and not tool.in_step
                and tool.tool_type != "letta_multi_agent_core",
            )
        return cls(
            **common,
            created_by_id=user,
            last_updated_by_id=user,
            description=schema.description,
            source_type=stored.source_type,
            source_code=stored.source_code,
            json_schema=dict(stored.json_schema),
            args_json_schema=stored.args_json_schema and dict(stored.args_json_schema),
            return_char_limit=stored.return_char_limit,
            pip_requirements=_as_dicts(stored.pip_requirements),
            npm_requirements=_as_dicts(stored.npm_requirements),
            default_requires_approval=stored.default_requires_approval,
            enable_parallel_execution=stored.enable_parallel_execution,
            metadata_=dict(stored.metadata or {}),
            environment=environment and EnvironmentReply(state=environment.name, reason=environment.reason),
        )


class FoundToolReply(Reply):
    """A tool that a search has found, and how well it fits, from 0 to 1."""

    tool: ToolReply
    embedded_text: str | None
    fts_rank: int | None
    vector_rank: int | None = None
    combined_score: float

    @classmethod
    def of(cls, found: FoundTool, organization_id: str) -> FoundToolReply:
        """Show a tool that was found to an organisation."""
        return cls(
            tool=ToolReply.of(found.tool, organization_id),
            embedded_text=found.text,
            fts_rank=found.text_rank,
            vector_rank=found.vector_rank,
            combined_score=found.score,
        )


def _listed(texts: Sequence[str] | None) -> list[str] | None:
    return None if texts is None else list(texts)


def _as_dicts(requirements: Any) -> list[dict[str, Any]] | None:
    return None if requirements is None else [dict(each) for each in requirements]
