"""The memory tools of agents that people talk to by voice, and of those that tend the memory of one.

Who talks has little time: one search looks through everything that is kept. Who tends keeps passages of what was said
in the other's archive, in words by which they are found, and rewrites what is known of the person.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, TypedDict

from sqlalchemy import bindparam, or_, select

from folkmoot.archives.archives import Archive
from folkmoot.archives.passages import LONGEST_TEXT, NewPassage, add_passages, archive_for
from folkmoot.conversations.search import MessageSearch, search_for
from folkmoot.errors import ToolFailed
from folkmoot.memory.edits import Rethink
from folkmoot.models.frames import SAID_SINCE, Frame, read_frames
from folkmoot.store import clock
from folkmoot.store.tables import agents, group_members, groups
from folkmoot.tools.builtin.archival_memory import passages_found
from folkmoot.tools.builtin.conversation_search import shown_message
from folkmoot.tools.builtin.dates import moment
from folkmoot.tools.builtin.memory import agent_author, edit_labelled
from folkmoot.tools.tool import ToolContext

USER_LABEL = "human"
"""The label of the block that says what is known of the person."""

MOST_CHUNKS = 100
MOST_KEYWORDS = 20
MESSAGES_FOUND = 10
PASSAGES_FOUND = 5
MINUTE = 60_000_000
"""Microseconds."""

_LONGEST_ASKED = 1000
"""Characters of what was said last that are looked for."""

_tended = (
    select(agents.c.id, agents.c.name)
    .join(groups, groups.c.manager_agent_id == agents.c.id)
    .join(group_members, group_members.c.group_id == groups.c.id)
    .where(
        group_members.c.agent_id == bindparam("agent_id"),
        groups.c.manager_agent_id == bindparam("asked_by"),
        or_(*(groups.c.manager_type == kind for kind in ("sleeptime", "voice_sleeptime"))),
    )
    .limit(1)
)


class Chunk(TypedDict):
    """Lines of what was said that belong together."""

    start_index: Annotated[int, "Number of the first line; the first of all is 0."]
    end_index: Annotated[int, "Number of the last line, which is kept too."]
    context: Annotated[
        str,
        "One to three sentences that say what the lines tell about the person: facts, wishes, plans. The passage is "
        "found by them later, so write out names and dates.",
    ]


async def store_memories(context: ToolContext, chunks: list[Chunk]) -> str:
    """Keep what was said for long, in passages that the agent whom people talk to can search.

    Put together the lines that belong to one topic, and leave out small talk.

    Args:
        chunks: Which lines to keep together, and what they are about.
    """
    if not 0 < len(chunks) <= MOST_CHUNKS:
        raise ToolFailed(f"chunks: give 1 to {MOST_CHUNKS}, not {len(chunks)}. Nothing was kept.")
    lines = _lines(context)
    new = [_passage(place, chunk, lines) for place, chunk in enumerate(chunks)]
    archive = await _archive(context)
    await add_passages(context.step_transaction, archive.id, new, agent_author(context))
    return f"Kept {len(new)} passage{'' if len(new) == 1 else 's'} in the archive {archive.name!r}."


async def rethink_user_memory(context: ToolContext, new_memory: str) -> str:
    """Rewrite what is known of the person, the memory block human.

    Everything in the block is replaced: keep what still holds, put right what does not, and add what is new, such as
    names, dates and preferences. Short and ordered, so that it can be read at a glance.

    Args:
        new_memory: The whole new text of the block.
    """
    return await edit_labelled(context, USER_LABEL, Rethink(new_memory))


async def finish_rethinking_memory(context: ToolContext) -> str:
    """Say that the memory is as it should be. Call it when nothing is left to do; it ends your turn."""
    return "Finished."


async def search_memory(
    context: ToolContext,
    convo_keyword_queries: list[str] | None = None,
    start_minutes_ago: int | None = None,
    end_minutes_ago: int | None = None,
) -> str:
    """Look up what was said and kept before, all at once, while the person waits for your answer.

    The passages of your archives are searched for what you were asked last and for the keywords; what was said in your
    conversations is searched for the keywords. Without keywords you get what was said latest.

    Args:
        convo_keyword_queries: Words that should stand in what you look for, such as a name or the number of an order.
        start_minutes_ago: Nothing newer than this many minutes.
        end_minutes_ago: Nothing older than this many minutes.
    """
    keywords = [word for word in convo_keyword_queries or () if word.strip()]
    if len(keywords) > MOST_KEYWORDS:
        raise ToolFailed(f"convo_keyword_queries: {len(keywords)} were given; at most {MOST_KEYWORDS} can be.")
    oldest, newest = (
        _minutes_ago("end_minutes_ago", end_minutes_ago),
        _minutes_ago("start_minutes_ago", start_minutes_ago),
    )
    if oldest is not None and newest is not None and oldest > newest:
        raise ToolFailed(
            f"start_minutes_ago is {start_minutes_ago} and end_minutes_ago {end_minutes_ago}: the span begins "
            "end_minutes_ago and lasts until start_minutes_ago, so the first has to be the smaller number."
        )
    said = MessageSearch(" ".join(keywords), agent_id=context.agent_id, start=oldest, end=newest, limit=MESSAGES_FOUND)
    asked = "\n".join(context.asked)[:_LONGEST_ASKED]
    passages = await passages_found(
        context, " ".join([*keywords, asked]), start=oldest, end=newest, limit=PASSAGES_FOUND
    )
    messages = await context.store.scan(await search_for(context.store, said))
    found = {"passages": passages, "messages": [shown_message(each.message) for each in messages]}
    return json.dumps(found, ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class _Line:
    """One line of what was said."""

    text: str
    said_at: int | None = None


def _lines(context: ToolContext) -> Sequence[_Line]:
    """Return the lines that this turn was given: messages of another agent's, or else lines of text."""
    frames = [frame for text in context.asked for frame in read_frames(text, SAID_SINCE)]
    if frames:
        return [_Line(frame.attributed, _said_at(frame)) for frame in frames]
    return [_Line(line) for text in context.asked for line in text.splitlines()]


