"""The script language of the scripted model: what a conversation asks it to answer.

The last user message is the script, read line by line:

    ECHO text                    text, the rest of the message included
    CALL tool {json}             one tool call; the JSON is passed on as it stands, valid or not
    CALLS [[tool, {args}], …]    several tool calls in one answer
    THEN CALL …, THEN CALLS …    the next step's calls, once the tools before have answered
    THEN ECHO text               the last answer, instead of "done"
    THINK text                   what the model thinks before the answer that the next instruction asks for
    anything else                "ok", or "done" after tools; to a wish for a summary, one that says something

Lines that are no instruction are left alone, so a script can hide in prose.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any

_numbers = itertools.count(1)


@dataclass(frozen=True)
class Call:
    """A tool call to make."""

    name: str
    arguments: str


@dataclass(frozen=True)
class Answer:
    """What the script wants answered: some calls, or a text; and what is thought before."""

    text: str | None = None
    calls: tuple[Call, ...] = ()
    thought: str | None = None


def text_of(content: Any) -> str:
    """Return a message's text: `[{"type": "text", "text": "a"}, …]` and `"a"` both give `"a"`."""
    if isinstance(content, list):
        return "\n".join(part.get("text", "") for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def last_user_text(messages: list[dict[str, Any]]) -> str:
    """Return the text of the last user message; a `system` message after it does not hide it."""
    return next((text_of(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")


def _calls(instruction: str) -> tuple[Call, ...] | None:
    """Read `CALL …` or `CALLS …`; None when the instruction is neither."""
    if instruction.startswith("CALLS "):
        pairs = json.loads(instruction.removeprefix("CALLS "))
        return tuple(Call(name, json.dumps(arguments)) for name, arguments in pairs)
    if instruction.startswith("CALL "):
        name, _, arguments = instruction.removeprefix("CALL ").strip().partition(" ")
        return (Call(name, arguments.strip() or "{}"),)
    return None


def _read(script: str) -> tuple[list[Answer], Answer | None]:
    """Return a script's steps of calls, and its last words where it has some."""
    steps: list[Answer] = []
    thought: str | None = None
    lines = script.splitlines()
    for number, line in enumerate(lines):
        instruction = line.lstrip().removeprefix("THEN ")
        if instruction.startswith("ECHO "):
            words = "\n".join([instruction.removeprefix("ECHO "), *lines[number + 1 :]])
            return steps, Answer(text=words, thought=thought)
        if instruction.startswith("THINK "):
            thought = instruction.removeprefix("THINK ")
        elif (calls := _calls(instruction)) is not None:
            steps.append(Answer(calls=calls, thought=thought))
            thought = None
    return steps, None


def answer_to(messages: list[dict[str, Any]]) -> Answer:
    """Return what the script in the conversation's last user message wants answered now."""
    steps, last_words = _read(last_user_text(messages))
    taken = _steps_taken(messages)
    if taken < len(steps):
        return steps[taken]
    if last_words is None and last_user_text(messages).endswith("Write the summary now."):
        return Answer(text="They spoke of this and that, and nothing is open.")
    return last_words or Answer(text="done" if taken else "ok")


def message_of(answer: Answer) -> dict[str, Any]:
    """Return the assistant message that says `answer`, in OpenAI's form, each call with an id never used before."""
    message: dict[str, Any] = {"role": "assistant", "content": answer.text}
    if answer.thought is not None:
        message["reasoning_content"] = answer.thought
    if answer.calls:
        message["tool_calls"] = [
            {
                "id": f"call_{next(_numbers):08d}",
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in answer.calls
        ]
    return message


def _steps_taken(messages: list[dict[str, Any]]) -> int:
    """Count the answers with tool calls since the last user message."""
    taken = 0
    for message in reversed(messages):
        if message.get("role") == "user":
            break
        taken += bool(message.get("tool_calls"))
    return taken
