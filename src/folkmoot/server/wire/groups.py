"""Groups on the wire."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from folkmoot.groups.groups import MANAGER_FIELDS, Group, GroupPlan, ManagerType
from folkmoot.identifiers import check_id
from folkmoot.server.wire.common import AgentId, BlockId, Reply, Request, Text

MOST_MEMBERS = 50
"""Agents of a group."""

MOST_TURNS = 100
"""How often somebody speaks in one turn of a group, at the most."""

MOST_BLOCKS = 100
"""Blocks that a group shares."""

SOMEBODY = "agent-00000000-0000-4000-8000-000000000000"
"""Stands for a group's manager where agents are named otherwise, while its settings are read."""

GroupId = Annotated[str, AfterValidator(lambda value: check_id("group", value))]

Description = Annotated[Text, Field(max_length=10_000)]
Turns = Annotated[int, Field(ge=1, le=MOST_TURNS)]
Frequency = Annotated[int, Field(ge=1, le=10_000, description="Turns from one consolidation to the next.")]
Token = Annotated[Text, Field(min_length=1, max_length=200, description="What the manager ends a turn with.")]
Length = Annotated[int, Field(ge=1, le=100_000)]


class _Manager(Request):
    def settings(self) -> dict[str, Any]:
        """Return the kind of group, and what the request set of its settings."""
        return {"manager_type": self.model_dump()["manager_type"], **self.model_dump(exclude_unset=True)}


class RoundRobin(_Manager):
    """Everybody speaks, one after the other."""

    manager_type: Literal["round_robin"] = "round_robin"
    max_turns: Turns | None = Field(None, description="How many speak; each member once when it is left out.")


class Supervisor(_Manager):
    """The manager answers, and asks the members."""

    manager_type: Literal["supervisor"]
    manager_agent_id: AgentId


class Dynamic(_Manager):
    """The manager says who speaks next, until it ends the turn."""

    manager_type: Literal["dynamic"]
    manager_agent_id: AgentId
    termination_token: Token | None = None
    max_turns: Turns | None = None


class Sleeptime(_Manager):
    """The members tend the manager's memory behind its turns."""

    manager_type: Literal["sleeptime"]
    manager_agent_id: AgentId
    sleeptime_agent_frequency: Frequency | None = None


class VoiceSleeptime(_Manager):
    """The same, for an agent that is spoken to; the lengths are kept as they are."""

    manager_type: Literal["voice_sleeptime"]
    manager_agent_id: AgentId
    max_message_buffer_length: Length | None = None
    min_message_buffer_length: Length | None = None


class DynamicUpdate(Dynamic):
    """Changes to it."""

    manager_agent_id: AgentId | None = None  # type: ignore[assignment]


class SleeptimeUpdate(Sleeptime):
    """Changes to it."""

    manager_agent_id: AgentId | None = None  # type: ignore[assignment]


class VoiceSleeptimeUpdate(VoiceSleeptime):
    """Changes to it."""

    manager_agent_id: AgentId | None = None  # type: ignore[assignment]


Manager = Annotated[RoundRobin | Supervisor | Dynamic | Sleeptime | VoiceSleeptime, Field(discriminator="manager_type")]
ManagerUpdate = Annotated[
    RoundRobin | Supervisor | DynamicUpdate | SleeptimeUpdate | VoiceSleeptimeUpdate,
    Field(discriminator="manager_type"),
]


class CreateGroup(Request):
    """A new group."""

    agent_ids: list[AgentId] = Field(max_length=MOST_MEMBERS)
    description: Description
    manager_config: Manager = RoundRobin()
    shared_block_ids: list[BlockId] = Field([], max_length=MOST_BLOCKS)
    project_id: Text | None = None
    hidden: bool | None = None

    def to_plan(self) -> GroupPlan:
        """Return what the group shall be."""
        settings = self.manager_config.settings()
        return GroupPlan(
            agent_ids=list(dict.fromkeys(self.agent_ids)),
            description=self.description,
            manager_type=settings["manager_type"],
            manager={name: value for name, value in settings.items() if name in MANAGER_FIELDS},
            shared_block_ids=self.shared_block_ids,
            project_id=self.project_id,
            hidden=self.hidden,
        )


class UpdateGroup(Request):
    """Changes to a group; what is left out stays as it is."""

    agent_ids: list[AgentId] | None = Field(None, max_length=MOST_MEMBERS)
    description: Description | None = None
    manager_config: ManagerUpdate | None = None
    shared_block_ids: list[BlockId] | None = Field(None, max_length=MOST_BLOCKS)
    project_id: Text | None = None

    def to_changes(self) -> dict[str, Any]:
        """Return what is changed."""
        changes = self.model_dump(
            include={"agent_ids", "description", "shared_block_ids", "project_id"}, exclude_none=True
        )
        if self.manager_config is not None:
            settings = self.manager_config.settings().items()
            changes["manager"] = {name: value for name, value in settings if value is not None}
        return changes


class GroupReply(Reply):
    """A group."""

    id: str
    manager_type: ManagerType
    agent_ids: list[str]
    description: str
    project_id: str | None
    template_id: str | None
    base_template_id: str | None
    deployment_id: str | None
    shared_block_ids: list[str]
    manager_agent_id: str | None
    termination_token: str | None
    max_turns: int | None
    sleeptime_agent_frequency: int | None
    turns_counter: int | None
    last_processed_message_id: str | None
    max_message_buffer_length: int | None
    min_message_buffer_length: int | None
    hidden: bool | None

    @classmethod
    def of(cls, group: Group) -> GroupReply:
        """Show a group."""
        return cls(**{name: getattr(group, name) for name in cls.model_fields})
