"""What Anthropic's API would refuse in a request for a message: a test notices what a lenient fake would swallow.

A conversation that breaks one of these rules is refused ever after, because each later request repeats it. That is how
an agent gets stuck. Where the API has words for a fault, these are theirs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

Block: TypeAlias = dict[str, Any]

MOST_CACHE_MARKS = 4
FEWEST_THINKING_TOKENS = 1024
_CALL_ID = re.compile(r"[a-zA-Z0-9_-]+")
_TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_THINKING = ("thinking", "redacted_thinking")

_FIELDS_OF_BODY = {
    *("model", "messages", "max_tokens", "system", "tools", "tool_choice", "stream", "thinking", "output_config"),
    *("temperature", "top_p", "top_k", "stop_sequences", "metadata", "service_tier", "container", "mcp_servers"),
    *("context_management", "cache_control"),
}
_FIELDS_OF_BLOCK = {
    "text": {"text", "citations", "cache_control"},
    "image": {"source", "cache_control"},
    "document": {"source", "title", "context", "citations", "cache_control"},
    "tool_use": {"id", "name", "input", "cache_control"},
    "tool_result": {"tool_use_id", "content", "is_error", "cache_control"},
    "thinking": {"thinking", "signature"},
    "redacted_thinking": {"data"},
}
_BLOCKS_OF_ROLE = {
    "user": {"text", "image", "document", "tool_result"},
    "assistant": {"text", "tool_use", *_THINKING},
}
_BLOCKS_OF_RESULT = {"text", "image", "document"}


def signature_of(thinking: str) -> str:
    """Return what the scripted model signs a thought with; another text under it is a thought that was changed."""
    return base64.b64encode(hashlib.sha256(thinking.encode("utf-8", "replace")).digest()).decode()


def violations_of(body: Any) -> list[str]:
    """Return what is wrong with a request, one sentence a fault; nothing for a sound one."""
    if not isinstance(body, dict):
        return ["the body is not a JSON object"]
    found = [*_body_faults(body), *_system_faults(body.get("system")), *_tool_faults(body), *_thinking_faults(body)]
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        return [*found, "messages: at least one message is required"]
    for place, message in enumerate(messages):
        found.extend(f"messages.{place}{fault}" for fault in _message_faults(message, place == len(messages) - 1))
    if not found:
        found.extend(_order_faults(messages))
        found.extend(_pairing_faults(messages))
    return found


# -- the request beside its messages -------------------------------------------------------------------------


def _body_faults(body: dict[str, Any]) -> Iterator[str]:
    for field in sorted(set(body) - _FIELDS_OF_BODY):
        yield f"{field}: Extra inputs are not permitted"
    if not isinstance(body.get("model"), str) or not body["model"]:
        yield "model: Field required"
    if not _is_number(body.get("max_tokens"), least=1):
        yield "max_tokens: Field required, an integer of at least 1"
    if "temperature" in body and not 0 <= body["temperature"] <= 1:
        yield "temperature: range: 0..1"
    try:
        text = json.dumps(body, ensure_ascii=False)
        text.encode()
    except UnicodeEncodeError:
        yield "The request body is not valid JSON: no low surrogate in string"
    marks = _cache_marks(body)
    if marks > MOST_CACHE_MARKS:
        yield f"A maximum of {MOST_CACHE_MARKS} blocks with cache_control may be provided. Found {marks}."


def _is_number(value: Any, *, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _cache_marks(value: Any) -> int:
    """Count the `cache_control` of everything but what a model wrote into a call's arguments."""
    if isinstance(value, list):
        return sum(map(_cache_marks, value))
    if not isinstance(value, dict):
        return 0
    inner = [item for key, item in value.items() if key not in ("cache_control", "input", "input_schema")]
    return (value.get("cache_control") is not None) + _cache_marks(inner)


def _system_faults(system: Any) -> Iterator[str]:
    if system is None or isinstance(system, str):
        return
    if not isinstance(system, list):
        yield "system: Input should be a valid list"
        return
    for place, block in enumerate(system):
        if not isinstance(block, dict) or block.get("type") != "text":
            yield f"system.{place}: only text blocks are allowed"
        else:
            yield from (f"system.{place}{fault}" for fault in _text_faults(block))


