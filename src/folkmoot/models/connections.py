"""The pydantic-ai models and the HTTP connections behind the handles, each built once and kept.

Importing this module is cheap; the provider's package is imported when its first model is built, in a
thread, so that the server goes on answering meanwhile.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from folkmoot.loading import LOADING
from folkmoot.models.chat_wire import Habits
from folkmoot.models.exchanges import note_request
from folkmoot.models.openai_client import openai_client
from folkmoot.models.provider_client import provider_client
from folkmoot.models.providers import Provider, ResolvedModel
from folkmoot.models.sent_before import SentBefore, going_on
from folkmoot.outbound.proxies import is_this_machine

if TYPE_CHECKING:
    import httpx2
    from openai import AsyncOpenAI
    from pydantic_ai.models import Model
    from pydantic_ai.profiles import ModelProfile
    from pydantic_ai.providers import Provider as ModelProvider

    from folkmoot.models.translation import Manner

CONNECT_SECONDS = 5.0
_ONLY_NEW_LIMIT = re.compile(r"(.*/)?(o\d|gpt-[5-9])")
_CACHE_MARK = "cache_control"


@dataclass(frozen=True, slots=True)
class Connection:
    """A model ready to be asked."""

    resolved: ResolvedModel
    model: Model[Any]
    manner: Manner
    #: What its server has shown of itself, learnt while it is asked.
    habits: Habits = field(default_factory=Habits)
    #: Keep each request and response for the trace of its step.
    traced: bool = False
    #: What was sent of its conversations; None where a turn's form depends on more than the turn.
    sent_before: SentBefore | None = None


class Connections:
    """Connections to models, one a handle, that share one pool of HTTP connections."""

    def __init__(self, timeout: float, *, traced: bool = False, allow_private: bool = False) -> None:
        """Keep what every connection needs.

        Args:
            timeout: seconds that an answer may take.
            traced: whether traces are wanted.
            allow_private: let a provider that somebody has added have an address that is not public.
        """
        self._timeout = timeout
        self._traced = traced
        self._allow_private = allow_private
        self._loop: asyncio.AbstractEventLoop | None = None
        self._connections: dict[tuple[str, str], Connection] = {}
        self._http: dict[tuple[bool, bool], httpx2.AsyncClient] = {}
        self._building: asyncio.Lock | None = None

    def kept_of(self, handle: str) -> Connection | None:
        """Return the connection of a handle of the server's own that has been used before in this event loop."""
        return self._connections.get(("", handle)) if self._loop is asyncio.get_running_loop() else None

    def kept(self, resolved: ResolvedModel) -> Connection | None:
        """Return a model's connection that has been used before in this event loop, if it is still the right one."""
        found = self._connections.get(resolved.kept_as) if self._loop is asyncio.get_running_loop() else None
        return found if found is not None and found.resolved == resolved else None

    async def open(self, resolved: ResolvedModel) -> Connection:
        """Return the connection of a model, building it if it is new."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:  # connections belong to their event loop; a test may use several
            self._loop, self._connections, self._http, self._building = loop, {}, {}, asyncio.Lock()
        assert self._building is not None
        async with self._building:
            found = self.kept(resolved)
            if found is None:
                found = await asyncio.to_thread(self._build, resolved)
                self._connections[resolved.kept_as] = found
            return found

    def avoid_late_system(self, resolved: ResolvedModel) -> bool:
        """Send a model's server no more system messages but the first; False when that is so already."""
        connection = self._connections[resolved.kept_as]
        if connection.manner.system_as_user:
            return False
        manner = replace(connection.manner, system_as_user=True)
        self._connections[resolved.kept_as] = replace(connection, manner=manner, sent_before=None)
        return True

    async def aclose(self) -> None:
        """Close the HTTP connections."""
        clients, self._http = self._http, {}
        self._connections = {}
        if self._loop is asyncio.get_running_loop():
            for http in clients.values():
                await http.aclose()

    def _build(self, resolved: ResolvedModel) -> Connection:
        with LOADING:
            from folkmoot.models.usage_rules import read_usage_by_rules

            read_usage_by_rules()
            way = resolved.is_added, is_this_machine(resolved.address)
            if way not in self._http:
                self._http[way] = self._client(resolved)
            build = {"anthropic": _anthropic, "bedrock": _bedrock, "google": _google}.get(resolved.dialect, _openai)
            return replace(build(resolved, self._http[way]), traced=self._traced)

    def _client(self, resolved: ResolvedModel) -> httpx2.AsyncClient:
        """Return the HTTP client of the providers' packages."""
        import httpx2

        from folkmoot.models.wire_client import WireClient

        # Our own deadline comes first; this one only frees a connection that nobody waits for.
        patience = httpx2.Timeout(self._timeout + 1, connect=CONNECT_SECONDS)
        limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=100)
        options: Any = {"timeout": patience, "event_hooks": {"request": [note_request]}}
        return provider_client(resolved, WireClient, limits, allow_private=self._allow_private, **options)


