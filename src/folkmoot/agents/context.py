"""What a model sees: the agent's instructions, its tools, the messages in context, its blocks and files as they are.

The blocks come last and are rendered anew for each step, so that an agent in a long turn sees what others wrote
meanwhile. Everything before them stays byte for byte what it was in the step before, so that providers' prompt caches
keep hitting. They never become part of the history.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from folkmoot.agents.agents import Agent
from folkmoot.agents.context_window import Scale
from folkmoot.agents.files_in_prompt import render_files
from folkmoot.agents.instructions import metadata_section
from folkmoot.archives.attachments import ShownArchive, shown_archives
from folkmoot.conversations.conversations import Conversation, Counted
from folkmoot.conversations.messages import Message
from folkmoot.files.shown import ShownFiles, shown_files
from folkmoot.memory.attachments import attached_rows
from folkmoot.models.blocks_in_prompt import ShownBlock, render_blocks
from folkmoot.models.frames import Frame, render_frames
from folkmoot.models.prompt import (
    AssistantMessage,
    Image,
    ModelOptions,
    Prompt,
    PromptMessage,
    Reasoning,
    SystemMessage,
    ToolCall,
    ToolReturn,
    ToolSchema,
    UserMessage,
)
from folkmoot.store.engine import Transaction


@dataclass(frozen=True, slots=True)
class SeenBlock(ShownBlock):
    """A block as it was shown to the model in one step."""

    id: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What was shown to the model in one step beside the messages, as it was then."""

    blocks: Sequence[SeenBlock] = ()
    archives: Sequence[ShownArchive] = ()
    files: ShownFiles = field(default_factory=ShownFiles)


async def read_seen(
    transaction: Transaction, agent_id: str, conversation_id: str, window: int, counted: Counted
) -> Seen:
    """Return what the agent is shown beside its messages, as it is now; of its files half of the window at the most.

    Args:
        transaction: where to read.
        agent_id: which agent.
        conversation_id: in which conversation.
        window: the tokens of its model.
        counted: what a provider counted last in the conversation.
    """
    # Where many bytes make a token, the provider may have left some out.
    room = min(Scale.of(counted).size(window), Scale().size(window)) // 2
    return Seen(
        await read_blocks(transaction, agent_id, conversation_id),
        await shown_archives(transaction, agent_id),
        await shown_files(transaction, agent_id, room),
    )


async def read_blocks(transaction: Transaction, agent_id: str, conversation_id: str | None = None) -> list[SeenBlock]:
    """Return the agent's blocks as they are now, in the conversation the copies that it has for itself."""
    return [
        SeenBlock(
            id=row["id"],
            label=row["label"],
            value=row["value"],
            limit=row["character_limit"],
            description=row["description"],
            version=row["version"],
            access="read" if row["read_only"] else row["access"],
        )
        for row in await attached_rows(transaction, agent_id, conversation_id)
    ]


def for_conversation(agent: Agent, conversation: Conversation) -> Agent:
    """Return the agent with the model and the settings that the conversation has for itself."""
    own = conversation.configuration
    if not own:
        return agent
    settings = {**(agent.configuration.get("model_settings") or {}), **(own.get("model_settings") or {})}
    limit = own.get("context_window_limit") or agent.configuration.get("context_window_limit")
    configuration = {**agent.configuration, "model_settings": settings, "context_window_limit": limit}
    return replace(agent, model=own.get("model") or agent.model, configuration=configuration)


def build_prompt(
    agent: Agent,
    conversation_id: str,
    instructions: str,
    tools: Sequence[ToolSchema],
    turns: Sequence[PromptMessage],
    seen: Seen,
) -> Prompt:
    """Return the request for one step of the agent's turn."""
    return Prompt(
        instructions=instructions,
        messages=turns,
        memory=memory_text(agent, conversation_id, seen),
        tools=tools,
        options=model_options(agent.configuration),
        conversation_id=conversation_id,
    )


def memory_text(agent: Agent, conversation_id: str, seen: Seen) -> str:
    """Return what a model reads behind the messages: the time, whose conversation it is, archives, and the blocks.

    The conversation is not named in the instructions: an agent's conversations share those in a provider's cache.
    """
    return render_memory(seen, agent.timezone, datetime.now(UTC), metadata_section(agent.id, conversation_id))


def render_memory(seen: Seen, timezone: str, now: datetime, metadata: str = "") -> str:
    """Return the text in which a model reads the time, whose conversation it is, its blocks, archives and files.

    >>> print(render_memory(Seen(), "UTC", datetime(2026, 11, 22, 8, 5, tzinfo=UTC)))
    <now>Sunday, 2026-11-22 08:05 UTC</now>
    """
    try:
        local = now.astimezone(ZoneInfo(timezone))
    except (ZoneInfoNotFoundError, ValueError):
        local = now
    lines = [f"<now>{local:%A, %Y-%m-%d %H:%M %Z}</now>", *([metadata] if metadata else [])]
    if seen.blocks:
        lines.append(render_blocks(seen.blocks))  # first: nobody else's words stand before them (`frames.read_frames`)
    if seen.archives:
        lines.append(render_archives(seen.archives))
    if seen.files.folders:
        lines.append(render_files(seen.files))
    return "\n".join(lines)


def render_archives(archives: Sequence[ShownArchive]) -> str:
    """Return what a model is told of its archives: what is in them, not the passages, which it searches."""
    return render_frames("archives", [_archive_frame(archive) for archive in archives])


