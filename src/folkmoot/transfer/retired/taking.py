"""Taking the retired server's database over: what is there already stays, so that it can be run again and again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, select

from folkmoot.access.users import row_of_user
from folkmoot.errors import FolkmootError, StartupError
from folkmoot.identifiers import ORGANIZATION
from folkmoot.models.catalogue import Catalogue
from folkmoot.models.directory import Directory
from folkmoot.store.engine import Store
from folkmoot.store.sealing import Sealer
from folkmoot.store.tables import api_keys, organizations
from folkmoot.transfer.retired.context import PROGRAM, Context, Taken, text_of, time_of
from folkmoot.transfer.retired.kinds import KINDS
from folkmoot.transfer.retired.source import Source

OF_EARLIER = frozenset({"agent_passages"})
"""Tables that only earlier releases had."""

OF_ALL = frozenset({"organizations", "users", "alembic_version"})
"""Tables that are taken, or read, whatever is wanted."""

_there = select(organizations.c.organization_id).where(organizations.c.organization_id == bindparam("of"))


@dataclass(frozen=True, slots=True)
class Import:
    """One run over a source."""

    source: Source
    store: Store
    """Everybody's."""

    sealer: Sealer
    catalogue: Catalogue
    directory: Directory
    """Whom the catalogue's handles name; it is open."""

    passphrase: str | None
    progress: Callable[[str, int, int], None]
    dry_run: bool = False
    organization: str | None = None
    """Identifier or name of the only one that is wanted."""

    only: Collection[str] = ()
    """Names of the kinds that are wanted; all when empty."""

    since: datetime | None = None
    """When what is wanted was made or changed, at the earliest."""

    done: Taken = field(default_factory=Taken)

    async def run(self) -> Taken:
        """Take everything that is wanted over and return what came.

        Raises:
            StartupError: there is no such kind or organisation.
        """
        names = [kind.name for kind in KINDS]
        if unknown := [name for name in self.only if name not in names]:
            raise StartupError(f"--only: there is no {unknown[0]!r}; there are {', '.join(names)}.")
        wanted = [
            row
            for row in await self.source.all("organizations", order="created_at, id")
            if self.organization in (None, row["id"], row["name"])
        ]
        if not wanted and self.organization is None:
            raise StartupError("The database to import has no organisation that was not deleted: nothing is in it.")
        if not wanted:
            raise StartupError(f"--organization: there is no {self.organization!r} in the database to import.")
        await self._count(wanted)
        for row in wanted:
            await self._organization(row)
        self._account()
        return self.done

    async def _count(self, wanted: list[dict[str, Any]]) -> None:
        only = [row["id"] for row in wanted] if self.organization is not None else [None]
        taken = OF_ALL.union(*(kind.tables for kind in KINDS))
        if lacking := sorted(taken - OF_EARLIER - self.source.columns.keys()):
            self.done.problems.append(
                f"The database has no {', '.join(lacking)}: it is of a release before 0.16.8, or they were removed."
            )
        for table in sorted(self.source.columns):
            for whose in only:
                self.done.source[table] += await self.source.count(table, whose)
            if table not in taken and self.done.source[table] and not self.only:
                self.done.problems.append(f"{table}: {self.done.source[table]:,} rows are not taken.")

    async def _organization(self, row: Mapping[str, Any]) -> None:
        whose = str(row["id"])
        if whose == ORGANIZATION:
            self.done.there["organizations"] += 1
        elif not await self._make(whose, row):
            return
        users = await self.source.all("users", "organization_id = $1", whose, order="created_at, id")
        context = Context(
            source=self.source,
            store=self.store.of(whose),
            organization_id=whose,
            users={user["id"]: text_of(user["name"]) or user["id"] for user in users},
            sealer=self.sealer,
            catalogue=self.catalogue.of(whose),
            directory=self.directory,
            passphrase=self.passphrase,
            progress=self.progress,
            dry_run=self.dry_run,
            since=self.since,
            done=self.done,
        )
        for user in users:  # whatever is wanted, since they are named as its authors
            row = row_of_user(user["id"], context.users[user["id"]], time_of(user), PROGRAM)
            await context.put(api_keys, row, "users", user)
        for kind in KINDS:
            if not self.only or kind.name in self.only:
                await kind.take(context)

    async def _make(self, whose: str, row: Mapping[str, Any]) -> bool:
        """Make an organisation unless it is here; False when that cannot be done."""
        if await self.store.read(lambda transaction: transaction.first(_there, of=whose)) is not None:
            self.done.there["organizations"] += 1
            return True
        made = {"organization_id": whose, "name": text_of(row["name"]) or whose, "created_at": time_of(row)}
        try:
            if not self.dry_run:
                await self.store.write(lambda transaction: transaction.insert(organizations, [made]))
        except FolkmootError as error:
            self.done.refused["organizations"] += 1
            self.done.problems.append(f"organizations {whose} {row['name']!r}: cannot be written: {error.message}")
            return False
        self.done.taken["organizations"] += 1
        return True

    def _account(self) -> None:
        """Say of each table whether rows are neither here nor told of: they belong to what is not in the source."""
        self.done.problems += self.source.broken
        if foreign := self.source.decoder.foreign:
            self.done.problems.append(f"{foreign:,} texts are no UTF-8 and were read as Windows-1252.")
        if self.only or self.since is not None:
            return
        done = self.done
        for tables in (("organizations", "users"), *(sorted(kind.tables) for kind in KINDS)):
            for table in tables:
                lost = done.source[table] - done.taken[table] - done.there[table] - done.refused[table]
                if lost > 0:
                    done.problems.append(f"{table}: {lost:,} rows belong to what is not there or did not come.")