def _openai(resolved: ResolvedModel, http: httpx2.AsyncClient) -> Connection:
    from functools import cached_property

    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
    from pydantic_ai.profiles.openai import OpenAIModelProfile

    from folkmoot.models.translation import Manner

    # The profile is asked for some ten times a request and merged anew each time, to the same result.
    class ChatModel(OpenAIChatModel):
        @cached_property
        def profile(self) -> OpenAIModelProfile:
            return super().profile

    class ResponsesModel(OpenAIResponsesModel):
        @cached_property
        def profile(self) -> OpenAIModelProfile:
            return super().profile

    client = openai_client(resolved, http)
    habits = Habits()
    if resolved.dialect == "responses":
        _send_responses_plainly(client, habits)
    else:
        _send_chats_plainly(client, habits)
    kind = ResponsesModel if resolved.dialect == "responses" else ChatModel
    model = kind(resolved.model, provider=_chat_provider(resolved.provider, client), profile=_chat_profile(resolved))
    if resolved.dialect == "responses":
        manner = Manner("responses", model.system, False, re.compile(r".{1,64}", re.DOTALL), 40)
        return Connection(resolved, model, manner, habits)
    call_id, length = {
        "openai": (re.compile(r".{1,40}", re.DOTALL), 40),
        "azure": (re.compile(r".{1,40}", re.DOTALL), 40),
        "mistral": (re.compile(r"[A-Za-z0-9]{9}"), 9),
    }.get(resolved.provider.kind, (None, 40))
    manner = Manner("openai", model.system, False, call_id, length)
    return Connection(
        resolved, model, manner, habits, sent_before=SentBefore() if _sends_alike(model.profile) else None
    )


def _sends_alike(profile: ModelProfile) -> bool:
    """Tell whether a turn without reasoning goes out the same whatever comes before or after it."""
    return bool(profile.get("openai_chat_supports_multiple_system_messages", True)) and not profile.get(
        "openai_chat_thinking_requires_field_on_tool_calls", False
    )


def _chat_provider(provider: Provider, client: AsyncOpenAI) -> ModelProvider[AsyncOpenAI]:
    from importlib import import_module

    known = {
        "openai": "OpenAIProvider",
        "azure": "AzureProvider",
        "deepseek": "DeepSeekProvider",
        "ollama": "OllamaProvider",
        "openrouter": "OpenRouterProvider",
        "together": "TogetherProvider",
        "vllm": "VLLMProvider",
    }
    if class_name := known.get(provider.kind):
        module = import_module(f"pydantic_ai.providers.{provider.kind}")
        made: ModelProvider[AsyncOpenAI] = getattr(module, class_name)(openai_client=client)
        return made
    from pydantic_ai.providers.openai_compatible import OpenAICompatibleProvider

    return OpenAICompatibleProvider(provider.kind, openai_client=client)


def _chat_profile(resolved: ResolvedModel) -> ModelProfile:
    """Return what differs from pydantic-ai's own knowledge of a model.

    Tools are sent as they are (`strict` is never asked for), so their schemas need no rewriting on each
    request. And servers other than OpenAI's know `max_tokens`, which only OpenAI's newer models refuse.
    """
    from pydantic_ai.profiles.openai import OpenAIModelProfile

    official = resolved.address.startswith("https://api.openai.com") or resolved.provider.kind == "azure"
    newer = official or _ONLY_NEW_LIMIT.match(resolved.model) is not None
    return OpenAIModelProfile(json_schema_transformer=None, openai_chat_supports_max_completion_tokens=newer)


def _send_chats_plainly(client: AsyncOpenAI, habits: Habits) -> None:
    from openai import AsyncStream
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    completions: Any = client.chat.completions
    stream_of = AsyncStream[ChatCompletionChunk]
    completions.create = _plainly(client, habits, "/chat/completions", ChatCompletion, stream_of, chat=habits)


def _send_responses_plainly(client: AsyncOpenAI, habits: Habits) -> None:
    from openai import AsyncStream
    from openai.types.responses import Response, ResponseStreamEvent

    responses: Any = client.responses  # looking at it loads 4 MB
    responses.create = _plainly(client, habits, "/responses", Response, AsyncStream[ResponseStreamEvent], chat=None)


def _plainly(client: AsyncOpenAI, habits: Habits, path: str, whole: Any, stream_of: Any, *, chat: Habits | None) -> Any:
    """Return what posts a request as it is given, less what the client's server is known to refuse.

    The SDK compares every message with its type definitions before sending, 0.2 ms for each message, and
    changes nothing in what pydantic-ai has built; `client.post` is its documented way to send a request
    without that.

    Args:
        client: asks the server.
        habits: what the server has shown of itself; what is sent is noted there.
        path: where requests are posted.
        whole: the type of an answer.
        stream_of: the type of an answer in pieces.
        chat: the habits by which an answer is mended, where it is one of a chat.
    """
    from folkmoot.models.wire_client import chat_of

    async def create(
        *,
        stream: bool = False,
        extra_headers: Any = None,
        extra_body: Any = None,
        timeout: Any = None,
        **given: Any,
    ) -> Any:
        body = {name: value for name, value in given.items() if _is_set(value)}
        if stream:
            body["stream"] = True
        if extra_body is not None:
            body |= extra_body
        habits.sent = frozenset(body)
        if habits.refused:
            body = _without(body, habits.refused)
        options: dict[str, Any] = {"headers": extra_headers or {}}
        if timeout is not None and _is_set(timeout):
            options["timeout"] = timeout
        if continuing := going_on.get():
            body["messages"] = continuing.whole(body["messages"])
        if habits.wants_texts:
            body["messages"] = [message | {"content": message.get("content") or ""} for message in body["messages"]]
        post: Any = client.post
        token = chat_of.set(chat)
        try:
            return await post(path, cast_to=whole, body=body, options=options, stream=stream, stream_cls=stream_of)
        finally:
            chat_of.reset(token)

    return create


