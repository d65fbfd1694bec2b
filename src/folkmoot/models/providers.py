"""The providers Folkmoot knows, and what a model's handle stands for.

A handle is `provider/model`, such as `openai/gpt-4o-mini`; the model's own name may contain slashes. A
provider is configured by its usual environment variables, read here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec
from typing import Literal, TypeAlias

from folkmoot.errors import InvalidInput, NotFound
from folkmoot.settings import Settings

Dialect: TypeAlias = Literal["openai", "responses", "anthropic", "google", "bedrock", "offline"]
"""The API that a provider speaks: `openai` is Chat Completions, `responses` OpenAI's newer one."""


@dataclass(frozen=True, slots=True)
class Provider:
    """One provider of models and how it is configured."""

    name: str
    title: str
    #: Value of `model_endpoint_type` and `provider_type` in API responses.
    endpoint_type: str
    dialect: Dialect = "openai"
    key_variables: tuple[str, ...] = ()
    address_variables: tuple[str, ...] = ()
    #: Address when no variable sets one; None for a server that has no usual place.
    address: str | None = None
    #: Model for agents that name none; None where only the server itself knows its models.
    default_model: str | None = None
    #: A server of the user's own: needs an address, may do without a key.
    local: bool = False
    #: The provider of this list that it is like, where somebody has added it under a name of its own.
    like: str | None = None
    #: `byok` for one that an organisation has added with a key of its own.
    category: Literal["base", "byok"] = "base"
    #: What tells its list of models from one that was asked for before it was changed.
    revision: tuple[str, int] | None = None

    @property
    def kind(self) -> str:
        """The name in this list of what it is, whatever it was called."""
        return self.like or self.name


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model of a configured provider, with all that is needed to ask it."""

    handle: str
    provider: Provider
    model: str
    address: str
    key: str | None = field(default=None, repr=False)
    api_version: str | None = None
    dialect: Dialect = "openai"
    #: Where a provider of a cloud's own runs, such as `us-east-1`.
    region: str | None = None
    #: What goes with the key where a provider wants two.
    access_key: str | None = field(default=None, repr=False)

    @property
    def is_added(self) -> bool:
        """Whether somebody has added the provider, so that its address has to be judged before it is dialled."""
        return self.provider.category == "byok"

    @property
    def kept_as(self) -> tuple[str, str]:
        """Under what a connection is kept; that of an added provider which was changed takes the old one's place."""
        revision = self.provider.revision
        return (revision[0] if revision is not None else "", self.handle)


OFFLINE = Provider("offline", "the offline note-taker", "openai", dialect="offline", default_model="notetaker")

PROVIDERS: tuple[Provider, ...] = (
    Provider(
        "openai",
        "OpenAI",
        "openai",
        key_variables=("OPENAI_API_KEY",),
        address_variables=("OPENAI_BASE_URL", "OPENAI_API_BASE"),
        address="https://api.openai.com/v1",
        default_model="gpt-4o-mini",
    ),
    Provider(
        "anthropic",
        "Anthropic",
        "anthropic",
        dialect="anthropic",
        key_variables=("ANTHROPIC_API_KEY",),
        address_variables=("ANTHROPIC_BASE_URL",),
        address="https://api.anthropic.com",
        default_model="claude-haiku-4-5",
    ),
    Provider(
        "google_ai",
        "Google",
        "google_ai",
        dialect="google",
        key_variables=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        address_variables=("GOOGLE_GEMINI_BASE_URL", "GEMINI_BASE_URL"),
        address="https://generativelanguage.googleapis.com",
        default_model="gemini-2.5-flash",
    ),
    Provider(
        "openrouter",
        "OpenRouter",
        "openrouter",
        key_variables=("OPENROUTER_API_KEY",),
        address_variables=("OPENROUTER_BASE_URL",),
        address="https://openrouter.ai/api/v1",
        default_model="openai/gpt-4o-mini",
    ),
    Provider(
        "groq",
        "Groq",
        "groq",
        key_variables=("GROQ_API_KEY",),
        address_variables=("GROQ_BASE_URL",),
        address="https://api.groq.com/openai/v1",
        default_model="openai/gpt-oss-20b",
    ),
    Provider(
        "deepseek",
        "DeepSeek",
        "deepseek",
        key_variables=("DEEPSEEK_API_KEY",),
        address_variables=("DEEPSEEK_BASE_URL",),
        address="https://api.deepseek.com/v1",
        default_model="deepseek-chat",
    ),
    Provider(
        "mistral",
        "Mistral",
        "mistral",
        key_variables=("MISTRAL_API_KEY",),
        address_variables=("MISTRAL_BASE_URL",),
        address="https://api.mistral.ai/v1",
        default_model="mistral-small-latest",
    ),
    Provider(
        "together",
        "Together AI",
        "together",
        key_variables=("TOGETHER_API_KEY",),
        address_variables=("TOGETHER_BASE_URL",),
        address="https://api.together.xyz/v1",
        default_model="openai/gpt-oss-20b",
    ),
    Provider(
        "xai",
        "xAI",
        "xai",
        key_variables=("XAI_API_KEY",),
        address_variables=("XAI_BASE_URL",),
        address="https://api.x.ai/v1",
        default_model="grok-3-mini",
    ),
    Provider(
        "azure",
        "Azure OpenAI",
        "azure",
        key_variables=("AZURE_OPENAI_API_KEY", "AZURE_API_KEY"),
        address_variables=("AZURE_OPENAI_ENDPOINT", "AZURE_BASE_URL"),
    ),
    Provider("ollama", "Ollama", "ollama", address_variables=("OLLAMA_BASE_URL",), local=True),
    Provider(
        "vllm",
        "vLLM",
        "vllm",
        key_variables=("VLLM_API_KEY",),
        address_variables=("VLLM_BASE_URL", "VLLM_API_BASE"),
        local=True,
    ),
    Provider(
        "lmstudio",
        "LM Studio",
        "lmstudio",
        key_variables=("LMSTUDIO_API_KEY",),
        address_variables=("LMSTUDIO_BASE_URL",),
        local=True,
    ),
    OFFLINE,
)

