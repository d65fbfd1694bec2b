"""A version of a template on the wire: a *snapshot* of its plan, whose names are in camel case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from folkmoot.errors import InvalidInput
from folkmoot.groups.groups import GroupPlan, ManagerType
from folkmoot.identifiers import new_id
from folkmoot.memory.blocks import DEFAULT_LIMIT
from folkmoot.server.wire.agents import CONFIGURATION_FIELDS, AgentType, CreateAgent, Name
from folkmoot.server.wire.blocks import CreateBlock
from folkmoot.server.wire.common import MOST_ITEMS, FolderId, JsonObject, Reply, Tag, Text, ToolId
from folkmoot.server.wire.groups import SOMEBODY, CreateGroup
from folkmoot.server.wire.identities import IdentityId
from folkmoot.templates.gathering import with_variables
from folkmoot.templates.plan import PlannedAgent, PlannedBlock, PlannedGroup, TemplatePlan, Variable


class _Camel(Reply):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore")


class SnapshotVariable(_Camel):
    """A variable."""

    key: Annotated[Text, Field(max_length=100)]
    default_value: Text | None = None
    type: str = "string"


class SnapshotVariables(_Camel):
    """Variables."""

    version: str = "1"
    data: Annotated[list[SnapshotVariable], Field(max_length=MOST_ITEMS)] = []

    @classmethod
    def of(cls, variables: Sequence[Variable]) -> SnapshotVariables:
        """Show variables."""
        return cls(data=[SnapshotVariable(key=each.key, default_value=each.default) for each in variables])

    def variables(self) -> list[Variable]:
        """Return them as they are kept."""
        return [Variable(each.key, each.default_value) for each in self.data]


class SnapshotAgent(_Camel):
    """An agent of a version; `configuration` and what follows it are Folkmoot's own."""

    entity_id: Text = Field(default_factory=lambda: new_id("agent_entity"))
    name: Name
    model: Text
    system_prompt: Text
    agent_type: AgentType = "letta_v1_agent"
    tool_ids: Annotated[list[ToolId], Field(max_length=MOST_ITEMS)] | None = None
    source_ids: Annotated[list[FolderId], Field(max_length=MOST_ITEMS)] | None = None
    identity_ids: Annotated[list[IdentityId], Field(max_length=MOST_ITEMS)] | None = None
    tags: Annotated[list[Tag], Field(max_length=MOST_ITEMS)] | None = None
    tool_rules: Annotated[list[JsonObject], Field(max_length=MOST_ITEMS)] | None = None
    memory_variables: SnapshotVariables | None = None
    tool_variables: SnapshotVariables | None = None
    properties: dict[str, Any] | None = None
    configuration: JsonObject | None = None
    description: Text | None = None
    embedding: Text | None = None
    timezone: Text | None = None


class SnapshotBlock(_Camel):
    """A block of a version; `metadata` and `tags` are Folkmoot's own."""

    entity_id: Text = Field(default_factory=lambda: new_id("block_entity"))
    label: Text
    value: Text
    limit: int = DEFAULT_LIMIT
    description: Text = ""
    preserve_on_migration: bool | None = False
    read_only: bool = False
    metadata: JsonObject = {}
    tags: Annotated[list[Tag], Field(max_length=MOST_ITEMS)] = []


class Relationship(_Camel):
    """That an agent has a block; `access` is Folkmoot's own."""

    agent_entity_id: Text
    block_entity_id: Text
    access: Literal["write", "append", "read"] = "write"


class SnapshotGroup(_Camel):
    """How the agents of a version answer together; `description` is Folkmoot's own."""

    manager_type: Text | None = None
    manager_agent_entity_id: Text | None = None
    description: Text | None = None
    termination_token: Text | None = None
    max_turns: int | None = None
    sleeptime_agent_frequency: int | None = None
    max_message_buffer_length: int | None = None
    min_message_buffer_length: int | None = None


