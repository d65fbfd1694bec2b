"""The memory tools: an agent's edits of its blocks."""

from __future__ import annotations

from folkmoot.errors import ToolFailed
from folkmoot.memory.attachments import Access, attached_rows
from folkmoot.memory.authors import Author
from folkmoot.memory.blocks import Block, edit_block
from folkmoot.memory.edits import Append, Edit, Insert, Refusal, Replace, Rethink
from folkmoot.tools.tool import ToolContext


async def memory_insert(context: ToolContext, label: str, new_string: str, insert_line: int = -1) -> str:
    """Add text to one of your memory blocks.

    The text goes in as lines of its own and nothing that stands in the block is lost, even when others write to the
    same block at this moment. Use it to note something new.

    Args:
        label: Label of the memory block to add to.
        new_string: Text to add, without line numbers.
        insert_line: Line after which the text goes; 0 puts it before the first line, -1 (the default) at the end.
    """
    return await _edit(context, label, Insert(new_string, insert_line))


async def memory_replace(context: ToolContext, label: str, old_string: str, new_string: str) -> str:
    """Replace one passage of a memory block by another, or remove it.

    The old passage must stand exactly once in the block as it is now, white space and line breaks included. If it does
    not, nothing is changed and you are told what the block says now.

    Args:
        label: Label of the memory block to change.
        old_string: The passage to replace, long enough to stand only once, without line numbers.
        new_string: What stands there afterwards; empty to remove the passage.
    """
    return await _edit(context, label, Replace(old_string, new_string))


async def memory_rethink(context: ToolContext, label: str, new_memory: str) -> str:
    """Rewrite a whole memory block.

    Everything in the block is replaced, also what others wrote to it meanwhile; you are told when that happened. For a
    small change use memory_insert or memory_replace.

    Args:
        label: Label of the memory block to rewrite.
        new_memory: The block's whole new text, with everything that should be kept.
    """
    return await _edit(context, label, Rethink(new_memory))


async def memory_finish_edits(context: ToolContext) -> str:
    """Say that you are done with editing memory; your turn ends."""
    return "Memory editing is finished."


async def core_memory_append(context: ToolContext, label: str, content: str) -> str:
    """Add text at the end of a memory block.

    Args:
        label: Label of the memory block to add to.
        content: Text to add; it starts on a new line.
    """
    return await _edit(context, label, Append(content))


async def core_memory_replace(context: ToolContext, label: str, old_content: str, new_content: str) -> str:
    """Replace one passage of a memory block by another, or remove it.

    Args:
        label: Label of the memory block to change.
        old_content: The passage to replace; it must stand exactly once in the block.
        new_content: What stands there afterwards; empty to remove the passage.
    """
    return await _edit(context, label, Replace(old_content, new_content))


async def _edit(context: ToolContext, label: str, edit: Edit) -> str:
    """Edit the agent's block of that label in the step's transaction, and say what came of it."""
    assert context.transaction is not None
    block_id = await _writable(context, label, edit)
    author = Author("agent", context.agent_id, context.agent_name, context.run_id, context.step_id)
    outcome = await edit_block(context.transaction, block_id, edit, author)
    if isinstance(outcome, Refusal):
        raise ToolFailed(outcome.reason)
    before, after = outcome
    done = (
        f"Done: block {label!r} is now at version {after.version} ({len(after.value):,} of {after.limit:,} characters)."
    )
    return done + (_overwritten(context, before) if isinstance(edit, Rethink) else "")


async def _writable(context: ToolContext, label: str, edit: Edit) -> str:
    """Return the id of the agent's block of that label when the agent may make this kind of edit."""
    assert context.transaction is not None
    rows = await attached_rows(context.transaction, context.agent_id)
    for row in rows:
        if row["label"] == label:
            _check_access(label, bool(row["read_only"]), row["access"], edit)
            return str(row["id"])
    labels = ", ".join(repr(row["label"]) for row in rows) or "none"
    raise ToolFailed(f"You have no memory block labelled {label!r}. Your blocks: {labels}.")


def _check_access(label: str, read_only: bool, access: Access, edit: Edit) -> None:
    if read_only or access == "read":
        raise ToolFailed(f"Block {label!r} is read-only: you can read it but not change it. Nothing was changed.")
    if access == "append" and not isinstance(edit, Insert | Append):
        raise ToolFailed(
            f"You may only add to block {label!r}, with memory_insert; changing or removing what stands in it is "
            "not allowed to you. Nothing was changed."
        )


def _overwritten(context: ToolContext, before: Block) -> str:
    """Say whose changes a rethink overwrote that its writer had not seen."""
    seen = context.seen.get(before.id)
    if seen is None or before.version <= seen or before.updated_by.step_id == context.step_id:
        return ""
    return (
        f" It overwrote changes that you had not seen: you were shown version {seen}, and {before.updated_by} had "
        f"since brought the block to version {before.version}, which still holds the overwritten text:\n{before.value}"
    )
