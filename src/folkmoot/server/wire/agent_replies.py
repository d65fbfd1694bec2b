"""Agents as they are shown on the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import Any
from uuid import UUID

from folkmoot.agents.agents import Agent
from folkmoot.agents.compaction import PROMPT, CompactionSettings
from folkmoot.agents.identities import Identity
from folkmoot.agents.listing import EndedRun
from folkmoot.conversations.messages import Message
from folkmoot.files.folders import Folder
from folkmoot.files.shown import ShownFiles
from folkmoot.identifiers import user_of
from folkmoot.models.listing import ModelDescription
from folkmoot.server.wire.blocks import BlockReply
from folkmoot.server.wire.common import Reply, moment
from folkmoot.server.wire.folders import FileBlockReply, SourceReply
from folkmoot.server.wire.groups import GroupReply
from folkmoot.server.wire.identities import IdentityReply
from folkmoot.server.wire.messages import ApprovalRequestMessage, show_request
from folkmoot.server.wire.models import EmbeddingConfig, LlmConfig
from folkmoot.server.wire.tools import ToolReply
from folkmoot.tools.tool import Tool


class MemoryReply(Reply):
    """An agent's core memory."""

    agent_type: str
    git_enabled: bool = False
    blocks: list[BlockReply]
    file_blocks: list[FileBlockReply] = []
    prompt_template: str = ""


class AgentReply(Reply):
    """An agent, with its blocks, tools and tags where they were asked for."""

    created_by_id: str | None
    last_updated_by_id: str | None
    created_at: datetime
    updated_at: datetime
    id: str
    name: str
    tool_rules: list[dict[str, Any]]
    message_ids: list[str]
    system: str
    agent_type: str
    llm_config: LlmConfig
    embedding_config: EmbeddingConfig | None
    model: str
    embedding: str | None
    model_settings: dict[str, Any]
    compaction_settings: dict[str, Any] | None
    response_format: dict[str, Any] | None
    description: str | None
    metadata: dict[str, Any] | None
    memory: MemoryReply
    blocks: list[BlockReply]
    tools: list[ToolReply]
    sources: list[SourceReply]
    tags: list[str]
    tool_exec_environment_variables: list[dict[str, Any]] = []
    secrets: list[dict[str, Any]] = []
    project_id: str | None
    template_id: str | None
    base_template_id: str | None
    deployment_id: str | None
    entity_id: str | None
    identity_ids: list[str]
    identities: list[IdentityReply]
    pending_approval: ApprovalRequestMessage | None = None
    message_buffer_autoclear: bool
    enable_sleeptime: bool | None
    multi_agent_group: GroupReply | None = None
    managed_group: GroupReply | None = None
    last_run_completion: datetime | None
    last_run_duration_ms: int | None
    last_stop_reason: str | None
    timezone: str
    max_files_open: int
    per_file_view_window_char_limit: int
    hidden: bool | None


@dataclass(frozen=True, slots=True)
class AgentView:
    """What is shown of an agent: itself, and whatever was asked for of what belongs to it."""

    agent: Agent
    model: ModelDescription
    message_ids: Sequence[str] = ()
    blocks: Sequence[BlockReply] = ()
    tools: Sequence[Tool] = ()
    tags: Sequence[str] = ()
    folders: Sequence[Folder] = ()
    files: ShownFiles = field(default_factory=ShownFiles)
    last_run: EndedRun | None = None
    identities: Sequence[Identity] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    pending_approval: Message | None = None
    managed_group: GroupReply | None = None
    """The first of the groups that it manages."""

    always_embedding: bool = False
    """Whether its embedding is shown as an object even when nobody named one."""


def show_agent(view: AgentView) -> AgentReply:
    """Show an agent."""
    agent, settings, last = view.agent, view.agent.configuration, view.last_run
    blocks = list(view.blocks)
    secrets = show_secrets(agent, view.variables)
    user = user_of(agent.organization_id)
    return AgentReply.model_construct(
        created_by_id=user,
        last_updated_by_id=user,
        created_at=moment(agent.created_at),
        updated_at=moment(agent.updated_at),
        id=agent.id,
        name=agent.name,
        tool_rules=settings.get("tool_rules") or [],
        message_ids=list(view.message_ids),
        system=agent.system,
        agent_type=agent.agent_type,
        llm_config=_llm_config(agent, view.model),
        embedding_config=_embedding_config(agent, always=view.always_embedding),
        model=agent.model,
        embedding=agent.named_embedding,
        model_settings=_model_settings(agent, view.model),
        compaction_settings=_compaction_settings(agent),
        response_format=settings.get("response_format"),
        description=agent.description,
        metadata=settings.get("metadata"),
        memory=MemoryReply.model_construct(
            agent_type=agent.agent_type, blocks=blocks, file_blocks=FileBlockReply.all_of(view.files)
        ),
        blocks=blocks,
        tools=[ToolReply.of(tool, agent.organization_id) for tool in view.tools],
        sources=[SourceReply.of(folder) for folder in view.folders],
        tags=list(view.tags),
        tool_exec_environment_variables=secrets,
        secrets=secrets,
        project_id=agent.project_id,
        template_id=agent.template_id,
        base_template_id=agent.base_template_id,
        deployment_id=agent.deployment_id,
        entity_id=agent.entity_id,
        identity_ids=[identity.id for identity in view.identities],
        identities=[IdentityReply.of(identity) for identity in view.identities],
        message_buffer_autoclear=bool(settings.get("message_buffer_autoclear")),
        enable_sleeptime=settings.get("enable_sleeptime"),
        multi_agent_group=view.managed_group,
        managed_group=view.managed_group,
        last_run_completion=None if last is None else moment(last.completed_at),
        last_run_duration_ms=None if last is None or last.duration is None else last.duration // 1000,
        last_stop_reason=None if last is None else last.stop_reason,
        timezone=agent.timezone,
        max_files_open=settings.get("max_files_open") or 10,
        per_file_view_window_char_limit=settings.get("per_file_view_window_char_limit") or 25_000,
        hidden=agent.hidden,
        pending_approval=None if view.pending_approval is None else show_request(view.pending_approval),
    )


