"""Models on the wire."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter, model_validator

from folkmoot.models.checking import CheckedModel
from folkmoot.models.kinds import ADDABLE
from folkmoot.models.listing import ModelDescription
from folkmoot.server.wire.common import JsonObject, Reply, Request, Text


class LlmConfig(Reply):
    """A model and its settings in the wire format's older form, which every agent carries."""

    model: str
    display_name: str | None
    model_endpoint_type: str
    model_endpoint: str | None
    provider_name: str | None
    provider_category: Literal["base", "byok"] = "base"
    model_wrapper: str | None = None
    context_window: int
    put_inner_thoughts_in_kwargs: bool = False
    handle: str | None
    temperature: float = 1.0
    max_tokens: int | None = None
    enable_reasoner: bool = False
    reasoning_effort: str | None = None
    max_reasoning_tokens: int = 0
    effort: str | None = None
    frequency_penalty: float | None = None
    compatibility_type: str | None = None
    verbosity: str | None = None
    tier: str | None = None
    parallel_tool_calls: bool = False
    response_format: dict[str, Any] | None = None
    strict: bool = False
    return_logprobs: bool = False
    top_logprobs: int | None = None
    return_token_ids: bool = False
    tool_call_parser: str | None = None


class ModelReply(LlmConfig):
    """A model that agents can be given."""

    name: str
    provider_type: str
    model_type: Literal["llm"] = "llm"
    max_context_window: int

    @classmethod
    def of(cls, model: ModelDescription) -> ModelReply:
        """Show a model."""
        return cls(
            handle=model.handle,
            name=model.name,
            display_name=_display_name(model),
            provider_type=_provider_type(model),
            provider_name=model.provider,
            provider_category=model.category,
            model=model.name,
            model_endpoint_type=model.endpoint_type,
            model_endpoint=model.endpoint or None,
            context_window=model.context_window,
            max_context_window=model.context_window,
            max_tokens=model.max_output_tokens,
        )


class Kept(Request):
    """Settings of which some are read and all are kept."""

    model_config = ConfigDict(extra="allow")

    @model_validator(mode="before")
    @classmethod
    def _storable(cls, value: Any) -> Any:
        return TypeAdapter(JsonObject).validate_python(value) if isinstance(value, dict) else value


class EmbeddingSettings(Kept):
    """An embedding model and its settings."""

    embedding_endpoint_type: Text | None = None
    embedding_endpoint: Text | None = None
    embedding_model: Text | None = None
    embedding_dim: int | None = Field(None, ge=1)
    embedding_chunk_size: int | None = Field(None, ge=1)
    handle: Text | None = None
    batch_size: int | None = Field(None, ge=1)
    azure_endpoint: Text | None = None
    azure_version: Text | None = None
    azure_deployment: Text | None = None


class EmbeddingConfig(Reply):
    """How an agent's passages are embedded; every agent carries one, since strict clients ask for it."""

    embedding_endpoint_type: str = "openai"
    embedding_endpoint: str | None = None
    embedding_model: str = "none"
    embedding_dim: int = 1536
    embedding_chunk_size: int = 300
    handle: str | None = None
    batch_size: int = 32
    azure_endpoint: str | None = None
    azure_version: str | None = None
    azure_deployment: str | None = None


class EmbeddingModelReply(EmbeddingConfig):
    """A model that makes embeddings."""

    name: str
    display_name: str
    provider_type: str
    provider_name: str
    model_type: Literal["embedding"] = "embedding"

    @classmethod
    def of(cls, model: ModelDescription) -> EmbeddingModelReply:
        """Show an embedding model."""
        return cls(
            handle=model.handle,
            name=model.name,
            display_name=model.name,
            provider_type=_provider_type(model),
            provider_name=model.provider,
            embedding_endpoint_type=model.endpoint_type,
            embedding_endpoint=model.endpoint or None,
            embedding_model=model.name,
            embedding_dim=model.embedding_dimensions or 1536,
        )


class CheckModel(Request):
    """A model that is to be asked a question, to see whether it answers."""

    handle: Text = Field(description="Its handle, such as openai/gpt-4o-mini.")


class CheckedModelReply(Reply):
    """A model that answered."""

    handle: str
    answer: str
    duration_ms: int

    @classmethod
    def of(cls, handle: str, checked: CheckedModel) -> CheckedModelReply:
        """Show what a model answered."""
        return cls(handle=handle, answer=checked.answer, duration_ms=checked.milliseconds)


def _display_name(model: ModelDescription) -> str:
    return "Offline note-taker (a rule follower, not a language model)" if model.provider == "offline" else model.name


def _provider_type(model: ModelDescription) -> str:
    """Return the provider in the wire format's list, in which a server of the user's own counts as OpenAI's kind."""
    return model.provider_kind if model.provider_kind in ADDABLE else "openai"
