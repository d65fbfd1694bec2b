"""A run as OpenAI's Responses API tells it: the items of a response's output, and the events of a stream of them.

What a run's log or its messages say is put in one and the same way, so that a stream, a stream that is resumed and a
response that is read later have the same items and the same numbers.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from typing import Any, TypeAlias

from folkmoot.agents.events import CallPiece, Event, ReasoningPiece, TextPiece
from folkmoot.conversations.messages import Message
from folkmoot.tools.builtin.proposed import arguments_of

SERVER_LABEL = "folkmoot"
"""Which server the agent's own tools are shown to be of: the standard shows calls that a server runs as MCP calls."""

SPOKEN_BY = "send_message"
"""The tool with which agents of the older kinds speak."""

StreamEvent: TypeAlias = dict[str, Any]


class ResponseOutput:
    """The items of one response so far; `add` tells what an event of its run changes in them."""

    def __init__(self, client_tools: Container[str], approved: Mapping[str, Mapping[str, str]]) -> None:
        """Begin with no item.

        Args:
            client_tools: names of the tools that the caller runs itself.
            approved: calls that the caller let run with this response: by call the `name` and the `arguments`.
        """
        self.items: list[dict[str, Any]] = []
        self._client_tools = client_tools
        self._approved = approved
        self._under_way: dict[str, int] = {}
        """Places of the items that are not whole, by message, or by call for calls."""

        self._requested: dict[str, list[str]] = {}
        """The calls that wait for somebody, by the message that asks."""

        self._spoken: dict[str, tuple[str, str]] = {}
        """Calls that are words: the message of each, and its arguments as far as they are there."""

    def add(self, event: Event) -> Iterator[StreamEvent]:
        """Take over what happened, and yield the events that tell of it, without their numbers."""
        if isinstance(event, TextPiece):
            yield from self._write("message", event.message_id, event.text)
        elif isinstance(event, ReasoningPiece):
            yield from self._write("reasoning", event.message_id, event.text)
        elif isinstance(event, CallPiece):
            yield from self._close_words()
            yield from self._write_call(event.call_id, event.message_id, event.name, event.arguments, waits=event.waits)
        elif isinstance(event, Message):
            yield from self._add_message(event)

    def finish(self, status: str = "completed") -> Iterator[StreamEvent]:
        """End what is under way, with the run."""
        for call_id in list(self._spoken):
            yield from self._speak(call_id)
        for key in list(self._under_way):
            yield from self._close(key, status)

    def _add_message(self, message: Message) -> Iterator[StreamEvent]:
        body, kind = message.body, message.message_type
        if kind == "assistant_message" and not body.get("given"):
            yield from self._write("message", message.id, body["content"])
            yield from self._close_words()
        elif kind == "reasoning_message":
            yield from self._write("reasoning", message.id, body["reasoning"])
            yield from self._close_words()
        elif kind == "tool_call_message":
            call = body["tool_call"]
            yield from self._close_words()
            yield from self._write_call(call["tool_call_id"], message.id, call["name"], call["arguments"], waits=False)
        elif kind == "approval_request_message":
            yield from self._close_words()
            for call in body["tool_calls"]:
                yield from self._write_call(
                    call["tool_call_id"], message.id, call["name"], call["arguments"], waits=True
                )
        elif kind == "tool_return_message":
            yield from self._return(body)

    def _write(self, kind: str, message_id: str, text: str) -> Iterator[StreamEvent]:
        """Add text to a message or to what was thought."""
        if message_id not in self._under_way:
            yield from self._close_words()
            yield from self._open(message_id, _written(kind, message_id))
            yield self._about(message_id, "response.content_part.added", content_index=0, part=_part(kind, ""))
            self._item(message_id)["content"] = [_part(kind, "")]
            if kind == "reasoning":
                yield self._about(
                    message_id, "response.reasoning_summary_part.added", summary_index=0, part=_summary("")
                )
        if text:
            self._item(message_id)["content"][0]["text"] += text
            yield self._about(message_id, f"response.{_text_of(kind)}.delta", delta=text, **_more(kind))
            if kind == "reasoning":
                yield self._about(message_id, "response.reasoning_summary_text.delta", summary_index=0, delta=text)

    def _write_call(
        self, call_id: str, message_id: str, name: str | None, arguments: str, *, waits: bool
    ) -> Iterator[StreamEvent]:
        """Add arguments to a call, which begins with its name."""
        if call_id in self._spoken or (name == SPOKEN_BY and not waits):
            self._spoken[call_id] = message_id, self._spoken.get(call_id, ("", ""))[1] + arguments
            return
        if call_id not in self._under_way:
            yield from self._open(call_id, self._call(call_id, message_id, name or "", waits=waits))
        item = self._item(call_id)
        item["arguments"] += arguments
        if arguments and item["type"] != "mcp_approval_request":
            yield self._about(call_id, f"response.{_arguments_of(item)}.delta", delta=arguments)

    def _call(self, call_id: str, message_id: str, name: str, *, waits: bool) -> dict[str, Any]:
        uuid = message_id.partition("-")[2]
        if not waits:
            return _server_call(f"mcp_{uuid}", name)
        calls = self._requested.setdefault(message_id, [])
        calls.append(call_id)
        place = len(calls) - 1
        if name in self._client_tools:
            head = {"id": f"fc_{uuid}_{place}", "type": "function_call", "status": "in_progress"}
            return {**head, "call_id": call_id, "name": name, "arguments": ""}
        head = {"id": f"mcpr_{uuid}_{place}", "type": "mcp_approval_request"}
        return {**head, "server_label": SERVER_LABEL, "name": name, "arguments": ""}

    def _return(self, body: Mapping[str, Any]) -> Iterator[StreamEvent]:
        """End a call that was run here; what the caller's own tools returned is no output."""
        call_id = body["tool_call_id"]
        if call_id in self._spoken:
            yield from self._speak(call_id)
            return
        if (approved := self._approved.get(call_id)) is not None:
            item = _server_call(approved["item_id"], approved["name"])
            item |= {"arguments": approved["arguments"], "approval_request_id": approved["request_id"]}
            yield from self._open(call_id, item)
        if call_id not in self._under_way:
            return
        item, failed = self._item(call_id), body["status"] == "error"
        item["output"] = None if failed else body["tool_return"]
        item["error"] = {"type": "mcp_tool_execution_error", "content": body["tool_return"]} if failed else None
        yield from self._close(call_id, "failed" if failed else "completed")

    def _speak(self, call_id: str) -> Iterator[StreamEvent]:
        """Show what an agent says by calling a tool as what it says."""
        message_id, arguments = self._spoken.pop(call_id)
        said = arguments_of(arguments)  # of a call that cannot be read the model is told, and says it again
        if said is not None and isinstance(text := said.get("message"), str):
            yield from self._write("message", message_id, text)
            yield from self._close_words()

    def _close_words(self) -> Iterator[StreamEvent]:
        """End the text that is under way: something else comes."""
        for key, place in list(self._under_way.items()):
            if self.items[place]["type"] in ("message", "reasoning"):
                yield from self._close(key, "completed")

    def _open(self, key: str, item: dict[str, Any]) -> Iterator[StreamEvent]:
        self._under_way[key] = len(self.items)
        self.items.append(item)
        yield self._about_item(key, "response.output_item.added")
        if item["type"] == "mcp_call":
            yield self._about(key, "response.mcp_call.in_progress")

    def _close(self, key: str, status: str) -> Iterator[StreamEvent]:
        item = self._item(key)
        kind = item["type"]
        if kind != "mcp_approval_request":
            item["status"] = status
        if kind in ("message", "reasoning"):
            text = item["content"][0]["text"]
            yield self._about(key, f"response.{_text_of(kind)}.done", text=text, **_more(kind))
            yield self._about(key, "response.content_part.done", content_index=0, part=dict(item["content"][0]))
            if kind == "reasoning":
                item["summary"] = [_summary(text)]
                yield self._about(key, "response.reasoning_summary_text.done", summary_index=0, text=text)
                yield self._about(key, "response.reasoning_summary_part.done", summary_index=0, part=_summary(text))
        elif kind != "mcp_approval_request":
            named = {"name": item["name"]} if kind == "function_call" else {}
            yield self._about(key, f"response.{_arguments_of(item)}.done", arguments=item["arguments"], **named)
            if kind == "mcp_call":
                yield self._about(key, f"response.mcp_call.{'completed' if status == 'completed' else 'failed'}")
        yield self._about_item(key, "response.output_item.done")
        del self._under_way[key]

    def _item(self, key: str) -> dict[str, Any]:
        return self.items[self._under_way[key]]

    def _about(self, key: str, kind: str, **fields: Any) -> StreamEvent:
        place = self._under_way[key]
        return {"type": kind, "item_id": self.items[place]["id"], "output_index": place, **fields}

    def _about_item(self, key: str, kind: str) -> StreamEvent:
        item = self._item(key)
        content = {"content": [dict(part) for part in item["content"]]} if "content" in item else {}
        return {"type": kind, "output_index": self._under_way[key], "item": {**item, **content}}