class Snapshot(_Camel):
    """All of a version. `type` is the kind of group that its agents are, where they are one."""

    agents: Annotated[list[SnapshotAgent], Field(max_length=MOST_ITEMS)]
    blocks: Annotated[list[SnapshotBlock], Field(max_length=MOST_ITEMS)] = []
    relationships: Annotated[list[Relationship], Field(max_length=MOST_ITEMS)] = []
    configuration: SnapshotGroup = SnapshotGroup()
    type: Literal["classic", "cluster"] | ManagerType = "classic"
    version: str = ""

    @classmethod
    def of(cls, plan: TemplatePlan, version: str) -> Snapshot:
        """Show a version's plan."""
        return cls(
            agents=[_show_agent(agent) for agent in plan.agents],
            blocks=[_show_block(block) for block in plan.blocks],
            relationships=[
                Relationship(agent_entity_id=agent.entity_id, block_entity_id=block, access=access)
                for agent in plan.agents
                for block, access in agent.blocks.items()
            ],
            configuration=SnapshotGroup() if plan.group is None else _show_group(plan.group),
            type=_type_of(plan),
            version=version,
        )

    def to_plan(self) -> TemplatePlan:
        """Return the plan that is meant.

        Raises:
            InvalidInput: it does not fit together, or a setting of an agent or a block cannot be used.
        """
        access: dict[str, dict[str, str]] = {agent.entity_id: {} for agent in self.agents}
        for relationship in self.relationships:
            name = relationship.agent_entity_id
            if name not in access:
                raise InvalidInput(f"relationships: there is no agent {name!r} among the agents.")
            access[name][relationship.block_entity_id] = relationship.access
        agents = [_plan_agent(agent, access[agent.entity_id]) for agent in self.agents]
        kind = self.configuration.manager_type if self.type in ("classic", "cluster") else self.type
        group = None if kind is None else _plan_group(kind, self.configuration)
        return with_variables(TemplatePlan(agents, [_plan_block(block) for block in self.blocks], group).checked())


_DIRECT = (
    "context_window_limit",
    "max_tokens",
    "max_files_open",
    "message_buffer_autoclear",
    "per_file_view_window_char_limit",
    "parallel_tool_calls",
)
_OF_LLM_CONFIG = ("enable_reasoner", "max_reasoning_tokens", "put_inner_thoughts_in_kwargs")
_SHOWN_OTHERWISE = ("tool_rules",)


def _show_agent(agent: PlannedAgent) -> SnapshotAgent:
    configuration = agent.configuration
    return SnapshotAgent(
        entity_id=agent.entity_id,
        name=agent.name,
        model=agent.model,
        system_prompt=agent.system,
        agent_type=agent.agent_type,
        tool_ids=list(agent.tool_ids),
        source_ids=list(agent.folder_ids),
        identity_ids=list(agent.identity_ids),
        tags=list(agent.tags),
        tool_rules=list(configuration.get("tool_rules") or ()),
        memory_variables=SnapshotVariables.of(agent.memory_variables),
        tool_variables=SnapshotVariables.of(agent.tool_variables),
        properties=_properties(configuration),
        configuration={name: value for name, value in configuration.items() if name not in _SHOWN_OTHERWISE},
        description=agent.description,
        embedding=agent.embedding,
        timezone=agent.timezone,
    )


