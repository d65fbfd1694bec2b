"""What taking one organisation over works with: where from, where to, what is here already, and what came of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy import Table, select

from folkmoot.conversations.messages import clean_text
from folkmoot.errors import FolkmootError
from folkmoot.memory.authors import Author
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.directory import Directory
from folkmoot.models.embeddings import handle_in
from folkmoot.store import clock
from folkmoot.store.engine import Store, Transaction
from folkmoot.store.sealing import Sealer
from folkmoot.transfer.message_rows import UnreadableRow, clean, moment_of
from folkmoot.transfer.retired.secrets import decrypt
from folkmoot.transfer.retired.source import Source

PROGRAM = "folkmoot import"
"""As what the import names itself where it writes: what it alone has written, a later run may bring up to date."""

IMPORTER = Author("system", name="import", client=PROGRAM)
"""Who writes what no user of the retired server is known to have written."""

DAMAGED = (AttributeError, KeyError, OverflowError, TypeError, ValueError, UnreadableRow)
"""What reading a row raises that is not as the retired server writes it; the row is told, and the others come."""

AT_ONCE = 200
"""Rows that are written together."""


@dataclass(slots=True)
class Taken:
    """What came of each table: rows there, rows taken, rows that were here already, and what could not be taken."""

    source: Counter[str] = field(default_factory=Counter)
    taken: Counter[str] = field(default_factory=Counter)
    there: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Rows that did not come, each told in `problems`."""

    problems: list[str] = field(default_factory=list)
    texts: int = 0
    """A sum over all messages as the source has them, whatever their order."""

    texts_here: int = 0
    """The same over those that are here."""

    @property
    def checksum(self) -> str:
        """What two runs over the same messages have in common."""
        return f"{self.texts % 2**128:032x}"

    @property
    def checksum_here(self) -> str:
        """The same of the messages that are here."""
        return f"{self.texts_here % 2**128:032x}"


@dataclass(slots=True)
class Context:
    """One organisation that is being taken over."""

    source: Source
    store: Store
    """As the organisation sees it."""

    organization_id: str
    users: Mapping[str, str]
    """Names of the organisation's users, by identifier."""

    sealer: Sealer
    catalogue: Catalogue
    directory: Directory
    """Whom the catalogue's handles name, to be read again when there are more providers."""

    passphrase: str | None
    progress: Callable[[str, int, int], None]
    dry_run: bool
    since: datetime | None
    done: Taken
    known: dict[str, set[str]] = field(default_factory=dict)
    """Identifiers of what is here or would be, by table."""

    def where(self, table: str) -> tuple[str, Sequence[Any]]:
        """Return SQL for the organisation's rows of a table, those that changed if only these are wanted."""
        whose = [self.organization_id]
        condition = "organization_id = $1"
        if not self.source.has(table, "organization_id"):
            return self.source.changed_since(table, self.since, 1), [] if self.since is None else [self.since]
        if self.since is None:
            return condition, whose
        return f"{condition} AND {self.source.changed_since(table, self.since, 2)}", [*whose, self.since]

    async def ids(self, table: Table) -> set[str]:
        """Return the identifiers of what of a table is here or came."""
        if table.name not in self.known:
            rows = await self.store.read(lambda transaction: transaction.all(select(table.c.id)))
            self.known[table.name] = {row["id"] for row in rows}
        return self.known[table.name]

    async def write(self, work: Callable[[Transaction], Awaitable[Any]]) -> None:
        """Write, unless this is a rehearsal."""
        if not self.dry_run:
            await self.store.write(work)

    async def put(self, table: Table, row: Mapping[str, Any], of: str, source_row: Mapping[str, Any]) -> bool:
        """Write one row unless it is here, and tell whether it is new; when it cannot be written that is told.

        Args:
            table: where to.
            row: with an `id`.
            of: the source's table.
            source_row: what it was made of.
        """
        if row["id"] in await self.ids(table):
            self.done.there[of] += 1
            return False
        try:
            await self.write(lambda transaction: transaction.insert(table, [row]))
        except FolkmootError as error:
            self.problem(of, source_row, f"cannot be written: {error.message}")
            return False
        (await self.ids(table)).add(row["id"])
        self.done.taken[of] += 1
        return True

    async def count_there(self, tables: Sequence[str], column: str, identifier: str) -> None:
        """Count what belongs to something that is here as here, too."""
        await self.count_there_among(tables, column, [identifier])

    async def count_there_among(self, tables: Sequence[str], column: str, identifiers: Sequence[str]) -> None:
        """Count what belongs to some things that are here as here, too."""
        for table in tables if identifiers else ():
            if self.source.has(table):
                count = await self.source.value("count(*)", table, f"{column} = ANY($1)", list(identifiers))
                self.done.there[table] += count

    def problem(self, table: str, row: Mapping[str, Any], error: object) -> None:
        """Say why a row does not come."""
        self.done.refused[table] += 1
        named = f" {row['name']!r}" if row.get("name") else ""
        self.note(f"{table} {row.get('id')}{named}: {error}"[:300])

    def note(self, line: str) -> None:
        """Say something about what comes."""
        self.done.problems.append(line)

    def author_of(self, row: Mapping[str, Any], column: str = "_created_by_id") -> Author:
        """Return who wrote a row: a user of the retired server, or else the import itself."""
        user = str(row.get(column))
        return Author("api", user, self.users[user], client=PROGRAM) if user in self.users else IMPORTER

    def secret(self, row: Mapping[str, Any], plain: str, sealed: str) -> str | None:
        """Return a secret in clear; None when its key is not at hand."""
        if row.get(plain):
            return str(row[plain])
        return decrypt(row[sealed], self.passphrase) if row.get(sealed) else ""

    def embedding(self, config: object) -> str | None:
        """Return the handle of an embedding model, as it is called here if it is served here."""
        if not isinstance(config, dict) or (named := handle_in(config)) is None:
            return None
        plain = f"{config.get('embedding_endpoint_type') or 'openai'}/{config.get('embedding_model')}"
        for handle in self.catalogue.names_of(named, plain):
            try:
                return self.catalogue.handle_of(handle)
            except FolkmootError:
                continue
        return named


class Kind(Protocol):
    """Things of one kind in the source."""

    name: str
    """What `--only` calls it."""

    tables: frozenset[str]
    """The source's tables that it takes."""

    async def take(self, context: Context) -> None:
        """Take the things over, those that are here already left as they are."""


def time_of(row: Mapping[str, Any], column: str = "created_at") -> int:
    """Return a row's time in microseconds; now where it has none."""
    value = row.get(column)
    return clock.now() if value is None else moment_of(value)


def object_of(value: Any) -> dict[str, Any]:
    """Return a JSON object that can be kept; an empty one for what is none."""
    return clean(value) if isinstance(value, dict) else {}


def text_of(value: Any) -> str | None:
    """Return a text that can be kept; None for what is none."""
    return clean_text(value) if isinstance(value, str) else None