def _tool_faults(body: dict[str, Any]) -> Iterator[str]:
    tools, choice = body.get("tools"), body.get("tool_choice")
    if tools is not None and not isinstance(tools, list):
        yield "tools: Input should be a valid list"
        return
    names = []
    for place, tool in enumerate(tools or ()):
        name, schema = tool.get("name"), tool.get("input_schema")
        names.append(name)
        if not isinstance(name, str) or not _TOOL_NAME.fullmatch(name):
            yield f"tools.{place}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
        if not isinstance(schema, dict) or schema.get("type") != "object":
            yield f"tools.{place}.custom.input_schema.type: Input should be 'object'"
    if len(set(names)) != len(names):
        yield f"tools: Tool names must be unique, not {names}"
    if choice is not None and not names:
        yield "tool_choice: may only be specified while providing tools"
    elif choice is not None and choice.get("type") == "tool" and choice.get("name") not in names:
        yield f"tool_choice: Tool {choice.get('name')!r} not found in provided tools"


def _thinking_faults(body: dict[str, Any]) -> Iterator[str]:
    thinking = body.get("thinking") or {"type": "disabled"}
    if thinking.get("type") != "enabled":
        return
    budget = thinking.get("budget_tokens")
    if not _is_number(budget, least=FEWEST_THINKING_TOKENS):
        yield f"thinking.enabled.budget_tokens: Input should be greater than or equal to {FEWEST_THINKING_TOKENS}"
    elif isinstance(body.get("max_tokens"), int) and budget >= body["max_tokens"]:
        yield "`max_tokens` must be greater than `thinking.budget_tokens`"
    if body.get("temperature", 1) != 1:
        yield "`temperature` may only be set to 1 when thinking is enabled"
    if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
        yield "Thinking may not be enabled when tool_choice forces tool use"


# -- one message on its own ----------------------------------------------------------------------------------


def _message_faults(message: Any, last: bool) -> Iterator[str]:
    role = message.get("role") if isinstance(message, dict) else None
    if role == "system":
        yield ': Unexpected role "system". The Messages API accepts a top-level `system` parameter'
        return
    if role not in _BLOCKS_OF_ROLE:
        yield f': Unexpected role {role!r}. Allowed roles are "user" or "assistant"'
        return
    content = message.get("content")
    if not isinstance(content, str | list):
        yield ".content: Input should be a valid string or list"
        return
    optional = last and role == "assistant"
    if not content and not optional:
        yield ": all messages must have non-empty content except for the optional final assistant message"
    blocks = [{"type": "text", "text": content}] if isinstance(content, str) and content else list(content)
    for place, block in enumerate(blocks):
        yield from (f".content.{place}{fault}" for fault in _block_faults(block, _BLOCKS_OF_ROLE[role]))
    if optional and blocks and isinstance(blocks[-1], dict):
        text = blocks[-1].get("text")
        if isinstance(text, str) and text != text.rstrip():
            yield ": final assistant content cannot end with trailing whitespace"


def _block_faults(block: Any, allowed: set[str]) -> Iterator[str]:
    kind = block.get("type") if isinstance(block, dict) else None
    if kind not in allowed:
        yield f": Input tag {kind!r} found does not match any of the expected tags {sorted(allowed)}"
        return
    for field in sorted(set(block) - _FIELDS_OF_BLOCK[kind] - {"type"}):
        yield f".{kind}.{field}: Extra inputs are not permitted"
    if kind == "text":
        yield from _text_faults(block)
    elif kind == "tool_use":
        yield from _call_faults(block)
    elif kind == "tool_result":
        yield from _result_faults(block)
    elif kind == "thinking":
        yield from _thought_faults(block)


def _text_faults(block: Block) -> Iterator[str]:
    text = block.get("text")
    if not isinstance(text, str):
        yield ".text.text: Input should be a valid string"
    elif not text:
        yield ": text content blocks must be non-empty"
    elif not text.strip():
        yield ": text content blocks must contain non-whitespace text"


