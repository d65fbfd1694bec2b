"""What a call of a memory tool would do, told from its arguments alone: for whoever has to approve it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from folkmoot.memory.edits import Append, Edit, Insert, Patch, Replace, Rethink
from folkmoot.tools.builtin.memory_files import FOLDER
from folkmoot.tools.builtin.voice_memory import USER_LABEL
from folkmoot.tools.schema import storable

_BY_LABEL = frozenset(
    {
        "memory_insert",
        "memory_replace",
        "memory_rethink",
        "memory_apply_patch",
        "core_memory_append",
        "core_memory_replace",
    }
)
"""The memory tools whose argument `label` says which block they edit."""

_FILE_EDITS = ("insert", "str_replace")
"""Commands of the `memory` tool that edit a block; its others make, remove and rename some."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """An edit that a call proposes, of the agent's block of that label."""

    label: str
    edit: Edit


def arguments_of(arguments: str) -> Mapping[str, Any] | None:
    """Return a call's arguments; None when they are no JSON object."""
    try:
        given = storable(json.loads(arguments))
    except (ValueError, RecursionError):
        return None
    return given if isinstance(given, dict) else None


def proposal_of(tool_name: str, arguments: Mapping[str, Any]) -> Proposal | None:
    """Return the edit that a call proposes; None when it proposes none, or cannot be run as it is.

    >>> proposal_of("memory_insert", {"label": "notes", "new_string": "a heron"})
    Proposal(label='notes', edit=Insert(new_string='a heron', line=-1))
    """
    try:
        found = _of_file(arguments) if tool_name == "memory" else _of_block(tool_name, arguments)
    except (KeyError, TypeError, ValueError, OverflowError):  # models write 1e999, too
        return None
    if found is None:
        return None
    edit = found.edit
    texts = [getattr(edit, name) for name in edit.__slots__ if name != "line"]
    return found if all(isinstance(text, str) for text in (found.label, *texts)) else None


def shared_arguments(tool_name: str, arguments: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what calls that edit the same block in the same way have in common; None for a call that edits none.

    >>> shared_arguments("memory_insert", {"label": "notes", "new_string": "a heron"})
    {'label': 'notes'}
    """
    if tool_name == "memory" and arguments.get("command") in _FILE_EDITS:
        names: Sequence[str] = ("command", "path")
    else:
        names = ("label",) if tool_name in _BY_LABEL else ()
    return {name: arguments[name] for name in names} if names and all(name in arguments for name in names) else None


def _of_block(tool_name: str, arguments: Mapping[str, Any]) -> Proposal | None:
    if tool_name == "rethink_user_memory":
        tool_name, arguments = "memory_rethink", {"label": USER_LABEL, **arguments}
    match tool_name:
        case "memory_insert":
            edit: Edit = Insert(arguments["new_string"], int(arguments.get("insert_line", -1)))
        case "memory_replace":
            edit = Replace(arguments["old_string"], arguments["new_string"])
        case "memory_rethink":
            edit = Rethink(arguments["new_memory"])
        case "memory_apply_patch":
            edit = Patch(arguments["patch"])
        case "core_memory_append":
            edit = Append(arguments["content"])
        case "core_memory_replace":
            edit = Replace(arguments["old_content"], arguments["new_content"])
        case _:
            return None
    return Proposal(arguments["label"], edit)


def _of_file(arguments: Mapping[str, Any]) -> Proposal | None:
    command, path = arguments.get("command"), arguments.get("path")
    if command not in _FILE_EDITS or not isinstance(path, str):
        return None
    label = path.removeprefix(FOLDER).strip("/")
    if command == "str_replace":
        return Proposal(label, Replace(arguments["old_string"], arguments.get("new_string") or ""))
    line = arguments.get("insert_line")
    text = arguments.get("insert_text") or arguments["new_string"]
    return Proposal(label, Insert(text, -1 if line is None else int(line)))
