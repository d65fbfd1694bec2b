"""One organisation's rows only: the condition that every statement gets, so that none can leave it out.

No statement of a room names an organisation. When it is compiled for an organisation's transaction, each table that it
reads or changes is narrowed to that organisation's rows: in subqueries, unions, joins and under other names too.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, TypeGuard

from sqlalchemy import (
    Alias,
    Column,
    ColumnClause,
    ColumnElement,
    CompoundSelect,
    Delete,
    Executable,
    FromClause,
    Insert,
    Join,
    Select,
    Table,
    TableClause,
    TextClause,
    Update,
    and_,
    bindparam,
)
from sqlalchemy.engine import Dialect

if TYPE_CHECKING:
    from sqlalchemy.sql.compiler import SQLCompiler

PARAMETER = "of_organization"
"""The bound parameter that carries the organisation."""

COLUMN = "organization_id"

WITHOUT_ORGANISATION = frozenset({"file_chunks_fulltext", "messages_fulltext", "passages_fulltext"})
"""What is no table of the schema and is only joined to one: SQLite's indexes of words."""

_SELECTS = re.compile(r"\b(select|from)\b", re.IGNORECASE)


def compile_scoped(statement: Executable, dialect: Dialect) -> SQLCompiler:
    """Return `statement` as SQL that only reaches the rows of the organisation in the parameter `PARAMETER`.

    Args:
        statement: a select, union, update or delete, or an insert of rows that a select picks, organisation and all.
        dialect: for which database.

    Raises:
        TypeError: it is of another kind, or names a table in a way that cannot be narrowed.
    """
    if not isinstance(statement, Select | CompoundSelect | Update | Delete) and not _copies_rows(statement):
        raise TypeError(f"A {type(statement).__name__} cannot be narrowed to an organisation's rows.")
    base: Any = dialect.statement_compiler
    compiler = _scoped_compiler(base)(dialect, statement, compile_kwargs={"render_postcompile": True})
    if missing := compiler.named - compiler.narrowed:
        raise TypeError(f"This statement reaches every organisation's {', '.join(missing)}:\n{compiler.string}")
    compiled: SQLCompiler = compiler
    return compiled


def _copies_rows(statement: Executable) -> bool:
    """Tell whether a statement inserts rows that a select picks, each for the organisation that it had."""
    if not isinstance(statement, Insert) or statement.select is None:
        return False
    names = list(statement._select_names or ())
    if COLUMN not in names:
        return False
    source = list(statement.select.selected_columns)[names.index(COLUMN)]
    return isinstance(source, Column) and source.name == COLUMN


@cache
def _scoped_compiler(base: Any) -> Any:
    """Return a compiler class that narrows every table, and counts both what it names and what it has narrowed."""
    return type("ScopedCompiler", (_Narrowing, base), {})


class _Narrowing:
    """What a SQLAlchemy compiler does more. It works on its private methods, which its version bound holds still."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.named: Counter[str] = Counter()
        self.narrowed: Counter[str] = Counter()
        super().__init__(*arguments, **options)

    def visit_textclause(self, clause: TextClause, *_: Any, **__: Any) -> Any:
        raise TypeError(f"SQL as text cannot be narrowed to an organisation's rows: {clause.text}")

    def visit_column(self, column: ColumnClause[Any], *arguments: Any, **options: Any) -> Any:
        if column.is_literal and _SELECTS.search(column.name):
            raise TypeError(f"SQL as text cannot be narrowed to an organisation's rows: {column.name}")
        return super().visit_column(column, *arguments, **options)  # type: ignore[misc]

    def get_from_hint_text(self, table: FromClause, text: str) -> str:
        """Return what a statement says of how a table is to be read (`with_hint`); SQLAlchemy drops it for SQLite."""
        return text

    def visit_table(self, table: TableClause, asfrom: bool = False, **options: Any) -> Any:
        if not isinstance(table, Table) and table.name not in WITHOUT_ORGANISATION:
            raise TypeError(f"{table.name} is named without its columns, so that it cannot be narrowed.")
        if asfrom and COLUMN in table.c:
            self.named[table.name] += 1
        return super().visit_table(table, asfrom=asfrom, **options)  # type: ignore[misc]

    def visit_update(self, statement: Update, *arguments: Any, **options: Any) -> Any:
        return super().visit_update(self._narrow(statement, [statement.table]), *arguments, **options)  # type: ignore[misc]

    def visit_delete(self, statement: Delete, *arguments: Any, **options: Any) -> Any:
        return super().visit_delete(self._narrow(statement, [statement.table]), *arguments, **options)  # type: ignore[misc]

    def visit_join(self, join: Join, **options: Any) -> Any:
        """Narrow the side that an outer join may leave empty where it is joined: WHERE would drop rows without one."""
        if join.isouter:
            join = join._clone()
            join.onclause = and_(join.onclause, *self._conditions([join.right]))  # type: ignore[arg-type]
        return super().visit_join(join, **options)  # type: ignore[misc]

    def _compose_select_body(
        self, text: str, select: Select[Any], state: Any, columns: Any, froms: list[FromClause], *rest: Any
    ) -> Any:
        narrow = self._narrow(select, froms)
        return super()._compose_select_body(text, narrow, state, columns, froms, *rest)  # type: ignore[misc]

    def _narrow(self, statement: Any, sources: list[Any]) -> Any:
        conditions = self._conditions(sources)
        if not conditions:
            return statement
        statement = statement._clone()
        statement._where_criteria = (*statement._where_criteria, *conditions)
        return statement

    def _conditions(self, sources: list[Any]) -> list[ColumnElement[bool]]:
        return [self._condition(table) for source in sources for table in _tables(source)]

    def _condition(self, table: Table | Alias) -> ColumnElement[bool]:
        self.narrowed[table.element.name if isinstance(table, Alias) else table.name] += 1  # type: ignore[attr-defined]
        return table.c[COLUMN] == bindparam(PARAMETER, required=False)


def _tables(source: FromClause) -> Iterator[Table | Alias]:
    """Yield the tables with an organisation that the statement itself has to narrow; a subquery narrows its own."""
    if isinstance(source, Join):
        yield from _tables(source.left)
        if not source.isouter:
            yield from _tables(source.right)
    elif _is_table(source) and COLUMN in source.c:
        yield source


def _is_table(source: FromClause) -> TypeGuard[Table | Alias]:
    return isinstance(source, Table) or (isinstance(source, Alias) and isinstance(source.element, Table))
