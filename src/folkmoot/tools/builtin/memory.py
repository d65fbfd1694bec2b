"""The memory tools: an agent's edits of its blocks."""

from __future__ import annotations

from itertools import takewhile

from folkmoot.errors import Overtaken, PreconditionFailed, ToolFailed
from folkmoot.memory.attachments import attached_rows
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import Block, edit_block, find_block
from folkmoot.memory.edits import Append, Edit, Insert, Patch, Refusal, Replace, Rethink
from folkmoot.memory.history import find_version, list_versions
from folkmoot.store.engine import Row
from folkmoot.tools.tool import ToolContext

MOST_AUTHORS = 100
"""Versions that are looked at to say whose changes a rethink overwrote, or came in between."""

MOST_PLANS = 3
"""How often an agent that edits what it has read may plan anew, because others were faster, in one turn."""

LONGEST_CHANGE = 4000
"""Characters that are shown of what others changed."""


async def memory_insert(context: ToolContext, label: str, new_string: str, insert_line: int = -1) -> str:
    """Add text to one of your memory blocks.

    The text goes in as lines of its own and nothing that stands in the block is lost, even when others write to the
    same block at this moment. Use it to note something new.

    Args:
        label: Label of the memory block to add to.
        new_string: Text to add, without line numbers.
        insert_line: Line after which the text goes; 0 puts it before the first line, -1 (the default) at the end.
    """
    return await edit_labelled(context, label, Insert(new_string, insert_line))


async def memory_replace(context: ToolContext, label: str, old_string: str, new_string: str) -> str:
    """Replace one passage of a memory block by another, or remove it.

    The old passage must stand exactly once in the block as it is now, white space and line breaks included. If it does
    not, nothing is changed and you are told what the block says now.

    Args:
        label: Label of the memory block to change.
        old_string: The passage to replace, long enough to stand only once, without line numbers.
        new_string: What stands there afterwards; empty to remove the passage.
    """
    return await edit_labelled(context, label, Replace(old_string, new_string))


async def memory_rethink(context: ToolContext, label: str, new_memory: str) -> str:
    """Rewrite a whole memory block.

    Everything in the block is replaced, also what others wrote to it meanwhile; you are told when that happened. For a
    small change use memory_insert or memory_replace.

    Args:
        label: Label of the memory block to rewrite.
        new_memory: The block's whole new text, with everything that should be kept.
    """
    return await edit_labelled(context, label, Rethink(new_memory))


async def memory_finish_edits(context: ToolContext) -> str:
    """Say that you are done with editing memory; your turn ends."""
    return "Memory editing is finished."


async def core_memory_append(context: ToolContext, label: str, content: str) -> str:
    """Add text at the end of a memory block.

    Args:
        label: Label of the memory block to add to.
        content: Text to add; it starts on a new line.
    """
    return await edit_labelled(context, label, Append(content))


async def core_memory_replace(context: ToolContext, label: str, old_content: str, new_content: str) -> str:
    """Replace one passage of a memory block by another, or remove it.

    Args:
        label: Label of the memory block to change.
        old_content: The passage to replace; it must stand exactly once in the block.
        new_content: What stands there afterwards; empty to remove the passage.
    """
    return await edit_labelled(context, label, Replace(old_content, new_content))


async def memory_apply_patch(context: ToolContext, label: str, patch: str) -> str:
    """Change several places of a memory block at once with a patch.

    Either every part of the patch applies to the block as it is now, or nothing is changed.

    Args:
        label: Label of the memory block to change.
        patch: A unified diff: lines that start with a space stay, with - go, with + come. Line numbers may be left out.
    """
    return await edit_labelled(context, label, Patch(patch))


async def edit_labelled(context: ToolContext, label: str, edit: Edit) -> str:
    """Edit the agent's block of that label in the step's transaction, and say what came of it.

    Raises:
        ToolFailed: there is no such block, the agent may not make this edit, or it does not apply.
    """
    # Locked before the access is looked at: an owner who makes the block read-only meanwhile comes first.
    await find_block(context.step_transaction, (await find_attached(context, label))["id"], lock=True)
    row = await find_attached(context, label)
    only_adds = isinstance(edit, Insert | Append)
    if not (only_adds and row["access"] == "append" and not row["read_only"]):
        need_write_access(row)
    expected = await _expected_version(context, row["id"]) if context.edits_as_read and not only_adds else None
    try:
        outcome = await edit_block(context.step_transaction, row["id"], edit, agent_author(context), expected)
    except PreconditionFailed:
        raise await _overtaken(context, label, row) from None
    if isinstance(outcome, Refusal):
        raise ToolFailed(outcome.reason)
    before, after = outcome
    done = (
        f"Done: block {label!r} is now at version {after.version} ({len(after.value):,} of {after.limit:,} characters)."
    )
    return done + (await _overwritten(context, before) if isinstance(edit, Rethink) else "")