def _properties(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that the wire format's snapshots name, null where an agent has none."""
    settings = configuration.get("model_settings") or {}
    older = configuration.get("llm_config") or {}
    return {
        **{name: configuration.get(name) for name in _DIRECT},
        **{name: older.get(name) for name in _OF_LLM_CONFIG},
        "temperature": settings.get("temperature"),
        "reasoning_effort": (settings.get("reasoning") or {}).get("reasoning_effort"),
        "verbosity_level": settings.get("verbosity"),
    }


def _show_block(block: PlannedBlock) -> SnapshotBlock:
    return SnapshotBlock(
        entity_id=block.entity_id,
        label=block.label,
        value=block.value,
        limit=block.limit,
        description=block.description or "",
        preserve_on_migration=block.preserve_on_migration,
        read_only=block.read_only,
        metadata=dict(block.metadata),
        tags=list(block.tags),
    )


def _plan_agent(shown: SnapshotAgent, blocks: Mapping[str, str]) -> PlannedAgent:
    read = _read(CreateAgent, {**_configuration(shown), "name": shown.name}, f"agents: {shown.entity_id}")
    return PlannedAgent(
        entity_id=shown.entity_id,
        name=shown.name,
        model=shown.model,
        system=shown.system_prompt,
        agent_type=shown.agent_type,
        description=shown.description,
        embedding=shown.embedding,
        timezone=shown.timezone,
        tool_ids=shown.tool_ids or [],
        folder_ids=shown.source_ids or [],
        identity_ids=shown.identity_ids or [],
        tags=shown.tags or [],
        configuration=read.configuration(),
        memory_variables=shown.memory_variables.variables() if shown.memory_variables else [],
        tool_variables=shown.tool_variables.variables() if shown.tool_variables else [],
        blocks=dict(blocks),
    )


def _configuration(shown: SnapshotAgent) -> dict[str, Any]:
    """Return an agent's settings: those that are told whole, and in front of them those of the wire format."""
    told = {name: value for name, value in (shown.configuration or {}).items() if name in CONFIGURATION_FIELDS}
    properties = {name: value for name, value in (shown.properties or {}).items() if value is not None}
    settings, older = dict(told.get("model_settings") or {}), dict(told.get("llm_config") or {})
    if "temperature" in properties:
        settings["temperature"] = properties["temperature"]
    if "reasoning_effort" in properties:
        settings["reasoning"] = {"reasoning_effort": properties["reasoning_effort"]}
    if "verbosity_level" in properties:
        settings["verbosity"] = properties["verbosity_level"]
    older |= {name: properties[name] for name in _OF_LLM_CONFIG if name in properties}
    return {
        **told,
        **{name: properties[name] for name in _DIRECT if name in properties},
        **({"model_settings": settings} if settings else {}),
        **({"llm_config": older} if older else {}),
        **({"tool_rules": shown.tool_rules} if shown.tool_rules else {}),
    }


def _type_of(plan: TemplatePlan) -> Literal["classic", "cluster"] | ManagerType:
    if plan.group is not None:
        return plan.group.manager_type
    return "classic" if len(plan.agents) == 1 else "cluster"


def _show_group(group: PlannedGroup) -> SnapshotGroup:
    return SnapshotGroup(
        manager_type=group.manager_type,
        manager_agent_entity_id=group.manager,
        description=group.description,
        **group.settings,
    )


def _plan_group(kind: str, shown: SnapshotGroup) -> PlannedGroup:
    told = shown.model_dump(exclude={"manager_type", "manager_agent_entity_id", "description"}, exclude_none=True)
    manager = {**told, "manager_type": kind, "manager_agent_id": SOMEBODY}
    fields = {"agent_ids": [], "description": shown.description or "", "manager_config": manager}
    read: GroupPlan = _read(CreateGroup, fields, "configuration").to_plan()
    settings = {name: value for name, value in read.manager.items() if name != "manager_agent_id"}
    return PlannedGroup(read.manager_type, shown.manager_agent_entity_id, read.description, settings)


def _plan_block(shown: SnapshotBlock) -> PlannedBlock:
    fields = shown.model_dump(include={"label", "value", "limit", "description", "read_only", "metadata", "tags"})
    read = _read(CreateBlock, fields, f"blocks: {shown.entity_id}")
    return PlannedBlock(
        entity_id=shown.entity_id,
        label=read.label,
        value=read.value,
        limit=shown.limit,
        description=read.description or None,
        read_only=shown.read_only,
        preserve_on_migration=bool(shown.preserve_on_migration),
        metadata=shown.metadata,
        tags=shown.tags,
    )


def _read(model: Any, fields: Mapping[str, Any], place: str) -> Any:
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        problem = error.errors()[0]
        raise InvalidInput(f"{place}: {'.'.join(map(str, problem['loc']))}: {problem['msg']}.") from error
