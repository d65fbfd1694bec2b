"""An agent's context window on the wire: its parts, with their sizes in tokens."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from folkmoot.agents.approvals import calls_of
from folkmoot.agents.context import Seen, render_archives
from folkmoot.agents.context_state import ContextState
from folkmoot.agents.context_window import Scale, size_of, size_of_messages, size_of_tools
from folkmoot.agents.files_in_prompt import render_files
from folkmoot.conversations.conversations import Conversation
from folkmoot.conversations.messages import Message
from folkmoot.models.prompt import Prompt, ToolCall
from folkmoot.server.wire.common import Reply, Request, moment


class ResetMessages(Request):
    """How messages are reset. A Folkmoot agent begins with its system message only, which always stays.

    `delete_messages` is Folkmoot's own: what was said, and the runs in which it was, are deleted for good.
    """

    add_default_initial_messages: bool = False
    delete_messages: bool = False


class RawMessage(Reply):
    """A message as the context shows it."""

    created_by_id: str | None = None
    last_updated_by_id: str | None = None
    created_at: datetime
    updated_at: datetime | None = None
    id: str
    agent_id: str | None
    model: str | None
    role: str
    content: list[dict[str, Any]]
    name: str | None
    tool_calls: list[dict[str, Any]] | None
    tool_call_id: str | None
    step_id: str | None
    run_id: str | None
    otid: str | None
    tool_returns: list[dict[str, Any]]
    group_id: str | None = None
    sender_id: str | None
    batch_item_id: str | None = None
    conversation_id: str | None
    is_err: bool | None = None
    approval_request_id: str | None
    approve: bool | None
    denial_reason: str | None
    approvals: list[dict[str, Any]] | None


class ContextOverview(Reply):
    """What fills an agent's context window; sizes are tokens, told from what the provider counted."""

    context_window_size_max: int
    context_window_size_current: int
    num_messages: int
    num_archival_memory: int
    num_recall_memory: int
    num_tokens_external_memory_summary: int
    external_memory_summary: str
    num_tokens_system: int
    system_prompt: str
    num_tokens_core_memory: int
    core_memory: str
    num_tokens_memory_filesystem: int = 0
    memory_filesystem: str | None = None
    num_tokens_tool_usage_rules: int = 0
    tool_usage_rules: str | None = None
    num_tokens_directories: int = 0
    directories: str | None = None
    num_tokens_summary_memory: int
    summary_memory: str | None
    num_tokens_functions_definitions: int
    functions_definitions: list[dict[str, Any]]
    num_tokens_messages: int
    messages: list[RawMessage]


def show_context(
    conversation: Conversation,
    history: ContextState,
    prompt: Prompt,
    system: Message | None,
    seen: Seen,
) -> ContextOverview:
    """Show what fills the window of the conversation's next prompt."""
    scale = Scale.of(conversation.counted)
    summary = history.summary.render() or None
    sizes = {
        "system": scale.tokens(size_of(prompt.instructions)),
        "core_memory": scale.tokens(size_of(prompt.memory)),
        "summary_memory": scale.tokens(size_of_messages(history.summary.to_prompt_messages())),
        "functions_definitions": scale.tokens(size_of_tools(prompt.tools)),
        "messages": scale.tokens(size_of_messages(history.prompt_messages)),
    }
    directories = render_files(seen.files)
    library = render_archives(seen.archives) if seen.archives else ""
    shown = [*([system] if system is not None else []), *history.messages]
    return ContextOverview(
        context_window_size_max=history.window,
        context_window_size_current=sum(sizes.values()),
        num_messages=len(shown),
        num_archival_memory=sum(archive.passage_count for archive in seen.archives),
        num_recall_memory=conversation.next_sequence,
        num_tokens_external_memory_summary=scale.tokens(size_of(library)),
        external_memory_summary=library,
        num_tokens_system=sizes["system"],
        system_prompt=prompt.instructions,
        num_tokens_core_memory=sizes["core_memory"],
        core_memory=prompt.memory,
        num_tokens_directories=scale.tokens(size_of(directories)),
        directories=directories or None,
        num_tokens_summary_memory=sizes["summary_memory"],
        summary_memory=summary,
        num_tokens_functions_definitions=sizes["functions_definitions"],
        functions_definitions=[
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                    "strict": None,
                },
            }
            for tool in prompt.tools
        ],
        num_tokens_messages=sizes["messages"],
        messages=[_raw(message, conversation) for message in shown],
    )


def _raw(message: Message, conversation: Conversation) -> RawMessage:
    body, kind = message.body, message.message_type
    calls = [ToolCall(**_call_fields(body["tool_call"]))] if kind == "tool_call_message" else []
    if kind == "approval_request_message":
        calls = calls_of(body)
    returned = kind == "tool_return_message"
    return RawMessage(
        created_at=moment(message.created_at),
        id=message.id,
        agent_id=conversation.agent_id,
        model=None,
        role=_role(kind),
        content=_content(message),
        name=message.name,
        tool_calls=[_show_call(call) for call in calls] or None,
        tool_call_id=body["tool_call_id"] if returned else None,
        step_id=message.step_id,
        run_id=message.run_id,
        otid=message.otid,
        tool_returns=[_show_return(body)] if returned else [],
        sender_id=message.sender_id,
        conversation_id=None if conversation.id == conversation.agent_id else conversation.id,
        approval_request_id=body.get("approval_request_id"),
        approve=body.get("approve"),
        denial_reason=body.get("reason"),
        approvals=body.get("approvals") or [],
    )


def _role(kind: str) -> str:
    if kind.startswith("approval"):
        return "approval"
    roles = {"user_message": "user", "system_message": "system", "tool_return_message": "tool"}
    return roles.get(kind, "assistant")


def _content(message: Message) -> list[dict[str, Any]]:
    body = message.body
    if message.message_type == "reasoning_message":
        signature = body.get("signature")
        return [{"type": "reasoning", "is_native": True, "reasoning": body["reasoning"], "signature": signature}]
    content: str | list[dict[str, Any]] = body.get("content") or []
    return [{"type": "text", "text": content, "signature": None}] if isinstance(content, str) else content


def _call_fields(call: dict[str, Any]) -> dict[str, Any]:
    return {"id": call["tool_call_id"], "name": call["name"], "arguments": call["arguments"]}


def _show_call(call: ToolCall) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}


def _show_return(body: Any) -> dict[str, Any]:
    kept = {name: body[name] for name in ("tool_call_id", "status", "stdout", "stderr")}
    return {**kept, "func_response": body["tool_return"]}
