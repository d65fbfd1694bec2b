"""An organisation's projects: the default one, which has no row, and those that were made."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select

from folkmoot.errors import Conflict, InvalidInput, NotFound
from folkmoot.identifiers import new_id
from folkmoot.store import clock
from folkmoot.store.counting import count_of, count_rows
from folkmoot.store.engine import Transaction
from folkmoot.store.projects import DEFAULT_PROJECT
from folkmoot.store.tables import agents, projects

MOST_PROJECTS = 1000
"""Projects that an organisation may make."""

LARGEST_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Project:
    """A project; `slug` is its name in addresses, which stands once in an organisation."""

    id: str
    name: str
    slug: str


DEFAULT = Project(DEFAULT_PROJECT, "Default project", "default-project")

_by_age = select(projects).order_by(projects.c.created_at, projects.c.id)
_by_id = select(projects).where(projects.c.id == bindparam("project_id"))
_by_slug = select(projects.c.id).where(projects.c.slug == bindparam("of_slug"))


async def create_project(transaction: Transaction, name: str) -> Project:
    """Make a project.

    Raises:
        InvalidInput: the name has no letter or digit.
        Conflict: there is one whose name is written alike, or there are too many.
    """
    made = Project(new_id("project"), name, slug_of(name))
    there = await transaction.first(_by_slug, of_slug=made.slug)
    if made.slug == DEFAULT.slug or there is not None:
        raise Conflict(f"name: there is a project {made.slug!r} already; choose another name.")
    if await count_rows(transaction, count_of(projects)) >= MOST_PROJECTS:
        raise Conflict(f"There are {MOST_PROJECTS} projects already, the most that can be made; delete one.")
    values = {"id": made.id, "name": made.name, "slug": made.slug, "created_at": clock.now()}
    await transaction.insert(projects, [values])
    return made


async def list_projects(
    transaction: Transaction, name: str | None, offset: int, limit: int
) -> tuple[list[Project], bool]:
    """Return some projects, the default one first and the others by age, and whether there are more.

    Args:
        transaction: where to read.
        name: a part of the name, or of the slug; None for all.
        offset: how many to leave out at the beginning.
        limit: how many to return.
    """
    rows = await transaction.all(_by_age)
    every = [DEFAULT, *(Project(row["id"], row["name"], row["slug"]) for row in rows)]
    wanted = (name or "").lower()
    found = [each for each in every if wanted in each.name.lower() or wanted in each.slug]
    return found[offset : offset + limit], len(found) > offset + limit


async def delete_project(transaction: Transaction, project_id: str) -> None:
    """Delete a project that no agent is in.

    Raises:
        NotFound: there is no such project.
        Conflict: agents are in it, or it is the default one.
    """
    if project_id == DEFAULT.id:
        raise Conflict("The default project cannot be deleted.")
    if await transaction.first(_by_id, project_id=project_id) is None:
        raise NotFound(f"Project with id '{project_id}' not found")
    if held := await count_rows(transaction, count_of(agents, agents.c.project_id == project_id)):
        raise Conflict(f"{held} agents are in project {project_id}; delete them first, or give them another one.")
    await transaction.run(delete(projects).where(projects.c.id == project_id))


def slug_of(name: str) -> str:
    """Return a name as it stands in addresses.

    >>> slug_of("Ada's  Shop 2")
    'ada-s-shop-2'

    Raises:
        InvalidInput: nothing of it can.
    """
    slug = re.sub(r"[^\w]+", "-", name.lower()).strip("-_")
    if not slug:
        raise InvalidInput(f"name: {name!r} has no letter or digit.")
    return slug
