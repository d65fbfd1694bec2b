"""Tools that stand in the database: those of one's own, and those of servers of tools."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from sqlalchemy import bindparam, delete, func, select, update

from folkmoot.errors import Conflict, NotFound
from folkmoot.memory.authors import Author
from folkmoot.models.prompt import ToolSchema
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.engine import Row, Store, Transaction
from folkmoot.store.pieces import Pieces
from folkmoot.store.several import Several
from folkmoot.store.tables import agent_tools, tools

StoredType: TypeAlias = Literal["custom", "external_mcp"]

MOST_TOOLS = 1000
"""Tools that an organisation may have of its own, and as many of each server of tools."""

MOST_SOURCE = 20_000_000
"""Characters of source that all its own tools may have together: an agent may be given all of them."""


@dataclass(frozen=True, slots=True)
class ToolEntry:
    """A tool as lists that are looked through know it."""

    id: str
    name: str
    tool_type: str
    description: str


@dataclass(frozen=True, slots=True)
class StoredTool:
    """A tool as its row has it. Times are in microseconds."""

    id: str
    name: str
    tool_type: StoredType
    json_schema: Mapping[str, Any]
    created_at: int
    created_by: Author
    updated_at: int
    updated_by: Author
    server_id: str = ""
    description: str | None = None
    source_type: str | None = None
    source_code: str | None = None
    args_json_schema: Mapping[str, Any] | None = None
    return_char_limit: int = 50_000
    default_requires_approval: bool | None = None
    enable_parallel_execution: bool = False
    tags: Sequence[str] = ()
    pip_requirements: Sequence[Mapping[str, Any]] | None = None
    npm_requirements: Sequence[Mapping[str, Any]] | None = None
    metadata: Mapping[str, Any] | None = None
    schema_given: bool = False
    """Whether the schema was given as it is, not read from the source."""

    function: str = ""
    """The function of the source that is the tool."""

    @classmethod
    def from_row(cls, row: Row) -> StoredTool:
        """Read a row of the tools table."""
        approval, args_schema = row["default_requires_approval"], row["args_json_schema"]
        return cls(
            id=row["id"],
            name=row["name"],
            tool_type=row["tool_type"],
            json_schema=json.loads(row["json_schema"]),
            created_at=row["created_at"],
            created_by=Author.from_json(row["created_by"]),
            updated_at=row["updated_at"],
            updated_by=Author.from_json(row["updated_by"]),
            server_id=row["server_id"],
            description=row["description"],
            source_type=row["source_type"],
            source_code=row["source_code"],
            args_json_schema=None if args_schema is None else json.loads(args_schema),
            return_char_limit=row["return_char_limit"],
            default_requires_approval=None if approval is None else bool(approval),
            enable_parallel_execution=bool(row["enable_parallel_execution"]),
            **json.loads(row["extra"]),
        )

    def to_row(self) -> dict[str, Any]:
        """Return the tool as its row has it, but for the organisation."""
        extra = ("tags", "pip_requirements", "npm_requirements", "metadata", "schema_given", "function")
        columns = {name: getattr(self, name) for name in tools.c.keys() if hasattr(self, name)}  # noqa: SIM118
        return columns | {
            "json_schema": json.dumps(self.json_schema),
            "args_json_schema": None if self.args_json_schema is None else json.dumps(self.args_json_schema),
            "extra": json.dumps({name: getattr(self, name) for name in extra}),
            "created_by": self.created_by.to_json(),
            "updated_by": self.updated_by.to_json(),
        }

    @property
    def schema(self) -> ToolSchema:
        """What a model is told of it; a description that was given for it comes before that of its schema."""
        told = self.json_schema
        parameters = told.get("parameters") or {"type": "object", "properties": {}}
        return ToolSchema(self.name, self.description or told.get("description") or "", parameters)


@dataclass(frozen=True)
class RowTool:
    """A tool of which a row tells all but how it runs; it never runs in a step's transaction."""

    stored: StoredTool

    @property
    def id(self) -> str:
        """The row's identifier."""
        return self.stored.id

    @property
    def name(self) -> str:
        """What a model calls it by."""
        return self.stored.name

    @property
    def schema(self) -> ToolSchema:
        """What the model is told of it."""
        return self.stored.schema

    @property
    def tool_type(self) -> str:
        """The row's kind of tool."""
        return self.stored.tool_type

    @property
    def tags(self) -> Sequence[str]:
        """The row's tags."""
        return self.stored.tags

    @property
    def in_step(self) -> bool:
        """Never."""
        return False

    @property
    def ends_turn(self) -> bool:
        """Never."""
        return False

    @property
    def asks_agents(self) -> bool:
        """Never by its kind: it may take as long as any tool."""
        return False

    @property
    def runs_code(self) -> bool:
        """Whether its calls go to the sandbox."""
        return False

    @property
    def runs_beside_others(self) -> bool:
        """Whether its maker, or the server that it is of, allows it."""
        return self.stored.enable_parallel_execution

    @property
    def return_limit(self) -> int:
        """The row's limit."""
        return self.stored.return_char_limit


