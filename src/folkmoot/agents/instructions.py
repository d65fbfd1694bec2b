"""The words an agent starts with when its creator gives none."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from folkmoot.conversations.conversations import MAIN_CONVERSATION

SYSTEM = """\
You are an agent with lasting memory. You keep your identity and what you have learned across conversations, and you \
may share parts of your memory with other agents.

How your memory works:
- Memory blocks are labelled pieces of text that you always see. They come at the end of your input, as they are at \
this moment, each with its label, its size and what you may do with it. Other agents and people may change a shared \
block between two of your steps; what you see is always the newest text, and it replaces what you saw before.
- You change a block with your memory tools. Add what is worth keeping: facts, decisions, preferences, results. Keep \
a block short and well ordered; do not write the same thing twice. A read-only block is to be followed, not changed.
- Messages may leave your view when a conversation grows long. Look them up with conversation_search if you have it.

How you work:
- Answer the person you are talking to in plain words. Call tools when they help, and say what you did with them.
- When a tool reports an error, read it: it says what is wrong and often what to do. Do not repeat the call unchanged.
- When somebody asks you to remember or write something, do it with a memory tool before you say that it is done.
"""
"""The system prompt of an agent whose creator gave none."""

_OF_SKILLS = (
    "The program that you work in has these skills. Each tells how to do something: load it before you do that."
)

BLOCK_DESCRIPTIONS = {
    "persona": "Who you are: your character, your task and how you behave.",
    "human": "What you know about the person you are talking to.",
}
"""The description of a block with one of these labels, when its creator gave none."""


def metadata_section(agent_id: str, conversation_id: str) -> str:
    """Return the lines that name an agent and one of its conversations, for a model and in the system message.

    >>> print(metadata_section("agent-1", "agent-1"))
    <memory_metadata>
    agent_id: agent-1
    conversation_id: default
    </memory_metadata>
    """
    shown = MAIN_CONVERSATION if conversation_id == agent_id else conversation_id
    return f"<memory_metadata>\nagent_id: {agent_id}\nconversation_id: {shown}\n</memory_metadata>"


def system_content(system: str, agent_id: str, conversation_id: str) -> dict[str, str]:
    """Return the body of the system message with which a conversation begins."""
    return {"content": f"{system}\n\n{metadata_section(agent_id, conversation_id)}".lstrip()}


@dataclass(frozen=True, slots=True)
class Skill:
    """A guide to some kind of work, in a file that the program at the other end can load for the agent."""

    name: str
    description: str
    location: str


def skills_section(skills: Sequence[Skill]) -> str:
    r"""Return the lines in which a model reads what skills there are, a line each; nothing if there are none.

    >>> print(skills_section([Skill("release", "How a version\nis cut.", "skills/release/SKILL.md")]))
    <available_skills>
    The program that you work in has these skills. Each tells how to do something: load it before you do that.
    - `release` (skills/release/SKILL.md): How a version is cut.
    </available_skills>
    """
    if not skills:
        return ""
    told = [f"- `{each.name}` ({each.location}): {' '.join(each.description.split())}" for each in skills]
    return "\n".join(("<available_skills>", _OF_SKILLS, *told, "</available_skills>"))


_FIRST = ("Amber", "Brisk", "Calm", "Deft", "Early", "Fair", "Gentle", "Hazel", "Keen", "Lively", "Mild", "Noble")
_SECOND = (
    "Alder",
    "Badger",
    "Crane",
    "Dipper",
    "Finch",
    "Grebe",
    "Heron",
    "Ibis",
    "Kestrel",
    "Linnet",
    "Otter",
    "Wren",
)


def random_name() -> str:
    """Return a name for an agent whose creator gave none, such as `KeenHeron`."""
    return random.choice(_FIRST) + random.choice(_SECOND)
