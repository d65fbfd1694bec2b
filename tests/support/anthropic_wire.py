"""How Anthropic's API says things: messages, the events that they are streamed in, models, errors. No network here.

What the model shall say comes in OpenAI's form, as `model_script` and the tests write it, so that one script serves
both APIs. A message whose content is a list says just these blocks, for what only Anthropic's models say.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from typing import Any

from support.anthropic_rules import Block, signature_of, violations_of
from support.openai_wire import COMPLETION_TOKENS, PROMPT_TOKENS, cuts_of, words_of

__all__ = ["PATH", "chunks", "completion", "conversation_of", "error", "model_list", "thought", "violations_of"]

PATH = "/v1/messages"
MODELS = ("claude-haiku-4-5", "claude-sonnet-4-5")
ERROR_KINDS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "content_filter": "refusal",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
}
_numbers = itertools.count(1)


# -- what is asked -------------------------------------------------------------------------------------------


def conversation_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a request's messages in OpenAI's form, so that scripts and tests need to know one form only.

    Folkmoot sends its memory and its system messages as a user's text, in tags; they are system messages here.
    """
    system = body.get("system")
    messages = [{"role": "system", "content": _text_of(system)}] if system else []
    for message in body["messages"]:
        blocks = message["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        if message["role"] == "assistant":
            messages.append(_assistant_message(blocks))
        else:
            messages.extend(map(_user_message, blocks))
    return messages


def _user_message(block: Block) -> dict[str, Any]:
    if block["type"] == "tool_result":
        content = _text_of(block.get("content") or "")
        return {"role": "tool", "tool_call_id": block["tool_use_id"], "content": content}
    if block["type"] != "text":
        return {"role": "user", "content": [block]}
    text: str = block["text"]
    if text.startswith("<system>\n"):
        return {"role": "system", "content": text.removeprefix("<system>\n").removesuffix("\n</system>")}
    return {"role": "system" if text.startswith("<now>") else "user", "content": text}


def _assistant_message(blocks: list[Block]) -> dict[str, Any]:
    texts = [block["text"] for block in blocks if block["type"] == "text"]
    calls = [
        {
            "id": block["id"],
            "type": "function",
            "function": {"name": block["name"], "arguments": json.dumps(block["input"])},
        }
        for block in blocks
        if block["type"] == "tool_use"
    ]
    thoughts = [block for block in blocks if block["type"] in ("thinking", "redacted_thinking")]
    message: dict[str, Any] = {"role": "assistant", "content": "".join(texts) if texts else None}
    return message | ({"tool_calls": calls} if calls else {}) | ({"thinking_blocks": thoughts} if thoughts else {})


def _text_of(content: str | list[Block]) -> str:
    return content if isinstance(content, str) else "\n".join(block.get("text", "") for block in content)


# -- what is answered ----------------------------------------------------------------------------------------


def thought(text: str) -> Block:
    """Return a thought with the signature that a request has to bring back."""
    return {"type": "thinking", "thinking": text, "signature": signature_of(text)}


def blocks_of(message: dict[str, Any]) -> list[Any]:
    """Return what a message says as content blocks; a call's arguments are the JSON text, valid or not."""
    content = message.get("content")
    if isinstance(content, list):
        return content
    thoughts = [thought(message["reasoning_content"])] if message.get("reasoning_content") else []
    said = message.get("refusal") if content is None else content
    texts = [] if said is None else [{"type": "text", "text": said}]
    return [*thoughts, *texts, *map(_call_block, message.get("tool_calls") or ())]


def _call_block(call: Any) -> Any:
    if not isinstance(call, dict):
        return call
    function = call.get("function") or {}
    given = {"id": call.get("id"), "name": function.get("name"), "input": function.get("arguments")}
    known = {key: value for key, value in given.items() if key in ("id", "input") or key in function}
    return {"type": "tool_use", **known}


def completion(
    message: dict[str, Any], body: dict[str, Any], *, finish_reason: str | None = None, tokens: int = PROMPT_TOKENS
) -> dict[str, Any]:
    """Return the whole answer to the request `body`, whose prompt counts as so many tokens."""
    blocks = blocks_of(message)
    return {
        "id": f"msg_{next(_numbers):08d}",
        "type": "message",
        "role": message.get("role", "assistant"),
        "model": body["model"],
        "content": [_with_parsed_input(block) for block in blocks],
        "stop_reason": _reason(message, blocks, finish_reason),
        "stop_sequence": None,
        "usage": {"input_tokens": tokens, "output_tokens": COMPLETION_TOKENS},
    }


def _with_parsed_input(block: Any) -> Any:
    if not isinstance(block, dict) or not isinstance(block.get("input"), str):
        return block
    try:
        return {**block, "input": json.loads(block["input"] or "{}")}
    except (ValueError, RecursionError):
        return block


def _reason(message: dict[str, Any], blocks: list[Any], told: str | None) -> str:
    if told is not None:
        return _REASONS.get(told, told)
    if message.get("refusal"):
        return "refusal"
    calls = any(isinstance(block, dict) and block.get("type") == "tool_use" for block in blocks)
    return "tool_use" if calls else "end_turn"


def chunks(
    message: dict[str, Any], body: dict[str, Any], *, finish_reason: str | None = None, tokens: int = PROMPT_TOKENS
) -> Iterator[bytes]:
    """Yield a streamed answer's server-sent events.

    A piece opens or closes, or it has one delta, so that a test which stops a stream of text behind so many pieces
    finds the same words said by either API.
    """
    whole = completion(message, body, finish_reason=finish_reason, tokens=tokens)
    start = {**whole, "content": [], "stop_reason": None, "usage": {"input_tokens": tokens, "output_tokens": 1}}
    opening = [_event("message_start", message=start), _event("ping")]
    for index, block in enumerate(blocks_of(message)):
        empty, deltas = _pieces(block)
        yield b"".join([*opening, _event("content_block_start", index=index, content_block=empty)])
        for delta in deltas:
            yield _event("content_block_delta", index=index, delta=delta)
        opening = [_event("content_block_stop", index=index)]
    end = {"stop_reason": whole["stop_reason"], "stop_sequence": None}
    usage = {"input_tokens": tokens, "output_tokens": COMPLETION_TOKENS}
    yield b"".join([*opening, _event("message_delta", delta=end, usage=usage)])
    yield _event("message_stop")


def _pieces(block: Any) -> tuple[Any, list[dict[str, Any]]]:
    """Return a block as it begins, and the deltas that fill it: words of texts, some characters of the arguments."""
    kind = block.get("type") if isinstance(block, dict) else None
    if kind == "text" and isinstance(block["text"], str):
        return {**block, "text": ""}, [{"type": "text_delta", "text": word} for word in words_of(block["text"])]
    if kind == "thinking":
        words: list[dict[str, Any]] = [
            {"type": "thinking_delta", "thinking": word} for word in words_of(block["thinking"])
        ]
        signature = {"type": "signature_delta", "signature": block["signature"]}
        return {**block, "thinking": "", "signature": ""}, [*words, signature]
    if kind == "tool_use":
        given = block.get("input")
        text = given if isinstance(given, str) else json.dumps(given)
        cuts = ["", *cuts_of(text)]
        return {**block, "input": {}}, [{"type": "input_json_delta", "partial_json": cut} for cut in cuts]
    return block, []


def _event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n".encode()


def broken_off() -> bytes:
    """Return the event by which a stream tells that it has failed."""
    return _event("error", error=error(529, "Overloaded")["error"])


def error(status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """Return an error's body. Anthropic has no codes: a prompt that is too long is told in words."""
    said = f"prompt is too long: {message}" if code == "context_length_exceeded" else message
    kind = ERROR_KINDS.get(status, "api_error")
    return {"type": "error", "error": {"type": kind, "message": said}, "request_id": f"req_{next(_numbers):08d}"}


def too_long(tokens: int, window: int) -> dict[str, Any]:
    """Return the body of the refusal of a prompt that does not fit."""
    return error(400, f"{tokens} tokens > {window} maximum", "context_length_exceeded")


def model_list() -> dict[str, Any]:
    """Return the body of `GET /v1/models`."""
    created = "2026-01-01T00:00:00Z"
    models = [{"type": "model", "id": id_, "display_name": id_, "created_at": created} for id_ in MODELS]
    return {"data": models, "has_more": False, "first_id": MODELS[0], "last_id": MODELS[-1]}
