"""What a server of tools answers to a call, as what a model reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from folkmoot.models.prompt import Image
from folkmoot.tools.pictures import pictured
from folkmoot.tools.tool import ToolResult

if TYPE_CHECKING:
    import mcp_types

EMPTY = "(The tool returned nothing.)"


def tool_result(answer: mcp_types.CallToolResult) -> ToolResult:
    """Return a call's result: what it says and shows, and a word on all else."""
    parts = [_part_of(part) for part in answer.content]
    texts = [part for part in parts if isinstance(part, str)]
    if answer.structured_content is not None and not _told(answer.structured_content, texts):
        parts.append(json.dumps(answer.structured_content, ensure_ascii=False))
    told = pictured(parts)
    return ToolResult(told.text or EMPTY, failed=answer.is_error, pictures=told.pictures)


def _part_of(part: mcp_types.ContentBlock) -> str | Image:
    """Return a text or a picture as it is, a word on anything else."""
    if part.type == "text":
        return part.text
    if part.type == "image":
        return Image(data=part.data.rpartition(";base64,")[2], media_type=part.mime_type)
    if part.type == "audio":
        return f"({part.type}, {part.mime_type}, {_size(part.data)})"
    if part.type == "resource_link":
        described = f": {part.description}" if part.description else ""
        return f"({part.title or part.name}: {part.uri}{described})"
    resource = part.resource
    text = getattr(resource, "text", None)
    if text is not None:
        return f"{resource.uri}\n{text}"
    if (resource.mime_type or "").startswith("image/"):
        return Image(data=getattr(resource, "blob", ""), media_type=resource.mime_type)
    return f"({resource.uri}: {resource.mime_type or 'data'}, {_size(getattr(resource, 'blob', ''))})"


def _size(base64: str) -> str:
    return f"{len(base64) * 3 // 4:,} bytes"


def _told(value: Any, texts: Sequence[str]) -> bool:
    """Tell whether a text says the same as structured content does, as servers do for older clients.

    What is no object is wrapped: as `{"result": …}` by the SDK for Python, as `{"content": …}` by other servers.
    """
    inner = next(iter(value.values())) if isinstance(value, dict) and len(value) == 1 else value
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