async def find_attached(context: ToolContext, label: str) -> Row:
    """Return the row of the agent's block of that label, with the agent's `access`.

    Raises:
        ToolFailed: the agent has no such block.
    """
    rows = await attached_rows(context.step_transaction, context.agent_id, context.conversation_id)
    for row in rows:
        if row["label"] == label:
            return row
    labels = ", ".join(repr(row["label"]) for row in rows) or "none"
    raise ToolFailed(f"You have no memory block labelled {label!r}. Your blocks: {labels}.")


def need_write_access(row: Row) -> None:
    """Let pass who may change everything in the block.

    Raises:
        ToolFailed: the block is read-only, to everyone or to this agent, or the agent may only add to it.
    """
    label = row["label"]
    if row["read_only"] or row["access"] == "read":
        raise ToolFailed(f"Block {label!r} is read-only: you can read it but not change it. Nothing was changed.")
    if row["access"] == "append":
        raise ToolFailed(
            f"You may only add to block {label!r}, with memory_insert; changing or removing what stands in it is "
            "not allowed to you. Nothing was changed."
        )


def agent_author(context: ToolContext) -> Author:
    """Return the calling agent as the author of an edit."""
    return Author("agent", context.agent_id, context.agent_name, context.run_id or None, context.step_id or None)


async def _expected_version(context: ToolContext, block_id: str) -> int:
    """Return the version that a block is at when nobody but this step has changed it since its model was shown it.

    Raises:
        ToolFailed: the model was not shown the block, or has planned often enough.
    """
    seen = context.seen.get(block_id)
    if seen is None:
        raise ToolFailed("You have not been shown this block yet. Look at it in your next step, then change it.")
    if context.overtaken >= MOST_PLANS:
        raise ToolFailed(
            f"Others were faster {context.overtaken} times. Nothing was changed; leave the rest as it is and finish. "
            "You will come back to it."
        )
    since = await list_versions(context.step_transaction, block_id, MOST_AUTHORS, after=seen, ascending=True)
    return seen + sum(version.author.step_id == context.step_id for version in since)


async def _overtaken(context: ToolContext, label: str, row: Row) -> Overtaken:
    """Return the error that tells an agent what others changed since it was shown a block."""
    seen = context.seen[row["id"]]
    since = await list_versions(context.step_transaction, row["id"], MOST_AUTHORS, after=seen, ascending=True)
    others = dict.fromkeys(str(version.author) for version in since if version.author.step_id != context.step_id)
    _, before = await find_version(context.step_transaction, row["id"], seen)
    return Overtaken(
        f"Nothing was changed: you were shown version {seen} of block {label!r}, and {', '.join(others)} made it "
        f"version {row['version']} meanwhile. What changed since (- was, + is):\n"
        f"{_changed_lines(before, row['value'])}\nPlan again with the text as it is now, and keep what is new in it."
    )


def _changed_lines(before: str, after: str) -> str:
    """Return the lines that differ, those that are gone before those that are new."""
    old, new = before.split("\n"), after.split("\n")
    start = sum(1 for _ in takewhile(_same, zip(old, new, strict=False)))
    old, new = old[start:], new[start:]
    end = sum(1 for _ in takewhile(_same, zip(reversed(old), reversed(new), strict=False)))
    lines = [*(f"- {line}" for line in old[: len(old) - end]), *(f"+ {line}" for line in new[: len(new) - end])]
    text = "\n".join(lines)
    return text if len(text) <= LONGEST_CHANGE else f"{text[:LONGEST_CHANGE]}\n… (see the block itself)"


def _same(pair: tuple[str, str]) -> bool:
    return pair[0] == pair[1]


async def _overwritten(context: ToolContext, before: Block) -> str:
    """Say whose changes a rethink overwrote that its writer had not seen."""
    seen = context.seen.get(before.id)
    if seen is None or before.version <= seen:
        return ""
    since = await list_versions(context.step_transaction, before.id, MOST_AUTHORS, after=seen, ascending=True)
    others = dict.fromkeys(str(version.author) for version in since if version.author.step_id != context.step_id)
    if not others:
        return ""
    return (
        f" It overwrote changes that you had not seen: you were shown version {seen}, and {', '.join(others)} had "
        f"since changed the block; version {before.version} still holds the overwritten text:\n{before.value}"
    )
