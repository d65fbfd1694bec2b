"""What servers that speak Anthropic's API leave out of their streams, put in."""

from __future__ import annotations

from typing import Any

_MESSAGE = {"id": "", "type": "message", "role": "assistant", "model": "", "content": []}

_NO_TOKENS = {"input_tokens": 0, "output_tokens": 0}


class MessagesMender:
    """Mends the events of one streamed answer."""

    names_events = True

    def __init__(self) -> None:
        self._has_reason = False
        self._has_calls = False
        self._usage: dict[str, Any] = {"output_tokens": 0}

    def mend(self, event: dict[str, Any]) -> list[dict[str, Any]] | None:
        """Give the beginning and the end their usage, and an end without a reason one."""
        kind, message, usage = event.get("type"), event.get("message"), event.get("usage")
        if kind == "message_start" and isinstance(message, dict):
            counts = _counts_in(message.get("usage"))
            if {"input_tokens", "output_tokens"} <= counts.keys():
                return None
            return [{**event, "message": {**_MESSAGE, **message, "usage": {**_NO_TOKENS, **counts}}}]
        if kind == "content_block_start":
            block = event.get("content_block")
            self._has_calls = self._has_calls or (isinstance(block, dict) and block.get("type") == "tool_use")
        elif kind == "message_delta":
            delta = event.get("delta")
            self._has_reason = self._has_reason or (isinstance(delta, dict) and bool(delta.get("stop_reason")))
            if not isinstance(usage, dict):
                return [{**event, "usage": self._usage}]
            self._usage = usage
        elif kind == "message_stop" and not self._has_reason:
            self._has_reason = True
            end = {"stop_reason": "tool_use" if self._has_calls else "end_turn", "stop_sequence": None}
            return [{"type": "message_delta", "delta": end, "usage": self._usage}, event]
        return None

    def end(self, *, told: bool) -> list[dict[str, Any]]:
        """Add nothing: who reads the stream sees that its end is missing."""
        return []

    def lost(self, data: bytes) -> list[dict[str, Any]]:
        """Pass over what is no event of the API."""
        return []


def _counts_in(usage: Any) -> dict[str, Any]:
    return {name: count for name, count in usage.items() if count is not None} if isinstance(usage, dict) else {}
