"""Conversations on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from folkmoot.agents.creation import AgentPlan
from folkmoot.conversations.conversations import Conversation
from folkmoot.identifiers import user_of
from folkmoot.server.wire.agent_replies import with_defaults
from folkmoot.server.wire.agents import CompactionFields, ModelSettings
from folkmoot.server.wire.common import MOST_ITEMS, JsonObject, Reply, Request, RunId, Text, moment
from folkmoot.server.wire.sending import SendMessages
from folkmoot.store import clock

CONFIGURATION_FIELDS = ("model", "model_settings", "context_window_limit", "description")
"""Fields that a request sets and a conversation keeps as they are."""


class ConversationSettings(Request):
    """What a conversation keeps as it was set."""

    description: Text | None = None
    model: Text | None = Field(None, description="Handle of the model, in the place of the agent's.")
    model_settings: JsonObject | None = Field(None, description="Settings in the place of the agent's.")
    context_window_limit: Annotated[int, Field(ge=1024)] | None = None

    def configuration(self) -> dict[str, Any]:
        """Return what the request set of the fields that a conversation keeps as they are."""
        return self.model_dump(include=set(CONFIGURATION_FIELDS), exclude_unset=True)


class ConversationFields(ConversationSettings):
    """What a creator or an owner may set."""

    summary: Text | None = None


class CreateConversation(ConversationFields):
    """A new conversation."""

    isolated_block_labels: Annotated[list[Text], Field(max_length=MOST_ITEMS)] | None = Field(
        None, description="Labels of the blocks of which the conversation gets copies for itself."
    )
    hidden: bool = False


class EphemeralConversation(Request):
    """A conversation with an agent of its own, without tools and memory; both are deleted a day later."""

    model: Text | None = Field(None, description="Handle of the model.")
    system: Text | None = Field(None, description="The system prompt.")
    model_settings: ModelSettings | None = None
    context_window_limit: Annotated[int, Field(ge=1024)] | None = None

    def to_plan(self) -> AgentPlan:
        """Return what its agent shall be."""
        return AgentPlan(
            name="Ephemeral conversation",
            system=self.system,
            model=self.model,
            hidden=True,
            configuration=self.model_dump(include={"model_settings", "context_window_limit"}, exclude_unset=True),
            base_tools=False,
        )


class UpdateConversation(ConversationFields):
    """Changes to a conversation; what is left out stays as it is."""

    archived: bool | None = None
    hidden: bool | None = None
    last_message_at: datetime | None = None

    def columns(self) -> dict[str, Any]:
        """Return the columns that the request changes."""
        named = self.model_fields_set
        columns: dict[str, Any] = {"summary": self.summary} if "summary" in named else {}
        if self.hidden is not None:
            columns["hidden"] = self.hidden
        if self.archived is not None:
            columns["archived_at"] = clock.now() if self.archived else None
        if self.last_message_at is not None:
            columns["last_message_at"] = clock.from_datetime(self.last_message_at)
        return columns


class ConversationReply(Reply):
    """A conversation."""

    created_by_id: str | None
    last_updated_by_id: str | None
    created_at: datetime
    updated_at: datetime
    id: str
    agent_id: str
    summary: str | None
    in_context_message_ids: list[str]
    isolated_block_ids: list[str]
    model: str | None
    model_settings: dict[str, Any] | None
    last_message_at: datetime | None

    @classmethod
    def of(
        cls, conversation: Conversation, message_ids: Sequence[str] = (), block_ids: Sequence[str] = ()
    ) -> ConversationReply:
        """Show a conversation."""
        own, last = conversation.configuration, conversation.last_message_at
        user = user_of(conversation.organization_id)
        return cls(
            created_by_id=user,
            last_updated_by_id=user,
            created_at=moment(conversation.created_at),
            updated_at=moment(conversation.updated_at),
            id=conversation.id,
            agent_id=conversation.agent_id,
            summary=conversation.summary,
            in_context_message_ids=list(message_ids),
            isolated_block_ids=list(block_ids),
            model=own.get("model"),
            model_settings=_shown_settings(own.get("model_settings")),
            last_message_at=moment(last) if last else None,
        )


def _shown_settings(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if not given:
        return None
    usual = {
        "provider_type": "openai",
        "max_output_tokens": 4096,
        "parallel_tool_calls": True,
        "temperature": 1.0,
        "response_format": None,
    }
    return with_defaults(usual | {**given}, named=True)


class SendToConversation(SendMessages):
    """A request for a turn in a conversation; it is streamed unless it says otherwise."""

    agent_id: Text | None = Field(None, description="The agent, when the conversation is named `default`.")
    streaming: bool | None = True


class ResumeStream(Request):
    """Which run's stream is followed, and from where."""

    agent_id: Text | None = None
    run_id: RunId | None = Field(None, description="The newest run under way when it is left out.")
    otid: Text | None = Field(None, description="The client's own identifier of a message that the run answers.")
    starting_after: int = Field(0, ge=0, description="Number (`seq_id`) of the last event that was seen.")


class CompactionRequest(Request):
    """How a conversation is compacted; by the agent's own settings when nothing is said."""

    agent_id: Text | None = None
    compaction_settings: CompactionFields | None = None

    def settings(self) -> dict[str, Any] | None:
        """Return what the request says of it."""
        given = self.compaction_settings
        return None if given is None else given.model_dump(exclude_unset=True)


class CompactionReply(Reply):
    """What a compaction came to."""

    summary: str
    num_messages_before: int
    num_messages_after: int


OrderBy = Literal["created_at", "last_run_completion", "last_message_at"]
ArchiveStatus = Literal["unarchived", "archived", "all"]
