"""How long a prompt a model takes: what its endpoint says, else what is known of its family."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

#: Keys under which servers tell a model's context window, the window it runs with now before the one it
#: could have.
WINDOW_KEYS = (
    "loaded_context_length",
    "max_model_len",
    "context_length",
    "context_window",
    "max_context_length",
    "max_input_tokens",
    "inputTokenLimit",
    "input_token_limit",
    "n_ctx",
)
OUTPUT_KEYS = ("max_completion_tokens", "max_output_tokens", "outputTokenLimit", "max_tokens")

#: Families by the start of the model's own name, most telling first.
_FAMILIES: tuple[tuple[str, int], ...] = (
    (r"gpt-4\.1", 1_047_576),
    (r"gpt-4o|chatgpt-4o|gpt-4-turbo|gpt-4-(1106|0125)", 128_000),
    (r"gpt-4-32k", 32_768),
    (r"gpt-4", 8_192),
    (r"gpt-3\.5", 16_385),
    (r"gpt-5(\.\d+)?-chat", 128_000),
    (r"gpt-[5-9]", 400_000),
    (r"gpt-oss", 131_072),
    (r"o1-(mini|preview)", 128_000),
    (r"o\d", 200_000),
    (r"claude", 200_000),
    (r"gemini-1\.5-pro", 2_097_152),
    (r"gemini", 1_048_576),
    (r"gemma-?3", 131_072),
    (r"gemma", 8_192),
    (r"deepseek", 128_000),
    (r"grok-4(-1)?-fast", 2_000_000),
    (r"grok-4", 256_000),
    (r"grok", 131_072),
    (r"(meta-)?llama-?4-scout", 10_485_760),
    (r"(meta-)?llama-?4", 1_048_576),
    (r"(meta-)?llama-?3\.[1-9]", 131_072),
    (r"(meta-)?llama-?3", 8_192),
    (r"qwen-?3-coder", 262_144),
    (r"qwen-?3|qwq", 131_072),
    (r"qwen-?2\.5", 32_768),
    (r"mistral-(large|medium|small)|ministral|magistral|devstral|pixtral", 131_072),
    (r"codestral", 262_144),
    (r"mixtral|mistral|open-mi", 32_768),
    (r"kimi-k2|moonshotai", 262_144),
    (r"glm-4\.[5-9]|glm-5", 131_072),
    (r"phi-?4", 16_384),
    (r"command-(r|a)", 128_000),
)
_KNOWN = tuple((re.compile(pattern, re.IGNORECASE), window) for pattern, window in _FAMILIES)

_EMBEDDING = re.compile(
    r"embed|(^|[/-])(bge|gte|e5|minilm|all-mpnet|jina-emb|voyage|nomic|mxbai|arctic-emb|wordllama)", re.IGNORECASE
)
_NO_CHAT = re.compile(
    r"whisper|dall-?e|(^|[-/])tts|speech|audio|realtime|transcri|moderation|guard|image|imagen|veo|sora|lyria"
    r"|rerank|babbage|davinci|curie|instruct-beta|computer-use|stable-diffusion|flux|ocr|aqa|(^|-)search-preview",
    re.IGNORECASE,
)
_DIMENSIONS = {
    "text-embedding-3-small": 1536,
    "text-embedding-3-large": 3072,
    "text-embedding-ada-002": 1536,
    "gemini-embedding-001": 3072,
    "text-embedding-004": 768,
    "mistral-embed": 1024,
    "nomic-embed-text": 768,
    "wordllama": 256,
    "mxbai-embed-large": 1024,
    "all-minilm": 384,
}


def family_window(model: str) -> int | None:
    """Return the context window of a known family, by the model's name without its publisher."""
    name = model.rpartition("/")[2]
    return next((window for pattern, window in _KNOWN if pattern.match(name)), None)


def told_window(description: Mapping[str, Any]) -> int | None:
    """Return the context window that an endpoint's own description of a model tells; llama.cpp tells it in `meta`."""
    about = description.get("meta")
    inner = _figure(about, ("n_ctx", "n_ctx_train")) if isinstance(about, Mapping) else None
    return _figure(description, WINDOW_KEYS) or inner


def told_output(description: Mapping[str, Any]) -> int | None:
    """Return the longest answer that an endpoint's own description of a model tells."""
    top = description.get("top_provider")
    return _figure(description, OUTPUT_KEYS) or (_figure(top, OUTPUT_KEYS) if isinstance(top, Mapping) else None)


def ollama_window(shown: Mapping[str, Any]) -> int | None:
    """Return the context window of an Ollama model, from its `/api/show` answer: as set, else as trained."""
    set_to = re.search(r"^[ \t]*num_ctx[ \t]+(\d{1,9})\b", str(shown.get("parameters", "")), re.MULTILINE)
    if set_to:
        return int(set_to[1])
    return _model_figure(shown, ".context_length")


def ollama_dimensions(shown: Mapping[str, Any]) -> int | None:
    """Return the length of the vectors of an Ollama embedding model."""
    return _model_figure(shown, ".embedding_length")


def is_embedding(model: str, description: Mapping[str, Any]) -> bool:
    """Tell whether a model makes embeddings, by what the endpoint says or by its name."""
    if "embed" in str(description.get("type", "")):
        return True
    methods, abilities = description.get("supportedGenerationMethods"), description.get("capabilities")
    if isinstance(methods, list):
        return "embedContent" in methods
    if isinstance(abilities, Mapping) and isinstance(abilities.get("embeddings"), bool):
        return bool(abilities["embeddings"])
    return _EMBEDDING.search(model) is not None


def is_chat(model: str, description: Mapping[str, Any]) -> bool:
    """Tell whether a model can hold a conversation; where nothing says otherwise, it can."""
    methods, abilities = description.get("supportedGenerationMethods"), description.get("capabilities")
    if isinstance(methods, list) and "generateContent" not in methods:
        return False
    if isinstance(abilities, Mapping) and False in (abilities.get("completion_chat"), abilities.get("chat_completion")):
        return False
    kind = description.get("type")
    if isinstance(kind, str) and kind in ("image", "audio", "moderation", "rerank", "transcribe", "video"):
        return False
    return _NO_CHAT.search(model.rpartition("/")[2]) is None


def dimensions(model: str) -> int | None:
    """Return the length of the vectors of a known embedding model."""
    return _DIMENSIONS.get(model.rpartition("/")[2].partition(":")[0])


def _figure(description: Mapping[str, Any], keys: tuple[str, ...]) -> int | None:
    for key in keys:
        value = description.get(key)
        if isinstance(value, int) and not isinstance(value, bool) and value > 0:
            return value
    return None


def _model_figure(shown: Mapping[str, Any], ending: str) -> int | None:
    about = shown.get("model_info")
    for key, value in about.items() if isinstance(about, Mapping) else ():
        if str(key).endswith(ending) and isinstance(value, int) and value > 0:
            return value
    return None
