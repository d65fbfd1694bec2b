"""Templates on the wire."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, Tag

from folkmoot.server.wire.agents import Name
from folkmoot.server.wire.common import MOST_ITEMS, AgentId, Reply, Request, Text, moment
from folkmoot.server.wire.common import Tag as TagText
from folkmoot.server.wire.groups import GroupId
from folkmoot.server.wire.identities import IdentityId
from folkmoot.server.wire.sending import MessageCreate
from folkmoot.templates.deployments import Deployment, Migration, Wish
from folkmoot.templates.templates import Template, Version

TemplateName = Annotated[Text, Field(pattern="^[a-zA-Z0-9_-]+$", max_length=200)]
Variables = Annotated[dict[Text, Text], Field(max_length=MOST_ITEMS)]
LONGEST_MESSAGE = 10_000


class FromAgent(Request):
    """A template of an agent that is there."""

    type: Literal["agent"]
    agent_id: AgentId
    name: TemplateName | None = None


class FromGroup(Request):
    """A template of a group that is there, with its agents."""

    type: Literal["group"]
    group_id: GroupId
    name: TemplateName | None = None


class FromFile(Request):
    """A template of what an agent file asks for."""

    type: Literal["agent_file"]
    agent_file: dict[str, Any]
    name: TemplateName | None = None
    update_existing_tools: bool = False


CreateTemplate: TypeAlias = Annotated[
    Annotated[FromAgent, Tag("agent")] | Annotated[FromGroup, Tag("group")] | Annotated[FromFile, Tag("agent_file")],
    Discriminator("type"),
]


class SaveVersion(Request):
    """How a version is saved."""

    message: Text | None = Field(None, max_length=LONGEST_MESSAGE)
    migrate_agents: bool = Field(False, description="Whether the agents made from it are led to it, behind the answer.")
    preserve_environment_variables_on_migration: bool = True
    preserve_core_memories_on_migration: bool = True
    preserve_sources_on_migration: bool = True
    block_reconciliation_strategy: Literal["reconcile-all", "preserve-deleted"] = "preserve-deleted"

    def migration(self) -> Migration:
        """Return what the agents keep."""
        return Migration(
            preserve_tool_variables=self.preserve_environment_variables_on_migration,
            preserve_core_memories=self.preserve_core_memories_on_migration,
            preserve_folders=self.preserve_sources_on_migration,
            delete_blocks=self.block_reconciliation_strategy == "reconcile-all",
        )


class MigrateDeployment(Request):
    """To which version a deployment's agents are led, and what they keep."""

    version: Text
    preserve_tool_variables: bool = True
    preserve_core_memories: bool = True
    preserve_sources: bool = True
    memory_variables: Variables | None = None
    block_reconciliation_strategy: Literal["reconcile-all", "preserve-deleted"] = Field(
        "preserve-deleted", description="Folkmoot's own: `reconcile-all` deletes blocks that the version has no more."
    )

    def migration(self) -> Migration:
        """Return what the agents keep."""
        return Migration(
            preserve_tool_variables=self.preserve_tool_variables,
            preserve_core_memories=self.preserve_core_memories,
            preserve_folders=self.preserve_sources,
            delete_blocks=self.block_reconciliation_strategy == "reconcile-all",
            memory_variables=self.memory_variables or {},
        )


class AgentsFromTemplate(Request):
    """How agents are made from a template."""

    agent_name: Name | None = None
    tags: list[TagText] | None = Field(None, max_length=MOST_ITEMS, description="Beside those of the template.")
    initial_message_sequence: list[MessageCreate] | None = Field(None, max_length=MOST_ITEMS)
    memory_variables: Variables | None = None
    tool_variables: Variables | None = None
    identity_ids: list[IdentityId] | None = Field(None, max_length=MOST_ITEMS)

    def to_wish(self) -> Wish:
        """Return how they are wanted."""
        return Wish(
            agent_name=self.agent_name,
            tags=self.tags,
            first_messages=[message.to_message() for message in self.initial_message_sequence or ()],
            memory_variables=self.memory_variables or {},
            tool_variables=self.tool_variables or {},
            identity_ids=self.identity_ids,
        )


class RollBack(Request):
    """The version that is to be the current one again."""

    version: Text


class Rename(Request):
    """Another name."""

    new_name: TemplateName


class Describe(Request):
    """Another description; none when it is left out."""

    description: Text | None = Field(None, max_length=LONGEST_MESSAGE)


class Fork(Request):
    """The name of the template that is forked off."""

    name: TemplateName | None = None


class FileForTemplate(Request):
    """An agent file that becomes what is being worked on."""

    agent_file_json: dict[str, Any]
    update_existing_tools: bool = False
    save_existing_changes: bool = False


class TemplateReply(Reply):
    """A template."""

    name: str
    id: str
    project_id: str
    project_slug: str
    latest_version: str
    description: str | None = None
    template_deployment_slug: str
    updated_at: datetime

    @classmethod
    def of(cls, template: Template) -> TemplateReply:
        """Show a template."""
        return cls(
            name=template.name,
            id=template.id,
            project_id=template.project_id,
            project_slug=template.project_id,
            latest_version=str(template.latest_version),
            description=template.description,
            template_deployment_slug=f"{template.project_id}/{template.name}:{template.latest_version}",
            updated_at=moment(template.updated_at),
        )


class Templates(Reply):
    """Some templates."""

    templates: list[TemplateReply]
    has_next_page: bool


class VersionReply(Reply):
    """A version of a template."""

    version: str
    created_at: datetime
    message: str | None = None
    is_latest: bool

    @classmethod
    def of(cls, version: Version, template: Template) -> VersionReply:
        """Show a version of a template."""
        return cls(
            version=str(version.number),
            created_at=moment(version.created_at),
            message=version.message,
            is_latest=version.number == template.latest_version,
        )


class Versions(Reply):
    """Some versions."""

    versions: list[VersionReply]
    has_next_page: bool
    total_count: int


class MadeAgents(Reply):
    """What was made from a template."""

    agent_ids: list[str]
    group_id: str | None
    deployment_id: str


class DeploymentReply(Reply):
    """Agents that were made from a template at once."""

    id: str
    version: str
    agent_ids: list[str]
    memory_variables: dict[str, str]
    error: str | None = Field(description="Why its agents could not be led to the version that was saved last.")
    created_at: datetime

    @classmethod
    def of(cls, deployment: Deployment, agent_ids: Sequence[str]) -> DeploymentReply:
        """Show a deployment."""
        return cls(
            id=deployment.id,
            version=str(deployment.version),
            agent_ids=list(agent_ids),
            memory_variables=dict(deployment.memory_variables),
            error=deployment.error,
            created_at=moment(deployment.created_at),
        )


class Done(Reply):
    """That something was done."""

    success: bool = True
    message: str | None = None
