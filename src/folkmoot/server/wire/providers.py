"""Providers that are added through the API, on the wire. A key comes in and never goes out."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr

from folkmoot.identifiers import check_id
from folkmoot.models.added import AddedProvider
from folkmoot.server.wire.common import Reply, Request, Text, moment

ProviderId = Annotated[str, AfterValidator(lambda value: check_id("provider", value))]
ProviderType = Literal[
    "anthropic",
    "azure",
    "baseten",
    "bedrock",
    "cerebras",
    "chatgpt_oauth",
    "deepseek",
    "fireworks",
    "google_ai",
    "google_vertex",
    "groq",
    "hugging-face",
    "letta",
    "lmstudio_openai",
    "minimax",
    "mistral",
    "ollama",
    "openai",
    "together",
    "vllm",
    "sglang",
    "openrouter",
    "xai",
    "zai",
    "zai_coding",
]
_Secret = Annotated[SecretStr, Field(max_length=10_000)]
_Short = Annotated[Text, Field(max_length=200)]


class UpdateProvider(Request):
    """Changes to a provider; what is left out stays as it is."""

    api_key: _Secret | None = Field(None, description="Its key; never shown again.")
    access_key: _Secret | None = Field(None, description="What goes with the key where a provider wants two.")
    region: _Short | None = None
    base_url: Annotated[Text, Field(max_length=2083)] | None = Field(
        None, description="The address of its API, where it is not the usual one."
    )
    api_version: _Short | None = None

    def fields(self) -> dict[str, Any]:
        """Return what the request names, the keys in clear."""
        given = self.model_dump(exclude_unset=True)
        return {
            name: value.get_secret_value() if isinstance(value, SecretStr) else value for name, value in given.items()
        }


class CheckProvider(UpdateProvider):
    """A provider that is to be tried and not kept."""

    provider_type: ProviderType
    api_key: _Secret = Field(description="Its key; it is used once and not kept.")


class CreateProvider(CheckProvider):
    """A provider that is to be added."""

    name: _Short = Field(description="What the handles of its models begin with.")
    api_key: _Secret = Field(description="Its key; never shown again.")


class ProviderReply(Reply):
    """A provider that was added."""

    id: str
    name: str
    provider_type: ProviderType
    provider_category: Literal["byok"] = "byok"
    api_key: None = Field(None, description="Always null: a key is not shown, in no form.")
    base_url: str | None
    access_key: None = None
    region: str | None
    api_version: str | None
    organization_id: str
    updated_at: datetime
    last_synced: datetime | None
    api_key_enc: None = None
    access_key_enc: None = None

    @classmethod
    def of(cls, provider: AddedProvider) -> ProviderReply:
        """Show a provider."""
        return cls(
            id=provider.id,
            name=provider.name,
            provider_type=provider.provider_type,
            base_url=provider.base_url,
            region=provider.region,
            api_version=provider.api_version,
            organization_id=provider.organization_id,
            updated_at=moment(provider.updated_at),
            last_synced=None if provider.last_synced is None else moment(provider.last_synced),
        )


class Checked(Reply):
    """What came of a look at a provider."""

    message: str