def _call_faults(block: Block) -> Iterator[str]:
    if not isinstance(block.get("id"), str) or not _CALL_ID.fullmatch(block["id"]):
        yield ".tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
    if not isinstance(block.get("name"), str) or not _TOOL_NAME.fullmatch(block["name"]):
        yield ".tool_use.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"
    if not isinstance(block.get("input"), dict):
        yield ".tool_use.input: Input should be a valid dictionary"


def _result_faults(block: Block) -> Iterator[str]:
    if not isinstance(block.get("tool_use_id"), str) or not _CALL_ID.fullmatch(block["tool_use_id"]):
        yield ".tool_result.tool_use_id: String should match pattern '^[a-zA-Z0-9_-]+$'"
    content = block.get("content")
    if content is None:  # a result may say nothing, but not with an empty text
        return
    if isinstance(content, str):
        yield from (f".tool_result{fault}" for fault in _text_faults({"text": content}))
    elif not isinstance(content, list) or not content:
        yield ".tool_result.content: Input should be a valid string or list with something in it"
    else:
        for place, inner in enumerate(content):
            yield from (f".tool_result.content.{place}{fault}" for fault in _block_faults(inner, _BLOCKS_OF_RESULT))


def _thought_faults(block: Block) -> Iterator[str]:
    thinking, signature = block.get("thinking"), block.get("signature")
    if not isinstance(thinking, str):
        yield ".thinking.thinking: Input should be a valid string"
    elif not isinstance(signature, str) or not signature:
        yield ".thinking.signature: Field required"
    elif signature != signature_of(thinking):
        yield ": Invalid `signature` in `thinking` block"


# -- the messages together -----------------------------------------------------------------------------------


def _order_faults(messages: list[dict[str, Any]]) -> Iterator[str]:
    if messages[0]["role"] != "user":
        yield 'messages: first message must use the "user" role'
    for place, message in enumerate(messages):
        kinds = [block["type"] for block in _blocks(message)]
        if kinds and kinds[-1] in _THINKING:
            yield f"messages.{place}: The final block in an assistant message cannot be `thinking`."
        said = next((index for index, kind in enumerate(kinds) if kind not in _THINKING), len(kinds))
        if any(kind in _THINKING for kind in kinds[said:]):
            yield f"messages.{place}: thinking blocks must come before text and `tool_use` blocks"


def _pairing_faults(messages: list[dict[str, Any]]) -> Iterator[str]:
    """Each call needs its result at the beginning of the next message, and each result its call."""
    known: set[str] = set()
    waiting: list[str] = []
    for place, message in enumerate(messages):
        results = [block["tool_use_id"] for block in _blocks(message) if block["type"] == "tool_result"]
        first = [block["tool_use_id"] for block in _leading_results(message)]
        if missing := [call_id for call_id in waiting if call_id not in first]:
            yield _unanswered(place - 1, missing)
        if strangers := [call_id for call_id in results if call_id not in waiting]:
            yield (
                f"messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks: {', '.join(strangers)}. "
                "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
            )
        if twice := sorted({call_id for call_id in results if results.count(call_id) > 1}):
            yield (
                f"messages.{place}: each tool_use must have a single result. "
                f"Found multiple `tool_result` blocks with id: {', '.join(twice)}"
            )
        waiting = [block["id"] for block in _blocks(message) if block["type"] == "tool_use"]
        for index, call_id in enumerate(waiting):
            if call_id in known or call_id in waiting[:index]:
                yield f"messages.{place}: `tool_use` ids must be unique, and {call_id!r} is not"
        known.update(waiting)
    if waiting:
        yield _unanswered(len(messages) - 1, waiting)


def _unanswered(place: int, missing: list[str]) -> str:
    return (
        f"messages.{place}: `tool_use` ids were found without `tool_result` blocks immediately after: "
        f"{', '.join(missing)}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def _blocks(message: dict[str, Any]) -> list[Block]:
    content = message["content"]
    return content if isinstance(content, list) else []


def _leading_results(message: dict[str, Any]) -> Iterator[Block]:
    for block in _blocks(message):
        if block["type"] != "tool_result":
            return
        yield block