def _llm_config(agent: Agent, model: ModelDescription) -> LlmConfig:
    settings = agent.configuration
    given = settings.get("llm_config") or {}
    chosen = settings.get("model_settings") or {}
    base = LlmConfig(
        model=model.name,
        display_name=model.name,
        model_endpoint_type=model.endpoint_type,
        model_endpoint=model.endpoint or None,
        provider_name=model.provider,
        provider_category=model.category,
        context_window=settings.get("context_window_limit") or given.get("context_window") or model.context_window,
        handle=agent.model,
        max_tokens=chosen.get("max_output_tokens") or settings.get("max_tokens") or model.max_output_tokens,
        parallel_tool_calls=agent.parallel_tool_calls,
    )
    kept = {"temperature", "enable_reasoner", "reasoning_effort", "max_reasoning_tokens", "frequency_penalty"}
    overrides = {name: given[name] for name in kept if given.get(name) is not None}
    reasoning = chosen.get("reasoning")
    newer = {
        "temperature": chosen.get("temperature"),
        "reasoning_effort": reasoning.get("reasoning_effort") if isinstance(reasoning, dict) else None,
        "strict": chosen.get("strict"),
    }
    overrides |= {name: value for name, value in newer.items() if value is not None}
    return base.model_copy(update=overrides)


def _model_settings(agent: Agent, model: ModelDescription) -> dict[str, Any]:
    """Return the settings in the wire format's newer form, whose kinds the provider type tells apart."""
    given = agent.configuration.get("model_settings") or {}
    usual = {
        "provider_type": "openai" if model.provider == "offline" else model.provider_kind or model.provider,
        "max_output_tokens": model.max_output_tokens or 16_384,
        "parallel_tool_calls": agent.parallel_tool_calls,
        "temperature": 1.0,
        "response_format": agent.configuration.get("response_format"),
    }
    return with_defaults(usual | given, named=bool(given))


def with_defaults(settings: Mapping[str, Any], *, named: bool) -> dict[str, Any]:
    """Return settings of a model with the fields that OpenAI's always show; they say nothing of what is asked.

    Args:
        settings: the settings that are known.
        named: whether somebody named any, which the defaults differ by.
    """
    if settings.get("provider_type") != "openai":
        return dict(settings)
    effort = "high" if named else "minimal"
    return {"reasoning": {"reasoning_effort": effort}, "strict": named, **settings}


def _compaction_settings(agent: Agent) -> dict[str, Any]:
    """Show how the agent's context is made smaller, by default or as its creator wants it."""
    usual = CompactionSettings()
    return {
        "model": agent.model,
        "model_settings": None,
        "prompt": PROMPT,
        "prompt_acknowledgement": usual.acknowledged,
        "clip_chars": usual.longest,
        "mode": "sliding_window",
        "sliding_window_percentage": round(1 - usual.keep, 9),
        **(agent.configuration.get("compaction_settings") or {}),
    }


def _embedding_config(agent: Agent, *, always: bool) -> EmbeddingConfig | None:
    """Return what is known of the agent's embedding model; None where nobody named one, unless always wanted."""
    given = agent.configuration.get("embedding_config") or {}
    known = {name: given[name] for name in EmbeddingConfig.model_fields if given.get(name) is not None}
    if not known and agent.embedding:
        known = {"embedding_model": agent.embedding.partition("/")[2], "handle": agent.embedding}
    return EmbeddingConfig(**known) if known or always else None


def show_secrets(agent: Agent, variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """Show the variables that an agent's tools are given."""
    return [_secret(agent, name, value) for name, value in variables.items()]


def _secret(agent: Agent, name: str, value: str) -> dict[str, Any]:
    digest = sha256(f"{agent.id} {name}".encode()).digest()
    return {
        "id": f"agent-env-{UUID(bytes=digest[:16], version=4)}",
        "key": name,
        "value": value,
        "description": None,
        "agent_id": agent.id,
        "organization_id": agent.organization_id,
        "value_enc": None,
        **dict.fromkeys(("created_at", "updated_at", "created_by_id", "last_updated_by_id")),
    }
