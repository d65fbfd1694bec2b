"""What servers answer that is not quite of the protocol, made what they plainly mean.

The SDK refuses an answer whole for one field of one tool. Whatever is as it should be stays as it is.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from mcp.shared.dispatcher import CallOptions
from mcp.shared.jsonrpc_dispatcher import JSONRPCDispatcher
from mcp_types.methods import validate_server_result
from mcp_types.version import LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION
from pydantic import ValidationError

logger = logging.getLogger(__name__)

LONGEST_UNKNOWN = 1000
"""Characters that are told of a value in content of a kind that is not known: it may be a film."""

_OF_CALLS = ("content", "structuredContent", "isError", "_meta")
_OF_SERVERS = {"name": "unnamed", "version": "unknown"}


class Dispatcher(JSONRPCDispatcher[Any]):
    """The SDK's, which passes on what servers mean."""

    async def send_raw_request(
        self, method: str, params: Mapping[str, Any] | None, opts: CallOptions | None = None, **more: Any
    ) -> dict[str, Any]:
        """Send a request and return its result."""
        return as_meant(method, await super().send_raw_request(method, params, opts, **more))


def as_meant(method: str, result: dict[str, Any]) -> dict[str, Any]:
    """Return a result as the protocol has it; what cannot be understood is left to be refused.

    >>> as_meant("tools/call", {"content": "fine"})["content"]
    [{'type': 'text', 'text': 'fine'}]
    """
    mend = _MENDS.get(method)
    if mend is None:
        return result
    result = {name: value for name, value in result.items() if value is not None}
    return result if _fits(method, result) else mend(result)


def _fits(method: str, result: Mapping[str, Any]) -> bool:
    return any(_is_of(version, method, result) for version in (LATEST_HANDSHAKE_VERSION, LATEST_MODERN_VERSION))


def _is_of(version: str, method: str, result: Mapping[str, Any]) -> bool:
    try:
        validate_server_result(method, version, result)
    except (ValidationError, KeyError):
        return False
    return True


def _handshake(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a server says of itself: a capability that is only said to be there is there."""
    told, named = result.get("capabilities"), result.get("serverInfo")
    capabilities = told.items() if isinstance(told, dict) else ()
    return {
        **result,
        "capabilities": {name: value if isinstance(value, dict) else {} for name, value in capabilities if value},
        "serverInfo": _OF_SERVERS | (named if isinstance(named, dict) else {}),
    }


def _listing(result: dict[str, Any]) -> dict[str, Any]:
    """Return a list of tools without those that cannot be understood."""
    listed = result.get("tools")
    if not isinstance(listed, list):
        return result
    tools = [_tool(each) for each in listed if isinstance(each, dict)]
    sound = [each for each in tools if _fits("tools/list", {**result, "tools": [each]})]
    if len(sound) < len(listed):
        logger.info("An MCP server lists %d tools that cannot be understood", len(listed) - len(sound))
    return {**result, "tools": sound}


def _tool(tool: dict[str, Any]) -> dict[str, Any]:
    """Return a tool as it is, or else without what says only how it is shown."""
    if _fits("tools/list", {"tools": [tool]}):
        return tool
    name, schema = tool.get("name"), tool.get("inputSchema")
    described = tool.get("description")
    plain = {"name": name, "inputSchema": schema, "description": described if isinstance(described, str) else None}
    if not schema:
        return {**plain, "inputSchema": {"type": "object"}}
    if isinstance(schema, dict) and "type" not in schema:
        plain["inputSchema"] = {**schema, "type": "object"}
    if not _fits("tools/list", {"tools": [plain]}):
        plain["inputSchema"] = {"type": "object", "allOf": [schema]}  # so that who reads schemas says what is wrong
    return plain


def _answer(result: dict[str, Any]) -> dict[str, Any]:
    """Return what a tool answered: content of any kind, or else all that there is."""
    content, structured, failed = (result.get(name) for name in ("content", "structuredContent", "isError"))
    if isinstance(content, str | dict):
        content = [content]
    if content is not None and not isinstance(content, list):
        return result
    if content is None and structured is None:
        structured = {name: value for name, value in result.items() if name not in _OF_CALLS} or None
    answer = {"content": [_part(each) for each in content or ()], "isError": failed in (True, "true")}
    if structured is not None:
        answer["structuredContent"] = structured if isinstance(structured, dict) else {"result": structured}
    return answer


def _part(part: Any) -> dict[str, Any]:
    """Return a part of content as it is; without its annotations; or else as a text."""
    if isinstance(part, str):
        return {"type": "text", "text": part}
    if isinstance(part, dict):
        bare = {name: value for name, value in part.items() if name not in ("annotations", "_meta")}
        for each in (part, bare):
            if _fits("tools/call", {"content": [each]}):
                return each
        if isinstance(bare.get("text"), str):
            return {"type": "text", "text": bare["text"]}
        part = bare.get("text") if bare.get("type") == "text" else {name: _short(bare[name]) for name in bare}
    return {"type": "text", "text": json.dumps(part, ensure_ascii=False)}


def _short(value: Any) -> Any:
    is_long = isinstance(value, str) and len(value) > LONGEST_UNKNOWN
    return f"({len(value):,} characters)" if is_long else value


_MENDS: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "initialize": _handshake,
    "tools/list": _listing,
    "tools/call": _answer,
}