def _said_at(frame: Frame) -> int | None:
    return moment("at", frame.attributes.get("at"), ends=False)


def _passage(place: int, chunk: Chunk, lines: Sequence[_Line]) -> NewPassage:
    """Return what is kept of a chunk.

    Raises:
        ToolFailed: there are no such lines, or they are too long together.
    """
    first, last = chunk["start_index"], chunk["end_index"]
    if not 0 <= first <= last < len(lines):
        there = f"lines 0 to {len(lines) - 1}" if lines else "no lines"
        raise ToolFailed(
            f"chunks.{place}: there is no span from {first} to {last}; you were given {there}. Nothing was kept."
        )
    about = chunk["context"].strip()
    if not about:
        raise ToolFailed(f"chunks.{place}.context: say what the lines are about. Nothing was kept.")
    text = "\n".join([about, "", *(line.text for line in lines[first : last + 1])])
    if len(text) > LONGEST_TEXT:
        raise ToolFailed(
            f"chunks.{place}: has {len(text):,} characters, and a passage at most {LONGEST_TEXT:,}; split it. "
            "Nothing was kept."
        )
    return NewPassage.of(text, created_at=lines[last].said_at)


async def _archive(context: ToolContext) -> Archive:
    """Return the archive of the agent whose memory is tended in this turn, or else of the calling agent.

    Raises:
        ToolFailed: it may not be added to.
    """
    whose = None
    if context.asked_by is not None:
        whose = await context.step_transaction.first(_tended, agent_id=context.agent_id, asked_by=context.asked_by)
    agent_id, name = (whose["id"], whose["name"]) if whose is not None else (context.agent_id, context.agent_name)
    archive = await archive_for(context.step_transaction, agent_id, name, context.embedding)
    if archive is None:
        raise ToolFailed(f"The archives of {name!r} may only be searched, not added to. Nothing was kept.")
    return archive


def _minutes_ago(name: str, minutes: int | None) -> int | None:
    if minutes is None:
        return None
    if minutes < 0:
        raise ToolFailed(f"{name}: {minutes} is in the future; give the minutes that have passed.")
    return max(clock.now() - minutes * MINUTE, 0)
