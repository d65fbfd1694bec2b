"""What is asked of agents on the wire: to make one, and to change it."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AliasChoices, Field, field_validator

from folkmoot.agents.creation import AgentPlan
from folkmoot.agents.tool_rules import ToolRules
from folkmoot.models.providers import DEFAULT_ALIAS
from folkmoot.server.wire.blocks import CreateBlock
from folkmoot.server.wire.common import (
    MOST_ITEMS,
    BlockId,
    FolderId,
    JsonObject,
    MessageId,
    Request,
    Tag,
    Text,
    ToolId,
)
from folkmoot.server.wire.identities import IdentityId
from folkmoot.server.wire.models import EmbeddingSettings, Kept
from folkmoot.server.wire.sending import MessageCreate, check_words

AgentType = Literal[
    "memgpt_agent",
    "memgpt_v2_agent",
    "letta_v1_agent",
    "react_agent",
    "workflow_agent",
    "split_thread_agent",
    "sleeptime_agent",
    "voice_convo_agent",
    "voice_sleeptime_agent",
]

MOST_NEW_BLOCKS = 100
"""Blocks that are made together with an agent; more are made before it, and named in `block_ids`."""

MOST_FIRST_MESSAGES = 1000
"""Messages with which an agent's main conversation begins."""

MOST_IN_CONTEXT = 100_000
"""Messages in context that a request names."""

MOST_RULES = 100

Name = Annotated[Text, Field(min_length=1, max_length=300)]

CONFIGURATION_FIELDS = (
    "metadata",
    "model_settings",
    "llm_config",
    "embedding_config",
    "compaction_settings",
    "response_format",
    "context_window_limit",
    "max_tokens",
    "parallel_tool_calls",
    "tool_rules",
    "message_buffer_autoclear",
    "enable_sleeptime",
    "max_files_open",
    "per_file_view_window_char_limit",
)
"""Fields that a request sets and an agent keeps as they are."""


class Reasoning(Kept):
    """How much a model thinks."""

    reasoning_effort: Text | None = None


class ModelSettings(Kept):
    """A model's settings in the wire format's newer form."""

    provider_type: Text | None = None
    temperature: float | None = Field(None, ge=0, le=10)
    max_output_tokens: int | None = Field(None, ge=1)
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    strict: bool | None = None


class LlmSettings(Kept):
    """A model and its settings in the wire format's older form."""

    handle: Text | None = None
    model: Text | None = None
    model_endpoint_type: Text | None = None
    context_window: int | None = Field(None, ge=1)
    temperature: float | None = Field(None, ge=0, le=10)
    max_tokens: int | None = Field(None, ge=1)
    enable_reasoner: bool | None = None
    reasoning_effort: Text | None = None
    max_reasoning_tokens: int | None = Field(None, ge=0)
    frequency_penalty: float | None = None
    parallel_tool_calls: bool | None = None


class CompactionFields(Kept):
    """How an agent's context is made smaller; of what is not named here, what makes no sense has no effect."""

    model: Text | None = Field(None, description="Handle of the model that writes the summaries.")
    model_settings: ModelSettings | None = None
    prompt: Text | None = None
    prompt_acknowledgement: bool | None = None