_of_ids = Several(lambda ids: select(tools).where(tools.c.id.in_(ids)))
_by_id = select(tools).where(tools.c.id == bindparam("tool_id"))
_by_id_locked = _by_id.with_for_update()
_held = Several(
    lambda ids: (
        select(tools.c.id).where(tools.c.id.in_(ids)).order_by(tools.c.id).with_for_update(read=True, key_share=True)
    )
)
_by_name = select(tools).where(tools.c.server_id == bindparam("of_server"), tools.c.name == bindparam("tool_name"))
_by_name_locked = _by_name.with_for_update()
_entries = select(tools.c.id, tools.c.name, tools.c.tool_type, tools.c.description, tools.c.created_at).order_by(
    tools.c.created_at.desc(), tools.c.id.desc()
)
_size = select(
    func.count().label("count"), func.coalesce(func.sum(func.length(tools.c.source_code)), 0).label("length")
).where(tools.c.server_id == bindparam("of_server"), tools.c.id != bindparam("tool_id"))
_update = update(tools).where(tools.c.id == bindparam("tool_id"))
_delete = delete(tools).where(tools.c.id == bindparam("tool_id"))
_detach = delete(agent_tools).where(agent_tools.c.tool_id == bindparam("tool_id"))
_count_users = count_of(agent_tools, agent_tools.c.tool_id == bindparam("tool_id"))
_detachments = Pieces(agent_tools, agent_tools.c.tool_id == bindparam("tool_id"), ("agent_id",))


async def find_stored_tool(transaction: Transaction, tool_id: str, *, lock: bool = False) -> StoredTool:
    """Return a stored tool; with `lock`, nobody else can change it before the transaction ends.

    Raises:
        NotFound: there is no such tool among the stored ones.
    """
    row = await transaction.first(_by_id_locked if lock else _by_id, tool_id=tool_id)
    if row is None:
        raise NotFound(f"Tool with id {tool_id} not found")
    return StoredTool.from_row(row)


async def hold_tools(transaction: Transaction, tool_ids: Sequence[str]) -> None:
    """Let nobody delete these stored tools before the transaction ends.

    Raises:
        NotFound: one of them was deleted meanwhile.
    """
    statement, ids = _held(tool_ids)
    held = {row["id"] for row in await transaction.all(statement, **ids)} if tool_ids else set()
    for tool_id in tool_ids:
        if tool_id not in held:
            raise NotFound(f"Tool with id {tool_id} not found")


async def find_tool_named(
    transaction: Transaction, name: str, server_id: str = "", *, lock: bool = False
) -> StoredTool | None:
    """Return a server's tool of this name, one's own without a server; None when there is none.

    With `lock`, nobody else can change it before the transaction ends.
    """
    row = await transaction.first(_by_name_locked if lock else _by_name, of_server=server_id, tool_name=name)
    return StoredTool.from_row(row) if row is not None else None


async def count_users(transaction: Transaction, tool_id: str) -> int:
    """Return how many agents have the tool."""
    return await count_rows(transaction, _count_users, tool_id=tool_id)


async def insert_tool(transaction: Transaction, tool: StoredTool) -> None:
    """Store a new tool.

    Raises:
        Conflict: there are as many tools, or as much source, as an organisation may have.
    """
    await _refuse_more(transaction, tool)
    await transaction.insert(tools, [tool.to_row()])


async def replace_tool(transaction: Transaction, tool: StoredTool) -> None:
    """Store a tool in the place of the one that has its identifier.

    Raises:
        Conflict: another one has its name, or there is as much source as an organisation may have.
    """
    other = await find_tool_named(transaction, tool.name, tool.server_id)
    if other is not None and other.id != tool.id:
        raise Conflict(f"name: there is another tool {tool.name!r}, {other.id}. Give this one another name.")
    await _refuse_more(transaction, tool)
    row = {name: value for name, value in tool.to_row().items() if name not in ("id", "created_at", "created_by")}
    await transaction.run(_update.values(**row), tool_id=tool.id)


async def remove_tool(store: Store, tool_id: str) -> None:
    """Delete a stored tool, which every agent that has it loses; their rules about its name stay.

    Raises:
        NotFound: there is no such tool.
    """

    async def go_on(transaction: Transaction) -> bool:
        await find_stored_tool(transaction, tool_id, lock=True)
        if not await _detachments.delete(transaction, tool_id=tool_id):
            return False
        await transaction.run(_detach, tool_id=tool_id)
        await transaction.run(_delete, tool_id=tool_id)
        return True

    while not await store.write(go_on):
        pass


async def _refuse_more(transaction: Transaction, tool: StoredTool) -> None:
    row = await transaction.first(_size, of_server=tool.server_id, tool_id=tool.id)
    assert row is not None
    if row["count"] >= MOST_TOOLS:
        raise Conflict(f"There are {MOST_TOOLS} tools already; delete some that nobody needs.")
    if row["length"] + len(tool.source_code or "") > MOST_SOURCE:
        raise Conflict(
            f"source_code: all tools together have more than {MOST_SOURCE:,} characters; delete some that nobody needs."
        )


async def tools_of_ids(transaction: Transaction, tool_ids: Sequence[str]) -> list[StoredTool]:
    """Return the stored ones of these tools."""
    statement, ids = _of_ids(tool_ids)
    return [StoredTool.from_row(row) for row in await transaction.all(statement, **ids)]


async def tools_of_names(transaction: Transaction, names: Sequence[str]) -> list[StoredTool]:
    """Return the stored tools of these names: those of one's own before those of servers, older ones first."""
    statement = select(tools).where(tools.c.name.in_(list(names)))
    rows = await transaction.all(statement.order_by(tools.c.server_id != "", tools.c.created_at, tools.c.id))
    return [StoredTool.from_row(row) for row in rows]


async def list_entries(transaction: Transaction) -> list[ToolEntry]:
    """Return every stored tool, the newest first."""
    return [
        ToolEntry(row["id"], row["name"], row["tool_type"], row["description"] or "")
        for row in await transaction.all(_entries)
    ]