def _without(body: Mapping[str, Any], refused: set[str]) -> dict[str, Any]:
    """Return a request less what is refused; the two names that a limit has stand in for each other."""
    kept = {name: value for name, value in body.items() if name not in refused}
    for name, other in (("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")):
        if name in refused and name in body and other not in refused:
            kept[other] = body[name]
    return kept


def _is_set(value: object) -> bool:
    return type(value).__name__ not in ("Omit", "NotGiven")


def _anthropic(resolved: ResolvedModel, http: httpx2.AsyncClient) -> Connection:
    from anthropic import AsyncAnthropic
    from pydantic_ai.models.anthropic import AnthropicModel
    from pydantic_ai.providers.anthropic import AnthropicProvider

    from folkmoot.models.translation import Manner

    habits = Habits()

    class Client(AsyncAnthropic):
        """Leaves out what its server is known to refuse; the SDK copies clients, so this cannot be set on one."""

        async def post(self, path: str, *, body: Any = None, options: Any = None, **rest: Any) -> Any:
            options = options or {}
            body = {
                name: value for name, value in {**body, **(options.get("extra_json") or {})}.items() if _is_set(value)
            }
            habits.sent = frozenset([*body, _CACHE_MARK]) - {"max_tokens"}
            if habits.refused:
                body = _without(body, habits.refused)
            if _CACHE_MARK in habits.refused:
                body = _unmarked(body)
            send: Any = super().post
            return await send(path, body=body, options={**options, "extra_json": None}, **rest)

    client = Client(
        api_key=resolved.key, base_url=resolved.address, http_client=http, timeout=http.timeout, max_retries=0
    )
    if resolved.is_added:  # what the environment says of the server's own account is none of its business
        client.auth_token = None
        client._custom_headers = {}
    model = AnthropicModel(resolved.model, provider=AnthropicProvider(anthropic_client=client))
    manner = Manner("anthropic", model.system, True, re.compile(r"[A-Za-z0-9_-]{1,64}"), 40)
    return Connection(resolved, model, manner, habits)


def _unmarked(value: Any) -> Any:
    """Return a request without its marks of what a provider shall keep in its cache."""
    if isinstance(value, list | tuple):
        return [_unmarked(item) for item in value]
    if not isinstance(value, dict):
        return value
    mark = value.get(_CACHE_MARK)
    is_marked = isinstance(mark, dict) and mark.get("type") == "ephemeral"
    return {name: _unmarked(item) for name, item in value.items() if not (is_marked and name == _CACHE_MARK)}


def _google(resolved: ResolvedModel, http: httpx2.AsyncClient) -> Connection:
    from pydantic_ai.models.google import GoogleModel
    from pydantic_ai.providers.google import GoogleProvider
    from pydantic_ai.providers.google_cloud import GoogleCloudProvider

    from folkmoot.models.translation import Manner

    kind = GoogleCloudProvider if resolved.provider.kind == "google_vertex" else GoogleProvider
    model = GoogleModel(
        resolved.model, provider=kind(api_key=resolved.key, base_url=resolved.address, http_client=http)
    )
    return Connection(resolved, model, Manner("google", model.system, True))


def _bedrock(resolved: ResolvedModel, http: httpx2.AsyncClient) -> Connection:
    """Return a model of Amazon Bedrock, which its own package asks over connections of its own, at Amazon's addresses.

    With an access key the provider's key is the secret that belongs to it, without one a key of Bedrock's.
    """
    from pydantic_ai.models.bedrock import BedrockConverseModel
    from pydantic_ai.providers.bedrock import BedrockProvider

    from folkmoot.models.translation import Manner

    seconds = http.timeout.read
    common: dict[str, Any] = {
        "region_name": resolved.region,
        "aws_read_timeout": seconds,
        "aws_connect_timeout": CONNECT_SECONDS,
    }
    if resolved.access_key:
        keys = {"aws_access_key_id": resolved.access_key, "aws_secret_access_key": resolved.key}
    else:
        keys = {"api_key": resolved.key}
    model = BedrockConverseModel(resolved.model, provider=BedrockProvider(**keys, **common))
    manner = Manner("bedrock", model.system, True, re.compile(r"[A-Za-z0-9_-]{1,64}"), 40)
    return Connection(resolved, model, manner)