DEFAULT_ALIAS = "letta/letta-free"
"""A handle that many programs name because it was always there; it stands for the server's default model."""

EXTRAS: dict[str, str] = {"anthropic": "anthropic", "bedrock": "boto3", "google": "google.genai"}
"""The package that a dialect needs and not every Folkmoot has; the extra that brings it is named after the dialect."""

OPENAI_API_VARIABLE = "OPENAI_API"
_OPENAI_ADDRESS = re.compile(r"https://([a-z]+\.)?api\.openai\.com(/|$)")
_OPENAI_THINKS = re.compile(r"(?!o1-(mini|preview))(o\d|gpt-[5-9])(?!.*-(chat|search))")
AZURE_VERSION_VARIABLES = ("OPENAI_API_VERSION", "AZURE_API_VERSION")
AZURE_VERSION = "2024-10-21"
ALIASES: Mapping[str, str] = {"google": "google_ai"}
OLD_NAMES: Mapping[str, str] = {"lmstudio_openai": "lmstudio", "openai-proxy": "openai"}
"""What handles of the retired server begin with, where the provider has another name here.

They are taken and given to no model. Unlike the aliases they may be the names of providers that somebody adds:
programs add one called `openai-proxy`, which then goes before.
"""
_OTHER_NAMES: Mapping[str, str] = {**ALIASES, **OLD_NAMES}
_BY_NAME: Mapping[str, Provider] = {provider.name: provider for provider in PROVIDERS}


def resolve(handle: str, environ: Mapping[str, str]) -> ResolvedModel:
    """Return the model that a handle stands for.

    Any model name of a configured provider will do, listed by the provider or not.

    Raises:
        InvalidInput: the handle is not of the form `provider/model`.
        NotFound: the provider is unknown, not configured or not installed; the message says what to do.
    """
    name, slash, model = handle.partition("/")
    if not slash or not name or not model.strip():
        raise InvalidInput(
            f"The model handle {handle!r} must have the form provider/model, such as openai/gpt-4o-mini."
        )
    provider = _BY_NAME.get(_OTHER_NAMES.get(name, name))
    if provider is None:
        known = ", ".join(sorted(_BY_NAME))
        raise NotFound(
            f"There is no model {handle}: the provider {name!r} is unknown, or was deleted. Known are {known}, "
            "and those that were added with POST /v1/providers."
        )
    if provider is OFFLINE:
        if model != OFFLINE.default_model:
            raise NotFound(f"There is no model {handle}: the only offline model is offline/notetaker.")
        return ResolvedModel(handle, OFFLINE, model, address="", dialect=OFFLINE.dialect)
    if not is_configured(provider, environ):
        raise NotFound(f"There is no model {handle}: {provider.title} is not configured. {how_to_set(provider)}")
    if not is_installed(provider):
        raise NotFound(
            f"There is no model {handle}: {provider.title}'s package is not installed. "
            f"Run {install_command(provider)} and start the server anew."
        )
    address = address_of(provider, environ)
    return ResolvedModel(
        handle,
        provider,
        model,
        address=address,
        key=_first(provider.key_variables, environ),
        api_version=(_first(AZURE_VERSION_VARIABLES, environ) or AZURE_VERSION) if provider.name == "azure" else None,
        dialect=dialect_of(provider, model, address, environ),
    )