def message_of_item(item_id: str) -> str | None:
    """Return the identifier of the message that an item of a response shows; None when it is no item of ours.

    >>> message_of_item("fc_123e4567-e89b-42d3-8456-426614174000_0")
    'message-123e4567-e89b-42d3-8456-426614174000'
    """
    kind, _, rest = item_id.partition("_")
    uuid = rest.partition("_")[0]
    return f"message-{uuid}" if kind in ("msg", "rs", "fc", "fco", "mcp", "mcpr", "cmp") and len(uuid) == 36 else None


def text_item(kind: str, message_id: str, text: str) -> dict[str, Any]:
    """Return an item that is whole: what an agent said (`message`) or thought (`reasoning`)."""
    summary = {"summary": [_summary(text)]} if kind == "reasoning" else {}
    return {**_written(kind, message_id), "status": "completed", "content": [_part(kind, text)], **summary}


def _written(kind: str, message_id: str) -> dict[str, Any]:
    uuid = message_id.partition("-")[2]
    if kind == "message":
        return {"id": f"msg_{uuid}", "type": kind, "status": "in_progress", "role": "assistant", "content": []}
    return {"id": f"rs_{uuid}", "type": kind, "status": "in_progress", "summary": [], "content": []}


def _part(kind: str, text: str) -> dict[str, Any]:
    if kind == "message":
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"type": "reasoning_text", "text": text}


def _summary(text: str) -> dict[str, Any]:
    """Return what was thought as a summary too, the only form in which most programs look for it."""
    return {"type": "summary_text", "text": text}


def _text_of(kind: str) -> str:
    return "output_text" if kind == "message" else "reasoning_text"


def _more(kind: str) -> dict[str, Any]:
    """Return what an event about text has beside it."""
    return {"content_index": 0, "logprobs": []} if kind == "message" else {"content_index": 0}


def _arguments_of(item: Mapping[str, Any]) -> str:
    return f"{item['type']}_arguments"


def _server_call(item_id: str, name: str) -> dict[str, Any]:
    about = {"id": item_id, "type": "mcp_call", "status": "in_progress", "server_label": SERVER_LABEL, "name": name}
    return {**about, "arguments": "", "output": None, "error": None, "approval_request_id": None}
