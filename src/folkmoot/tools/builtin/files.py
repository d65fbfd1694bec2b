"""Tools with which an agent reads the files of its folders."""

from __future__ import annotations

from typing import Annotated, Required, TypedDict

from folkmoot.errors import ToolFailed
from folkmoot.files.files import hold_file
from folkmoot.files.grep import MOST_CONTEXT, Grep, grep
from folkmoot.files.open_files import AgentFile, close_all, find_named, limits_of, names_of, open_file
from folkmoot.files.search import search_files
from folkmoot.store.engine import Transaction
from folkmoot.tools.tool import ToolContext

MOST_FOUND = 50
"""Passages that a search returns at the most."""


class FileRequest(TypedDict, total=False):
    """A file, or a part of it."""

    file_name: Required[Annotated[str, "The file's name, with its folder's: handbook/rules.md."]]
    offset: Annotated[int, "How many lines to pass over at its beginning."]
    length: Annotated[int, "How many lines to show; all that follow when left out."]


async def open_files(
    context: ToolContext, file_requests: list[FileRequest], close_all_others: bool | None = None
) -> str:
    """Open files of your folders, or other parts of open ones; you see their text from your next step on.

    You can have a number of files open. To open one more closes the one that you have not used for the longest time.

    Args:
        file_requests: The files to open, each by its name, from line offset on, length lines of it.
        close_all_others: Whether to close every other file.
    """
    transaction = context.step_transaction
    limits = await limits_of(transaction, context.agent_id)
    if not file_requests:
        raise ToolFailed("file_requests is empty; name the files to open. Nothing was changed.")
    if len(file_requests) > limits.most_open:
        raise ToolFailed(f"You can have {limits.most_open} files open; ask for fewer at once. Nothing was changed.")
    wanted = [(await _readable(transaction, context.agent_id, request), request) for request in file_requests]
    ranges = [_range(held, request) for held, request in wanted]  # all is looked at before anything is changed
    closed: list[AgentFile] = []
    if close_all_others:
        closed += await close_all(transaction, context.agent_id, keep=[held.file.id for held, _ in wanted])
    told = []
    for (held, _), (first, last) in zip(wanted, ranges, strict=True):
        closed += await open_file(transaction, context.agent_id, held.file, limits.most_open, first, last)
        which = "" if first is None else f", lines {first} to {last or held.file.lines}"
        told.append(f"Opened {held.file.path}{which} ({held.file.lines} lines in all).")
    opened = {held.file.id for held, _ in wanted}
    names = [each.file.path for each in closed if each.file.id not in opened]
    if names:
        told.append(f"Closed {', '.join(names)}: you can have {limits.most_open} files open.")
    return "\n".join(told)


async def _readable(transaction: Transaction, agent_id: str, request: FileRequest) -> AgentFile:
    """Return the file that a request names.

    Raises:
        ToolFailed: there is no such file in the agent's folders, or it could not be read.
    """
    held = await find_named(transaction, agent_id, request["file_name"])
    if held is None or not await hold_file(transaction, held.file.id):
        names = await names_of(transaction, agent_id)
        there = f"Files of your folders: {', '.join(names)}" if names else "There are no files in your folders"
        raise ToolFailed(f"There is no file {request['file_name']!r}. {there}. Nothing was changed.")
    if held.file.version == 0:
        why = held.file.error or "it is still being read; try again in a moment"
        raise ToolFailed(f"{held.file.path} has no text: {why}. Nothing was changed.")
    return held


def _range(held: AgentFile, request: FileRequest) -> tuple[int | None, int | None]:
    """Return the first and last line that a request asks for, from 1."""
    offset, length = request.get("offset") or 0, request.get("length")
    if offset < 0 or (length is not None and length < 1):
        raise ToolFailed("offset counts lines from 0, and length from 1. Nothing was changed.")
    if offset and offset >= held.file.lines:
        raise ToolFailed(f"{held.file.path} has {held.file.lines} lines; offset {offset} is behind its end.")
    if not offset and length is None:
        return None, None
    return offset + 1, None if length is None else min(offset + length, held.file.lines)


async def grep_files(
    context: ToolContext,
    pattern: str,
    include: str | None = None,
    context_lines: int | None = None,
    offset: int | None = None,
) -> str:
    """Find lines of your files by a regular expression, 20 at a time.

    Args:
        pattern: The regular expression, as RE2 has them: without backreferences and lookarounds.
        include: Only files whose names match this, such as *.md or handbook/*.
        context_lines: Lines to show before and after each one found, 3 when left out.
        offset: How many findings to pass over, to see the next ones.
    """
    around = 3 if context_lines is None else context_lines
    if not 0 <= around <= MOST_CONTEXT:
        raise ToolFailed(f"context_lines can be 0 to {MOST_CONTEXT}.")
    if offset is not None and offset < 0:
        raise ToolFailed("offset counts findings from 0.")
    wanted = Grep(pattern, include, around, offset or 0)
    return await grep(context.store, context.agent_id, wanted, context.settings.tool_timeout / 2)


async def semantic_search_files(context: ToolContext, query: str, limit: int | None = None) -> str:
    """Find passages of your files by what they say, the best first.

    Args:
        query: What to look for, in words or as a question.
        limit: How many passages to return, 5 when left out.
    """
    most = 5 if limit is None else limit
    if not 1 <= most <= MOST_FOUND:
        raise ToolFailed(f"limit can be 1 to {MOST_FOUND}.")
    if not query.strip():
        raise ToolFailed("query is empty; say what to look for.")
    found = await search_files(context.store, context.embeddings, context.agent_id, query, most)
    if not found:
        return "Nothing was found. Try other words, or look with grep_files."
    files = len({passage.path for passage in found})
    head = f"{len(found)} passages of {files} file{'s' if files > 1 else ''}, the best first."
    return "\n\n".join([head, *(passage.render() for passage in found)])
