"""The `memory` tool: an agent's blocks as files, `/memories/<label>`, over the engine of the other memory tools."""

from __future__ import annotations

from typing import Any

from folkmoot.errors import Conflict, NotFound, ToolFailed
from folkmoot.memory.attachments import attach, attached_rows, detach
from folkmoot.memory.blocks import create_block, update_block
from folkmoot.memory.edits import Edit, Insert, Replace
from folkmoot.tools.builtin.memory import agent_author, edit_labelled, find_attached, need_write_access
from folkmoot.tools.tool import ToolContext

FOLDER = "/memories"
COMMANDS = ("create", "str_replace", "insert", "delete", "rename", "view")


async def memory(
    context: ToolContext,
    command: str,
    path: str | None = None,
    file_text: str | None = None,
    description: str | None = None,
    old_string: str | None = None,
    new_string: str | None = None,
    insert_line: int | None = None,
    insert_text: str | None = None,
    old_path: str | None = None,
    new_path: str | None = None,
) -> str:
    """Work with your memory blocks as files: the block labelled notes is /memories/notes.

    Args:
        command: One of create (needs path, may have file_text and description), str_replace (path, old_string,
            new_string), insert (path, insert_text, may have insert_line), delete (path), rename (old_path, new_path),
            view (path, or no path for the list of your blocks).
        path: The block to work with, such as /memories/notes.
        file_text: With create, the new block's text.
        description: With create, what the new block is for.
        old_string: With str_replace, the passage to replace; it must stand exactly once in the block.
        new_string: With str_replace, what stands there afterwards; empty to remove the passage.
        insert_line: With insert, the line after which the text goes; 0 for the start, -1 (the default) for the end.
        insert_text: With insert, the text to add.
        old_path: With rename, the block's path now.
        new_path: With rename, its new path.
    """
    match command:
        case "create":
            return await _create(context, _label("path", path), file_text or "", description)
        case "str_replace":
            edit: Edit = Replace(_needed("old_string", old_string), new_string or "")
            return await edit_labelled(context, _label("path", path), edit)
        case "insert":
            line = -1 if insert_line is None else insert_line
            edit = Insert(_needed("insert_text", insert_text or new_string), line)
            return await edit_labelled(context, _label("path", path), edit)
        case "delete":
            return await _delete(context, _label("path", path))
        case "rename":
            return await _rename(context, _label("old_path", old_path or path), _label("new_path", new_path))
        case "view":
            return await _view(context, path)
    raise ToolFailed(f"command: there is no {command!r}; use one of {', '.join(COMMANDS)}.")


async def _create(context: ToolContext, label: str, text: str, description: str | None) -> str:
    transaction = context.step_transaction
    for row in await attached_rows(transaction, context.agent_id, context.conversation_id):
        if row["label"] == label:
            raise ToolFailed(f"You have a block labelled {label!r} already. Change it with str_replace or insert.")
    fields = {"label": label, "value": text, "description": description}
    block = await create_block(transaction, fields, agent_author(context))
    await attach(transaction, context.agent_id, block.id)
    return f"Done: block {label!r} was created ({len(text):,} of {block.limit:,} characters)."


async def _delete(context: ToolContext, label: str) -> str:
    row = await find_attached(context, label)
    need_write_access(row)
    try:
        await detach(context.step_transaction, context.agent_id, row["id"], agent_author(context))
    except NotFound as error:
        raise ToolFailed(f"Block {label!r} belongs to this conversation alone; empty it instead.") from error
    return f"Done: block {label!r} is no longer part of your memory. The block itself, with its history, was kept."


async def _rename(context: ToolContext, label: str, new_label: str) -> str:
    row = await find_attached(context, label)
    need_write_access(row)
    try:
        await update_block(context.step_transaction, row["id"], {"label": new_label}, agent_author(context))
    except Conflict as error:
        raise ToolFailed(error.message) from error
    return f"Done: block {label!r} is now {new_label!r}, for everyone who shares it."


async def _view(context: ToolContext, path: str | None) -> str:
    if path is None or path.rstrip("/") in ("", FOLDER):
        rows = await attached_rows(context.step_transaction, context.agent_id, context.conversation_id)
        return "\n".join(f"{FOLDER}/{row['label']} ({len(row['value']):,} characters)" for row in rows) or "No blocks."
    row: Any = await find_attached(context, _label("path", path))
    lines = row["value"].splitlines() or ["(empty)"]
    return "\n".join(f"{number}: {line}" for number, line in enumerate(lines, 1))


def _label(name: str, path: str | None) -> str:
    label = _needed(name, path).removeprefix(FOLDER).strip("/")
    if not label or len(label) > 200:
        raise ToolFailed(f"{name}: {path!r} is not the path of a block; write it as {FOLDER}/<label>.")
    return label


def _needed(name: str, value: str | None) -> str:
    if value is None:
        raise ToolFailed(f"{name} is missing; this command needs it.")
    return value