def dialect_of(provider: Provider, model: str, address: str, environ: Mapping[str, str]) -> Dialect:
    """Return the API by which a model is asked: `OPENAI_API` tells for OpenAI's, else the address and the model.

    OpenAI's reasoning models take back what they thought by the Responses API alone, which other servers
    that speak OpenAI's API mostly do not have.
    """
    if provider.kind != "openai":
        return provider.dialect
    chosen = environ.get(OPENAI_API_VARIABLE, "").strip().lower()
    if chosen not in ("", "chat", "responses"):
        raise InvalidInput(f"{OPENAI_API_VARIABLE} is {chosen!r}; it must be responses or chat.")
    if chosen:
        return "responses" if chosen == "responses" else "openai"
    official = _OPENAI_ADDRESS.match(address) is not None
    return "responses" if official and _OPENAI_THINKS.match(model) else "openai"


def configured(environ: Mapping[str, str]) -> list[Provider]:
    """Return the providers that can be asked, `offline` always among them and last."""
    return [provider for provider in PROVIDERS if is_configured(provider, environ)]


def is_configured(provider: Provider, environ: Mapping[str, str]) -> bool:
    """Tell whether the provider's variables are set.

    A key will do where the address is known, an address where a local server or a compatible one needs no
    key.
    """
    if provider is OFFLINE:
        return True
    key, address = _first(provider.key_variables, environ), _first(provider.address_variables, environ)
    if provider.name == "azure":
        return bool(key and address)
    if provider.local:
        return bool(address)
    return bool(key) or (provider.name == "openai" and bool(address))


def default_model(settings: Settings, environ: Mapping[str, str]) -> str | None:
    """Return the handle for agents that name no model.

    It is the one that the settings name, else a cheap model of the first configured provider. None means
    that only the provider's own list tells (Ollama, vLLM, LM Studio, Azure): ask `Catalogue.default_model`.
    The offline model is the default only where no real provider is configured.
    """
    if settings.default_model:
        return settings.default_model
    providers = configured(environ)
    for provider in providers:
        if provider.default_model and provider is not OFFLINE:
            return f"{provider.name}/{provider.default_model}"
    return f"offline/{OFFLINE.default_model}" if providers == [OFFLINE] else None


def is_installed(provider: Provider) -> bool:
    """Tell whether the package that the provider's dialect needs is there."""
    return provider.dialect not in EXTRAS or _is_there(EXTRAS[provider.dialect])


@cache
def _is_there(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:  # not even what it is a part of
        return False


def install_command(provider: Provider) -> str:
    """Return the command that installs what the provider's dialect needs."""
    return f"pip install 'folkmoot[{provider.dialect}]'"


def how_to_set(provider: Provider) -> str:
    """Return a sentence that names the variables to set, or where the key of an added provider is changed."""
    if provider.category == "byok":
        return f"Give {provider.name} another key with PATCH /v1/providers/{{provider_id}}."
    if provider.name == "azure":
        return "Set AZURE_OPENAI_API_KEY and AZURE_OPENAI_ENDPOINT."
    if provider.local:
        return f"Set {provider.address_variables[0]} to the server's address."
    return f"Set {' or '.join(provider.key_variables)}."


def address_of(provider: Provider, environ: Mapping[str, str]) -> str:
    """Return the base address of a provider's API, in the one form that its client wants."""
    given = _first(provider.address_variables, environ)
    if given and "://" not in given:
        given = f"http://{given}"
    return api_address(provider, given)


def api_address(provider: Provider, given: str | None) -> str:
    """Return the base address of a provider's API in the one form that its client wants.

    Args:
        provider: the provider.
        given: another address than the usual one, with its scheme; None for that one.
    """
    address = (given or provider.address or "").rstrip("/")
    if provider.local and not address.endswith("/v1"):
        return f"{address}/v1"
    if provider.dialect in ("anthropic", "google"):
        return address.removesuffix("/v1beta").removesuffix("/v1")
    return address


def place_of(address: str) -> str:
    """Return an address without user names, passwords or queries.

    >>> place_of("https://ada:secret@models.example.org/v1?key=1")
    'https://models.example.org/v1'
    """
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _first(variables: tuple[str, ...], environ: Mapping[str, str]) -> str | None:
    return next((value for name in variables if (value := environ.get(name, "").strip())), None)
