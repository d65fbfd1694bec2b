"""Making and changing tools of one's own: what is sent becomes a row, and no code runs for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from folkmoot.errors import BadRequest, Conflict
from folkmoot.identifiers import new_id
from folkmoot.memory.authors import Author
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction
from folkmoot.tools.builtin import BUILTIN_TOOLS, BUILTIN_TOOLS_BY_ID
from folkmoot.tools.custom.given import check_json_schema, check_kept, check_name, parameters_of
from folkmoot.tools.custom.languages import Language, describe_tool, in_turn, read_tool
from folkmoot.tools.custom.packages import packages_of
from folkmoot.tools.custom.reading import ReadTool
from folkmoot.tools.stored import StoredTool, find_stored_tool, find_tool_named, insert_tool, replace_tool

LANGUAGES: Mapping[str, Language] = {"python": "python", "json": "python", "typescript": "typescript"}
"""What a source's type may be called; `json` is what older servers answered for Python."""


@dataclass(frozen=True, slots=True)
class Described:
    """A source with the schema that its tool has; `given` when that was sent, not read from the source."""

    source_code: str
    source_type: Language
    json_schema: Mapping[str, Any]
    args_json_schema: Mapping[str, Any] | None
    given: bool
    function: str

    @property
    def name(self) -> str:
        """The tool's name."""
        return str(self.json_schema["name"])


def describe(fields: Mapping[str, Any]) -> Described:
    """Return the schema of a tool that somebody sends; it takes a while and is for a thread.

    Args:
        fields: `source_code`, and `source_type`, `json_schema`, `args_json_schema`, `description` where they are sent.

    Raises:
        BadRequest: the source or a schema cannot be read, or it is in no language that tools can be written in.
    """
    source: str = fields["source_code"]
    language = language_of(fields.get("source_type"))
    schema, args_schema = fields.get("json_schema"), fields.get("args_json_schema") or None
    if schema is not None:
        told = check_json_schema(schema)
        function, _ = describe_tool(language, source, told["name"])
        return Described(source, language, told, args_schema, given=True, function=function)
    if args_schema is not None:
        parameters = parameters_of(args_schema)
        name, said = describe_tool(language, source)
        read = ReadTool(name, said or fields.get("description") or "", parameters)
    else:
        read = read_tool(language, source, fields.get("description"))
    check_name(read.name, "source_code: the function's name")
    schema = read.to_json_schema()
    check_kept(schema)
    return Described(source, language, schema, args_schema, given=False, function=read.name)


def language_of(source_type: str | None) -> Language:
    """Return the language of a source.

    Raises:
        BadRequest: tools cannot be written in it.
    """
    language = LANGUAGES.get(source_type or "python")
    if language is None:
        raise BadRequest(f"source_type: tools cannot be written in {source_type!r}; use python or typescript.")
    return language


async def make_tool(store: Store, fields: Mapping[str, Any], author: Author) -> StoredTool:
    """Make a tool, or change the one that has its name already: what is not sent stays as it is.

    Args:
        store: where to write.
        fields: what was sent, by the names of `StoredTool`.
        author: who makes it.

    Raises:
        BadRequest: the source or a schema cannot be read.
        InvalidInput: a package cannot be read.
        Conflict: a built-in tool has the name, or there are too many tools.
    """
    described = await in_turn(describe, fields)
    _check_packages(fields)

    async def write(transaction: Transaction) -> StoredTool:
        return await put_tool(transaction, fields, described, author)

    refuse_builtin(described.name)
    return await store.write(write)


