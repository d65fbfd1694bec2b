"""Organisations: each has agents, blocks, runs and keys of its own, and nothing of another's can be reached."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

from sqlalchemy import Delete, Table, bindparam, delete, select, update

from folkmoot.access.keys import CHANGED
from folkmoot.errors import Conflict, NotFound
from folkmoot.identifiers import ORGANIZATION, new_id
from folkmoot.store import clock
from folkmoot.store.engine import Row, Store, Transaction
from folkmoot.store.tables import api_keys, metadata, organizations, sessions

MOST = 10_000
"""Organisations of a server."""


@dataclass(frozen=True, slots=True)
class Organization:
    """An organisation; `created_at` is in microseconds, None for the one that every server has."""

    id: str
    name: str
    created_at: int | None

    @classmethod
    def from_row(cls, row: Row) -> Organization:
        """Read a row of the table."""
        return cls(row["organization_id"], row["name"], row["created_at"])


AT_ONCE = 200
"""Rows that a deletion takes in one transaction, or those of as many owners."""

DEFAULT = Organization(ORGANIZATION, "default", None)
"""The organisation of who needs no key, and of FOLKMOOT_API_KEY; it has no row and cannot be deleted."""

_all = select(organizations).order_by(organizations.c.created_at, organizations.c.organization_id)
_named = select(organizations).where(organizations.c.name == bindparam("named"))
_by_id = select(organizations).where(organizations.c.organization_id == bindparam("whose"))


async def list_organizations(transaction: Transaction) -> list[Organization]:
    """Return all organisations, the default one first, the others by age."""
    return [DEFAULT, *(Organization.from_row(row) for row in await transaction.all(_all))]


async def find_organization(transaction: Transaction, which: str) -> Organization:
    """Return an organisation by its identifier or its name.

    Raises:
        NotFound: there is no such organisation.
    """
    if which in (DEFAULT.id, DEFAULT.name):
        return DEFAULT
    row = await transaction.first(_by_id, whose=which) or await transaction.first(_named, named=which)
    if row is None:
        raise NotFound(f"Organization '{which}' not found")
    return Organization.from_row(row)


async def create_organization(transaction: Transaction, name: str) -> Organization:
    """Make an organisation, in a transaction of everybody's rows.

    Raises:
        Conflict: the name is taken, or there are too many.
    """
    there = await list_organizations(transaction)
    if any(each.name == name for each in there):
        raise Conflict(f"name: there is an organisation {name!r}; choose another name.")
    if len(there) > MOST:
        raise Conflict(f"There are {MOST} organisations; delete some.")
    made = Organization(new_id("org"), name, clock.now())
    row = {"name": made.name, "created_at": made.created_at}
    await transaction.within(made.id).insert(organizations, [row])
    return made


async def rename_organization(transaction: Transaction, which: str, name: str) -> Organization:
    """Give an organisation another name, in a transaction of everybody's rows.

    Raises:
        NotFound: there is no such organisation.
        Conflict: the name is taken, or it is the one that every server has.
    """
    found = await find_organization(transaction, which)
    if found is DEFAULT:
        raise Conflict("The default organisation keeps its name.")
    if any(each.name == name and each.id != found.id for each in await list_organizations(transaction)):
        raise Conflict(f"name: there is an organisation {name!r}; choose another name.")
    await transaction.within(found.id).run(update(organizations).values(name=name))
    return replace(found, name=name)


async def delete_organization(store: Store, which: str) -> tuple[Organization, Mapping[str, int]]:
    """Delete an organisation with every row it has; return it, and how many rows went from each table.

    Its keys and sessions end first, so that no request brings new rows meanwhile.

    Raises:
        NotFound: there is no such organisation.
        Conflict: it is the one that every server has.
    """

    async def close(transaction: Transaction) -> Organization:
        found = await find_organization(transaction, which)
        if found is DEFAULT:
            raise Conflict("The default organisation cannot be deleted.")
        within = transaction.within(found.id)
        for table in (sessions, api_keys):
            await within.run(delete(table))
        transaction.signal(CHANGED)
        return found

    found = await store.everywhere.write(close)
    own, gone = store.of(found.id), Counter[str]()
    # Those that refer to others first, the organisation itself last: a deletion that was broken off can be repeated.
    for table in (*(each for each in reversed(metadata.sorted_tables) if each is not organizations), organizations):
        statement = _some_of(table)
        while count := await own.write(lambda transaction: transaction.run(statement)):  # noqa: B023
            gone[table.name] += count
    return found, gone


def _some_of(table: Table) -> Delete:
    """Return a statement that deletes some rows, few enough not to keep others waiting."""
    column = table.c.get("id", list(table.primary_key.columns)[-1 if len(table.primary_key.columns) == 1 else 1])
    return delete(table).where(column.in_(select(column).limit(AT_ONCE)))