def _archive_frame(archive: ShownArchive) -> Frame:
    tags = ", ".join(f"{tag} ({count})" for tag, count in archive.tags)
    described = {} if archive.description is None else {"description": archive.description}
    attributes = {"name": archive.name, "access": archive.access, "passages": str(archive.passage_count), **described}
    return Frame("archive", attributes, f"tags: {tags}" if tags else "")


def model_options(configuration: Mapping[str, Any]) -> ModelOptions:
    """Return how the agent's model shall answer, from the settings that its creator gave in any of their forms."""
    settings = configuration.get("model_settings") or {}
    older = configuration.get("llm_config") or {}

    def first(*values: Any) -> Any:
        return next((value for value in values if value is not None), None)

    reasoning, config = _part(settings, "reasoning") or {}, _part(settings, "thinking_config") or {}
    thinks, budget = _thoughts(settings, older)
    return ModelOptions(
        temperature=first(settings.get("temperature"), older.get("temperature")),
        max_output_tokens=first(
            settings.get("max_output_tokens"), configuration.get("max_tokens"), older.get("max_tokens")
        ),
        parallel_tool_calls=first(
            settings.get("parallel_tool_calls"),
            configuration.get("parallel_tool_calls"),
            older.get("parallel_tool_calls"),
        ),
        response_format=first(
            _part(settings, "response_format"),
            _part(settings, "response_schema"),
            _part(configuration, "response_format"),
            _part(older, "response_format"),
        ),
        reasoning_effort=first(reasoning.get("reasoning_effort"), older.get("reasoning_effort")),
        reasoning=thinks,
        reasoning_budget=budget,
        show_reasoning=config.get("include_thoughts"),
        effort=first(settings.get("effort"), older.get("effort")),
        verbosity=first(settings.get("verbosity"), older.get("verbosity")),
    )


def _thoughts(settings: Mapping[str, Any], older: Mapping[str, Any]) -> tuple[bool | None, int | None]:
    """Return whether the model thinks, and for how many tokens: as Claude's settings, Gemini's or the older ones say.

    `enable_reasoner` counts only when it is on, since clients send back the False that is shown of every model.
    """
    thinking, config = _part(settings, "thinking") or {}, _part(settings, "thinking_config") or {}
    if thinking.get("type") == "disabled":
        return False, None
    budget = _tokens(thinking.get("budget_tokens"))
    if thinking.get("type") == "enabled" or budget:
        return True, budget
    if config.get("thinking_budget") == 0:
        return False, None
    if budget := _tokens(config.get("thinking_budget")):
        return True, budget
    return (True, _tokens(older.get("max_reasoning_tokens"))) if older.get("enable_reasoner") else (None, None)


def _tokens(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value else None


def _part(settings: Mapping[str, Any], name: str) -> Mapping[str, Any] | None:
    value = settings.get(name)
    return value if isinstance(value, Mapping) else None


def to_prompt_messages(messages: Sequence[Message]) -> list[PromptMessage]:
    """Return stored messages as what is said to a model; the parts of one reply become one turn again."""
    turns: list[PromptMessage] = []
    previous_step: str | None = None
    for message in messages:
        match message.message_type:
            case "user_message":
                turns.append(UserMessage(_user_content(message.body["content"], message.name)))
            case "system_message" | "summary_message":
                turns.append(SystemMessage(message.body.get("content") or message.body.get("summary", "")))
            case "tool_return_message":
                body = message.body
                failed, pictures = body["status"] == "error", tuple(_image(part) for part in body.get("pictures") or ())
                turns.append(
                    ToolReturn(body["tool_call_id"], message.name or "", body["tool_return"], failed, pictures)
                )
            case "assistant_message" | "reasoning_message" | "tool_call_message" | "approval_request_message":
                same_reply = message.step_id is not None and message.step_id == previous_step
                continues = same_reply and not message.body.get("given") and isinstance(turns[-1], AssistantMessage)
                before = turns.pop() if continues else AssistantMessage()
                assert isinstance(before, AssistantMessage)
                turns.append(_with_part(before, message))
        previous_step = None if message.body.get("given") else message.step_id
    return turns


def _with_part(turn: AssistantMessage, message: Message) -> AssistantMessage:
    body = message.body
    text, reasoning, calls = turn.text, list(turn.reasoning), list(turn.tool_calls)
    if message.message_type == "assistant_message":
        text += body["content"]
    elif message.message_type == "reasoning_message":
        reasoning.append(Reasoning(body["reasoning"], body.get("signature"), body.get("provider") or {}))
    else:
        shown = body["tool_calls"] if message.message_type == "approval_request_message" else [body["tool_call"]]
        calls += [ToolCall(call["tool_call_id"], call["name"], call["arguments"]) for call in shown]
    return AssistantMessage(text, reasoning, calls)


def _user_content(content: str | Sequence[Mapping[str, Any]], name: str | None) -> str | Sequence[str | Image]:
    """Return what a user said, with the name that it was said under: `Ada: hello`."""
    said_by = f"{' '.join(name.split())}: " if name and not name.isspace() else ""
    if isinstance(content, str):
        return said_by + content
    parts: list[str | Image] = []
    for part in content:
        if part["type"] == "text":
            parts.append(part["text"])
        elif part["type"] == "image":
            parts.append(_image(part))
    return [said_by, *parts] if said_by else parts


def _image(part: Mapping[str, Any]) -> Image:
    source = part["source"]
    return Image(source.get("url"), source.get("data"), source.get("media_type"))