async def put_tool(
    transaction: Transaction, fields: Mapping[str, Any], described: Described, author: Author
) -> StoredTool:
    """Store a tool, or change the one that has its name already: what is not sent stays as it is.

    Args:
        transaction: where to write.
        fields: what was sent, by the names of `StoredTool`.
        described: what `describe` made of them.
        author: who makes it.

    Raises:
        Conflict: there are too many tools, or there is too much source.
    """
    now = clock.now()
    before = await find_tool_named(transaction, described.name, lock=True)
    if before is not None:
        changed = _changed(before, fields, described, author)
        await replace_tool(transaction, changed)
        return changed
    blank = StoredTool(new_id("tool"), described.name, "custom", described.json_schema, now, author, now, author)
    tool = replace(_changed(blank, fields, described, author), created_at=now, updated_at=now)
    await insert_tool(transaction, tool)
    return tool


def would_stay(tool: StoredTool, fields: Mapping[str, Any], described: Described) -> bool:
    """Tell whether a tool is already what it would be changed to."""
    changed = _changed(tool, fields, described, tool.updated_by)
    same = replace(changed, updated_at=tool.updated_at, description=tool.description)
    return same.to_row() == tool.to_row() and changed.schema == tool.schema  # which says the description


async def change_tool(store: Store, tool_id: str, fields: Mapping[str, Any], author: Author) -> StoredTool:
    """Change a tool. With another source its name and schema follow it, unless the schema is one that was given.

    Raises:
        NotFound: there is no such tool.
        BadRequest: the source or a schema cannot be read.
        InvalidInput: a package cannot be read.
        Conflict: another tool has the name, or there is too much source.
    """
    _check_packages(fields)
    while (changed := await _try_to_change(store, tool_id, fields, author)) is None:
        pass  # somebody changed it meanwhile, and it is described anew as it is now
    return changed


async def _try_to_change(store: Store, tool_id: str, fields: Mapping[str, Any], author: Author) -> StoredTool | None:
    """Change a tool; None when it is not any more what it was described by."""
    before = await store.read(lambda transaction: find_stored_tool(transaction, tool_id))
    described: Described | None = None
    if any(name in fields for name in ("source_code", "source_type", "json_schema", "args_json_schema")):
        described = await in_turn(describe, _together(before, fields))
        refuse_builtin(described.name)

    async def write(transaction: Transaction) -> StoredTool | None:
        if await find_stored_tool(transaction, tool_id, lock=True) != before:
            return None
        changed = _changed(before, fields, described, author)
        await replace_tool(transaction, changed)
        return changed

    return await store.write(write)


def refuse_builtin(name: str) -> None:
    """Refuse the name of a built-in tool.

    Raises:
        Conflict: it is one.
    """
    if name in BUILTIN_TOOLS:
        raise Conflict(f"name: {name!r} is a tool that comes with the server. Give yours another name.")


def refuse_builtin_id(tool_id: str) -> None:
    """Refuse to change a built-in tool.

    Raises:
        Conflict: the identifier is one's.
    """
    if tool_id in BUILTIN_TOOLS_BY_ID:
        name = BUILTIN_TOOLS_BY_ID[tool_id].name
        raise Conflict(f"tool_id: {name} comes with the server, which nobody can change or delete. Detach it instead.")


def _check_packages(fields: Mapping[str, Any]) -> None:
    packages_of("pip", fields.get("pip_requirements"))
    packages_of("npm", fields.get("npm_requirements"))


def _together(before: StoredTool, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a changed tool is described by."""
    kept: dict[str, Any] = {
        "source_code": before.source_code,
        "source_type": before.source_type,
        "args_json_schema": before.args_json_schema,
        "description": before.description,
    }
    if before.schema_given:
        kept["json_schema"] = before.json_schema
    return {**kept, **fields}


def _changed(tool: StoredTool, fields: Mapping[str, Any], described: Described | None, author: Author) -> StoredTool:
    plain = {name: value for name, value in fields.items() if name not in Described.__dataclass_fields__}
    if described is not None:
        plain |= {
            "name": described.name,
            "source_code": described.source_code,
            "source_type": described.source_type,
            "json_schema": described.json_schema,
            "args_json_schema": described.args_json_schema,
            "schema_given": described.given,
            "function": described.function,
        }
    return replace(tool, **plain, updated_at=clock.now(), updated_by=author)
