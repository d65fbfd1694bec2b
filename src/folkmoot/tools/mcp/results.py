"""What a server of tools answers to a call, as what a model reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from folkmoot.tools.tool import ToolResult

if TYPE_CHECKING:
    import mcp_types

EMPTY = "(The tool returned nothing.)"


def tool_result(answer: mcp_types.CallToolResult) -> ToolResult:
    """Return a call's result: the texts, what of the structured content they do not tell, and a word on all else."""
    texts = [_text_of(part) for part in answer.content]
    if answer.structured_content is not None and not _told(answer.structured_content, texts):
        texts.append(json.dumps(answer.structured_content, ensure_ascii=False))
    return ToolResult("\n".join(text for text in texts if text) or EMPTY, failed=answer.is_error)


def _text_of(part: mcp_types.ContentBlock) -> str:
    if part.type == "text":
        return part.text
    if part.type == "image" or part.type == "audio":
        return f"({part.type}, {part.mime_type}, {_size(part.data)})"
    if part.type == "resource_link":
        described = f": {part.description}" if part.description else ""
        return f"({part.title or part.name}: {part.uri}{described})"
    resource = part.resource
    text = getattr(resource, "text", None)
    if text is not None:
        return f"{resource.uri}\n{text}"
    return f"({resource.uri}: {resource.mime_type or 'data'}, {_size(getattr(resource, 'blob', ''))})"


def _size(base64: str) -> str:
    return f"{len(base64) * 3 // 4:,} bytes"


def _told(value: Any, texts: Sequence[str]) -> bool:
    """Tell whether a text says the same as structured content does, as servers do for older clients.

    A function that returns no object has its value wrapped as `{"result": …}`.
    """
    inner = value["result"] if isinstance(value, dict) and value.keys() == {"result"} else value
    if isinstance(inner, list) and len(inner) == len(texts) and all(map(_same, inner, texts)):
        return True
    return any(_same(wanted, text) for wanted in (value, inner) for text in texts)


def _same(value: Any, text: str) -> bool:
    if isinstance(value, str):
        return value == text
    try:
        return bool(json.loads(text) == value)
    except (ValueError, RecursionError):
        return False
