"""The kinds of providers that can be added through the API, by the names that the wire format has for them."""

from __future__ import annotations

from collections.abc import Mapping

from folkmoot.models.providers import ALIASES, DEFAULT_ALIAS, OFFLINE, PROVIDERS, Provider

_LIKE_OPENAI = (
    Provider("baseten", "Baseten", "baseten", address="https://inference.baseten.co/v1"),
    Provider("cerebras", "Cerebras", "cerebras", address="https://api.cerebras.ai/v1"),
    Provider("fireworks", "Fireworks AI", "fireworks", address="https://api.fireworks.ai/inference/v1"),
    Provider("hugging-face", "Hugging Face", "hugging-face", address="https://router.huggingface.co/v1"),
    Provider("minimax", "MiniMax", "minimax", address="https://api.minimax.io/v1"),
    Provider("sglang", "SGLang", "sglang", local=True),
    Provider("zai", "Z.ai", "zai", address="https://api.z.ai/api/paas/v4"),
    Provider("zai_coding", "Z.ai for coding", "zai_coding", address="https://api.z.ai/api/coding/paas/v4"),
)
_OF_CLOUDS = (
    Provider(
        "bedrock",
        "Amazon Bedrock",
        "bedrock",
        dialect="bedrock",
        address="https://bedrock-runtime.{region}.amazonaws.com",
    ),
    Provider(
        "google_vertex",
        "Google Vertex AI",
        "google_vertex",
        dialect="google",
        address="https://aiplatform.googleapis.com",
    ),
)
_ON_THE_WIRE = {"lmstudio": "lmstudio_openai"}

ADDABLE: Mapping[str, Provider] = {
    _ON_THE_WIRE.get(each.name, each.name): each
    for each in (*PROVIDERS, *_LIKE_OPENAI, *_OF_CLOUDS)
    if each is not OFFLINE
}
"""What can be added: the wire format's `provider_type`, and how it is asked."""

NOT_ADDABLE: Mapping[str, str] = {
    "letta": "it is a cloud's own; the models here have handles of their own",
    "chatgpt_oauth": "it needs a sign-in with a browser; add provider_type 'openai' with a key",
}
"""Types of the wire format that are refused, and why."""

RESERVED = frozenset({*(each.name for each in PROVIDERS), *ALIASES, DEFAULT_ALIAS.partition("/")[0]})
"""Names that handles of the server's own providers begin with."""