class AgentFields(Request):
    """What a creator or an owner may set."""

    description: Text | None = None
    system: Text | None = Field(None, description="The system prompt.")
    tags: list[Tag] | None = Field(None, max_length=MOST_ITEMS)
    tool_ids: list[ToolId] | None = Field(None, max_length=MOST_ITEMS)
    block_ids: list[BlockId] | None = Field(None, max_length=MOST_ITEMS)
    folder_ids: list[FolderId] | None = Field(None, max_length=MOST_ITEMS)
    source_ids: list[FolderId] | None = Field(None, max_length=MOST_ITEMS, description="The older name of folder_ids.")
    identity_ids: list[IdentityId] | None = Field(None, max_length=MOST_ITEMS)
    model: Text | None = Field(None, description="Handle of the model, such as openai/gpt-4o-mini.")
    embedding: Text | None = Field(None, description="Handle of the embedding model; not needed.")
    timezone: Text | None = None
    hidden: bool | None = None
    metadata: JsonObject | None = None
    model_settings: ModelSettings | None = None
    llm_config: LlmSettings | None = None
    embedding_config: EmbeddingSettings | None = None
    compaction_settings: CompactionFields | None = None
    response_format: JsonObject | None = None
    context_window_limit: int | None = Field(None, ge=1024)
    max_tokens: int | None = Field(None, ge=1)
    parallel_tool_calls: bool | None = None
    tool_rules: list[JsonObject] | None = Field(None, max_length=MOST_RULES)
    message_buffer_autoclear: bool | None = None
    enable_sleeptime: bool | None = None
    max_files_open: int | None = Field(None, ge=0)
    per_file_view_window_char_limit: int | None = Field(None, ge=0)
    project_id: Text | None = None
    template_id: Text | None = None
    base_template_id: Text | None = None
    tool_exec_environment_variables: dict[Text, Text] | None = Field(None, max_length=MOST_ITEMS)
    secrets: dict[Text, Text] | None = Field(
        None, max_length=MOST_ITEMS, description="Variables for the agent's tools, kept encrypted."
    )

    @field_validator("tool_rules")
    @classmethod
    def _readable(cls, rules: list[dict[str, Any]] | None) -> list[dict[str, Any]] | None:
        return None if rules is None else ToolRules.distinct(rules)

    @field_validator("timezone")
    @classmethod
    def _known_timezone(cls, timezone: str | None) -> str | None:
        try:
            return timezone if timezone is None else ZoneInfo(timezone).key
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"{str(timezone)[:80]!r} is not a time zone; write it as Europe/Berlin") from error

    def configuration(self) -> dict[str, Any]:
        """Return what the request set of the fields that an agent keeps as they are."""
        return self.model_dump(include=set(CONFIGURATION_FIELDS), exclude_unset=True)

    def model_handle(self) -> str | None:
        """Return the model that the request names, in either of its forms."""
        if self.model is not None:
            return self.model
        older = self.llm_config
        if older is None or older.handle or not older.model:
            return older.handle if older is not None else None
        if older.model == DEFAULT_ALIAS.partition("/")[2]:
            return DEFAULT_ALIAS
        return f"{older.model_endpoint_type or 'openai'}/{older.model}"

    def folders(self) -> list[str] | None:
        """Return the folders that the request names, or None when it names none."""
        if self.folder_ids is None and self.source_ids is None:
            return None
        return [*(self.folder_ids or ()), *(self.source_ids or ())]

    def variables(self) -> dict[str, str] | None:
        """Return the variables for the agent's tools, or None when the request names none."""
        if self.secrets is None and self.tool_exec_environment_variables is None:
            return None
        return {**(self.tool_exec_environment_variables or {}), **(self.secrets or {})}


class CreateAgent(AgentFields):
    """A new agent."""

    name: Name | None = None
    agent_type: AgentType = "letta_v1_agent"
    memory_blocks: list[CreateBlock] | None = Field(None, max_length=MOST_NEW_BLOCKS)
    tools: list[Text] | None = Field(None, max_length=MOST_ITEMS, description="Names of tools.")
    include_base_tools: bool | None = True
    include_multi_agent_tools: bool | None = False
    initial_message_sequence: list[MessageCreate] | None = Field(None, max_length=MOST_FIRST_MESSAGES)
    enable_reasoner: bool | None = Field(None, description="An older form of the model's settings.")
    reasoning: bool | None = Field(None, description="An older form of the model's settings.")
    max_reasoning_tokens: int | None = Field(None, ge=0, description="An older form of the model's settings.")

    @field_validator("initial_message_sequence")
    @classmethod
    def _not_too_long(cls, first: list[MessageCreate] | None) -> list[MessageCreate] | None:
        check_words(first or (), "initial_message_sequence")
        return first

    def configuration(self) -> dict[str, Any]:
        """Return what the request set of the fields that an agent keeps as they are."""
        kept = super().configuration()
        given = {
            "enable_reasoner": self.enable_reasoner or self.reasoning,
            "max_reasoning_tokens": self.max_reasoning_tokens,
        }
        if thinks := {name: value for name, value in given.items() if value is not None}:
            kept["llm_config"] = {**thinks, **(kept.get("llm_config") or {})}
        return kept

    def to_plan(self) -> AgentPlan:
        """Return what the agent shall be."""
        return AgentPlan(
            name=self.name,
            description=self.description,
            agent_type=self.agent_type,
            system=self.system,
            model=self.model_handle(),
            embedding=self.embedding,
            timezone=self.timezone,
            hidden=self.hidden,
            configuration=self.configuration(),
            variables=self.variables(),
            tags=self.tags or (),
            tools=self.tools or (),
            tool_ids=self.tool_ids or (),
            base_tools=self.include_base_tools is not False,
            multi_agent_tools=bool(self.include_multi_agent_tools),
            block_ids=self.block_ids or (),
            folder_ids=self.folders() or (),
            new_blocks=[block.model_dump() for block in self.memory_blocks or ()],
            first_messages=[message.to_message() for message in self.initial_message_sequence or ()],
            identity_ids=self.identity_ids or (),
            project_id=self.project_id,
            template_id=self.template_id,
            base_template_id=self.base_template_id,
        )


class UpdateAgent(AgentFields):
    """Changes to an agent; what is left out stays as it is."""

    name: Name | None = None
    message_ids: list[MessageId] | None = Field(
        None, max_length=MOST_IN_CONTEXT, description="Those that stay in the main conversation's context: the newest."
    )
    reasoning: bool | None = Field(None, description="An older form of the model's settings.")


class ModifyApproval(Request):
    """Whether calls of a tool wait for somebody's approval."""

    requires_approval: bool = Field(
        validation_alias=AliasChoices("requires_approval", "body_requires_approval"),
        description="The TypeScript client sends it under the second name.",
    )
