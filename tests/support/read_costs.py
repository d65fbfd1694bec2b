"""What reads of a store cost, counted and not timed."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any

import asyncpg
from sqlalchemy import Executable

from folkmoot.store.engine import Parameters, Row, Store
from folkmoot.store.postgres import PostgresEngine, PostgresTransaction, _Done
from folkmoot.store.sqlite import SqliteEngine
from folkmoot.store.sqlite_transaction import SqliteTransaction


class Cost:
    """Counts what reads cost: on SQLite the engine's own instructions, on PostgreSQL the rows it looked at."""

    def __init__(self, store: Store, url: str) -> None:
        self._store = store
        self._url = url
        self.statements = 0
        self.work = 0
        self.rows = 0

    async def of(self, work: Any) -> Any:
        """Do `work` in a read, counted."""
        self.statements = self.work = self.rows = 0
        if isinstance(self._store.engine, SqliteEngine):
            return await self._on_sqlite(self._store.engine, work)
        assert isinstance(self._store.engine, PostgresEngine)
        return await self._on_postgres(work)

    async def _on_sqlite(self, engine: SqliteEngine, work: Any) -> Any:
        reader: sqlite3.Connection = engine._readers._in_place.connection

        def tick() -> int:
            self.work += 1
            return 0

        reader.set_progress_handler(tick, 1)
        try:
            return await self._store.read(lambda t: work(self._counting(t)))
        finally:
            reader.set_progress_handler(None, 0)

    async def _on_postgres(self, work: Any) -> Any:
        connection = await asyncpg.connect(self._url)
        try:
            counting: Any = self._counting(None)
            counting.explained = connection
            engine, organization_id = self._store.engine, self._store.organization_id
            plain = PostgresTransaction(connection, engine._statements, organization_id, _Done())  # type: ignore[attr-defined]
            counting.inner = plain
            return await work(counting)
        finally:
            await connection.close()

    def _counting(self, inner: Any) -> Any:
        return _Counting(self, inner)


class _Counting:
    def __init__(self, cost: Cost, inner: Any) -> None:
        self.cost = cost
        self.inner: SqliteTransaction | PostgresTransaction = inner
        self.explained: Any = None

    async def all(self, statement: Executable, **parameters: Any) -> Sequence[Row]:
        await self._explain(statement, parameters)
        found = await self.inner.all(statement, **parameters)
        self.cost.statements += 1
        self.cost.rows += len(found)
        return found

    async def first(self, statement: Executable, **parameters: Any) -> Row | None:
        await self._explain(statement, parameters)
        self.cost.statements += 1
        self.cost.rows += 1
        return await self.inner.first(statement, **parameters)

    async def _explain(self, statement: Executable, parameters: Parameters) -> None:
        if self.explained is None:
            return
        text, values = self.inner._statements.text(statement, parameters, self.inner.organization_id)
        (plan,) = json.loads(await self.explained.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {text}", *values))
        self.cost.work += _looked_at(plan["Plan"])


def _looked_at(plan: dict[str, Any]) -> int:
    """Return how many rows the plan's scans looked at, those they threw away among them."""
    below = sum(_looked_at(part) for part in plan.get("Plans", ()))
    if "Scan" not in plan["Node Type"]:
        return below
    removed = sum(value for name, value in plan.items() if name.startswith("Rows Removed"))
    return int((plan["Actual Rows"] + removed) * plan["Actual Loops"]) + below
